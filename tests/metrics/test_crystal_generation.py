"""Figures of generated crystals."""

import numpy as np
import pytest
from ase.build import bulk

from geomae.data import Structure
from geomae.metrics import crystal_generation_metrics
from geomae.metrics.crystal_generation import density, is_neutral


def rock_salt(a: float = 5.64) -> Structure:
    cell = a / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Structure([11, 17], [[0, 0, 0], cell.sum(0) / 2], cell=cell)


def of(atoms) -> Structure:
    return Structure(atoms.numbers, atoms.positions, cell=atoms.cell.array)


def general() -> Structure:
    cell = np.diag([4.0, 5.0, 6.0]) + 0.3 * np.triu(np.ones((3, 3)), 1)
    return Structure(
        [11, 17, 11, 17], [[0.1, 0.2, 0.3], [2, 2.2, 1], [1, 4, 3], [3, 1, 5]], cell=cell
    )


def test_shares_of_all_that_was_generated():
    crowded = rock_salt(0.8)
    figures = crystal_generation_metrics([rock_salt(), crowded, None, general()])
    assert figures["n"] == 4 and figures["n_failed"] == 1
    assert figures["structure_valid"] == 0.5 and figures["composition_valid"] == 0.75
    assert figures["valid"] == 0.5
    assert figures["p1 (0.01)"] == 0.5


def test_distances_to_the_data():
    figures = crystal_generation_metrics([rock_salt()], [rock_salt(), rock_salt()])
    assert figures["density_distance"] == pytest.approx(0, abs=1e-9)
    other = crystal_generation_metrics([rock_salt()], [of(bulk("Cu"))])
    assert other["elements_distance"] == 1
    assert other["density_distance"] == pytest.approx(
        abs(density(of(bulk("Cu"))) - density(rock_salt()))
    )


def test_densities_are_those_of_tables():
    assert density(rock_salt()) == pytest.approx(2.16, abs=0.02)
    assert density(of(bulk("Cu"))) == pytest.approx(8.96, rel=0.02)


@pytest.mark.parametrize(
    ("numbers", "neutral"),
    [
        ([11, 17], True),  # NaCl
        ([22, 8, 8], True),  # TiO2
        ([38, 22, 8, 8, 8], True),  # SrTiO3
        ([29], True),  # an element
        ([29, 30], True),  # an alloy
        ([11, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17], False),
        ([11, 9, 9], False),
    ],
)
def test_charges_balance_or_not(numbers, neutral):
    positions = np.random.default_rng(0).uniform(0, 9, (len(numbers), 3))
    assert is_neutral(Structure(numbers, positions, cell=9 * np.eye(3))) is neutral
