"""The ways in which a symmetric crystal can change without losing an operation."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geomae.crystals.canonical import about
from geomae.crystals.symmetry import Operations, symmetrise
from geomae.data.structure import Structure
from geomae.errors import GeomaeError

LOOSE = 1e-6
"""Singular value above which a direction counts."""


@dataclass(frozen=True)
class Ways:
    """The ways in which a crystal may change, and where they lead.

    Points are its atoms but the first, which stays at the origin, then its three lattice vectors.

    Attributes:
        base: the points of the crystal as it is, `[p, 3]` in Å.
        changes: of the points, orthonormal, `[3 p, q]`.
        lever: with turns of the whole crystal as three ways more, the root sum of squares of the
            points' distances, in Å, so that a unit of either moves them about as far; else None.
    """

    base: Float[Tensor, "p 3"]
    changes: Float[Tensor, "d q"]
    lever: float | None

    @property
    def n(self) -> int:
        """Number of ways."""
        return self.changes.shape[1] + (0 if self.lever is None else 3)

    def points(self, parameters: Float[Tensor, "k n"]) -> Float[Tensor, "k p 3"]:
        """The points, so far along each of the ways: changed first, then turned."""
        q = self.changes.shape[1]
        moved = self.base + (parameters[:, :q] @ self.changes.T).view(-1, *self.base.shape)
        if self.lever is None:
            return moved
        x, y, z = (parameters[:, q:] / self.lever).T
        zero = torch.zeros_like(x)
        skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
        return moved @ torch.linalg.matrix_exp(skew).transpose(1, 2)


def all_ways(structure: Structure) -> Ways:
    """Every change there is.

    Args:
        structure: with the first atom at the origin.
    """
    base = torch.cat([structure.positions[1:], structure.cell[0]]).double()
    return Ways(base, torch.eye(base.numel(), dtype=torch.float64), None)


def symmetric_ways(structure: Structure, symprec: float) -> Ways:
    """Make a crystal's symmetry exact, its first atom staying at the origin, and find the
    changes that keep it, and turns.

    However far it goes along them, the crystal keeps all operations. Where no symmetry is found,
    or a smaller cell, every change is a way.

    Args:
        structure: primitive, with the first atom at the origin.
        symprec: distance in Å within which symmetry is taken to be meant.
    """
    try:
        found = symmetrise(structure, symprec=symprec)
    except GeomaeError:
        return all_ways(structure)
    parents = found.parents.tolist()
    if found.structure.n_atoms != structure.n_atoms or len(set(parents)) < len(parents):
        return all_ways(structure)
    order = np.argsort(found.parents)
    own, operations = about(found, int(order[0]), order)
    if len(operations) == 1:
        return all_ways(structure)
    base = torch.cat([own.positions[1:], own.cell[0]]).double()
    kept, turns = _invariant(own, operations), _turns(base.numpy())
    into, size, _ = np.linalg.svd(kept.T @ turns)
    rest = kept @ into[:, int((size > 1 - LOOSE).sum()) :]
    return Ways(base, torch.from_numpy(rest), float(base.norm()))


def _turns(points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "d 3"]:
    """An orthonormal basis of the changes of points that turn all of them."""
    moves = np.stack([np.cross(axis, points).reshape(-1) for axis in np.eye(3)], 1)
    return np.linalg.svd(moves, full_matrices=False)[0]


def _invariant(structure: Structure, operations: Operations) -> Float[np.ndarray, "d q"]:
    """Changes that all operations leave alone: the mean of what operations do to any change."""
    positions, cell = structure.positions.numpy(), structure.cell[0].numpy()
    numbers, n = structure.numbers.numpy(), structure.n_atoms
    changes = np.eye(3 * (n + 2)).reshape(n + 2, 3, -1)
    zero = np.zeros((1, 3, changes.shape[2]))
    atoms, lattice = np.concatenate([zero, changes[: n - 1]]), changes[n - 1 :]
    inverse = np.linalg.inv(cell)
    mean = np.zeros_like(changes)
    for rotation, translation in zip(operations.rotations, operations.translations, strict=True):
        gaps = (positions @ rotation.T + translation)[:, None] - positions[None]
        fractions = gaps @ inverse
        images = np.round(fractions)
        off = np.abs(fractions - images).max(-1)
        off[numbers[:, None] != numbers[None]] = np.inf
        partner = off.argmin(1)
        image = images[np.arange(n), partner]
        whole = np.round(cell @ rotation.T @ inverse)
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
