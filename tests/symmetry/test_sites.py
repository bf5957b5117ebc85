"""Sites of crystals against the International Tables, and what they allow."""

import pytest
import torch
from ase.build import molecule
from ase.spacegroup import crystal

from geomae.data import as_structures
from geomae.symmetry import (
    PropertyError,
    allowed,
    mode_irreps,
    orbital_block,
    space_group,
)

CUBIC, TETRAGONAL = [9.0, 9, 9, 90, 90, 90], [6.0, 6, 8, 90, 90, 90]
ORTHORHOMBIC, HEXAGONAL = [6.0, 8, 7, 90, 90, 90], [6.0, 6, 9, 90, 90, 120]
CELLS = {2: [6.0, 7, 8, 80, 95, 100], 14: [6.0, 7, 8, 90, 105, 90], 62: ORTHORHOMBIC,
         123: TETRAGONAL, 136: TETRAGONAL, 152: HEXAGONAL, 194: HEXAGONAL, 205: CUBIC, 216: CUBIC,
         221: CUBIC, 225: CUBIC, 227: CUBIC}  # fmt: skip
SITES = [
    # space group, place, multiplicity, site symmetry, its free coordinates (Int. Tables A)
    (2, (0, 0, 0), 1, "Ci", 0),
    (2, (0.13, 0.27, 0.41), 2, "C1", 3),
    (14, (0, 0, 0), 2, "Ci", 0),
    (62, (0, 0, 0), 4, "Ci", 0),
    (62, (0.13, 0.25, 0.41), 4, "Cs", 2),
    (123, (0, 0, 0), 1, "D4h", 0),
    (123, (0, 0.5, 0), 2, "D2h", 0),
    (123, (0, 0, 0.21), 2, "C4v", 1),
    (136, (0, 0, 0), 2, "D2h", 0),
    (136, (0, 0.5, 0), 4, "C2h", 0),
    (136, (0, 0.5, 0.25), 4, "S4", 0),
    (136, (0.31, 0.31, 0), 4, "C2v", 1),
    (152, (0.47, 0, 1 / 3), 3, "C2", 1),
    (194, (0, 0, 0), 2, "D3d", 0),
    (194, (0, 0, 0.25), 2, "D3h", 0),
    (194, (1 / 3, 2 / 3, 0.25), 2, "D3h", 0),
    (194, (1 / 3, 2 / 3, 0.08), 4, "C3v", 1),
    (205, (0, 0, 0), 4, "S6", 0),
    (205, (0.13, 0.13, 0.13), 8, "C3", 1),
    (216, (0, 0, 0), 4, "Td", 0),
    (216, (0.11, 0.11, 0.11), 16, "C3v", 1),
    (221, (0, 0, 0), 1, "Oh", 0),
    (221, (0.5, 0.5, 0), 3, "D4h", 0),
    (221, (0.21, 0, 0), 6, "C4v", 1),
    (225, (0.25, 0.25, 0.25), 8, "Td", 0),
    (225, (0, 0.25, 0.25), 24, "D2h", 0),
    (227, (0, 0, 0), 8, "Td", 0),
    (227, (0.125, 0.125, 0.125), 16, "D3d", 0),
]
GRADIENT = {"Oh": 0, "Td": 0, "D2h": 2, "C2v": 2, "C2h": 3, "Cs": 3, "C2": 3, "C1": 5, "Ci": 5}
"""Components of a field gradient; 1 for sites with one axis."""


@pytest.mark.parametrize(("number", "place", "multiplicity", "site", "free"), SITES)
def test_sites_are_those_of_the_tables(number, place, multiplicity, site, free):
    general = (0.061, 0.169, 0.273)  # of another element, so that there is no more symmetry
    atoms = crystal(["Fe", "H"], [place, general], spacegroup=number, cellpar=CELLS[number])
    structure = as_structures(atoms)[0]
    found = space_group(structure)
    assert found.number == number
    assert found.orbits.tolist().count(0) == multiplicity
    assert found.sites[0].name == site
    assert allowed(structure, "dipole", site=0).n_components == free
    gradient = allowed(structure, "electric field gradient", site=0)
    assert gradient.n_components == GRADIENT.get(site, 1)


RUTILE = crystal(["Ti", "O"], [(0, 0, 0), (0.3053, 0.3053, 0)], spacegroup=136,
                 cellpar=[4.594, 4.594, 2.959, 90, 90, 90])  # fmt: skip
