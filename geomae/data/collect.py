"""Structures from anything."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from geomae.data.convert import from_ase, from_pyg, from_pymatgen, from_rdkit
from geomae.data.read import read_file, structure_files
from geomae.data.structure import Structure
from geomae.data.validate import check_structure
from geomae.errors import GeomaeError, StructureError

ACCEPTED = (
    "a geomae Structure, ASE Atoms, a pymatgen Structure or Molecule, an RDKit Mol, PyG Data, a "
    "path to a file or folder, or a list of these"
)


@dataclass(frozen=True)
class Skipped:
    """A structure, or a file, that could not be used.

    Attributes:
        index: its position in the input, from 0.
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
            conformer, PyG Data with `z` and `pos`, a path to a file or folder, or a list of these,
            nested as you like.
        on_error: 'raise' at the first that can't be used, or 'skip' it and note it in `skipped`.

    Raises:
        StructureError: a structure can't be used; says which and why.
        GeomaeError: something is of no accepted type.
    """
    if on_error not in ("raise", "skip"):
        raise GeomaeError(f"on_error must be 'raise' or 'skip', not '{on_error}'")
    found = Structures()
    for index, item in enumerate(_flat(anything)):
        try:
            if isinstance(item, StructureError):
                raise item
            structure = _convert(item)
            check_structure(structure, source=structure.get("source"))
        except StructureError as error:
            if on_error == "raise":
                raise StructureError(error.fault, index=index, source=error.source) from error
            found.skipped.append(Skipped(index, error.source, error.fault))
        else:
            found.append(structure)
    return found


def _flat(anything: Any) -> Iterator[Any]:
    """Single structures, files opened and folders listed; an error in the place of a bad file."""
    if isinstance(anything, str | Path):
        path = Path(anything)
        files = structure_files(path) if path.is_dir() else [path]
        if not files:
            yield StructureError("there is no structure file in this folder", source=str(path))
        for file in files:
            try:
                yield from read_file(file)
            except StructureError as error:
                yield error
    elif isinstance(anything, list | tuple | Iterator):
        for item in anything:
            yield from _flat(item)
    else:
        yield anything


def _convert(item: Any) -> Structure:
    """By the type's module and name, so that no package is imported that isn't there anyway."""
    from torch_geometric.data import Data

    if isinstance(item, Structure):
        return item
    names = {f"{t.__module__.split('.')[0]}.{t.__name__}" for t in type(item).__mro__}
    if "ase.Atoms" in names:
        return from_ase(item)
    if names & {"pymatgen.IStructure", "pymatgen.IMolecule"}:
        return from_pymatgen(item)
    if "rdkit.Mol" in names:
        return from_rdkit(item)
    if isinstance(item, Data):
        return from_pyg(item)
    raise GeomaeError(f"can't make a structure of {type(item).__name__}; expected {ACCEPTED}")
