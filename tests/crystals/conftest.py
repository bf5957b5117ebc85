"""Crystals to test on, and other ways to present them."""

import numpy as np
import pytest

from geomae.data import Structure, load_source

SYSTEMS = {
    "triclinic": (1, 2),
    "monoclinic": (3, 15),
    "orthorhombic": (16, 74),
    "tetragonal": (75, 142),
    "trigonal": (143, 167),
    "hexagonal": (168, 194),
    "cubic": (195, 230),
}
"""First and last space groups of the crystal systems."""


def presented_otherwise(
    structure: Structure, rng: np.random.Generator, *, most: int = 3, improper: bool = True
) -> tuple[Structure, np.ndarray]:
    """The same crystal in another cell, turned, moved and shuffled; and how it was turned.

    The cell is a supercell of up to `most` cells, sheared by a unimodular matrix, of either
    handedness.
    """
    shear = np.eye(3, dtype=int)
    for _ in range(3):
        i, j = rng.choice(3, 2, replace=False)
        shear[i] += rng.integers(-1, 2) * shear[j]
    repeat = np.eye(3, dtype=int)
    repeat[rng.integers(3), rng.integers(3)] += rng.integers(0, most)
    matrix = shear @ repeat
    while round(np.linalg.det(matrix)) == 0:
        matrix = shear
    if rng.integers(2):
        matrix = -matrix
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    if not improper and np.linalg.det(turn) < 0:
        turn = -turn
    cell, positions = structure.cell[0].numpy(), structure.positions.numpy()
    new = matrix @ cell
    steps = [np.arange(-k, k + 1) for k in np.abs(matrix).sum(0)]
    shifts = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3)
    inside = shifts @ np.linalg.inv(matrix)
    inside = np.all((inside > -1e-6) & (inside < 1 - 1e-6), axis=1)
    images = shifts[inside] @ cell
    assert len(images) == abs(round(np.linalg.det(matrix)))
    points = (positions[:, None] + images).reshape(-1, 3) + rng.normal(size=3) * 3
    fractions = (points @ np.linalg.inv(new)) % 1
    numbers = np.repeat(structure.numbers.numpy(), len(images))
    order = rng.permutation(len(numbers))
    turned = Structure(numbers[order], (fractions @ new @ turn.T)[order], cell=new @ turn.T)
    return turned, turn


@pytest.fixture(scope="session")
def prototypes() -> list[Structure]:
    """The AFLOW prototypes of up to 40 atoms."""
    return [s for s in load_source("aflow") if s.n_atoms <= 40]
