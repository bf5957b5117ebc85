"""Symmetry found: of molecules, signals, latents and crystals."""

import pytest
import torch
from ase.build import bulk
from ase.spacegroup import crystal
from e3nn import o3

from geomae.autoencoder import Latents
from geomae.data import Structure, as_structures, to_pymatgen
from geomae.errors import GeomaeError, UnsupportedStructureError
from geomae.symmetry import (
    PointGroup,
    ToleranceError,
    allowed,
    point_group,
    site_groups,
    space_group,
    structure_operations,
)
from geomae.testing import random_molecule, random_orthogonal
from tests.symmetry.molecules import ethane, molecules

MOLECULES = molecules()


def turned(structure: Structure, matrix: torch.Tensor) -> Structure:
    other = structure.clone()
    other.positions = structure.positions @ matrix.T + torch.tensor([0.3, -2.0, 1.0])
    return other


@pytest.mark.parametrize("name", MOLECULES)
def test_the_group_of_a_molecule_turns_with_it(name):
    structure, expected = MOLECULES[name]
    group = point_group(structure)
    assert group.name == expected
    matrix = random_orthogonal(torch.Generator().manual_seed(7))
    again = point_group(turned(structure, matrix))
    assert again.same_as(group.conjugate(matrix), atol=5e-3)


@pytest.mark.parametrize("name", MOLECULES)
def test_pymatgen_and_pymsym_agree(name):
    structure, expected = MOLECULES[name]
    if structure.n_atoms == 1:
        return
    from pymatgen.symmetry.analyzer import PointGroupAnalyzer

    same = {"D∞h": "D*h", "C∞v": "C*v"}
    if expected not in ("D4d", "D6", "D3") and structure.n_atoms < 50:
        other = PointGroupAnalyzer(to_pymatgen(structure), tolerance=0.05)
        assert other.sch_symbol == same.get(expected, expected)
    pymsym = pytest.importorskip("pymsym")
    if structure.n_atoms < 50 and expected not in ("D∞h", "C∞v"):
        found = pymsym.get_point_group(structure.numbers.tolist(), structure.positions.tolist())
        assert found == expected


def test_operations_of_exact_molecules_are_exact():
    structure = ethane(0.5)
    found = structure_operations(structure)
    images = structure.positions @ found.rotations.mT + found.translations[:, None]
    assert float((images - structure.positions[found.permutations]).abs().max()) < 1e-12
    assert found.deviation < 1e-12 and found.group.same_as(PointGroup.named("D3d"), 2.0)


