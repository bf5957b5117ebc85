"""The symmetry of crystals: space group, operations on atoms, the symmetry of each site."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.data.structure import Structure
from geomae.errors import MissingExtraError, StructureError, UnsupportedStructureError
from geomae.symmetry.errors import GroupError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.identify import identify
from geomae.symmetry.molecule import AtomOperations, check_tolerance
from geomae.symmetry.standard import distinct, locate


@dataclass(frozen=True)
class SpaceGroup:
    """The space group of a crystal, in the crystal's own frame and cell.

    Attributes:
        number: 1 to 230.
        symbol: Hermann-Mauguin, such as `P m -3 m`.
        point_group: its crystal class, as it stands in space.
        operations: those that fit the cell, modulo its lattice; of a centred cell or a supercell
            they include the translations within it. Their `group` is smaller than `point_group`
            where a supercell has a shape of less symmetry than its crystal.
        wyckoffs: letter of each atom's Wyckoff position.
        site_symmetries: oriented symbol of each atom's site symmetry, such as `4/mm.m`.
        sites: each atom's site symmetry, as it stands in space.
        orbits: number of the first equivalent atom, `[n]`.
        members: atom of the primitive cell that each atom is an image of, `[n]`.
        primitive: vectors of the primitive cell as rows, in Å, as the crystal stands.
    """

    number: int
    symbol: str
    point_group: PointGroup
    operations: AtomOperations
    wyckoffs: tuple[str, ...]
    site_symmetries: tuple[str, ...]
    sites: tuple[PointGroup, ...]
    orbits: Int[Tensor, " n"]
    members: Int[Tensor, " n"]
    primitive: Float[Tensor, "3 3"]

    def __repr__(self) -> str:
        return f"SpaceGroup({self.symbol}, {self.number}, {self.point_group.name})"


def crystal_symmetry(structure: Structure, tolerance: float) -> SpaceGroup:
    """The space group of a crystal, found by moyo.

    Raises:
        UnsupportedStructureError: the structure is not periodic along three vectors.
        ToleranceError: the tolerance is not positive, or merges atoms.
        StructureError: no symmetry is found, not even the translations.
        MissingExtraError: moyopy is not installed.
    """
    require_crystal(structure)
    cell = structure.cell[0].detach().cpu().double()
    positions = structure.positions.detach().cpu().double()
    check_tolerance(tolerance, _with_images(positions, cell))
    found = _moyo(cell, positions, structure.numbers, tolerance)
    operations = _operations(structure, found)
    basis = (cell.T @ torch.tensor(np.array(found.prim_std_linear), dtype=torch.float64)).T
    space = SpaceGroup(
        found.number,
        symbol_of_number(found.number),
        operations.group,
        operations,
        tuple(found.wyckoffs),
        tuple(found.site_symmetry_symbols),
        (),
        torch.tensor(np.array(found.orbits), dtype=torch.long),
        torch.tensor(np.array(found.mapping_std_prim), dtype=torch.long),
        basis,
    )
    small, member = primitive_of(structure, space)
    if small is structure:
        return replace(space, sites=_sites(operations))
    # a supercell may lack operations that its crystal has
    whole = crystal_symmetry(small, tolerance)
    sites = tuple(whole.sites[k] for k in member.tolist())
    return replace(space, point_group=whole.point_group, sites=sites)


def _operations(structure: Structure, found) -> AtomOperations:
    """What moyo found, made exact."""
    cell = structure.cell[0].detach().cpu().double()
    integer = torch.tensor(np.array(found.operations.rotations), dtype=torch.float64)
    shifts = torch.tensor(np.array(found.operations.translations), dtype=torch.float64)
    rotations = exact(cell.T @ integer @ torch.linalg.inv(cell.T))
    group = identify(distinct(rotations, 0.1))
    number = locate(rotations, group.operations)[0]
    places, deviation = permutations_of(structure, integer, shifts)
    shifts = _exact_shifts(integer, shifts, number, places)
    return AtomOperations(group, group.operations[number], shifts @ cell, places, deviation)


def _sites(operations: AtomOperations) -> tuple[PointGroup, ...]:
    """The symmetry of each atom's site in a primitive cell."""
    fixed = operations.permutations == torch.arange(operations.permutations.shape[1])
    known: dict[tuple[bool, ...], PointGroup] = {}
    result = []
    for own in fixed.T:
        key = tuple(own.tolist())
        if key not in known:
            known[key] = identify(
                distinct(operations.rotations[own], 0.1), near=operations.group.frame
            )
        result.append(known[key])
    return tuple(result)


