"""Crystals made exactly symmetric: by the space group found, or by one that is asked for."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from functools import lru_cache
from math import lcm

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.data.structure import Structure
from geomae.symmetry.crystal import (
    SpaceGroup,
    crystal_symmetry,
    permutations_of,
    require_crystal,
    symbol_of_number,
)
from geomae.symmetry.detect import larger_symmetries
from geomae.symmetry.errors import GroupError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.molecule import AtomOperations
from geomae.symmetry.naming import read_symbol
from geomae.symmetry.standard import distinct, locate
from geomae.symmetry.subgroups import subgroup_sets

MOST = 64
"""Operations in a cell, translations among them, up to which groups with fewer translations are
searched as well."""

Wanted = SpaceGroup | AtomOperations | PointGroup | str | int
"""A group that may be imposed on a crystal."""


@dataclass(frozen=True)
class CellOperations:
    """Operations in fractions of a cell, modulo its lattice.

    Attributes:
        matrices: orthogonal, `[k, 3, 3]`.
        integer: the same in fractions of the cell: columns of lattice vectors C have `R C = C W`.
        shifts: translations in fractions of the cell.
        places: where each brings each atom.
    """

    matrices: Float[Tensor, "k 3 3"]
    integer: Float[Tensor, "k 3 3"]
    shifts: Float[Tensor, "k 3"]
    places: Int[Tensor, "k n"]

    def __len__(self) -> int:
        return len(self.matrices)

    def chosen(self, numbers: list[int]) -> "CellOperations":
        """Some of them."""
        return CellOperations(
            self.matrices[numbers], self.integer[numbers], self.shifts[numbers],
            self.places[numbers],
        )  # fmt: skip


@dataclass(frozen=True)
class Averaged:
    """A crystal averaged over operations.

    Attributes:
        cell: lattice vectors as rows, in Å.
        fractions: of the atoms.
        moved: how each atom moved, the lattice's change left out, in Å.
        strain: largest relative change of the lattice.
        operations: over which the mean was taken.
    """

    cell: Float[Tensor, "3 3"]
    fractions: Float[Tensor, "n 3"]
    moved: Float[Tensor, "n 3"]
    strain: float
    operations: CellOperations


def nearest_crystal(
    structure: Structure, group: Wanted | None, tolerance: float
) -> tuple[Averaged, int]:
    """The nearest crystal with a group's symmetry, and the number of its space group.

    Args:
        structure: a crystal.
        group: None for the space group found within the tolerance. A number, or the symbol of a
            space group, is one of the subgroups of what is found that have this type; the symbol
            of a point group those of its class that keep all translations; a PointGroup the
            operations that turn as it does, as it stands; operations are taken as they are.
        tolerance: in Å.

    Raises:
        GroupError: the group does not fit the cell, or the atoms within the tolerance.
        ToleranceError: the tolerance is not positive, or merges atoms.
    """
    require_crystal(structure)
    if isinstance(group, SpaceGroup | AtomOperations):
        given = group.operations if isinstance(group, SpaceGroup) else group
        own = averaged(structure, _fitting(structure, given, tolerance))
        return own, number_of(own.operations, own.cell)
    found = crystal_symmetry(structure, tolerance)
    every = _in_cell(structure, found.operations)
    if group is None:
        return averaged(structure, every), found.number
    candidates = [averaged(structure, one) for one in _candidates(structure, found, every, group,
                                                                 tolerance)]  # fmt: skip
    if not candidates:
        raise GroupError(_does_not_fit(structure, found, group, tolerance))
    best = min(candidates, key=lambda one: (round(float(one.moved.square().sum()), 12), one.strain))
    return best, number_of(best.operations, best.cell)


def averaged(structure: Structure, operations: CellOperations) -> Averaged:
    """Lattice and atoms averaged over operations, in the given cell."""
    cell = structure.cell[0].detach().double()
    fractions = structure.positions.detach().double() @ torch.linalg.inv(cell)
    # R C = C W for all operations, C the lattice vectors as columns
    new = (operations.matrices @ cell.T @ torch.linalg.inv(operations.integer)).mean(0).T
    total = torch.zeros_like(fractions)
    each = zip(operations.integer, operations.shifts, operations.places, strict=True)
    for rotation, shift, place in each:
        gap = fractions @ rotation.T + shift - fractions[place]
        total = total.index_add(0, place, gap - gap.round())
    change = total / len(operations)
    change = change - change.mean(0)
    strain = torch.linalg.svd(torch.linalg.solve(cell, new) - torch.eye(3).double()).S.max()
    return Averaged(new, fractions + change, change @ new, float(strain), operations)


def _in_cell(structure: Structure, operations: AtomOperations) -> CellOperations:
    cell = structure.cell[0].detach().double()
    integer = (torch.linalg.inv(cell.T) @ operations.rotations @ cell.T).round()
    shifts = operations.translations @ torch.linalg.inv(cell)
    return CellOperations(operations.rotations, integer, shifts, operations.permutations)


def _fitting(structure: Structure, operations: AtomOperations, tolerance: float) -> CellOperations:
    """Operations that were given, in fractions of the cell, if they fit it and the atoms."""
    cell = structure.cell[0].detach().double()
    _check_lattice(cell, operations.rotations, tolerance)
    found = _in_cell(structure, operations)
    places, worst = permutations_of(structure, found.integer, found.shifts)
    counts = places.sort(1).values == torch.arange(structure.n_atoms)
    if worst > tolerance or not bool(counts.all()):
        raise GroupError(
            f"these operations do not fit the atoms: one is brought to {worst:.2g} Å from the "
            f"nearest of its element, tolerance {tolerance:g} Å; expected operations about the "
            "origin of this cell, or a larger tolerance"
        )
    return CellOperations(found.matrices, found.integer, found.shifts, places)


def _check_lattice(cell: Tensor, rotations: Float[Tensor, "k 3 3"], tolerance: float) -> None:
    """See that operations bring each lattice vector to another, within the tolerance."""
    images = cell @ rotations.transpose(1, 2)
    inverse = torch.linalg.inv(cell)
    gaps = (images - (images @ inverse).round() @ cell).norm(dim=2)
    if float(gaps.max()) > tolerance:
        k, vector = divmod(int(gaps.argmax()), 3)
        rows = ", ".join(f"{v + 0.0:.3g}" for v in images[k, vector].tolist())
        raise GroupError(
            f"the group does not fit the cell: an operation turns the lattice vector "
            f"{'abc'[vector]} to ({rows}) Å, which is {float(gaps.max()):.2g} Å from the nearest "
            f"lattice vector, tolerance {tolerance:g} Å; expected a group of this lattice, in its "
            "orientation"
        )


def _candidates(
    structure: Structure,
    found: SpaceGroup,
    every: CellOperations,
    group: PointGroup | str | int,
    tolerance: float,
) -> Iterator[CellOperations]:
    """The sets of operations found that are the group asked for."""
    if isinstance(group, PointGroup):
        _check_lattice(structure.cell[0].detach().double(), group.operations, tolerance)
        number, gaps = locate(every.matrices, group.operations)
        kept = (gaps < 0.1).nonzero()[:, 0].tolist()
        if len(torch.unique(number[kept])) == len(group):
            yield every.chosen(kept)
        return
    number = space_group_number(group)
    if number is None:
        wanted = read_symbol(str(group)).text
        for subgroup in found.operations.group.subgroups(conjugates=True):
            if subgroup.name == wanted:
                gaps = locate(every.matrices, subgroup.operations)[1]
                yield every.chosen((gaps < 0.1).nonzero()[:, 0].tolist())
        return
    if number == found.number:
        yield every
        return
    kinds = _kinds(_rotations_of(number))
    for chosen in _subgroups(every):
        own = every.chosen(chosen)
        once = own.integer.flatten(1).unique(dim=0).unflatten(1, (3, 3))
        if _kinds(once) == kinds and number_of(own, structure.cell[0].double()) == number:
            yield own


def _subgroups(every: CellOperations) -> Iterator[list[int]]:
    """Numbers of the operations of each subgroup; in large cells of those that keep all
    translations.
    """
    if len(every) <= MOST:
        yield from (sorted(own) for own in subgroup_sets(_table(every)))
        return
    once = distinct(every.matrices, 0.1)
    number, _ = locate(every.matrices, once)
    table, _ = locate(once[:, None] @ once, once)
    for own in subgroup_sets(table):
        yield [k for k, kind in enumerate(number.tolist()) if kind in own]


def _table(every: CellOperations) -> Int[Tensor, "g g"]:
    """Number of the operation "first b, then a" for each a and b, told by turn and places."""
    turns = every.integer.flatten(1).long().tolist()
    key = {(*turn, *place): k for k, (turn, place) in
           enumerate(zip(turns, every.places.tolist(), strict=True))}  # fmt: skip
    table = torch.empty(len(every), len(every), dtype=torch.long)
    for a in range(len(every)):
        made = (every.integer[a] @ every.integer).flatten(1).long().tolist()
        ends = every.places[a][every.places].tolist()
        table[a] = torch.tensor([key[(*m, *e)] for m, e in zip(made, ends, strict=True)])
    return table


def number_of(operations: CellOperations, cell: Float[Tensor, "3 3"]) -> int:
    """Number of the space group that operations make; 0 if they are none.

    Args:
        operations: in fractions of the cell, which need not be primitive.
        cell: lattice vectors as rows, in Å.
    """
    from moyopy import SpaceGroup as Identified

    still = (operations.integer - torch.eye(3).double()).abs().amax((1, 2)) < 0.5
    basis = _lattice_of(operations.shifts[still])
    inverse = torch.linalg.inv(basis)
    rotations: dict[tuple, tuple] = {}
    for rotation, shift in zip(operations.integer, operations.shifts, strict=True):
        # fractions f of the cell are f @ inverse of the primitive one
        turned = (basis @ rotation.T @ inverse).T.round().long().tolist()
        moved = (shift @ inverse).tolist()
        rotations.setdefault(tuple(map(tuple, turned)), (turned, moved))
    turns, shifts = zip(*rotations.values(), strict=True)
    try:
        return Identified(list(turns), list(shifts), basis=(basis @ cell).tolist()).number
    except ValueError:
        return 0


def _lattice_of(shifts: Float[Tensor, "k 3"]) -> Float[Tensor, "3 3"]:
    """Rows that span the lattice of whole numbers and some fractions."""
    fractions = [[_fraction(x) for x in row] for row in shifts.tolist()]
    scale = lcm(*(f[1] for row in fractions for f in row))
    rows = np.array([[f[0] * scale // f[1] for f in row] for row in fractions], dtype=np.int64)
    rows = np.concatenate([rows, scale * np.eye(3, dtype=np.int64)])
    for column in range(3):
        # Euclid's algorithm on a column
        while len(left := column + np.flatnonzero(rows[column:, column])) > 1 or left[0] > column:
            least = left[np.abs(rows[left, column]).argmin()]
            rows[[column, least]] = rows[[least, column]]
            times = rows[column + 1 :, column] // rows[column, column]
            rows[column + 1 :] -= times[:, None] * rows[column]
    return torch.from_numpy(rows[:3]).double() / scale


def _fraction(x: float) -> tuple[int, int]:
    found = Fraction(x).limit_denominator(96)
    return found.numerator, found.denominator


def _kinds(integer: Float[Tensor, "k 3 3"]) -> Counter:
    """How many operations there are of each order and handedness, by trace and determinant."""
    traces = integer.double().diagonal(dim1=1, dim2=2).sum(1).round().long().tolist()
    signs = torch.linalg.det(integer.double()).round().long().tolist()
    return Counter(zip(traces, signs, strict=True))


@lru_cache(maxsize=64)
def _rotations_of(number: int) -> Float[Tensor, "k 3 3"]:
    from moyopy import operations_from_number

    return torch.tensor(np.array(operations_from_number(number, primitive=True).rotations)).double()


@lru_cache(maxsize=1)
def _numbers() -> dict[str, int]:
    return {symbol_of_number(number).replace(" ", "").replace("_", ""): number
            for number in range(1, 231)}  # fmt: skip


def space_group_number(group: str | int) -> int | None:
    """Number of a space group by itself or by its short symbol; None for a point group's symbol.

    What consists of digits is a number: 222 is Pn-3n, not the class 222, which is D2.

    Raises:
        GroupError: there is no such group.
    """
    text = str(group).strip()
    if text.lstrip("-").isdigit():
        if 1 <= int(text) <= 230:
            return int(text)
        raise GroupError(f"there is no space group {text}: expected 1 to 230")
    known = {key.lower(): value for key, value in _numbers().items()}
    name = text.replace(" ", "").replace("_", "").lower()
    if name in known:
        return known[name]
    try:
        read_symbol(text)
    except GroupError as error:
        near = get_close_matches(name, list(known), 1, 0.5)
        hint = f"; did you mean '{symbol_of_number(known[near[0]])}'?" if near else "."
        raise GroupError(
            f"there is no space group or point group '{text}'{hint} Expected a number from 1 to "
            "230, a short symbol such as Pnma, or a point group such as D2h"
        ) from error
    return None


def _does_not_fit(
    structure: Structure, found: SpaceGroup, group: PointGroup | str | int, tolerance: float
) -> str:
    """What is wrong with a group, and what would do."""
    name = group.name if isinstance(group, PointGroup) else str(group)
    number = None if isinstance(group, PointGroup) else space_group_number(group)
    if number is not None:
        name = f"{symbol_of_number(number).replace(' ', '')} ({number})"
        lattice = Structure([1], [[0.0, 0, 0]], cell=structure.cell[0])
        most = crystal_symmetry(lattice, tolerance).point_group
        kinds = _kinds(_rotations_of(number))
        if all(_kinds(one.operations) != kinds for one in most.subgroups()):
            return (
                f"{name} does not fit the cell, whose lattice has {most.hermann_mauguin} within "
                f"{tolerance:g} Å: expected a group of this lattice, or a larger tolerance"
            )
    own = f"{found.symbol.replace(' ', '')} ({found.number})"
    larger = [f"at {at:g} Å {it}" for at, it in larger_symmetries(structure, tolerance)]
    more = f"; it has more {', '.join(larger)}" if larger else ""
    searched = ""
    if len(found.operations) > MOST:
        searched = (
            f", unless it has fewer translations: in a cell with {len(found.operations)} "
            "operations only groups that keep all of them are searched, expected its primitive cell"
        )
    return (
        f"{name} does not fit: within {tolerance:g} Å the crystal has {own}, of which it is no "
        f"subgroup in this cell{searched}{more}"
    )