def test_noise_hides_symmetry_from_a_small_tolerance_only():
    structure = MOLECULES["benzene"][0].clone()
    noise = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    structure.positions = structure.positions + 3e-3 * noise
    assert point_group(structure, 0.05).name == "D6h"
    assert len(point_group(structure, 1e-3)) <= 2
    operations = point_group(structure, 0.05).operations
    table = (operations[:, None] @ operations).flatten(0, 1).flatten(1)
    # exact within rounding although the molecule is not
    gaps = torch.cdist(table, operations.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    assert float(gaps.min(1).values.max()) < 1e-13


def test_random_molecules_have_none():
    for seed in range(4):
        molecule = random_molecule(torch.Generator().manual_seed(seed))
        assert point_group(molecule).name == "C1"


def test_axes_are_the_inputs_where_they_fit_else_the_molecules():
    square = Structure([6] * 4, [[1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]])
    group = point_group(square)
    assert torch.equal(group.frame, torch.eye(3, dtype=torch.float64))
    assert allowed(group, "1x2e").decomposition == {"A1g": 1, "B1g": 1, "B2g": 1, "Eg": 1}
    matrix = random_orthogonal(torch.Generator().manual_seed(3))
    frame = point_group(turned(square, matrix)).frame
    x = (square.positions[0] / 2**0.5) @ matrix.T
    assert max(abs(float(x @ frame[:, 0])), abs(float(x @ frame[:, 1]))) > 1 - 1e-9


@pytest.mark.parametrize("lmax", [6, 8])
@pytest.mark.parametrize(
    "name", ["C1", "Cs", "Ci", "C3", "C4v", "D3", "D2d", "D4d", "S4", "Td", "Oh", "Ih"]
)
def test_the_group_of_a_signal(name, lmax):
    generator = torch.Generator().manual_seed(lmax)
    group = PointGroup.named(name).conjugate(random_orthogonal(generator))
    noise = torch.randn((lmax + 1) ** 2, 2, dtype=torch.float64, generator=generator)
    signal = group.matrices(lmax).mean(0) @ noise
    found = point_group(signal)
    assert found.same_as(group, 1e-5)
    assert float((found.matrices(lmax) @ signal - signal).abs().max()) < 1e-5


def test_signals_with_an_axis_and_without_direction():
    axis = torch.tensor([1.0, 2.0, -2.0], dtype=torch.float64) / 3
    single = o3.spherical_harmonics([0, 1, 2, 3], axis, True)
    assert (
        point_group(single).same_as(point_group(single * 2.0)) and point_group(single).name == "C∞v"
    )
    assert abs(float(point_group(single).axis @ axis)) > 1 - 1e-12
    even = single.clone()
    even[1:4] = even[9:] = 0
    assert point_group(even).name == "D∞h"
    assert point_group(torch.eye(9)[0].double()).name == "Kh"
    small = single.clone()
    small[5] += 1e-4
    assert point_group(small).name == "C∞v" and not point_group(small, 1e-6).infinite


def test_the_group_of_a_latent():
    generator = torch.Generator().manual_seed(0)
    group = PointGroup.named("C3v").conjugate(random_orthogonal(generator))
    array = group.matrices(4).mean(0) @ torch.randn(25, 8, dtype=torch.float64, generator=generator)
    latent = Latents(array[None].float(), torch.zeros(1, 3))
    assert point_group(latent).same_as(group, 1e-3)
    with pytest.raises(GeomaeError, match="one latent, got 2"):
        point_group(Latents.join([latent, latent]))


SALT = [(0, 0, 0), (0.5, 0.5, 0.5)]
QUARTZ = [(0.4697, 0, 1 / 3), (0.4135, 0.2669, 0.4524)]
GIVEN = {
    225: (["Na", "Cl"], SALT, [5.64] * 3 + [90] * 3),
    221: (["Sr", "Ti", "O"], [*SALT, (0.5, 0.5, 0)], [3.9] * 3 + [90] * 3),
    136: (["Ti", "O"], [(0, 0, 0), (0.3053, 0.3053, 0)], [4.594, 4.594, 2.959, 90, 90, 90]),
    152: (["Si", "O"], QUARTZ, [4.916, 4.916, 5.405, 90, 90, 120]),
}
CRYSTALS = {
    number: crystal(symbols, basis, spacegroup=number, cellpar=cell)
    for number, (symbols, basis, cell) in GIVEN.items()
} | {186: bulk("ZnO", "wurtzite", a=3.25, c=5.2, u=0.382)}
SITES = {225: ["Oh", "Oh"], 221: ["Oh", "Oh", "D4h"], 136: ["D2h", "C2v"], 152: ["C2", "C1"],
         186: ["C3v", "C3v"]}  # fmt: skip
CLASSES = {225: "Oh", 221: "Oh", 136: "D4h", 152: "D3", 186: "C6v"}


@pytest.mark.parametrize("number", CRYSTALS)
def test_space_group_and_sites_of_crystals(number):
    structure = as_structures(CRYSTALS[number])[0]
    found = space_group(structure)
    assert (found.number, found.point_group.name) == (number, CLASSES[number])
    firsts = sorted(set(found.orbits.tolist()))
    assert [found.sites[k].name for k in firsts] == SITES[number]
    assert [group.name for group in site_groups(structure)] == [s.name for s in found.sites]
    assert point_group(structure).same_as(found.point_group)
    matrix = random_orthogonal(torch.Generator().manual_seed(number))
    other = Structure(
        structure.numbers, structure.positions @ matrix.T, structure.cell[0] @ matrix.T
    )
    again = space_group(other)
    assert again.number == number or number == 152  # a mirror turns P3121 into P3221
    assert again.point_group.same_as(found.point_group.conjugate(matrix), 1e-5)


def test_operations_of_a_crystal_map_it_onto_itself():
    structure = as_structures(CRYSTALS[152])[0]
    found = structure_operations(structure)
    images = structure.positions @ found.rotations.mT + found.translations[:, None]
    gaps = (images - structure.positions[found.permutations]) @ torch.linalg.inv(structure.cell[0])
    assert float(((gaps - gaps.round()) @ structure.cell[0]).abs().max()) < 1e-3


def test_sites_of_molecules():
    names = [group.name for group in site_groups(MOLECULES["SF6"][0])]
    assert names == ["Oh"] + ["C4v"] * 6
    assert [g.name for g in site_groups(MOLECULES["carbon dioxide"][0])] == ["D∞h", "C∞v", "C∞v"]


def test_bad_input_is_told():
    water = MOLECULES["water"][0]
    with pytest.raises(ToleranceError, match="merges atoms"):
        point_group(water, 0.5)
    with pytest.raises(ToleranceError, match="above 0"):
        point_group(water, -1.0)
    with pytest.raises(ToleranceError, match="merges atoms"):
        space_group(CRYSTALS[225], 1.5)
    with pytest.raises(GeomaeError, match="one structure, got 2"):
        point_group([water, water])
    with pytest.raises(UnsupportedStructureError, match="along 0 directions"):
        space_group(water)
    with pytest.raises(GeomaeError, match="coefficients"):
        point_group(torch.zeros(7))
    with pytest.raises(ToleranceError, match="relative"):
        point_group(torch.ones(9), 2.0)
