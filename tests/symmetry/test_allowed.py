"""What is allowed and forbidden, against the tables of Nye and others."""

import pytest
import torch
from ase.build import molecule
from ase.spacegroup import crystal

from geomae.data import as_structures
from geomae.symmetry import (
    PointGroup,
    PropertyError,
    allowed,
    orbital_block,
    point_group,
    property_names,
)
from geomae.symmetry.naming import CRYSTAL_CLASSES
from geomae.symmetry.properties import TENSORS
from geomae.symmetry.representations import representation
from geomae.testing import random_orthogonal

# J. F. Nye, Physical Properties of Crystals, in the order of CRYSTAL_CLASSES
NYE = {
    "pyroelectricity": [3, 0, 1, 2, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 1,
                        0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
    "dielectric": [6, 6, 4, 4, 4, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2,
                   2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1],
    "piezoelectricity": [18, 0, 8, 10, 0, 3, 5, 0, 4, 4, 0, 1, 3, 2, 0, 6,
                         0, 2, 4, 0, 4, 2, 0, 1, 3, 1, 0, 1, 0, 0, 1, 0],
    "elasticity": [21, 21, 13, 13, 13, 9, 9, 9, 7, 7, 7, 6, 6, 6, 6, 7,
                   7, 6, 6, 6, 5, 5, 5, 5, 5, 5, 5, 3, 3, 3, 3, 3],
    "gyration": [6, 0, 4, 2, 0, 3, 1, 0, 2, 2, 0, 2, 0, 1, 0, 2,
                 0, 2, 0, 0, 2, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0, 0],
    "photoelasticity": [36, 36, 20, 20, 20, 12, 12, 12, 10, 10, 10, 7, 7, 7, 7, 12,
                        12, 8, 8, 8, 8, 8, 8, 6, 6, 6, 6, 4, 4, 3, 3, 3],
}  # fmt: skip


@pytest.mark.parametrize("name", NYE)
def test_independent_components_of_the_crystal_classes(name):
    assert [allowed(group, name).n_components for group in CRYSTAL_CLASSES] == NYE[name]


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_are_made_of_their_irreps(name):
    tensor, matrix = TENSORS[name], random_orthogonal(improper=True)
    basis = tensor.basis.reshape(tensor.irreps.dim, -1)
    power = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(tensor.rank):
        power = torch.kron(power, matrix)
    own = representation(matrix[None], tensor.irreps)[0]
    assert float((basis @ basis.T - torch.eye(len(basis))).abs().max()) < 1e-14
    assert float((basis @ power * (-1) ** tensor.axial @ basis.T - own).abs().max()) < 1e-13


@pytest.mark.parametrize("name", ["C1", "C4v", "D3", "Td", "D5h", "C∞v", "Kh"])
@pytest.mark.parametrize("what", ["piezoelectricity", "elasticity", "optical activity"])
def test_what_is_allowed_is_left_by_all_operations(name, what):
    group = PointGroup.named(name).conjugate(random_orthogonal())
    found = allowed(group, what)
    moved = torch.einsum("gij,nj->gni", group.matrices(found.irreps), found.basis)
    assert (moved - found.basis).abs().max() < 1e-12 if found.n_components else found.forbidden
    gram = found.basis @ found.basis.T
    assert torch.allclose(gram, torch.eye(len(gram)).double(), atol=1e-12)
    assert found.cartesian_basis.shape == (found.n_components, *[3] * TENSORS[what].rank)


def test_known_forms_of_tensors():
    xz = allowed("Td", "piezoelectricity").cartesian_basis[0]
    expected = torch.zeros(3, 3, 3, dtype=torch.float64)
    for index in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        expected[index] = 1 / 6**0.5
    assert torch.allclose(xz * xz[0, 1, 2].sign(), expected, atol=1e-12)
    assert "xyz = yxz = zxy = a" in allowed("-43m", "piezoelectricity").words
    assert "xyxy = xzxz = yzyz = a/2 - b/2" in allowed("Kh", "elasticity").words
    assert "2e: -x^2 - y^2 + 2z^2" in allowed("D4h", "1x2e").words
    assert allowed("Oh", "dipole").words.startswith("dipole (1x1o) in Oh (m-3m): forbidden")


def test_a_chiral_property_needs_a_chiral_molecule():
    assert allowed(molecule("H2O2"), "chirality").n_components == 1
    assert allowed(molecule("CH4"), "chirality").forbidden
    assert allowed(molecule("C3H4_D2d"), "optical rotation").forbidden
    # gyration exists in D2d although the molecule is not chiral
    assert allowed(molecule("C3H4_D2d"), "gyration").n_components == 1


def test_the_dipole_of_water_is_along_its_axis_in_any_orientation():
    matrix = random_orthogonal(torch.Generator().manual_seed(5))
    water = molecule("H2O")
    water.positions = water.positions @ matrix.T.numpy()
    found = allowed(water, "dipole")
    axis = matrix[:, 2]
    assert found.n_components == 1
    assert abs(float(found.cartesian_basis[0] @ axis)) > 1 - 1e-12
    assert "in the axes" in found.words


VIBRATIONS = {
    "H2O": "2A1 + B2", "NH3": "2A1 + 2E", "CH4": "A1 + E + 2T2", "CO2": "Σg+ + Σu+ + Πu",
    "C2H2": "2Σg+ + Πg + Σu+ + Πu", "HCN": "2Σ+ + Π",
    "C6H6": "2A1g + A2g + 2B1g + E1g + 4E2g + A2u + 2B1u + 2B2u + 3E1u + 2E2u",
}  # fmt: skip
"""Herzberg's, benzene with C2' through the places between atoms: ASE's stands so on its x axis."""


@pytest.mark.parametrize("name", VIBRATIONS)
def test_vibrations_are_those_of_the_books(name):
    found = allowed(molecule(name), "vibrations")
    terms = [f"{n if n > 1 else ''}{irrep}" for irrep, n in found.decomposition.items()]
    assert " + ".join(terms) == VIBRATIONS[name]
    linear = name in ("CO2", "C2H2", "HCN")
    assert found.n_components == 3 * len(molecule(name)) - (5 if linear else 6)
    flat = found.basis.flatten(1)
    assert torch.allclose(flat @ flat.T, torch.eye(len(flat)).double(), atol=1e-9)
    assert float(found.basis.sum(1).abs().max()) < 1e-9


RUTILE = crystal(["Ti", "O"], [(0, 0, 0), (0.3053, 0.3053, 0)], spacegroup=136,
                 cellpar=[4.594, 4.594, 2.959, 90, 90, 90])  # fmt: skip
PEROVSKITE = crystal(["Ba", "Ti", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)],
                     spacegroup=221, cellpar=[4.0] * 3 + [90] * 3)  # fmt: skip
