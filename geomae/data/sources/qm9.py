"""QM9: 130,831 molecules of up to nine heavy atoms, from the package qm9pack."""

import csv
import json
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from geomae.data.cache import cache_directory, replacing
from geomae.data.elements import NUMBERS
from geomae.data.structure import Structure
from geomae.errors import GeomaeError, MissingExtraError

N_MOLECULES = 130_831
SPLIT_SEED = 0
SPLIT_SIZES = {"train": 100_000, "valid": 17_748, "test": 13_083}

PROPERTIES = {
    "RotA_GHz": "rotational_a",
    "RotB_GHz": "rotational_b",
    "RotC_GHz": "rotational_c",
    "Dipole_debye": "mu",
    "Polarizability_bohr3": "alpha",
    "HOMO_au": "homo",
    "LUMO_au": "lumo",
    "HOMO_LUMO_gap_au": "gap",
    "R2_bohr2": "r2",
    "ZPVE_au": "zpve",
    "InternalEnergy_0K_au": "u0",
    "InternalEnergy_298K_au": "u",
    "Enthalphy_298K_au": "h",
    "GibbsFreeEnergy_298K_au": "g",
    "Heatcapacity_Cv_cal_mol_K": "cv",
}
"""Columns of the package's tables and the names of the properties here; units are the columns'."""

TENSOR_COLUMNS = ("A_xx", "A_xy", "A_xz", "A_yy", "A_yz", "A_zz")


@dataclass(frozen=True)
class QM9:
    """QM9 as flat arrays; `structure(i)` makes one molecule of them.

    Attributes:
        numbers: atomic numbers of all molecules in a row, uint8 `[atoms]`.
        positions: in Å, float64 `[atoms, 3]`, equal to the digits of the tables.
        offsets: where each molecule starts, int64 `[molecules + 1]`.
        index: number of each molecule in the original set, int64 `[molecules]`.
        properties: scalars, float64 `[molecules]`, and the polarizability tensor
            `[molecules, 3, 3]` in bohr^3, in principal axes of the nuclear charges instead of
            those of the positions.
        smiles: of each molecule.
    """

    numbers: Tensor
    positions: Tensor
    offsets: Tensor
    index: Tensor
    properties: dict[str, Tensor]
    smiles: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def structure(self, i: int) -> Structure:
        """Molecule `i`, with its SMILES, its number and its properties."""
        span = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        tensors = {name: values[i : i + 1] for name, values in self.properties.items()}
        return Structure(
            self.numbers[span],
            self.positions[span],
            name=f"qm9-{int(self.index[i]):06d}",
            smiles=self.smiles[i],
            **tensors,
        )


def split_indices(split: str) -> np.ndarray:
    """Molecules of a split, as EDM (Hoogeboom et al. 2022) draws them.

    The molecules in their original order are permuted by `numpy.random.RandomState(0)`; the
    first 100,000 train, the next 17,748 validate, the last 13,083 test.

    Args:
        split: 'train', 'valid', 'test' or 'all'.
    """
    if split == "all":
        return np.arange(N_MOLECULES)
    if split not in SPLIT_SIZES:
        raise GeomaeError(f"QM9 has the splits {', '.join(SPLIT_SIZES)} and all, not '{split}'")
    order = np.random.RandomState(SPLIT_SEED).permutation(N_MOLECULES)
    bounds = np.cumsum([0, *SPLIT_SIZES.values()])
    position = list(SPLIT_SIZES).index(split)
    return order[bounds[position] : bounds[position + 1]]


def load_qm9() -> QM9:
    """QM9 from the cache, which is built from qm9pack's tables where there is none yet.

    Raises:
        MissingExtraError: there is no cache, and qm9pack is not installed.
    """
    geometry, extra = (
        cache_directory() / name for name in ("qm9.safetensors", "qm9-properties.safetensors")
    )
    if not (geometry.exists() and extra.exists()):
        build_cache(geometry, extra)
    tensors, properties = load_file(geometry), load_file(extra)
    fine = tensors["positions_high"].double() * 100 + tensors["positions_low"].double()
    text = bytes(properties.pop("smiles").numpy()).decode().split("\n")
    return QM9(
        tensors["numbers"],
        fine / 1e10,
        tensors["offsets"],
        tensors["index"],
        properties,
        tuple(text),
    )


