"""Lattices as sets of vectors, and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomae.crystals import lattice_of, niggli, voronoi_vectors
from geomae.errors import GeomaeError

CUBE = np.eye(3) * 4.0
KNOWN = {
    "simple cubic": (CUBE, 26),
    "face-centred": (2 * (1 - np.eye(3)), 18),
    "body-centred": (4 * (1 - 2 * np.eye(3)), 14),
    "hexagonal": (np.array([[3.0, 0, 0], [-1.5, 1.5 * 3**0.5, 0], [0, 0, 5]]), 20),
    "tetragonal": (np.diag([3.0, 3.0, 5.0]), 26),
    "triclinic": (np.array([[3.0, 0.2, 0.1], [0.5, 4.1, 0.3], [0.7, 1.1, 5.3]]), 14),
    "long": (np.array([[3.0, 0.0, 0.0], [0.4, 3.3, 0.0], [1.1, 0.7, 25.0]]), 14),
    "flat": (np.array([[24.0, 0.0, 0.0], [3.1, 25.0, 0.0], [0.2, 0.3, 3.0]]), 14),
}


def random_cell(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(2.5, 9.0, 3)) + rng.normal(size=(3, 3))
    return cell @ np.linalg.qr(rng.normal(size=(3, 3)))[0]


def sorted_rows(vectors: np.ndarray) -> np.ndarray:
    rounded = np.round(vectors, 6) + 0.0
    return vectors[np.lexsort(rounded.T)]


@pytest.mark.parametrize("name", KNOWN)
def test_as_many_as_the_wigner_seitz_cell_has(name):
    cell, count = KNOWN[name]
    found = voronoi_vectors(cell)
    assert len(found) == count
    assert np.allclose(found.coefficients @ found.basis, found.vectors)


@pytest.mark.parametrize("name", KNOWN)
def test_faces_of_the_cell_are_among_them(name):
    """Each lattice vector whose midpoint is nearest to the origin and to it alone gives a face."""
    cell, _ = KNOWN[name]
    steps = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3), -1).reshape(-1, 3)
    points = steps @ niggli(cell)
    points = points[np.linalg.norm(points, axis=1) > 0]
    distances = np.linalg.norm(points[:, None] / 2 - points[None], axis=2)
    own = np.arange(len(points))
    half = np.linalg.norm(points, axis=1) / 2
    distances[own, own] = np.inf
    faces = points[distances.min(1) > half + 1e-6]
    found = voronoi_vectors(cell).vectors
    for face in faces:
        assert np.linalg.norm(found - face, axis=1).min() < 1e-9


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_set_belongs_to_the_lattice_and_turns_with_it(seed):
    rng = np.random.default_rng(seed)
    cell = random_cell(seed)
    found = voronoi_vectors(cell).vectors
    assert np.allclose(sorted_rows(found), sorted_rows(-found))
    other = np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]])[rng.permutation(3)] @ cell
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = voronoi_vectors(other @ turn.T).vectors @ turn
    assert np.allclose(sorted_rows(turned), sorted_rows(found), atol=1e-8)


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_lattice_comes_back_from_its_vectors(name, noise):
    cell, _ = KNOWN[name]
    rng = np.random.default_rng(3)
    vectors = voronoi_vectors(cell).vectors
    back = lattice_of(rng.permutation(vectors + noise * rng.normal(size=vectors.shape)))
    coefficients = back @ np.linalg.inv(cell)
    assert abs(round(np.linalg.det(np.round(coefficients)))) == 1
    assert np.linalg.det(back) > 0
    error = np.linalg.norm(back - np.round(coefficients) @ cell, axis=1).max()
    assert error < 1e-9 + 3 * noise


def test_flat_sets_are_refused():
    with pytest.raises(GeomaeError, match="span no volume"):
        lattice_of(np.array([[1.0, 0, 0], [0, 1.0, 0], [1.0, 1.0, 0]]))
    with pytest.raises(GeomaeError, match="spans no lattice"):
        niggli(np.zeros((3, 3)))


def test_ties_but_for_rounding_are_reduced_too():
    cell = np.array(
        [
            [8.56042623325742, 1.693583939754717e-09, 3.783699202477425e-10],
            [-4.948490825650413, 6.9852226767294585, 5.346979285118098e-10],
            [-8.24720984972209e-10, -1.7715261289158457e-09, 7.889970005039341],
        ]
    )
    reduced = niggli(cell)
    assert np.linalg.det(reduced) == pytest.approx(abs(np.linalg.det(cell)))
    assert sorted(np.linalg.norm(reduced, axis=1)) == pytest.approx(
        [7.8638, 7.88997, 8.56043], abs=1e-4
    )
    whole = cell @ np.linalg.inv(reduced)
    assert np.allclose(whole, np.round(whole), atol=1e-6)
