"""Actions of structures as they are found, and names for what belongs to them."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geomae.data.structure import Structure
from geomae.symmetry.action import Action
from geomae.symmetry.detect import space_group, structure_operations
from geomae.symmetry.errors import PropertyError
from geomae.symmetry.identify import identify
from geomae.symmetry.isotypic import NEAR, Namer
from geomae.symmetry.molecule import AtomOperations
from geomae.symmetry.standard import locate


def action_of(structure: Structure, tolerance: float = 1e-3) -> Action:
    """All operations of a molecule or crystal, acting on it.

    A linear molecule gets those of the finite group that stands for its infinite one. A crystal
    gets those of its space group that fit the cell it is given in, one for each translation inside
    that cell.

    Args:
        structure: periodic along all three lattice vectors or none.
        tolerance: in Å.

    Raises:
        UnsupportedStructureError: the structure is periodic along some lattice vectors only.
        ToleranceError: the tolerance is not positive, or merges atoms.
    """
    if not structure.periodic:
        operations = structure_operations(structure, tolerance)
        return _with_group(operations.group.name, operations)
    space = space_group(structure, tolerance)
    return _with_group(space.symbol.replace(" ", ""), space.operations)


def displacements(start: Structure, end: Structure) -> Float[Tensor, "n 3"]:
    """How each atom moves from one structure to another, the mean taken out, in Å.

    In a crystal by the shortest way; the cell stays that of the first.

    Raises:
        PropertyError: the atoms are not the same in the same order.
    """
    if not torch.equal(start.numbers, end.numbers):
        raise PropertyError(
            f"the target ({end.formula}) must have the atoms of the input ({start.formula}) in "
            "the same order"
        )
    moves = end.positions - start.positions
    if start.periodic:
        inverse = torch.linalg.inv(start.cell[0])
        shifts = (moves @ inverse).round() * start.pbc[0]
        moves = moves - shifts @ start.cell[0]
    return moves - moves.mean(0)


def name_of_subgroup(action: Action, kept: Bool[Tensor, " g"]) -> str:
    """Name of the group of some operations.

    Schoenflies where each turns differently; else the point group and the number of operations.
    """
    if bool(kept.all()):
        return action.name
    matrices = action.matrices[kept.nonzero()[:, 0]]
    turns = torch.unique(matrices.flatten(1).round(decimals=6) + 0.0, dim=0).view(-1, 3, 3)
    near = None if action.group is None else action.group.frame
    name = identify(turns, near=near).name
    return name if len(turns) == len(matrices) else f"{name}, {len(matrices)} operations"


def namer_of(action: Action) -> Namer:
    """Gives irreps their names: Mulliken's where each operation turns differently.

    Else, as in a supercell, irreps are numbered as they come up, with their dimension.
    """
    group = action.group
    if group is not None and not group.infinite:
        return group.name_of
    return lambda characters: _numbered(action, characters)


def _numbered(action: Action, characters: Float[Tensor, " g"]) -> str:
    dimension = round(float(characters.max()))
    for number, other in enumerate(action.seen):
        if (other - characters).abs().max() < NEAR:
            return f"Γ{number + 1} ({dimension})"
    action.seen.append(characters)
    return f"Γ{len(action.seen)} ({dimension})"


def _with_group(name: str, operations: AtomOperations) -> Action:
    """The action, in the order of the point group's operations if no two turn alike."""
    matrices, places, group = operations.rotations, operations.permutations, operations.group
    if len(matrices) != len(group.operations):
        return Action(name, matrices, places)
    order, _ = locate(group.operations, matrices)
    return Action(name, group.operations, places[order], group)
