"""Neighbours against ASE's list, in molecules, crystals, slabs and tiny cells."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule, nanotube
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from geomae.data.neighbours import TABLE_ATOMS, neighbours
from geomae.errors import GeomaeError
from geomae.testing.random import random_molecule, random_orthogonal


def tensors(atoms: Atoms) -> dict:
    return {
        "positions": torch.from_numpy(atoms.positions),
        "cell": torch.from_numpy(atoms.cell.array),
        "pbc": torch.from_numpy(atoms.pbc),
    }


def rows(edges, shifts) -> list:
    return sorted(map(tuple, np.concatenate([edges, shifts]).T.tolist()))


def assert_as_ase(atoms: Atoms, cutoff: float) -> None:
    target, source, shifts, vectors = neighbor_list("ijSD", atoms, cutoff)
    found = neighbours(**tensors(atoms), cutoff=cutoff)
    images = torch.zeros(len(found), 3, dtype=torch.long) if found.shifts is None else found.shifts
    assert rows(found.edges, images.T) == rows(np.stack([source, target]), shifts.T)
    order = np.lexsort([*shifts.T[::-1], source, target])
    np.testing.assert_allclose(found.vectors.numpy(), vectors[order], atol=1e-10)


def displaced(atoms: Atoms, amount: float = 3.0) -> Atoms:
    """The same, with atoms far out of the cell."""
    atoms.positions += np.random.default_rng(0).normal(size=atoms.positions.shape) * amount
    return atoms


@pytest.mark.parametrize(
    ("atoms", "cutoff"),
    [
        (molecule("C6H6"), 3.0),
        (molecule("CH3CH2OH"), 20.0),
        (molecule("H"), 3.0),
        (bulk("NaCl", "rocksalt", 5.64), 5.0),
        (bulk("Cu"), 9.0),
        (bulk("Cu", cubic=True) * (3, 3, 3), 4.0),
        (fcc111("Cu", (2, 2, 3)), 5.0),
        (fcc111("Cu", (2, 2, 3), vacuum=6.0), 5.0),
        (graphene(), 4.0),
        (nanotube(3, 3), 3.0),
        (Atoms("He", cell=[0.7, 0.8, 0.9], pbc=True), 3.0),
        (Atoms("HeNe", [[0, 0, 0], [0.3, 0.2, 0.1]], cell=[1, 5, 5], pbc=[True, False, True]), 4.0),
        (Atoms("He", cell=[[1, 0, 0], [0.9, 0.2, 0], [0.3, 0.4, 1]], pbc=True), 3.0),
        (displaced(bulk("Si", cubic=True)), 4.0),
        (displaced(fcc111("Cu", (2, 2, 3), vacuum=6.0)), 6.0),
        (displaced(molecule("C6H6")), 5.0),
    ],
    ids=lambda value: str(value.symbols) if isinstance(value, Atoms) else None,
)
def test_pairs_images_and_vectors_are_ase_s(atoms, cutoff):
    assert_as_ase(atoms, cutoff)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    n=st.integers(1, 6),
    cutoff=st.floats(0.5, 4.0),
)
def test_random_cells_of_any_periodicity(seed, pbc, n, cutoff):
    random = np.random.default_rng(seed)
    cell = np.eye(3) * random.uniform(1, 4, 3) + random.uniform(-0.6, 0.6, (3, 3))
    positions = random.uniform(-5, 5, (n, 3))
    assert_as_ase(Atoms(f"He{n}", positions, cell=cell, pbc=pbc), cutoff)


def test_a_batch_of_molecules_and_crystals_is_its_structures_in_a_row():
    parts = [molecule("H2O"), bulk("Cu"), fcc111("Al", (1, 1, 2)), molecule("CH4")]
    alone = [neighbours(**tensors(atoms), cutoff=3.5) for atoms in parts]
    sizes = torch.tensor([len(atoms) for atoms in parts])
    joined = neighbours(
        torch.cat([torch.from_numpy(atoms.positions) for atoms in parts]),
        3.5,
        torch.repeat_interleave(torch.arange(4), sizes),
        torch.stack([torch.from_numpy(atoms.cell.array) for atoms in parts]),
        torch.stack([torch.from_numpy(atoms.pbc) for atoms in parts]),
    )
    starts = sizes.cumsum(0) - sizes
    edges = torch.cat([a.edges + s for a, s in zip(alone, starts, strict=True)], 1)
    assert torch.equal(joined.edges, edges)
    torch.testing.assert_close(joined.vectors, torch.cat([a.vectors for a in alone]))


def test_a_batch_of_molecules_has_pairs_within_each_alone():
    molecules = [random_molecule(n_atoms=n) for n in (4, 9, 1, 6)]
    positions = torch.cat([m.positions for m in molecules])
    batch = torch.repeat_interleave(torch.arange(4), torch.tensor([4, 9, 1, 6]))
    found = neighbours(positions, 2.0, batch)
    near = (torch.cdist(positions, positions) < 2) & (batch[:, None] == batch)
    expected = near.fill_diagonal_(False).nonzero().flip(1).T
    assert torch.equal(found.edges, expected) and found.shifts is None
    assert len(neighbours(positions, float("inf"), batch)) == 4 * 3 + 9 * 8 + 6 * 5


def test_large_molecules_by_cell_list_are_as_by_the_table():
    positions = torch.rand(TABLE_ATOMS + 88, 3, dtype=torch.float64) * 20
    near = torch.cdist(positions, positions, compute_mode="donot_use_mm_for_euclid_dist") < 2
    expected = near.fill_diagonal_(False).nonzero().flip(1).T
    found = neighbours(positions, 2.0)
    assert torch.equal(found.edges, expected) and found.shifts is None


def test_gradients_reach_positions_and_cell():
    atoms = bulk("NaCl", "rocksalt", 5.64)
    inputs = tensors(atoms)
    positions, cell = inputs["positions"], inputs["cell"]

    def energy(positions, cell):
        return (-neighbours(positions, 4.5, cell=cell).lengths).exp().sum()

    positions = positions + torch.tensor([[0.1, 0.2, 0], [0, 0, 0]])
    assert torch.autograd.gradcheck(energy, (positions.requires_grad_(), cell.requires_grad_()))


def test_gradients_reach_atoms_of_molecules():
    positions = random_molecule().positions.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: neighbours(p, 2.5).lengths.sin(), (positions,))


def test_rotations_and_reflections_turn_the_vectors():
    inputs = tensors(fcc111("Cu", (2, 2, 2), vacuum=3.0))
    plain = neighbours(**inputs, cutoff=4.0)
    turn = random_orthogonal(torch.Generator().manual_seed(5), improper=True)
    turned = neighbours(inputs["positions"] @ turn.T + 1, 4.0, None, inputs["cell"] @ turn.T,
                        inputs["pbc"])  # fmt: skip
    assert torch.equal(turned.edges, plain.edges) and torch.equal(turned.shifts, plain.shifts)
    assert (turned.vectors - plain.vectors @ turn.T).abs().max() < 1e-10


def test_each_pair_is_met_from_both_ends():
    found = neighbours(**tensors(displaced(bulk("Si", cubic=True))), cutoff=5.0)
    there = rows(found.edges, found.shifts.T)
    assert there == rows(found.edges.flip(0), -found.shifts.T)


def test_single_precision_stays():
    found = neighbours(torch.rand(5, 3), 0.9, cell=torch.eye(3) * 2)
    assert found.vectors.dtype == torch.float32


def test_nothing_has_no_neighbours():
    found = neighbours(torch.zeros(0, 3, dtype=torch.float64), 1.0)
    assert found.edges.shape == (2, 0) and found.vectors.shape == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cutoff": 0.0}, "above 0"),
        ({"cutoff": float("nan")}, "above 0"),
        ({"cutoff": float("inf"), "cell": torch.eye(3)}, "finite in a crystal"),
        ({"cutoff": 1.0, "cell": torch.ones(3, 3)}, "depends"),
        ({"cutoff": 1.0, "pbc": torch.ones(3, dtype=torch.bool)}, "missing or depends"),
        ({"cutoff": 1.0, "cell": torch.eye(3).repeat(4, 1, 1)}, "not 4"),
        ({"cutoff": 1.0, "batch": torch.tensor([1, 0])}, "ascending"),
    ],
)
def test_impossible_requests(arguments, message):
    with pytest.raises(GeomaeError, match=message):
        neighbours(torch.zeros(2, 3), **arguments)
