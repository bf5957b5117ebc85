"""Data sets of crystals: Perov-5, Carbon-24, MP-20, MPTS-52, WBM and JARVIS superconductors."""

import csv
import gzip
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from geomae.data.cache import cache_directory, replacing
from geomae.data.elements import NUMBERS
from geomae.data.structure import Structure
from geomae.errors import GeomaeError, StructureError

ENVIRONMENT = "GEOMAE_DATA"
"""Environment variable that names the folder of the files."""

FORMAT = 1
"""Of the cache; part of its files' names."""

JARVIS = "github.com/usnistgov/jarvis_leaderboard (benchmarks/AtomGen)"
WYFORMER = "github.com/SymmetryAdvantage/WyckoffTransformer (data)"


@dataclass(frozen=True)
class Origin:
    """Where a data set's files come from.

    Attributes:
        files: for each split its file; one file may hold several splits.
        address: where to get them.
        properties: columns of numbers that are kept.
    """

    files: dict[str, str]
    address: str
    properties: tuple[str, ...] = ()

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.files)


def _three(name: str) -> dict[str, str]:
    return dict.fromkeys(("train", "valid", "test"), name)


ORIGINS = {
    "perov5": Origin(_three("perov5_heat_ref.json.zip"), JARVIS),
    "carbon24": Origin(_three("carbon24_energy_per_atom.json.zip"), JARVIS),
    "supercon": Origin(_three("dft_3d_Tc_supercon.json.zip"), JARVIS),
    "mp20": Origin(
        {"valid": "mp_20_biternary_val.csv.gz", "test": "mp_20_biternary_test.csv.gz"},
        WYFORMER,
        ("formation_energy_per_atom", "band_gap", "e_above_hull", "spacegroup.number"),
    ),
    "mpts52": Origin(
        {"valid": "mpts_52_val.csv.gz"},
        WYFORMER,
        ("formation_energy_per_atom", "energy_above_hull", "year"),
    ),
    "wbm": Origin(
        {"sample": "wbm_val.csv.gz"}, WYFORMER, ("formation_energy_per_atom", "band_gap")
    ),
}
"""Data sets by name."""


@dataclass(frozen=True)
class Crystals:
    """Crystals as flat arrays; `structure(i)` makes one of them.

    Attributes:
        numbers: atomic numbers of all crystals in a row, uint8 `[atoms]`.
        positions: in Å, float64 `[atoms, 3]`.
        cells: lattice vectors as rows in Å, float64 `[crystals, 3, 3]`.
        offsets: where each crystal starts, int64 `[crystals + 1]`.
        split: number of each crystal's split, int64 `[crystals]`.
        properties: float64 `[crystals]`; nan where there is none.
        names: identifier of each.
        splits: names of the splits, by number.
    """

    numbers: Tensor
    positions: Tensor
    cells: Tensor
    offsets: Tensor
    split: Tensor
    properties: dict[str, Tensor]
    names: tuple[str, ...]
    splits: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def indices(self, split: str) -> np.ndarray:
        """Crystals of a split, or of 'all', in the files' order."""
        if split == "all":
            return np.arange(len(self))
        return np.flatnonzero(self.split.numpy() == self.splits.index(split))

    def structure(self, i: int) -> Structure:
        """Crystal `i` with its name and properties."""
        span = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        numbers = {key: float(values[i]) for key, values in self.properties.items()}
        return Structure(
            self.numbers[span],
            self.positions[span],
            cell=self.cells[i],
            name=self.names[i],
            **{key: value for key, value in numbers.items() if not np.isnan(value)},
        )


def structures(
    name: str, split: str = "all", n: int | None = None, *, folder: Path | str | None = None
) -> list[Structure]:
    """The first `n` crystals of a split, in the files' order.

    Args:
        name: 'perov5', 'carbon24', 'supercon', 'mp20', 'mpts52' or 'wbm'.
        split: see `ORIGINS`; 'all' is all of them.
        n: only the first n.
        folder: with the files; see `load_crystals`.

    Raises:
        GeomaeError: there is no such data set or split, or its files are not there.
    """
    if name not in ORIGINS:
        raise GeomaeError(f"there is no data set '{name}' of crystals; known: {', '.join(ORIGINS)}")
    splits = ORIGINS[name].splits
    if split not in (*splits, "all"):
        raise GeomaeError(f"{name} has the splits {', '.join(splits)} and all, not '{split}'")
    data = load_crystals(name, folder)
    return [data.structure(int(i)) for i in data.indices(split)[:n]]


@lru_cache(maxsize=2)
def load_crystals(name: str, folder: Path | str | None = None) -> Crystals:
    """A data set from the cache, which is built from its files where there is none yet.

    Args:
        name: of the data set.
        folder: with the files, or above it; the environment variable `GEOMAE_DATA` by default.
            Once the cache is built the files are needed no more.

    Raises:
        GeomaeError: there is no cache, and the files are not where they should be.
        StructureError: a file holds what can't be read.
    """
    origin = ORIGINS[name]
    path = cache_directory() / f"{name}-{FORMAT}.safetensors"
    if not path.exists():
        _build_cache(path, name, _find_files(name, folder))
    tensors = load_file(path)
    texts = bytes(tensors.pop("names").numpy()).decode().split("\n")
    own = {key: tensors.pop(key) for key in ("numbers", "positions", "cells", "offsets", "split")}
    return Crystals(**own, properties=tensors, names=tuple(texts), splits=origin.splits)


