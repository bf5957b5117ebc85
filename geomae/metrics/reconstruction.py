"""How a reconstruction compares with its original, without realignment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from geomae.data.structure import Structure
from geomae.errors import UnsupportedStructureError
from geomae.metrics.bonds import bond_orders
from geomae.metrics.certificates import certificate_cases
from geomae.metrics.matching import match_atoms

RECONSTRUCTED = 0.5
"""Largest error of an atom, in Å, in a molecule that counts as reconstructed."""


@dataclass(frozen=True)
class Comparison:
    """One structure and its reconstruction.

    Attributes:
        composition: the same elements, as many of each.
        matching: decoded atom that stands for each original one; None if compositions differ.
        displacements: length in Å of the move of each original atom; empty if they differ.
        bonds: the same bonds by EDM's distance rules; None where the rules don't apply.
    """

    composition: bool
    matching: tuple[int, ...] | None
    displacements: tuple[float, ...]
    bonds: bool | None

    @property
    def reconstructed(self) -> bool:
        """Right composition, and every atom within 0.5 Å."""
        return self.composition and self.max_error < RECONSTRUCTED

    @property
    def exact(self) -> bool:
        """Reconstructed, with the same bonds."""
        return self.reconstructed and bool(self.bonds)

    @property
    def rmsd(self) -> float:
        """Root mean square displacement in Å; nan if compositions differ."""
        squares = np.square(self.displacements)
        return float(np.sqrt(squares.mean())) if self.composition else float("nan")

    @property
    def max_error(self) -> float:
        """Largest displacement in Å; nan if compositions differ."""
        return float(max(self.displacements)) if self.composition else float("nan")


def compare(original: Structure, decoded: Structure) -> Comparison:
    """Match the atoms of each element (Hungarian, squared distances) and compare.

    Args:
        original, decoded: finite structures, in one frame: nothing is realigned.
    """
    counts = [torch.bincount(s.numbers, minlength=119) for s in (original, decoded)]
    if not torch.equal(*counts):
        return Comparison(False, None, (), None)
    matching = match_atoms(original, decoded)
    moved = decoded.positions[torch.tensor(matching)]
    displacements = (moved - original.positions).norm(dim=1)
    return Comparison(
        True,
        tuple(matching),
        tuple(displacements.tolist()),
        _same_bonds(original, moved),
    )


def _same_bonds(original: Structure, moved: torch.Tensor) -> bool | None:
    try:
        before = bond_orders(original.numbers, original.positions)
    except UnsupportedStructureError:
        return None
    return bool(torch.equal(before, bond_orders(original.numbers, moved)))


def summarise(
    comparisons: Sequence[Comparison | None], certified: Sequence[bool]
) -> dict[str, float | int]:
    """Figures of many reconstructions as plain numbers.

    Shares are of all structures, those that failed included. `rmsd` (over all atoms of all
    reconstructed structures) and `max_error` are in Å; zero structures give shares of 0.

    Args:
        comparisons: None for a structure that could not be encoded or decoded.
        certified: whether the decoder vouched for each.
    """
    done = [c for c in comparisons if c is not None]
    right = [c for c in done if c.reconstructed]
    errors = np.concatenate([[0.0], *[np.asarray(c.displacements) for c in right]])[1:]
    pairs = zip(comparisons, certified, strict=True)

    def share(count: int) -> float:
        return count / len(comparisons) if len(comparisons) else 0.0

    return {
        "n": len(comparisons),
        "n_failed": len(comparisons) - len(right),
        "composition_accuracy": share(sum(c.composition for c in done)),
        "reconstructed": share(len(right)),
        "exact": share(sum(c.exact for c in done)),
        "rmsd": float(np.sqrt(np.square(errors).mean())) if len(errors) else 0.0,
        "median_error": float(np.median(errors)) if len(errors) else 0.0,
        "max_error": float(errors.max()) if len(errors) else 0.0,
        "certified": share(sum(bool(flag) for flag in certified)),
        **certificate_cases((flag, c is not None and c.reconstructed) for c, flag in pairs),
    }


def summarise_by_size(
    structures: Sequence[Structure],
    comparisons: Sequence[Comparison | None],
    certified: Sequence[bool],
    bounds: Sequence[int],
) -> dict[str, dict[str, float | int]]:
    """`summarise` for ranges of the number of heavy atoms, named such as '10-15'.

    Args:
        structures: the originals.
        comparisons, certified: of each, as for `summarise`.
        bounds: last number of each range, ascending; what is larger than all of them comes in
            one more. Ranges without structures are left out.
    """
    heavy = np.array([int((s.numbers > 1).sum()) for s in structures], dtype=int)
    place = np.searchsorted(np.asarray(bounds), heavy)
    found = {}
    for k in np.unique(place).tolist():
        own = np.flatnonzero(place == k).tolist()
        first = bounds[k - 1] + 1 if k else 0
        name = f"{first}-{bounds[k]}" if k < len(bounds) else f"{first} and more"
        found[name] = summarise([comparisons[i] for i in own], [certified[i] for i in own])
    return found
