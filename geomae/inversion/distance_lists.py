"""Positions from lists of distances: each atom knows how far others are, but not which.

Distances of an atom to those of one element are compared as sorted lists, which is the optimal
transport between them. That makes a far smoother landscape than any descriptor's: where a
descriptor sees that an atom is missing, a list still tells which way it lies. Minimised by
majorisation (SMACOF: de Leeuw 1977) with the assignment renewed in every step, from many random
starts in one batch; who is at rest with the least stress is worth refining.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.soap_scalars import histograms

STEPS = 150
"""Of majorisation; starts are at rest by then, or of no use."""

NEAREST = 0.3
"""Å added to a distance where it is divided by: near ones are known better than far ones."""


def distance_lists(
    soap: Soap, values: Float[Tensor, " f"], numbers: Int[Tensor, " n"]
) -> list[Float[Tensor, "n _"]]:
    """Distances from each atom to the k atoms of each species, ascending, infinite out of reach.

    Read from the scalar coefficients (see `histograms`); what is close together runs together.

    Args:
        soap: of all atoms.
        values: its vectors, in a row.
        numbers: atomic number of each row.
    """
    grid, counts = histograms(soap, values)
    grid = torch.cat([grid, grid.new_full((1,), torch.inf)])
    lists = []
    for column, species in enumerate(soap.species):
        middles = torch.arange(int((numbers == species).sum()), dtype=torch.float64) + 0.5
        below = counts[:, column].cumsum(1).contiguous()
        lists.append(grid[torch.searchsorted(below, middles.expand(len(below), -1).contiguous())])
    return lists


def embed(
    lists: list[Float[Tensor, "n _"]],
    groups: list[Int[Tensor, " _"]],
    starts: Float[Tensor, "s n 3"],
    *,
    steps: int = STEPS,
) -> tuple[Float[Tensor, "s n 3"], Float[Tensor, " s"]]:
    """Positions whose distances are as those of the lists, from many starts.

    Args:
        lists: of each group, distances from each atom to the group's, ascending.
        groups: atoms of each group.
        starts: positions in Å.
        steps: of majorisation.

    Returns:
        Positions and stress (root mean square weighted error of distances, in Å), least first.
    """
    place, n = starts, starts.shape[1]
    apart = 1 - torch.eye(n, dtype=starts.dtype)
    stress = starts.new_zeros(len(starts))
    for _ in range(steps):
        lengths = (place[:, :, None] - place[:, None]).norm(dim=3)
        goals = _assigned(lists, groups, lengths)
        weights = apart / (goals + NEAREST)
        stress = (weights * (lengths - goals).square()).sum((1, 2)) / weights.sum((1, 2))
        pull = _laplacian(weights * goals / lengths.clamp(min=1e-6))
        # the mean of all atoms is free: any multiple of ones does
        place = torch.linalg.solve(_laplacian(weights) + 1 / n, pull @ place)
    order = torch.argsort(stress)
    return place[order], stress[order].sqrt()


def _assigned(
    lists: list[Tensor], groups: list[Tensor], lengths: Float[Tensor, "s n n"]
) -> Float[Tensor, "s n n"]:
    """The distance meant for each pair: by rank in both atoms' lists, the mean of the two."""
    goals = torch.zeros_like(lengths)
    for group, known in zip(groups, lists, strict=True):
        rank = lengths[:, :, group].argsort(2).argsort(2)
        goals[:, :, group] = torch.gather(known.expand(len(lengths), -1, -1), 2, rank)
    # of what is out of reach only that much is known: it stays where it is
    goals = torch.where(torch.isinf(goals), lengths, goals)
    return (goals + goals.mT) / 2 * (1 - torch.eye(lengths.shape[1], dtype=lengths.dtype))


def _laplacian(weights: Float[Tensor, "s n n"]) -> Float[Tensor, "s n n"]:
    return torch.diag_embed(weights.sum(2)) - weights
