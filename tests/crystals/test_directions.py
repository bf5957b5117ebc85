"""Changes of a crystal that keep its symmetry."""

import numpy as np
import pytest
import torch

from geomae.crystals import canonical
from geomae.crystals.directions import Ways, all_ways, symmetric_ways
from geomae.crystals.symmetry import space_group
from geomae.data import Structure, load_source
from tests.crystals.test_canonical import PEROVSKITE

PROTOTYPES = [s for s in load_source("aflow") if 2 <= s.n_atoms <= 10][::11]


def reached(structure: Structure, ways: Ways, parameters: np.ndarray) -> Structure:
    """The crystal so far along its ways."""
    points = ways.points(torch.from_numpy(parameters)[None])[0]
    positions = torch.cat([points.new_zeros(1, 3), points[:-3]])
    return Structure(structure.numbers, positions, cell=points[-3:])


@pytest.mark.parametrize("structure", PROTOTYPES, ids=lambda s: str(s.name))
def test_they_keep_the_space_group_and_others_do_not(structure):
    form = canonical(structure).structure
    ways = symmetric_ways(form, 1e-3)
    rng = np.random.default_rng(0)
    d = 3 * (form.n_atoms + 2)
    assert ways.changes.shape[0] == d and 4 <= ways.n <= d
    assert np.allclose(ways.changes.T @ ways.changes, np.eye(ways.n - 3))
    number = space_group(form, 1e-3)
    along = reached(form, ways, 0.05 * rng.normal(size=ways.n))
    assert space_group(along, 1e-6) == number, "however far"
    if ways.n < d:
        anywhere = reached(form, all_ways(form), 1e-2 * rng.normal(size=d))
        assert space_group(anywhere, 1e-4) != number


@pytest.mark.parametrize("structure", PROTOTYPES, ids=lambda s: str(s.name))
def test_ways_are_independent_of_each_other(structure):
    ways = symmetric_ways(canonical(structure).structure, 1e-3)
    steps = 1e-6 * torch.eye(ways.n, dtype=torch.float64)
    moves = (ways.points(steps) - ways.base).flatten(1) / 1e-6
    size = torch.linalg.svdvals(moves)
    assert size.min() > 1e-2 and size.max() < 2


def test_as_many_as_free_parameters_and_turns():
    form = canonical(PEROVSKITE).structure
    assert symmetric_ways(form, 1e-3).n == 1 + 3
    lower = form.positions.clone()
    lower[1:, 2] += 0.05
    assert symmetric_ways(Structure(form.numbers, lower, cell=form.cell[0]), 1e-3).n > 4


def test_a_crystal_without_symmetry_may_change_in_all_ways():
    rng = np.random.default_rng(1)
    positions = rng.uniform(0, 5, (4, 3))
    positions[0] = 0
    cell = np.diag([5.0, 6.0, 7.0]) + rng.normal(size=(3, 3)) * 0.3
    found = symmetric_ways(Structure([6, 7, 8, 9], positions, cell=cell), 1e-3)
    assert found.changes.shape == (18, 18) and found.n == 18


def test_atoms_keep_their_order_and_the_first_its_place():
    for structure in PROTOTYPES[:6]:
        form = canonical(structure).structure
        shaken = form.positions.clone()
        shaken[1:] += 1e-5
        given = Structure(form.numbers, shaken, cell=form.cell[0])
        ways = symmetric_ways(given, 1e-3)
        found = reached(given, ways, np.zeros(ways.n))
        assert found.positions[0].abs().max() == 0
        gaps = (found.positions - form.positions) @ torch.linalg.inv(found.cell[0])
        assert ((gaps - gaps.round()) @ found.cell[0]).abs().max() < 1e-3
