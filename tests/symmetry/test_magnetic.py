"""Time reversal: the magnetic point groups, what they allow, those of structures with moments."""

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.spacegroup import crystal
from hypothesis import given, settings
from hypothesis import strategies as st

from geomae.data import Structure, as_structures
from geomae.symmetry import (
    GroupError,
    MagneticGroup,
    PointGroup,
    PropertyError,
    allowed,
    magnetic_group,
    magnetic_groups,
)
from geomae.symmetry.magnetic import crystal_magnetic_groups
from geomae.symmetry.naming import CRYSTAL_CLASSES
from geomae.symmetry.primes import elements_of
from geomae.testing import random_orthogonal

OTHERS = ["C5v", "D5h", "D5d", "D4d", "C7", "S8", "Ih", "I", "C∞v", "D∞h", "C∞h", "D∞", "K", "Kh"]
IRON = crystal(["Fe"], [(0, 0, 0)], spacegroup=229, cellpar=[2.87] * 3 + [90] * 3)
MNF2 = crystal(["Mn", "F"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136,
               cellpar=[4.87, 4.87, 3.31, 90, 90, 90])  # fmt: skip
CR2O3 = crystal(["Cr", "O"], [(0, 0, 0.3475), (0.3058, 0, 0.25)], spacegroup=167,
                cellpar=[4.96, 4.96, 13.59, 90, 90, 120])  # fmt: skip


@pytest.mark.parametrize("name", CRYSTAL_CLASSES + OTHERS)
def test_elements_of_a_symbol_are_its_operations(name):
    group = PointGroup.named(name)
    elements = elements_of(group.symbol)
    assert "".join(text for text, _ in elements) == group.hermann_mauguin
    assert all(group.contains(operation) for _, operation in elements)


def test_there_are_122_magnetic_classes():
    every = crystal_magnetic_groups()
    reversing = [one for one in every if not one.grey and bool(one.reversed.any())]
    assert (len(every), sum(one.grey for one in every), len(reversing)) == (122, 32, 58)
    assert len({one.hermann_mauguin for one in every}) == 122
    for one in reversing:
        assert 2 * len(one.unitary) == len(one.group)
        assert bool((one.reversed.sum() * 2 == len(one.group)).all())


@pytest.mark.parametrize(
    ("property_name", "count"),
    [
        # R. R. Birss, Symmetry and Magnetism (1964)
        ("magnetic moment", 31),
        ("magnetoelectricity", 58),
        ("piezomagnetism", 66),
        # the same number as pyroelectric and ferrotoroidic classes have (Schmid 2008)
        ("toroidal moment", 31),
    ],
)
def test_numbers_of_classes_are_those_of_the_tables(property_name, count):
    found = [allowed(one, property_name) for one in crystal_magnetic_groups()]
    assert sum(not one.forbidden for one in found) == count
    assert all(one.n_components == one.magnetic.count(one.irreps, odd=True) for one in found)


def test_moments_of_the_ferromagnetic_classes():
    found = {one.hermann_mauguin: one for one in crystal_magnetic_groups() if one.ferromagnetic}
    expected = (  # noqa: SIM905
        "1 -1 2 2' m m' 2/m 2'/m' 2'2'2 m'm'2 m'm2' m'm'm 4 -4 4/m 42'2' 4m'm' -42'm' 4/mm'm' "
        "3 -3 32' 3m' -3m' 6 -6 6/m 62'2' 6m'm' -6m'2' 6/mm'm'"
    ).split()
    assert set(found) == set(expected)


def test_an_operation_with_time_reversal_turns_a_moment_and_reverses_it():
    group = MagneticGroup.named("4/mm'm'")
    signs = torch.where(group.reversed, -1.0, 1.0).double()
    assert (signs[group.group.table] == signs[:, None] * signs).all()
    matrix = group.projector("1x1e + 1x2e", odd=True)
    moved = signs[:, None, None] * group.group.matrices("1x1e + 1x2e") @ matrix
    assert torch.allclose(moved, matrix.expand_as(moved), atol=1e-12)
    assert torch.allclose(matrix @ matrix, matrix, atol=1e-12)
    assert group.unitary.name == "C4h"


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([*CRYSTAL_CLASSES, *OTHERS]),
    st.sampled_from(["1x1e", "1x1o + 1x2o", "1x0o + 1x3e"]),
    st.booleans(),
    st.data(),
)
def test_projections_have_the_rank_that_characters_tell(name, irreps, odd, data):
    one = data.draw(st.sampled_from(magnetic_groups(name)))
    matrix = one.projector(irreps, odd=odd)
    assert torch.allclose(matrix @ matrix, matrix, atol=1e-10)
    assert round(float(matrix.trace())) == one.count(irreps, odd=odd)
    again = MagneticGroup.named(one.name)
    assert again.name == one.name and again.count(irreps, odd=odd) == one.count(irreps, odd=odd)


def test_with_and_without_time_reversal():
    oxygen = molecule("O2")  # carries a moment of 1 on each atom
    plain = allowed(molecule("NH3"), "dipole")
    assert plain.n_components == allowed(molecule("NH3"), "dipole", time_reversal=True).n_components
    free = allowed("C4h", "magnetic moment")
    assert free.n_components == 1 and "left out of account" in free.words
    assert allowed("C4h", "magnetic moment", time_reversal=True).forbidden
    assert allowed("4/m1'", "magnetic moment").forbidden
    assert allowed("4/mm'm'", "magnetic moment").words.count("z = a")
    assert allowed(oxygen, "magnetic moment", time_reversal=True).n_components == 1
    assert allowed("C4h", "1x1e", time_reversal=True).n_components == 1
    assert allowed("C4h", "1x1e", time_reversal=True, time_odd=True).forbidden


