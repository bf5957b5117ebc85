"""Random rotations and structures, reproducible by their generators."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.data.structure import Structure


def random_orthogonal(
    generator: torch.Generator | None = None, *, improper: bool | None = None
) -> Float[Tensor, "3 3"]:
    """An orthogonal matrix, uniform over the group, float64.

    Args:
        generator: source of randomness; one seeded with 0 by default.
        improper: True for a reflection (determinant -1), False for a rotation, None for either.
    """
    generator = generator or torch.Generator().manual_seed(0)
    q, r = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))
    matrix = q * torch.diagonal(r).sign()
    if improper is None or improper == bool(torch.det(matrix) < 0):
        return matrix
    return -matrix


def random_molecule(
    generator: torch.Generator | None = None,
    *,
    n_atoms: int = 9,
    numbers: Sequence[int] = (1, 6, 7, 8),
    bond: tuple[float, float] = (1.0, 1.6),
    min_distance: float = 0.9,
) -> Structure:
    """A connected heap of atoms at the distances of molecules, without their chemistry.

    Each atom is bound to a random earlier one, at a random place that is not too near others.

    Args:
        generator: source of randomness; one seeded with 0 by default.
        n_atoms: number of atoms.
        numbers: atomic numbers to draw from.
        bond: shortest and longest bonds, in Å; the longest must be above `min_distance`.
        min_distance: least distance between atoms, in Å.
    """
    generator = generator or torch.Generator().manual_seed(0)
    if not n_atoms > 0 or not bond[1] > min_distance:
        raise ValueError(
            f"can't place {n_atoms} atoms with bonds {bond} and {min_distance} Å apart"
        )
    positions = torch.zeros(1, 3, dtype=torch.float64)
    while len(positions) < n_atoms:
        anchor = positions[torch.randint(len(positions), (), generator=generator)]
        step = torch.randn(3, dtype=torch.float64, generator=generator)
        share = torch.rand((), dtype=torch.float64, generator=generator)
        place = anchor + step / step.norm() * torch.lerp(*torch.tensor(bond).double(), share)
        if (positions - place).norm(dim=1).min() >= min_distance:
            positions = torch.cat([positions, place[None]])
    drawn = torch.randint(len(numbers), (n_atoms,), generator=generator)
    return Structure(torch.tensor(numbers)[drawn], positions - positions.mean(0))


def edges_within(
    positions: Float[Tensor, "n 3"], cutoff: float, batch: Int[Tensor, " n"] | None = None
) -> Int[Tensor, "2 edges"]:
    """All pairs (source, target) of different points of the same structure within a cutoff in Å.

    From the table of all distances: for small tests.
    """
    near = torch.cdist(positions, positions) < cutoff
    if batch is not None:
        near &= batch[:, None] == batch
    return near.fill_diagonal_(False).nonzero().T.contiguous()
