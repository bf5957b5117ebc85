"""Reconstructions as plain data for the page."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from geomae.data.structure import Structure
from geomae.metrics.matching import check_matching, displacement_vectors, match_atoms
from geomae.plotting.drawing import bonds_of, element_style

SEVERITY = (
    "wrong", "error", "doubtful", "skipped", "refused", "reconstructed", "matched", "exact"
)  # fmt: skip
"""Statuses from worst to best; others stand before 'reconstructed'."""

DIGITS = 4
"""Decimals of positions on the page, in Å."""


@dataclass
class Pair:
    """A structure and what was decoded from its latent, as the page shows them.

    Attributes:
        name: shown in the list; any string.
        original: None if it could not be read.
        decoded: None if there is nothing decoded.
        metrics: figures to show; 'rmsd' and 'max_error' (Å), 'residual' and 'certified' have
            labels of their own, and those in Å are worked out if they are missing.
        status: 'exact', 'matched', 'reconstructed', 'wrong', 'doubtful', 'skipped', 'refused',
            'error'.
        message: said along with the status.
        matching: index of the decoded atom for each original one, -1 for none; worked out by
            the Hungarian method if not given.
        crystal: what `geomae.plotting.crystal.crystal_details` says of the two.
    """

    name: str
    original: Structure | None
    decoded: Structure | None
    metrics: dict[str, float | str | bool] = field(default_factory=dict)
    status: str = "reconstructed"
    message: str | None = None
    matching: Sequence[int] | None = None
    crystal: dict | None = None


def page_data(pairs: Sequence[Pair]) -> dict:
    """Everything that the page draws: its elements' styles and the pairs, worst first."""
    entries = sorted((_entry(pair) for pair in pairs), key=_badness)
    used = {
        z
        for entry in entries
        for side in ("original", "decoded")
        if entry[side]
        for z in entry[side]["numbers"]
    }
    return {"elements": {z: element_style(z) for z in sorted(used)}, "pairs": entries}


def to_json(data: dict) -> str:
    """Compact JSON that may stand inside a script element: no '<', '>' or '&' in it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _entry(pair: Pair) -> dict:
    shown = [s for s in (pair.original, pair.decoded) if s is not None and s.n_atoms]
    entry = {
        "name": str(pair.name),
        "formula": shown[0].formula if shown else "",
        "status": str(pair.status),
        "message": None if pair.message is None else str(pair.message),
        "metrics": {str(key): _plain(value) for key, value in pair.metrics.items()},
        "original": _side(pair.original),
        "decoded": _side(pair.decoded),
        "view": _orientation(shown[0]) if shown else [0, 0, 0, 1],
        "matching": [],
        "displacements": [],
        "changed_bonds": None,
        "crystal": pair.crystal,
    }
    original, decoded = pair.original, pair.decoded
    if original is None or decoded is None or not (entry["original"] and entry["decoded"]):
        return entry
    _add_differences(entry, original, decoded, pair.matching)
    return entry


def _add_differences(
    entry: dict, original: Structure, decoded: Structure, matching: Sequence[int] | None
) -> None:
    """Matching, displacements and changed bonds; decoded atoms move to the images that match."""
    if matching is None:
        matching = match_atoms(original, decoded)
    else:
        matching = check_matching(matching, original, decoded)
    vectors = displacement_vectors(original, decoded, matching)
    lengths = np.linalg.norm(vectors, axis=1)
    entry["matching"] = matching
    entry["displacements"] = [_plain(float(d)) for d in lengths]
    if decoded.periodic or original.periodic:
        own = [i for i, partner in enumerate(matching) if partner >= 0]
        moved = decoded.positions.clone()
        moved[[matching[i] for i in own]] = original.positions[own] + torch.from_numpy(vectors[own])
        decoded = Structure(decoded.numbers, moved, decoded.get("cell"))
        entry["decoded"] = _side(decoded)
    if -1 not in matching and len(matching) == decoded.n_atoms:
        rmsd = float(np.sqrt(np.square(lengths).mean()))
        entry["metrics"].setdefault("rmsd", _plain(rmsd))
        entry["metrics"].setdefault("max_error", _plain(float(lengths.max())))
        entry["changed_bonds"] = _changed_bonds(original, decoded, matching)


def _changed_bonds(original: Structure, decoded: Structure, matching: Sequence[int]) -> int:
    """Pairs of atoms whose bond is another one, or is there in one of the two only."""
    owner = {partner: own for own, partner in enumerate(matching)}
    before = set(bonds_of(original))
    after = {(*sorted((owner[a], owner[b])), order) for a, b, order in bonds_of(decoded)}
    return len({bond[:2] for bond in before ^ after})


def _side(structure: Structure | None) -> dict | None:
    """Atoms, bonds and cell as lists; None where there is nothing that can be drawn."""
    if structure is None or not structure.n_atoms or not structure.positions.isfinite().all():
        return None
    cell = structure.get("cell")
    return {
        "numbers": structure.numbers.tolist(),
        "positions": _rounded(structure.positions),
        "bonds": [number for bond in bonds_of(structure) for number in bond],
        "cell": None if cell is None else _rounded(cell[0]),
    }


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(v, DIGITS) + 0.0 for v in values.reshape(-1).tolist()]


def _plain(value: object) -> float | int | str | bool | None:
    """A JSON value: numbers to six digits, None for those that are not finite."""
    if isinstance(value, torch.Tensor | np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return str(value)


def _orientation(structure: Structure) -> list[float]:
    """Quaternion (x, y, z, w) of the first view: a molecule's longest axis lies across the screen
    and its thinnest points to the eye, both tilted a little."""
    tilt = Rotation.from_euler("yx", [25, 20], degrees=True)
    if (
        structure.get("cell") is None
        and structure.n_atoms > 1
        and structure.positions.isfinite().all()
    ):
        centred = structure.positions - structure.positions.mean(0)
        axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1).T.numpy()
        axes[2] *= np.sign(np.linalg.det(axes))
        tilt = tilt * Rotation.from_matrix(axes)
    return [round(float(v), DIGITS) for v in tilt.as_quat()]


def _badness(entry: dict) -> tuple:
    status = entry["status"]
    rank = SEVERITY.index(status) if status in SEVERITY else SEVERITY.index("reconstructed") - 0.5
    error = entry["metrics"].get("max_error")
    known = isinstance(error, int | float)
    return rank, known, -error if known else 0, entry["name"]