def _exact_shifts(
    rotations: Float[Tensor, "k 3 3"],
    shifts: Float[Tensor, "k 3"],
    number: Int[Tensor, " k"],
    places: Int[Tensor, "k n"],
) -> Float[Tensor, "k 3"]:
    """Translations that multiply exactly, up to lattice vectors, from those measured on atoms.

    With t(ab) = A t(b) + t(a) + whole numbers up to noise, the mean of t(ab) - A t(b) over all b
    satisfies it without.

    Args:
        rotations: in fractions of the cell, whole numbers.
        shifts: in fractions of the cell.
        number: of the different rotations.
        places: where each operation brings each atom.
    """
    key = {(r, p): k for k, (r, p) in enumerate(zip(number.tolist(), places[:, 0].tolist(),
                                                    strict=True))}  # fmt: skip
    kinds = {tuple(rotation.flatten().round().long().tolist()): int(r)
             for rotation, r in zip(rotations, number, strict=True)}  # fmt: skip
    result = torch.empty_like(shifts)
    for a, rotation in enumerate(rotations):
        turned = (rotation @ rotations).flatten(1).round().long().tolist()
        first = places[a][places[:, 0]].tolist()
        product = [
            key[kinds[tuple(turn)], place] for turn, place in zip(turned, first, strict=True)
        ]
        gap = shifts[product] - shifts @ rotation.T - shifts[a]
        result[a] = shifts[a] + (gap - gap.round()).mean(0)
    return result


def primitive_of(structure: Structure, space: SpaceGroup) -> tuple[Structure, Int[Tensor, " n"]]:
    """The atoms of a primitive cell, where they stand, and the one that each atom is an image of.

    Args:
        structure: a crystal.
        space: its space group.
    """
    numbers, member = torch.unique(space.members, return_inverse=True)
    first = torch.stack([(space.members == number).nonzero()[0, 0] for number in numbers])
    if len(first) == structure.n_atoms:
        return structure, torch.arange(structure.n_atoms)
    positions = structure.positions.detach().double()[first]
    return Structure(structure.numbers[first], positions, cell=space.primitive), member


def require_crystal(structure: Structure) -> None:
    """See that a structure repeats along three directions.

    Raises:
        UnsupportedStructureError: it does not; says along how many.
    """
    pbc = structure.get("pbc")
    count = 0 if pbc is None else int(pbc.sum())
    if count < 3 or structure.get("cell") is None:
        raise UnsupportedStructureError(
            f"it repeats along {count} directions; expected a crystal, periodic along all three "
            "(a slab or chain with vacuum around it becomes one with pbc = True)",
            source=structure.get("source"),
        )


def exact(matrices: Float[Tensor, "k 3 3"]) -> Float[Tensor, "k 3 3"]:
    """The nearest orthogonal matrices.

    Raises:
        GroupError: they are far from it: the operations don't fit the cell.
    """
    u, values, v = torch.linalg.svd(matrices)
    if float((values - 1).abs().max()) > 0.2:
        raise GroupError("these operations don't fit the cell: they would stretch space")
    return u @ v


def _moyo(cell: Tensor, positions: Tensor, numbers: Tensor, tolerance: float):
    try:
        from moyopy import Cell, MoyoDataset
    except ImportError as error:
        raise MissingExtraError("moyopy", "crystals") from error
    fractions = positions @ torch.linalg.inv(cell)
    given = Cell(cell.tolist(), fractions.tolist(), numbers.tolist())
    try:
        return MoyoDataset(given, symprec=tolerance, rotate_basis=False)
    except ValueError as error:
        raise StructureError(f"its symmetry can't be found at {tolerance} Å: {error}") from error


def symbol_of_number(number: int) -> str:
    """Short Hermann-Mauguin symbol of a space group, such as `P n m a`."""
    from moyopy import SpaceGroupType

    return SpaceGroupType(number).hm_short


def _with_images(positions: Tensor, cell: Tensor) -> Tensor:
    """Atoms of a small crystal with those images that may be near; of a large one, those around.

    Images within half an Å suffice to see whether a tolerance merges atoms.
    """
    fractions = positions @ torch.linalg.inv(cell)
    folded = fractions - fractions.floor()
    steps = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 3).double()
    images = (folded[None] + steps[:, None]).flatten(0, 1)
    # a margin of 1 Å along each vector's normal
    heights = 1 / torch.linalg.inv(cell).norm(dim=0)
    margin = 1.0 / heights
    near = ((images > -margin) & (images < 1 + margin)).all(1)
    inside = (steps == 0).all(1).repeat_interleave(len(positions))
    kept = torch.cat([images[inside], images[near & ~inside]])
    return kept @ cell


def permutations_of(
    structure: Structure, rotations: Float[Tensor, "k 3 3"], translations: Float[Tensor, "k 3"]
) -> tuple[Int[Tensor, "k n"], float]:
    """Where each operation, in fractions of the cell, brings each atom; largest deviation in Å."""
    cell = structure.cell[0].detach().cpu().double()
    fractions = structure.positions.detach().cpu().double() @ torch.linalg.inv(cell)
    numbers = structure.numbers.cpu()
    other = numbers[:, None] != numbers
    places, worst = [], 0.0
    for rotation, translation in zip(rotations, translations, strict=True):
        image = fractions @ rotation.T + translation
        gaps = image[:, None] - fractions
        lengths = ((gaps - gaps.round()) @ cell).norm(dim=-1).masked_fill(other, torch.inf)
        least, place = lengths.min(1)
        places.append(place)
        worst = max(worst, float(least.max()))
    return torch.stack(places), worst
