"""Space groups imposed on crystals: the nearest one, and what does not fit."""

import pytest
import torch
from ase.build import bulk
from ase.spacegroup import crystal
from hypothesis import given, settings
from hypothesis import strategies as st

from geomae.data import Structure, as_structures
from geomae.symmetry import GroupError, PointGroup, ToleranceError, space_group, symmetrise
from geomae.symmetry.impose import _lattice_of, space_group_number

PEROVSKITE = crystal(["Ba", "Ti", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)],
                     spacegroup=221, cellpar=[4.0] * 3 + [90] * 3)  # fmt: skip
CUBIC = as_structures(PEROVSKITE)[0]


def rattled(structure: Structure, size: float, seed: int = 0, strain: float = 0.0) -> Structure:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(structure.n_atoms, 3, dtype=torch.float64, generator=generator)
    bend = torch.randn(3, 3, dtype=torch.float64, generator=generator)
    warp = torch.eye(3).double() + strain * bend
    cell = structure.cell[0] @ warp
    return Structure(structure.numbers, structure.positions @ warp + size * noise, cell=cell)


@pytest.mark.parametrize(
    ("group", "number", "name"),
    [
        (221, 221, "Oh"),
        ("P4mm", 99, "C4v"),
        (99, 99, "C4v"),
        ("R3m", 160, "C3v"),
        ("A m m 2", 38, "C2v"),
        ("D4h", 123, "D4h"),
        (PointGroup.named("C4v"), 99, "C4v"),
    ],
)
def test_a_space_group_is_imposed(group, number, name):
    noisy = rattled(CUBIC, 0.006, strain=1e-3)
    assert space_group(noisy, 1e-4).number == 1
    made = symmetrise(noisy, group, 0.1)
    assert (made.number, made.group.name) == (number, name)
    kept = space_group(made.structure, 1e-8)
    assert made.group.is_subgroup_of(kept.point_group, 1e-6)
    assert made.largest_move < 0.02 and 0 < made.strain < 5e-3
    # what is symmetric already stays where it is
    again = symmetrise(made.structure, group, 0.1)
    assert again.largest_move < 1e-10 and again.strain < 1e-10


def test_the_smallest_move_is_taken():
    moved = CUBIC.clone()
    moved.positions = CUBIC.positions + torch.tensor(
        [[0, 0, 0], [0.08, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]], dtype=torch.float64
    )
    made = symmetrise(moved, "P4mm", 0.15)
    # of the six polar axes the one along x costs nothing
    assert made.largest_move < 1e-10
    assert float(made.group.axis[0].abs()) > 1 - 1e-9
    assert symmetrise(moved, PointGroup.named("C4v"), 0.15).largest_move > 0.05
    assert symmetrise(moved, 221, 0.15).largest_move > 0.05
    # averaged over fewer operations nothing can move farther
    squares = [float(symmetrise(moved, g, 0.15).moved.square().sum()) for g in (221, 99, 1)]
    assert squares == sorted(squares, reverse=True)


def test_groups_with_fewer_translations():
    iron = as_structures(
        crystal(["Fe"], [(0, 0, 0)], spacegroup=139, cellpar=[2.8, 2.8, 3.0, 90, 90, 90])
    )[0]
    noisy = rattled(iron, 0.004)
    made = symmetrise(noisy, "P4/mmm", 0.05)
    assert made.number == 123 and len(made.group) == 16
    assert symmetrise(noisy, 139, 0.05).number == 139
    # the two atoms are no longer each other's images, so that nothing has to move but along c
    assert made.largest_move <= symmetrise(noisy, 139, 0.05).largest_move + 1e-12
    salt = as_structures(bulk("NaCl", "rocksalt", a=5.64, cubic=True))[0]
    assert symmetrise(rattled(salt, 0.003), "R-3m", 0.05).number == 166
    with pytest.raises(GroupError, match="fewer translations"):
        symmetrise(salt, "P4/mmm")


def test_operations_of_another_crystal_in_the_same_cell():
    operations = space_group(CUBIC)
    made = symmetrise(rattled(CUBIC, 0.006, strain=1e-3), operations, 0.1)
    assert made.number == 221 and space_group(made.structure, 1e-8).number == 221
    assert symmetrise(rattled(CUBIC, 0.006), operations.operations, 0.1).number == 221
    shifted = CUBIC.clone()
    shifted.positions = CUBIC.positions + torch.tensor([0.3, 0, 0]).double()
    with pytest.raises(GroupError, match=r"do not fit the atoms.*origin of this cell"):
        symmetrise(shifted, operations)
    long = Structure(CUBIC.numbers, CUBIC.positions, CUBIC.cell[0] * torch.tensor([1, 1, 1.05]))
    with pytest.raises(GroupError, match="does not fit the cell: an operation turns the lattice"):
        symmetrise(long, operations)


def test_what_does_not_fit_is_told_with_what_would():
    long = rattled(CUBIC, 0.0)
    long = Structure(CUBIC.numbers, CUBIC.positions, CUBIC.cell[0] * torch.tensor([1, 1, 1.05]))
    with pytest.raises(GroupError, match="does not fit the cell, whose lattice has 4/mmm"):
        symmetrise(long, 221)
    with pytest.raises(GroupError, match="turns the lattice vector"):
        symmetrise(CUBIC, PointGroup.named("D6h"))
    noisy = rattled(CUBIC, 0.006)
    with pytest.raises(GroupError, match=r"crystal has P1 \(1\).*Å Pm-3m \(221\)"):
        symmetrise(noisy, "P4mm", 1e-3)
    with pytest.raises(GroupError, match=r"Pnma \(62\) does not fit"):
        symmetrise(CUBIC, "Pnma")
    with pytest.raises(GroupError, match="did you mean 'P n n m'"):
        symmetrise(CUBIC, "Pnmx")
    with pytest.raises(GroupError, match="no space group 231"):
        symmetrise(CUBIC, 231)
    with pytest.raises(ToleranceError, match="merges atoms"):
        symmetrise(CUBIC, 221, 1.5)
    water = as_structures(Structure([8, 1, 1], [[0.0, 0, 0], [0, 0.8, 0.6], [0, -0.8, 0.6]]))[0]
    with pytest.raises(GroupError, match="can't be imposed on a molecule"):
        symmetrise(water, 62)


def test_symbols_and_numbers_of_space_groups():
    assert space_group_number("P n m a") == space_group_number("Pnma") == 62
    assert space_group_number("P2_1/c") == space_group_number("P21/c") == 14
    assert space_group_number("222") == 222
    assert space_group_number("D4h") is None and space_group_number("4/mmm") is None


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 11)] * 3), max_size=4), st.sampled_from([2, 3, 4, 6, 12])
)
def test_lattices_hold_what_spans_them(rows, scale):
    shifts = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3) / scale
    lattice = _lattice_of(torch.cat([torch.zeros(1, 3).double(), shifts]))
    inverse = torch.linalg.inv(lattice)
    for points in (shifts, torch.eye(3).double()):
        steps = points @ inverse
        assert float((steps - steps.round()).abs().max() if len(steps) else 0) < 1e-9
    # the lattice is no finer than what is given: its index divides scale^3
    assert (scale**3) % round(1 / abs(float(torch.linalg.det(lattice)))) == 0