def build_cache(geometry: Path, extra: Path) -> None:
    """Parse qm9pack's tables into two files: geometry (38 MB) and properties.

    Positions have ten decimals; they are kept exactly as an int32 of 1e-8 Å and a byte.
    """
    spec = find_spec("qm9pack")
    if spec is None or spec.origin is None:
        raise MissingExtraError("qm9pack", "qm9")
    tables = Path(spec.origin).parent / "data"
    rows = _read_tables(tables)
    polarizability = _read_polarizability(tables / "qm9_polarizability.csv")
    numbers = [
        np.array([NUMBERS[s] for s in re.findall(r"[A-Z][a-z]?", row["Elements"])], np.uint8)
        for row in rows
    ]
    positions = np.concatenate([_parse_positions(row["XYZ_Ang"]) for row in rows])
    fine = np.rint(positions * 1e10).astype(np.int64)
    high = np.floor_divide(fine, 100)
    tensors = {
        "numbers": torch.from_numpy(np.concatenate(numbers)),
        "positions_high": torch.from_numpy(high.astype(np.int32)),
        "positions_low": torch.from_numpy((fine - 100 * high).astype(np.uint8)),
        "offsets": torch.from_numpy(np.cumsum([0, *map(len, numbers)])),
        "index": torch.tensor([int(row["Index"]) for row in rows]),
    }
    properties = {
        name: torch.tensor([float(row[column]) for row in rows], dtype=torch.float64)
        for column, name in PROPERTIES.items()
    }
    nothing = [float("nan")] * 6
    components = torch.tensor(
        [polarizability.get(row["XYZ_file"], nothing) for row in rows], dtype=torch.float64
    )
    properties["polarizability"] = components[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].unflatten(1, (3, 3))
    text = "\n".join(row["SMILES"] for row in rows).encode()
    properties["smiles"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    for path, content in ((extra, properties), (geometry, tensors)):
        with replacing(path) as temporary:
            save_file(content, temporary)


def _read_tables(tables: Path) -> list[dict[str, str]]:
    from rich.progress import Progress

    wanted = {"XYZ_file", "Index", "SMILES", "Elements", "XYZ_Ang", *PROPERTIES}
    rows = []
    with Progress(transient=True) as progress:
        task = progress.add_task("reading QM9's tables", total=N_MOLECULES)
        for part in (1, 2, 3):
            with open(tables / f"qm9_part{part}.csv", newline="") as file:
                for number, row in enumerate(csv.DictReader(file)):
                    rows.append({key: row[key] for key in wanted})
                    if number % 1000 == 0:
                        progress.update(task, completed=len(rows))
    if len(rows) != N_MOLECULES:
        raise GeomaeError(f"qm9pack's tables hold {len(rows)} molecules, expected {N_MOLECULES}")
    return rows


def _read_polarizability(path: Path) -> dict[str, list[float]]:
    with open(path, newline="") as file:
        return {
            row["XYZ_file"]: [float(row[column]) for column in TENSOR_COLUMNS]
            for row in csv.DictReader(file)
        }


def _parse_positions(text: str) -> np.ndarray:
    """A nested list of numbers, some of which have no digit on one side of the point."""
    text = re.sub(r"(?<![0-9])\.", "0.", text)
    return np.array(json.loads(re.sub(r"\.(?![0-9])", ".0", text)), dtype=np.float64)


def structures(split: str = "all", n: int | None = None) -> list[Structure]:
    """The first `n` molecules of a split, in the split's order."""
    data = load_qm9()
    return [data.structure(int(i)) for i in split_indices(split)[:n]]
