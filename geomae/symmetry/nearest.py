"""Structures made exactly symmetric by the smallest move."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.data.structure import Structure
from geomae.symmetry.crystal import SpaceGroup
from geomae.symmetry.detect import TOLERANCE, one_structure
from geomae.symmetry.errors import GroupError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.identify import identify
from geomae.symmetry.impose import nearest_crystal
from geomae.symmetry.molecule import (
    AtomOperations,
    check_tolerance,
    match_group,
    molecule_operations,
)
from geomae.symmetry.standard import distinct

FITTINGS = 30
"""Times that a group is turned to where the structure is nearest to it, at most."""

SETTLED = 1e-9
"""Turns that move atoms by less, in Å, change nothing."""


@dataclass(frozen=True)
class Symmetrised:
    """A structure whose symmetry is exact.

    Attributes:
        structure: where the atoms stand now, everything else as it was given.
        group: point group; of a crystal its class.
        moved: how far each atom moved, in Å, `[n]`.
        strain: largest relative change of the lattice; 0 for a molecule.
        number: of the space group; None for a molecule.
    """

    structure: Structure
    group: PointGroup
    moved: Float[Tensor, " n"]
    strain: float = 0.0
    number: int | None = None

    @property
    def largest_move(self) -> float:
        """In Å."""
        return float(self.moved.max())


def symmetrise(
    thing: "Structure | Any",
    group: "PointGroup | SpaceGroup | AtomOperations | str | int | None" = None,
    tolerance: float | None = None,
) -> Symmetrised:
    """Make the symmetry of a structure exact by the smallest move.

    Each atom goes to the mean of the places to which the operations bring its equivalents, which
    is the nearest structure (least squares) with that symmetry and that matching of atoms. The
    centroid stays; so does the orientation. A crystal's lattice is averaged likewise.

    Args:
        thing: a molecule or crystal, or whatever `as_structures` takes, one of them.
        group: to impose; by default what is found within the tolerance. A PointGroup in its frame
            is taken as it stands, a symbol is the subgroup of what is found. On a crystal, the
            number (62) or short symbol (`Pnma`) of a space group is, of the subgroups of what
            is found that have this type, the one with the smallest move; a point group's symbol
            the same for a crystal class, all translations kept; a `SpaceGroup` or
            `AtomOperations` (of another crystal in the same cell) are taken as they are.
        tolerance: in Å, 0.01 by default.

    Raises:
        GroupError: there is no such group, or it does not fit the cell, or the atoms within the
            tolerance; says what would.
        ToleranceError: the tolerance is not positive, or merges atoms.
    """
    structure = one_structure(thing)
    tolerance = TOLERANCE if tolerance is None else tolerance
    if structure.periodic:
        return _symmetrised_crystal(structure, group, tolerance)
    if not isinstance(group, PointGroup | str | None):
        raise GroupError(
            f"a space group can't be imposed on a molecule, got {group!r}; expected a point group"
        )
    centre = structure.positions.double().mean(0)
    centred = structure.positions.double() - centre
    fixed = isinstance(group, PointGroup)
    check_tolerance(tolerance, centred)
    if isinstance(group, str):
        group = _found_by_name(structure, group, tolerance)
    elif group is None:
        group = molecule_operations(structure, tolerance).group
    averaged, group = _nearest(group, centred, structure.numbers, tolerance, fixed)
    result = structure.clone()
    result.positions = (averaged + centre).to(structure.positions)
    return Symmetrised(result, group, (averaged - centred).norm(dim=1))


def _nearest(
    group: PointGroup, centred: Tensor, numbers: Tensor, tolerance: float, fixed: bool
) -> tuple[Tensor, PointGroup]:
    """The symmetric positions nearest to those given, and their group, turned to where that is
    nearest unless it is fixed.
    """
    places = match_group(group, centred, numbers, tolerance)
    averaged = _averaged(group, centred, places)
    for _ in range(0 if fixed or group.symbol.family == "K" else FITTINGS):
        u, _, v = torch.linalg.svd(centred.T @ averaged)
        turn = u @ torch.diag(torch.tensor([1.0, 1.0, float(torch.linalg.det(u @ v))]).double()) @ v
        if float((averaged @ turn.T - averaged).abs().max()) < SETTLED:
            break
        group = group.conjugate(turn)
        averaged = _averaged(group, centred, places)
    return averaged, group


def _averaged(group: PointGroup, centred: Tensor, places: Tensor) -> Tensor:
    """Mean over the operations of the places that atoms are brought to."""
    if group.symbol.family == "K":
        return torch.zeros_like(centred)
    images = centred @ group.operations.transpose(1, 2)
    total = torch.zeros_like(centred)
    for image, place in zip(images, places, strict=True):
        total = total.index_add(0, place, image)
    return total / len(places)


def _symmetrised_crystal(structure: Structure, group: Any, tolerance: float) -> Symmetrised:
    best, number = nearest_crystal(structure, group, tolerance)
    result = structure.clone()
    result.cell = best.cell[None].to(structure.cell)
    result.positions = (best.fractions @ best.cell).to(structure.positions)
    turns = identify(distinct(best.operations.matrices, 0.1))
    return Symmetrised(result, turns, best.moved.norm(dim=1), best.strain, number)


def _found_by_name(structure: Structure, name: str, tolerance: float) -> PointGroup:
    wanted = PointGroup.named(name)
    found = molecule_operations(structure, tolerance).group
    if found.name == wanted.name:
        return found
    if not found.infinite:
        for subgroup in found.subgroups():
            if subgroup.name == wanted.name:
                return subgroup
    raise GroupError(
        f"{wanted.name} does not fit: within {tolerance:g} Å the structure has {found.name}, of "
        f"which {wanted.name} is no subgroup; try a larger tolerance"
    )
