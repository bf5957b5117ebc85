"""Matching of atoms, also across periodic boundaries and where compositions differ."""

import numpy as np
import pytest
import torch

from geomae.data.structure import Structure
from geomae.metrics import compare
from geomae.metrics.matching import displacement_vectors, match_atoms
from geomae.plotting.drawing import bonds_of, element_style
from geomae.testing import random_molecule


def test_agrees_with_the_metrics():
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        original = random_molecule(generator)
        order = torch.randperm(original.n_atoms, generator=generator)
        noise = 0.4 * torch.randn(original.n_atoms, 3, generator=generator, dtype=torch.float64)
        decoded = Structure(original.numbers[order], (original.positions + noise)[order])
        matching = match_atoms(original, decoded)
        expected = compare(original, decoded)
        assert matching == list(expected.matching)
        lengths = np.linalg.norm(displacement_vectors(original, decoded, matching), axis=1)
        np.testing.assert_allclose(lengths, expected.displacements, rtol=1e-12)


def test_nearest_pairs_where_an_atom_is_missing():
    original = Structure([6, 1, 1, 1], [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    decoded = Structure([1, 6, 1, 8], [[0, 0, 1.1], [0, 0, 0], [1.1, 0, 0], [3, 3, 3]])
    assert match_atoms(original, decoded) == [1, 2, -1, 0]
    vectors = displacement_vectors(original, decoded, [1, 2, -1, 0])
    assert np.isnan(vectors[2]).all()
    np.testing.assert_allclose(vectors[[0, 1, 3]], [[0, 0, 0], [0.1, 0, 0], [0, 0, 0.1]])


@pytest.mark.parametrize("skew", [0.0, 2.9])
def test_images_of_crystals(skew):
    """Whole lattice vectors added to decoded atoms change nothing, in skewed cells too."""
    cell = torch.tensor([[3.0, 0, 0], [skew, 3.2, 0], [0.3, -skew, 3.5]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(6, 3, generator=generator, dtype=torch.float64) @ cell
    moves = 0.05 * torch.randn(6, 3, generator=generator, dtype=torch.float64)
    steps = torch.randint(-2, 3, (6, 3), generator=generator).double()
    original = Structure([11, 11, 11, 17, 17, 17], places, cell)
    decoded = Structure(original.numbers, places + moves + steps @ cell, cell)
    matching = match_atoms(original, decoded)
    assert matching == list(range(6))
    vectors = displacement_vectors(original, decoded, matching)
    np.testing.assert_allclose(vectors, moves.numpy(), atol=1e-12)


def test_no_images_along_directions_without_periods():
    cell = 4 * np.eye(3)
    original = Structure([6], [[0, 0, 0]], cell, pbc=[True, True, False])
    decoded = Structure([6], [[3.9, 0, 3.9]], cell, pbc=[True, True, False])
    vectors = displacement_vectors(original, decoded, [0])
    np.testing.assert_allclose(vectors, [[-0.1, 0, 3.9]], atol=1e-12)


def test_no_atoms():
    empty = Structure([], np.zeros((0, 3)))
    assert match_atoms(empty, empty) == []
    assert displacement_vectors(empty, empty, []).shape == (0, 3)


def test_bonds_by_rules_and_by_radii():
    formaldehyde = Structure(
        [6, 8, 1, 1], [[0, 0, 0], [1.2, 0, 0], [-0.6, 0.9, 0], [-0.6, -0.9, 0]]
    )
    assert sorted(bonds_of(formaldehyde)) == [(0, 1, 2), (0, 2, 1), (0, 3, 1)]
    silane = Structure([14, 1], [[0, 0, 0], [1.48, 0, 0]])
    assert bonds_of(silane) == [(0, 1, 1)]
    assert bonds_of(Structure([14, 1], [[0, 0, 0], [3.0, 0, 0]])) == []


def test_style_of_an_element():
    style = element_style(8)
    assert style["symbol"] == "O" and style["colour"] == "#ff0d0d"
    assert element_style(1)["radius"] < style["radius"] < element_style(55)["radius"]