SALT = crystal(["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225,
               cellpar=[5.64] * 3 + [90] * 3)  # fmt: skip


def test_values_of_each_atom_repeat_over_its_orbit():
    found = allowed(RUTILE, "force", each_atom=True)
    assert (found.n_components, tuple(found.basis.shape)) == (1, (1, 6, 3))
    assert torch.allclose(found.basis[0, :2], torch.zeros(2, 3).double(), atol=1e-12)
    # along the diagonals, outward and inward alike: lengths are equal
    lengths = found.basis[0, 2:].norm(dim=1)
    assert torch.allclose(lengths, lengths[:1].expand(4), atol=1e-9)
    assert allowed(RUTILE, "charge", each_atom=True).n_components == 2
    assert allowed(molecule("CH4"), "dipole", each_atom=True).n_components == 1
    assert "no free components" in found.words
    sites = sum(
        allowed(RUTILE, "shielding", site=k).n_components for k in (0, 2)
    )  # one atom of each orbit
    assert allowed(RUTILE, "shielding", each_atom=True).n_components == sites
    with pytest.raises(PropertyError, match="need a structure"):
        allowed("Oh", "force", each_atom=True)


def test_blocks_between_atoms_of_a_crystal():
    nearest = orbital_block("p", "p", atoms=(0, 4))
    found = allowed(SALT, nearest)
    near = space_group(SALT)
    assert near.number == 225
    # sodium and the chlorine next to it: C4v about the bond, sigma and pi
    sodium, chlorine = 0, int(SALT.get_distances(0, range(4, 8), mic=True).argmin()) + 4
    bond = allowed(SALT, orbital_block("p", "p", atoms=(sodium, chlorine)))
    assert (bond.group.name, bond.n_components) == ("C4v", 2)
    assert allowed(SALT, orbital_block("s", "d", atoms=(sodium, chlorine))).n_components == 1
    # sodium and sodium along a face's diagonal: C2v, three of one kind, one more of two kinds
    same = allowed(SALT, "block p-p of atoms 0 and 1 same shell")
    free = allowed(SALT, "block p-p of atoms 0 and 1")
    assert same.group.name == "C2v" and same.n_components == free.n_components == 3
    # an atom with its own image, two lattice vectors away: along a cube's edge
    image = allowed(SALT, orbital_block("p", "p", atoms=(0, 0), image=(1, 0, 0)))
    assert (image.group.name, image.n_components) == ("C4v", 2)
    assert allowed(SALT, orbital_block("p", "d", atoms=(0, 0))).forbidden
    assert found.group.is_subgroup_of(near.point_group)
    # the same in a longer cell, whose shape has less symmetry
    longer = SALT.repeat((1, 1, 2))
    assert allowed(longer, orbital_block("p", "p", atoms=(sodium, chlorine))).n_components == 2


def test_blocks_in_words():
    assert str(orbital_block("p", "d")) == "block p-d"
    for text in ("block p-d", "p-d", "Hamiltonian block p - d", "orbital block p-d"):
        assert allowed("Td", text).n_components == 1
    water = molecule("H2O")
    assert allowed(water, "p-p of atoms 1 and 2, same shell").n_components == 4
    assert "zero: (x | y)" in allowed("C2v", "block p-p").words
    with pytest.raises(PropertyError, match="no atom 9"):
        allowed(water, "block p-p of atoms 0 and 9")
    with pytest.raises(PropertyError, match="no lattice"):
        allowed(water, orbital_block("p", "p", atoms=(0, 1), image=(1, 0, 0)))
    with pytest.raises(PropertyError, match="expected atoms"):
        orbital_block("p", "p", image=(1, 0, 0))
    with pytest.raises(PropertyError, match="'block p-d'"):
        allowed("Td", "p-x")


def test_a_mode_has_its_irreps():
    structure = as_structures(molecule("H2O"))[0]
    vibrations = allowed(structure, "vibrations")
    for mode, label in zip(vibrations.basis, vibrations.labels, strict=True):
        assert mode_irreps(structure, mode) == pytest.approx({label: 1.0})
    mixed = vibrations.basis[0] + vibrations.basis[-1] + 0.3
    assert mode_irreps(structure, mixed) == pytest.approx({"A1": 0.5, "B2": 0.5})
    structure = as_structures(SALT)[0]
    moves = torch.zeros(8, 3).double()
    moves[:4, 2] = 1.0
    assert mode_irreps(structure, moves) == pytest.approx({"T1u": 1.0})
    moves[0, 2] = -1.0
    with pytest.raises(PropertyError, match="differ between images"):
        mode_irreps(structure, moves)
    with pytest.raises(PropertyError, match="move the whole"):
        mode_irreps(structure, torch.ones(8, 3))
    with pytest.raises(PropertyError, match=r"\[8, 3\]"):
        mode_irreps(structure, torch.ones(3, 3))
