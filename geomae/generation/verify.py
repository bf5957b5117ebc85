"""Whether a structure has a point group, said by programs that had no part in making it."""

from functools import lru_cache

import numpy as np

from geomae.data.structure import Structure
from geomae.errors import MissingExtraError
from geomae.symmetry import GroupError, PointGroup
from geomae.symmetry.naming import read_symbol

ROTATIONS = frozenset({"C1", "C2", "C3", "C5", "D2", "D3", "D5", "T", "I"})
ICOSAHEDRAL = {
    "I": ROTATIONS,
    "Ih": ROTATIONS
    | {"Cs", "Ci", "C2v", "C3v", "C5v", "C2h", "S6", "S10", "D2h", "D3d", "D5d", "Th", "Ih"},
}
"""Subgroups of the two groups that have too many to be searched each time."""

TOLERANCE = 1e-3
"""Distance in Å within which an atom's image must meet an atom."""


def verified(structure: Structure, group: PointGroup | str, tolerance: float = TOLERANCE) -> bool:
    """Whether pymatgen finds a structure to have a group, or one that contains it.

    Args:
        structure: a molecule.
        group: or its symbol.
        tolerance: in Å.

    Raises:
        MissingExtraError: pymatgen is not installed.
    """
    name = group if isinstance(group, str) else group.name
    found = found_by_pymatgen(structure, tolerance)
    return found is not None and contains(found, read_symbol(name).text)


def found_by_pymatgen(structure: Structure, tolerance: float = TOLERANCE) -> str | None:
    """Schoenflies symbol that pymatgen's PointGroupAnalyzer gives; None if it gives up.

    Raises:
        MissingExtraError: pymatgen is not installed.
    """
    try:
        from pymatgen.core import Molecule
        from pymatgen.symmetry.analyzer import PointGroupAnalyzer
    except ImportError as error:
        raise MissingExtraError("pymatgen", "generation") from error
    molecule = Molecule(structure.numbers.tolist(), structure.positions.numpy())
    try:
        symbol = PointGroupAnalyzer(molecule, tolerance=tolerance).sch_symbol
        return read_symbol(str(symbol).replace("*", "∞")).text
    except (GroupError, ValueError, IndexError, np.linalg.LinAlgError):
        return None


def found_by_pymsym(structure: Structure) -> str | None:
    """Schoenflies symbol that pymsym gives, at its own tolerance; None if it gives up.

    Raises:
        MissingExtraError: pymsym is not installed.
    """
    try:
        import pymsym
    except ImportError as error:
        raise MissingExtraError("pymsym", "generation") from error
    try:
        found = pymsym.get_point_group(structure.numbers.tolist(), structure.positions.tolist())
        return read_symbol(str(found)).text
    except (GroupError, ValueError, RuntimeError):
        return None


@lru_cache(maxsize=1024)
def contains(name: str, part: str) -> bool:
    """Whether a point group has subgroups of a name, by their symbols.

    Args:
        name: of the group.
        part: of the subgroup.
    """
    if name == part or part == "C1" or name == "Kh":
        return True
    if name in ICOSAHEDRAL:
        return part in ICOSAHEDRAL[name]
    group, other = PointGroup.named(name), PointGroup.named(part)
    if not group.infinite:
        return not other.infinite and any(own.name == part for own in group.subgroups())
    if group.symbol.family == "K":
        return other.proper
    if other.symbol.family not in ("C", "D", "S", "Cs", "Ci"):
        return False
    if group.name == "C∞v":
        return other.symbol.family == "Cs" or (
            other.symbol.family == "C" and other.symbol.suffix in ("", "v")
        )
    return group.name == "D∞h"