SALT = crystal(["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225,
               cellpar=[5.64] * 3 + [90] * 3)  # fmt: skip


@pytest.mark.parametrize(
    ("atoms", "modes"),
    [
        (RUTILE, {"A1g": 1, "A2g": 1, "B1g": 1, "B2g": 1, "Eg": 1, "A2u": 1, "B1u": 2, "Eu": 3}),
        (PEROVSKITE, {"T1u": 3, "T2u": 1}),
        (SALT, {"T1u": 1}),
        (SALT.repeat((2, 1, 1)), {"T1u": 1}),
    ],
    ids=["rutile", "perovskite", "salt", "salt, supercell"],
)
def test_phonons_at_the_zone_centre(atoms, modes):
    if len(atoms) == 16:
        # the longer cell has lost operations, the crystal has not
        assert point_group(atoms).name == "Oh"
        assert allowed(atoms, "dielectric").n_components == 1
    assert allowed(atoms, "phonons").decomposition == modes


def test_displacements_know_the_sites():
    found = allowed(RUTILE, "displacements")
    assert found.n_components == 1  # u of the oxygen
    assert [len(site.directions) for site in found.sites] == [0, 0, 1, 1, 1, 1]
    oxygen = found.sites[2].directions[0]
    assert torch.allclose(oxygen.abs(), torch.tensor([0.5, 0.5, 0.0]).double().sqrt(), atol=1e-6)
    assert found.basis.shape == (1, 6, 3) and float(found.basis[0, :2].abs().max()) < 1e-12
    assert allowed(PEROVSKITE, "displacements").forbidden
    assert allowed(molecule("C6H6"), "displacements").n_components == 2


def test_properties_of_a_site():
    assert allowed(RUTILE, "electric field gradient", site=0).n_components == 2
    assert allowed(PEROVSKITE, "electric field gradient", site=0).forbidden
    assert allowed(PEROVSKITE, "electric field gradient", site=2).n_components == 1
    assert allowed(molecule("CH4"), "shielding", site=1).n_components == 2
    with pytest.raises(PropertyError, match="atoms 0 to 4"):
        allowed(PEROVSKITE, "shielding", site=9)


def test_orbital_blocks():
    matrix = random_orthogonal()
    nitrogen = as_structures(molecule("N2"))[0]
    nitrogen.positions = nitrogen.positions @ matrix.T
    sigma_pi = allowed(nitrogen, orbital_block("p", "p", atoms=(0, 1)))
    assert sigma_pi.n_components == 2
    axis = matrix[:, 2]
    made = torch.stack([torch.outer(axis, axis), torch.eye(3).double()])
    inside = torch.einsum("nab,kab->kn", sigma_pi.block_basis, made)
    assert torch.allclose(torch.einsum("kn,nab->kab", inside, sigma_pi.block_basis), made)
    assert allowed(nitrogen, orbital_block("d", "d", atoms=(0, 1))).n_components == 3
    assert allowed(nitrogen, orbital_block("s", "d", atoms=(0, 1))).n_components == 1
    assert allowed("Oh", orbital_block("p", "d")).forbidden
    assert allowed("Oh", orbital_block("d", "d")).n_components == 2
    assert allowed("Td", orbital_block("p", "d")).n_components == 1
    water = molecule("H2O")
    free = allowed(water, orbital_block("p", "p", atoms=(1, 2)))
    same = allowed(water, orbital_block("p", "p", atoms=(1, 2), same_shell=True))
    assert (free.n_components, same.n_components) == (5, 4)
    found = allowed("C1", orbital_block("p", "d"))
    assert torch.allclose(found.basis @ found.basis.T, torch.eye(15).double(), atol=1e-12)


def test_signals_have_properties_too():
    signal = torch.zeros(9, dtype=torch.float64)
    signal[2] = 1.0
    assert allowed(signal, "dipole").n_components == 1


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("polarisability", "did you mean 'polarizability'"),
        ("1x2q", "one of: chirality, "),
        ("0x0e", "are empty"),
    ],
)
def test_unknown_properties_are_told(what, words):
    with pytest.raises(PropertyError, match=words):
        allowed("Oh", what)


def test_what_needs_atoms_says_so():
    with pytest.raises(PropertyError, match="need a structure"):
        allowed("Oh", "vibrations")
    with pytest.raises(PropertyError, match="a group has none"):
        allowed(PointGroup.named("Oh"), "dipole", site=0)
    with pytest.raises(PropertyError, match="no shell"):
        orbital_block("x", 1)
    assert "elasticity" in property_names()


def test_every_named_property_is_answered():
    for name in property_names():
        found = allowed(molecule("NH3"), name)
        assert found.n_components == len(found.basis) and found.words