@pytest.mark.parametrize(
    ("moments", "name"),
    [
        ([2.2, 2.2], "4/mm'm'"),
        ([2.2, -2.2], "4/mmm1'"),
        ([[1.0, 1, 1], [1, 1, 1]], "-3m'"),
        ([[1.0, 1, 0], [1, 1, 0]], "m'm'm"),
        (None, "m-3m1'"),
    ],
)
def test_iron(moments, name):
    found = magnetic_group(IRON, moments)
    assert MagneticGroup.named(name).name == found.name


def test_antiferromagnets_of_the_books():
    manganese = [5.0, -5.0, 0, 0, 0, 0]
    found = magnetic_group(MNF2, manganese)
    assert (found.name, found.hermann_mauguin) == ("D4h(D2h)", "4'/mmm'")
    # Dzyaloshinskii 1957; Borovik-Romanov measured it: two coefficients
    assert allowed(MNF2, "piezomagnetism", moments=manganese).n_components == 2
    assert allowed(MNF2, "magnetic moment", moments=manganese).forbidden
    assert allowed(MNF2, "magnetoelectricity", moments=manganese).forbidden
    on_atoms = allowed(MNF2, "magnetic moment", moments=manganese, each_atom=True)
    first = on_atoms.basis[:, :2].abs().sum((0, 2)) > 1e-9
    assert bool(first.all()) and on_atoms.basis.shape[1:] == (6, 3)
    # chromium along c in Cr2O3, up down up down: magnetoelectric, xx = yy and zz
    structure = as_structures(CR2O3)[0]
    order = structure.positions[:, 2].argsort()
    moments, sign = torch.zeros(structure.n_atoms).double(), 1.0
    for k in order[structure.numbers[order] == 24].tolist():
        moments[k], sign = sign, -sign
    effect = allowed(structure, "magnetoelectricity", moments=moments)
    assert effect.magnetic.hermann_mauguin == "-3'm'"
    assert effect.n_components == 2 and "xx = yy = a" in effect.words


def test_moments_turn_with_the_crystal():
    matrix = random_orthogonal(torch.Generator().manual_seed(2), improper=True)
    structure = as_structures(MNF2)[0]
    turned = Structure(
        structure.numbers, structure.positions @ matrix.T, structure.cell[0] @ matrix.T
    )
    moments = torch.zeros(6, 3).double()
    moments[0, 0], moments[1, 0] = 1.0, 1.0
    axial = moments @ matrix.T * torch.linalg.det(matrix)
    one, other = magnetic_group(structure, moments), magnetic_group(turned, axial)
    assert one.name == other.name
    before = allowed(structure, "magnetic moment", moments=moments).basis
    after = allowed(turned, "magnetic moment", moments=axial).basis
    assert before.shape[0] == after.shape[0]
    expected = (before @ matrix.T).T @ (before @ matrix.T)
    assert torch.allclose(after.T @ after, expected, atol=1e-9)


@pytest.mark.parametrize("moments", [[2.2, 2.2], [2.2, -2.2]])
def test_moyo_finds_the_same_operations(moments):
    moyopy = pytest.importorskip("moyopy")
    vectors = [[0.0, 0, m] for m in moments]
    cell = moyopy.NonCollinearMagneticCell(
        IRON.cell.array.tolist(), IRON.get_scaled_positions().tolist(), IRON.numbers.tolist(),
        vectors,
    )  # fmt: skip
    dataset = moyopy.MoyoNonCollinearMagneticDataset(cell, symprec=0.01)
    theirs = dataset.magnetic_operations
    found = magnetic_group(IRON, moments)
    kinds = {(*np.array(r).ravel().tolist(), bool(t))
             for r, t in zip(theirs.rotations, theirs.time_reversals, strict=True)}  # fmt: skip
    assert len(kinds) == len(found.group) * (2 if found.grey else 1)
    assert sum(kind[-1] for kind in kinds) == (
        len(found.group) if found.grey else int(found.reversed.sum())
    )


@pytest.mark.parametrize(
    ("moments", "name"),
    [
        ([1.0, 1.0], "D∞h(C∞h)"),
        ([1.0, -1.0], "D∞h(D∞)"),
        ([1.0, -1.5], "C∞v(C∞)"),
        ([[1.0, 0, 0], [1, 0, 0]], "D2h(C2h)"),
        ([[1.0, 0, 0], [0, 1, 0]], "D2(C2)"),
        ([0.0, 0.0], "D∞h1'"),
    ],
)
def test_linear_molecules(moments, name):
    assert magnetic_group(molecule("N2"), moments).name == name


def test_an_atom_and_a_site():
    atom = magnetic_group(Structure([26], [[0.0, 0, 0]]), [[0.0, 3, 4]])
    assert atom.name == "D∞h(C∞h)" and atom.ferromagnetic
    assert torch.allclose(atom.group.axis.abs(), torch.tensor([0, 0.6, 0.8]).double())
    assert magnetic_group(MNF2, [5.0, -5, 0, 0, 0, 0], site=0).name == "D2h(C2h)"


def test_what_is_wrong_is_told():
    with pytest.raises(GroupError, match=r"no magnetic group '4'/m'm'm'".replace("(", r"\(")):
        MagneticGroup.named("4'/m'm'm'")
    with pytest.raises(GroupError, match="no magnetic group"):
        MagneticGroup.named("D4h(C3)")
    with pytest.raises(PropertyError, match=r"expected magnetic moments \[2, 3\]"):
        magnetic_group(molecule("N2"), [1.0, 2.0, 3.0])
    with pytest.raises(PropertyError, match="moments are of the atoms"):
        allowed("D4h", "dipole", moments=[1.0])
    with pytest.raises(PropertyError, match="there is no atom 7"):
        magnetic_group(molecule("N2"), site=7)
