"""Changes of a crystal that keep its symmetry."""

import numpy as np
import pytest
import torch

from geomae.crystals import canonical
from geomae.crystals.directions import symmetric_directions
from geomae.crystals.symmetry import space_group
from geomae.data import Structure, load_source
from tests.crystals.test_canonical import PEROVSKITE

PROTOTYPES = [s for s in load_source("aflow") if 2 <= s.n_atoms <= 10][::11]


def moved(structure: Structure, change: np.ndarray) -> Structure:
    change = torch.from_numpy(change.reshape(-1, 3))
    positions = structure.positions.clone()
    positions[1:] += change[:-3]
    return Structure(structure.numbers, positions, cell=structure.cell[0] + change[-3:])


@pytest.mark.parametrize("structure", PROTOTYPES, ids=lambda s: str(s.name))
def test_they_keep_the_space_group_and_others_do_not(structure):
    form = canonical(structure).structure
    found = symmetric_directions(form, 1e-3)
    rng = np.random.default_rng(0)
    d, q = found.directions.shape
    assert d == 3 * (form.n_atoms + 2) and 4 <= q <= d
    assert np.allclose(found.directions.T @ found.directions, np.eye(q))
    number = space_group(form, 1e-3)
    along = 1e-4 * found.directions @ rng.normal(size=q)
    assert space_group(moved(found.structure, along), 1e-6) == number
    if q < d:
        anything = 1e-2 * rng.normal(size=d)
        assert space_group(moved(found.structure, anything), 1e-4) != number


def test_as_many_as_free_parameters_and_turns():
    form = canonical(PEROVSKITE).structure
    assert symmetric_directions(form, 1e-3).directions.shape[1] == 1 + 3
    lower = form.positions.clone()
    lower[1:, 2] += 0.05
    tetragonal = symmetric_directions(Structure(form.numbers, lower, cell=form.cell[0]), 1e-3)
    assert tetragonal.directions.shape[1] > 4


def test_a_crystal_without_symmetry_may_change_in_all_ways():
    rng = np.random.default_rng(1)
    positions = rng.uniform(0, 5, (4, 3))
    positions[0] = 0
    cell = np.diag([5.0, 6.0, 7.0]) + rng.normal(size=(3, 3)) * 0.3
    found = symmetric_directions(Structure([6, 7, 8, 9], positions, cell=cell), 1e-3)
    assert found.directions.shape == (18, 18)


def test_atoms_keep_their_order_and_the_first_its_place():
    for structure in PROTOTYPES[:6]:
        form = canonical(structure).structure
        shaken = form.positions.clone()
        shaken[1:] += 1e-5
        given = Structure(form.numbers, shaken, cell=form.cell[0])
        found = symmetric_directions(given, 1e-3).structure
        assert found.numbers.tolist() == form.numbers.tolist()
        assert found.positions[0].abs().max() == 0
        gaps = (found.positions - form.positions) @ torch.linalg.inv(found.cell[0])
        assert ((gaps - gaps.round()) @ found.cell[0]).abs().max() < 1e-3
