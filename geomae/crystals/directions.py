"""The ways in which a symmetric crystal can change without losing an operation."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from geomae.crystals.canonical import about
from geomae.crystals.symmetry import Operations, nearest, symmetrise
from geomae.data.structure import Structure
from geomae.errors import GeomaeError

LOOSE = 1e-6
"""Singular value above which a direction counts."""


@dataclass(frozen=True)
class Symmetric:
    """A crystal with exact symmetry and its symmetric changes.

    Points are its atoms but the first, then its three lattice vectors.

    Attributes:
        structure: the first atom at the origin.
        directions: changes of the points, orthonormal, `[3 points, q]`: those that keep all
            operations, and turns of the whole crystal.
    """

    structure: Structure
    directions: Float[np.ndarray, "d q"]


def symmetric_directions(structure: Structure, symprec: float) -> Symmetric:
    """Make a crystal's symmetry exact, its first atom staying at the origin, and find the
    changes that keep it.

    Where no symmetry is found, or a smaller cell, all changes are directions.

    Args:
        structure: primitive, with the first atom at the origin.
        symprec: distance in Å within which symmetry is taken to be meant.
    """
    everything = np.eye(3 * (structure.n_atoms + 2))
    try:
        found = symmetrise(structure, symprec=symprec)
    except GeomaeError:
        return Symmetric(structure, everything)
    parents = found.parents.tolist()
    if found.structure.n_atoms != structure.n_atoms or len(set(parents)) < len(parents):
        return Symmetric(structure, everything)
    order = np.argsort(found.parents)
    own, operations = about(found, int(order[0]), order)
    if len(operations) == 1:
        return Symmetric(structure, everything)
    basis = np.concatenate([_invariant(own, operations), _turns(own)], axis=1)
    u, size, _ = np.linalg.svd(basis, full_matrices=False)
    return Symmetric(own, u[:, size > LOOSE])


def _turns(structure: Structure) -> Float[np.ndarray, "d 3"]:
    """Changes of the points when the crystal turns about each axis."""
    points = np.concatenate([structure.positions.numpy()[1:], structure.cell[0].numpy()])
    return np.stack([np.cross(axis, points).reshape(-1) for axis in np.eye(3)], 1)


def _invariant(structure: Structure, operations: Operations) -> Float[np.ndarray, "d q"]:
    """Changes that all operations leave alone: the mean of what operations do to any change."""
    positions, cell = structure.positions.numpy(), structure.cell[0].numpy()
    numbers, n = structure.numbers.numpy(), structure.n_atoms
    changes = np.eye(3 * (n + 2)).reshape(n + 2, 3, -1)
    zero = np.zeros((1, 3, changes.shape[2]))
    atoms, lattice = np.concatenate([zero, changes[: n - 1]]), changes[n - 1 :]
    mean = np.zeros_like(changes)
    for rotation, translation in zip(operations.rotations, operations.translations, strict=True):
        moved = positions @ rotation.T + translation
        gaps = moved[:, None] - positions[None]
        _, lengths = nearest(gaps, cell)
        lengths[numbers[:, None] != numbers[None]] = np.inf
        partner = lengths.argmin(1)
        image = np.round(gaps[np.arange(n), partner] @ np.linalg.inv(cell))
        whole = np.round(cell @ rotation.T @ np.linalg.inv(cell))
        turned = np.einsum("ij,pjd->pid", rotation, lattice)
        new_lattice = np.einsum("kl,lid->kid", np.linalg.inv(whole), turned)
        new_atoms = np.empty_like(atoms)
        carried = np.einsum("kl,lid->kid", image, new_lattice)
        new_atoms[partner] = np.einsum("ij,pjd->pid", rotation, atoms) - carried
        new_atoms = new_atoms - new_atoms[:1]
        mean += np.concatenate([new_atoms[1:], new_lattice])
    projector = (mean / len(operations)).reshape(3 * (n + 2), -1)
    u, size, _ = np.linalg.svd(projector)
    return u[:, size > LOOSE]
