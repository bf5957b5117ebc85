"""Structures read from symmetric latents have the symmetry."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import molecule as ase_molecule

from geomae.data import Structure
from geomae.generation import SymmetricReader, verified
from geomae.generation.noise import latent_spread, normal_noise
from geomae.generation.reading import symmetry_error
from geomae.generation.symmetric import Site, SymmetricDecoder, SymmetricDrawing
from geomae.generation.verify import ICOSAHEDRAL, contains, found_by_pymatgen, found_by_pymsym
from geomae.metrics import compare
from geomae.symmetry import PointGroup, point_group, project, symmetrise

EXACT = 1e-10
"""Å; what rounding may leave of a symmetry that holds by construction."""

MOLECULES = {
    "C6H6": "D6h",
    "CH4": "Td",
    "C2H6": "D3d",
    "NH3": "C3v",
    "C3H6_D3h": "D3h",
    "C2H4": "D2h",
    "C2H2": "D∞h",
    "HCN": "C∞v",
}


def named(name: str) -> Structure:
    atoms = ase_molecule(name)
    return Structure(atoms.numbers, atoms.positions, name=name)


@pytest.fixture(scope="session")
def spread(model):
    return latent_spread("qm9", model)


@pytest.mark.parametrize("name", MOLECULES)
def test_symmetric_molecules_come_back_exactly(model, name):
    molecule = named(name)
    latent = model.encode([molecule])
    molecule.positions = molecule.positions - latent.centres[0]
    group = point_group(molecule)
    assert group.name == MOLECULES[name]
    (read,) = SymmetricReader(model, group)(latent.array.double())
    assert read.certified and read.group == MOLECULES[name]
    assert compare(molecule, read.structure).max_error < 1e-5
    assert symmetry_error(read.structure, group) < EXACT


@pytest.mark.parametrize("noise", [0.1, 0.3])
@pytest.mark.parametrize("name", ["C6H6", "CH4", "C3H6_D3h"])
def test_noise_within_the_symmetry_leaves_it(model, spread, name, noise):
    molecule = named(name)
    latent = model.encode([molecule])
    molecule.positions = molecule.positions - latent.centres[0]
    group = point_group(molecule)
    moved = latent.array.double() + noise * spread * normal_noise(tuple(spread.shape), 0, range(2))
    for read in SymmetricReader(model, group)(project(moved, group)):
        assert read.structure is not None and read.structure.formula == molecule.formula
        assert symmetry_error(read.structure, group) < EXACT
        assert contains(found_by_pymatgen(read.structure), group.name)
        assert contains(found_by_pymsym(read.structure), group.name)


@pytest.mark.parametrize("name", ["C2", "C3v", "D2h", "D4h", "Td", "Oh", "Ih"])
def test_whatever_is_returned_of_pure_noise_has_the_symmetry(model, spread, name):
    group = PointGroup.named(name)
    latents = project(spread * normal_noise(tuple(spread.shape), 1, range(2)), group)
    for read in SymmetricReader(model, group)(latents):
        assert (read.structure is None) == (
            read.fault is not None and "latent is" not in read.fault
        )
        if read.structure is not None:
            assert symmetry_error(read.structure, group) < EXACT
            assert contains(read.group, name)


def test_points_without_an_atom_are_left_out(model):
    draw = SymmetricDecoder(model.decoder, PointGroup.named("C2v"))
    everything, turn = draw.orbits.everything, (0,)
    origin = Site(np.zeros(3), everything, 0, 0, 1.0)
    empty = Site(np.array([0.0, 0.0, 1.0]), everything, 0, 0, 1.0)
    full = Site(np.array([0.5, 0.7, -1.0]), turn, 0, 0, 1.0)
    atom = Site(np.array([0.5, 0.7, -1.2]), turn, 1, 1, 1.0)
    levels = ((origin,), (empty, full), (replace(full, parent=1),), (replace(atom, parent=0),))
    made = draw.assembled(SymmetricDrawing(levels, 0.0))
    assert [len(p) for p in made.tree.positions] == [4, 4, 4, 1]
    assert made.tree.numbers.tolist() == [6] * 4
    moved = made.tree.with_atoms_at(made.tree.positions[0])
    assert all(bool(torch.isfinite(p).all()) for p in moved.positions)
    assert torch.equal(made.tree.memberships[0][1], made.tree.memberships[0][0])


def test_a_formula_asked_for_is_the_one_that_is_read(model, spread):
    molecule = named("C6H6")
    latent = model.encode([molecule])
    group = PointGroup.named("D3h", point_group(molecule).frame)
    counts = {1: 6, 6: 3, 7: 3}
    row = tuple(counts.get(z, 0) for z in model.elements)
    reader = SymmetricReader(model, group, lambda total: total == row)
    (read,) = reader(project(latent.array.double(), group))
    # benzene's field has no nitrogen: another formula is refused, not made up
    assert read.structure is None and "formula" in read.fault


def test_what_pymatgen_does_not_confirm_is_not_returned(model, monkeypatch):
    molecule = named("CH4")
    latent = model.encode([molecule])
    monkeypatch.setattr("geomae.generation.reading.found_by_pymatgen", lambda structure: "C2v")
    (read,) = SymmetricReader(model, point_group(molecule))(latent.array.double())
    assert read.structure is None and not read.certified
    assert "C2v instead of Td" in read.fault


def test_verification_sees_a_hundredth_of_an_angstrom():
    molecule = named("C6H6")
    exact = symmetrise(molecule, point_group(molecule)).structure
    assert verified(exact, "D6h") and verified(exact, "C2v") and not verified(exact, "Td")
    exact.positions[0, 0] += 0.01
    assert not verified(exact, "D6h")


@pytest.mark.parametrize(
    ("name", "part", "expected"),
    [
        ("Td", "C3v", True), ("Td", "D2d", True), ("Td", "C4", False), ("Oh", "Td", True),
        ("D∞h", "D6h", True), ("D∞h", "Td", False), ("C∞v", "C5v", True), ("C∞v", "Ci", False),
        ("Kh", "Ih", True), ("D6h", "D3d", True), ("C3", "C3v", False), ("C1", "C1", True),
    ],
)  # fmt: skip
def test_groups_contain_others(name, part, expected):
    assert contains(name, part) is expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["I", "Ih"])
def test_subgroups_of_the_icosahedral_groups(name):
    assert ICOSAHEDRAL[name] == {own.name for own in PointGroup.named(name).subgroups()}


def test_rotated_latents_give_rotated_structures(model):
    molecule = named("C3H6_D3h")
    latent = model.encode([molecule])
    molecule.positions = molecule.positions - latent.centres[0]
    group = point_group(molecule)
    q, _ = torch.linalg.qr(
        torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    )
    (here,) = SymmetricReader(model, group)(latent.array.double())
    turned = latent.to(torch.float64).rotate(q)
    (there,) = SymmetricReader(model, group.conjugate(q))(turned.array)
    here.structure.positions = here.structure.positions @ q.T
    assert compare(here.structure, there.structure).max_error < 1e-5