def _find_files(name: str, folder: Path | str | None) -> dict[str, Path]:
    """The file of each split."""
    origin, named = ORIGINS[name], folder or os.environ.get(ENVIRONMENT)
    wanted = sorted(set(origin.files.values()))
    how = (
        f"get {' and '.join(wanted)} from {origin.address} and name the folder that holds them "
        f"by the environment variable {ENVIRONMENT}"
    )
    if not named:
        raise GeomaeError(f"the files of {name} have not been read yet: {how}")
    places = [Path(named).expanduser(), Path(named).expanduser() / "crystals"]
    found: dict[str, Path] = {}
    for file in wanted:
        path = next((place / file for place in places if (place / file).is_file()), None)
        if path is None:
            raise GeomaeError(f"'{named}' holds no file {file} of {name}: {how}")
        found[file] = path
    return {split: found[file] for split, file in origin.files.items()}


def _build_cache(path: Path, name: str, files: dict[str, Path]) -> None:
    """Parse all splits into one file of flat arrays."""
    from rich.progress import track

    origin = ORIGINS[name]
    entries = list(chain.from_iterable(_entries(split, file) for split, file in files.items()))
    found = [(entry, _parse(entry)) for entry in track(entries, f"reading {name}", transient=True)]
    sizes = torch.tensor([0, *(structure.n_atoms for _, structure in found)])
    tensors = {
        "numbers": torch.cat([s.numbers for _, s in found]).to(torch.uint8),
        "positions": torch.cat([s.positions for _, s in found]),
        "cells": torch.cat([s.cell for _, s in found]),
        "offsets": torch.cumsum(sizes, 0),
        "split": torch.tensor([origin.splits.index(entry.split) for entry, _ in found]),
    }
    for column in origin.properties:
        values = [_number(entry.row.get(column)) for entry, _ in found]
        tensors[column.replace(".", "_")] = torch.tensor(values, dtype=torch.float64)
    text = "\n".join(entry.name for entry, _ in found).encode()
    tensors["names"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    with replacing(path) as temporary:
        save_file(tensors, temporary)


@dataclass(frozen=True)
class _Entry:
    """One crystal as a file holds it."""

    split: str
    name: str
    text: str
    parse: Callable[[str], Structure]
    row: dict[str, str]


def _entries(split: str, path: Path) -> Iterator[_Entry]:
    """All of a split, not parsed yet."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read(archive.namelist()[0]))
        for name, text in content["val" if split == "valid" else split].items():
            yield _Entry(split, str(name), text.replace("\\n", "\n"), _from_poscar, {})
        return
    with gzip.open(path, "rt", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            name = row.get("material_id") or f"{path.name.split('_')[0]}-{number}"
            yield _Entry(split, name, row["cif"], _from_cif, row)


def _parse(entry: _Entry) -> Structure:
    try:
        return entry.parse(entry.text)
    except (ValueError, IndexError, KeyError) as error:
        raise StructureError(f"can't be read: {error}", source=entry.name) from error


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _from_poscar(text: str) -> Structure:
    from ase.io.vasp import read_vasp

    from geomae.data.convert import from_ase

    return from_ase(read_vasp(StringIO(text)))


def _from_cif(text: str) -> Structure:
    """A CIF: quickly if it is one that pymatgen writes without symmetry."""
    return _from_plain_cif(text) or _from_any_cif(text)


CELL = re.compile(r"^_cell_(?:length|angle)_\w+\s+(\S+)$", re.MULTILINE)
PLAIN_ATOMS = """loop_
 _atom_site_type_symbol
 _atom_site_label
 _atom_site_symmetry_multiplicity
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
"""
PLAIN_SYMMETRY = " _symmetry_equiv_pos_as_xyz\n  1  'x, y, z'\nloop_"


def _from_plain_cif(text: str) -> Structure | None:
    """Of a CIF with every atom written out, as pymatgen does; None if it is another."""
    from ase.geometry import cellpar_to_cell

    head, _, table = text.partition(PLAIN_ATOMS)
    rows = [line.split() for line in table.splitlines() if line.strip()]
    numbers = [NUMBERS.get(row[0], 0) for row in rows]
    plain = PLAIN_SYMMETRY in text and rows and all(numbers)
    if not plain or any(len(row) != 7 or float(row[6]) != 1 for row in rows):
        return None
    cell = cellpar_to_cell([float(value) for value in CELL.findall(head)])
    fractions = np.array([row[3:6] for row in rows], dtype=np.float64)
    return Structure(numbers, fractions @ cell, cell=cell)


def _from_any_cif(text: str) -> Structure:
    from geomae.data.formats.cif import parse_cif

    (item,) = parse_cif(text, "cif")
    if isinstance(item, StructureError):
        raise item
    return item
