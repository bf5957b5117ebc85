"""Structures from anything."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from geomae.data.convert import from_ase, from_pyg, from_pymatgen, from_rdkit
from geomae.data.read import read_items, structure_files
from geomae.data.structure import Structure
from geomae.data.validate import check_structure
from geomae.errors import GeomaeError, StructureError

ACCEPTED = (
    "a geomae Structure, ASE Atoms, a pymatgen Structure or Molecule, an RDKit Mol, PyG Data, a "
    "path to a file or folder, or a list of these"
)

CONVERTERS = {
    "ase.Atoms": from_ase,
    "pymatgen.IStructure": from_pymatgen,
    "pymatgen.IMolecule": from_pymatgen,
    "rdkit.Mol": from_rdkit,
}
"""By package and class (or base class), so that no package is imported that isn't there anyway."""


@dataclass(frozen=True)
class Skipped:
    """A structure, or a file, that could not be used.

    Attributes:
        index: its position in the input, from 0, good and bad ones counted.
        source: where it came from, if that is known.
        fault: what was wrong with it.
    """

    index: int
    source: str | None
    fault: str


class Structures(list[Structure]):
    """A list of structures that remembers what was left out, as `skipped`."""

    def __init__(self, items: Iterable[Structure] = (), skipped: Iterable[Skipped] = ()):
        super().__init__(items)
        self.skipped = list(skipped)


def as_structures(anything: Any, *, on_error: Literal["raise", "skip"] = "raise") -> Structures:
    """Structures from whatever people have, checked.

    Args:
        anything: a Structure, ASE Atoms, a pymatgen Structure or Molecule, an RDKit Mol with a
            conformer, PyG Data with `z` and `pos` or a Batch or Dataset of it, a path to a file or
            folder, or a list of these, nested as you like.
        on_error: 'raise' at the first that can't be used, or 'skip' it and note it in `skipped`;
            of a file with many structures, the good ones are kept.

    Raises:
        StructureError: a structure can't be used, or is of no accepted type; says which and why.
        GeomaeError: `on_error` is neither.
    """
    if on_error not in ("raise", "skip"):
        raise GeomaeError(f"on_error must be 'raise' or 'skip', not '{on_error}'")
    found = Structures()
    for index, item in enumerate(_flat(anything)):
        try:
            structure = _structure(item)
            check_structure(structure, source=structure.get("source"))
        except StructureError as error:
            if on_error == "raise" or (item is anything and _convert_of(item) is None):
                raise StructureError(error.fault, index=index, source=error.source) from error
            found.skipped.append(Skipped(index, error.source, error.fault))
        else:
            found.append(structure)
    return found


def _flat(anything: Any) -> Iterator[Any]:
    """Single structures, files opened and folders listed; errors in the places of bad ones."""
    if isinstance(anything, str | Path):
        yield from _of_path(Path(anything).expanduser())
    elif isinstance(anything, Batch):
        yield from anything.to_data_list()
    elif isinstance(anything, Dataset) and hasattr(anything, "__len__"):
        for k in range(len(anything)):
            yield from _flat(anything[k])
    elif _is_several(anything):
        for item in anything:
            yield from _flat(item)
    else:
        yield anything


def _is_several(anything: Any) -> bool:
    single = (Data, Mapping, Tensor, np.ndarray, bytes)
    known = isinstance(anything, single) or _convert_of(anything) is not None
    return hasattr(anything, "__iter__") and not known


def _of_path(path: Path) -> Iterator[Structure | StructureError]:
    if not path.is_dir():
        yield from read_items(path)
        return
    files = structure_files(path)
    if not files:
        yield StructureError("there is no structure file in this folder", source=str(path))
    for file in files:
        yield from read_items(file)


def _structure(item: Any) -> Structure:
    if isinstance(item, StructureError):
        raise item
    convert = _convert_of(item)
    if convert is None:
        kind = type(item)
        name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        raise StructureError(f"can't make a structure of a {name}; expected {ACCEPTED}")
    return convert(item)


def _convert_of(item: Any) -> Any:
    """What makes a structure of such an item; None if nothing does."""
    if isinstance(item, Structure | StructureError):
        return lambda structure: structure
    if isinstance(item, Data):
        return from_pyg
    names = (f"{kind.__module__.split('.')[0]}.{kind.__name__}" for kind in type(item).__mro__)
    return next((CONVERTERS[name] for name in names if name in CONVERTERS), None)
