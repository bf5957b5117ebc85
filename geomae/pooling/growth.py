"""Growing a tree: atoms bloom into groups, groups into motifs, and so on to one point."""

from collections.abc import Sequence
from math import isinf

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.pooling.cluster import symmetric_cluster
from geomae.pooling.mean_shift import mean_shift
from geomae.pooling.tree import Tree, weighted_means

CLUSTER_FRACTION = 0.05
"""Modes closer than this fraction of the kernel's width are one."""


@torch.no_grad()
def grow_tree(
    numbers: Int[Tensor, " atoms"],
    positions: Float[Tensor, "atoms 3"],
    batch: Int[Tensor, " atoms"],
    *,
    scales: Sequence[float],
    heavy_weight: float = 6.0,
    ridge: float = 0.0,
) -> Tree:
    """The hierarchy of a batch of finite structures by mean shift, level by level.

    Args:
        numbers, positions, batch: atoms; positions in Å, batch ascending.
        scales: kernel width of each level in Å; the last must be infinite: one point a structure.
        heavy_weight: weight of an atom other than hydrogen, whose weight is 1.
        ridge: see `mean_shift`.
    """
    n = int(batch[-1]) + 1 if len(batch) else 0
    weights = [torch.where(numbers > 1, heavy_weight, 1.0).to(positions.dtype)]
    levels, owners, memberships = [positions], [batch], []
    for scale in scales:
        if isinf(scale):
            own = torch.arange(len(owners[-1]), device=batch.device)
            membership, owner = torch.stack([own, owners[-1]]), torch.arange(n, device=batch.device)
        else:
            modes = mean_shift(levels[-1], weights[-1], scale, owners[-1], ridge=ridge)
            clusters = symmetric_cluster(modes.positions, CLUSTER_FRACTION * scale, owners[-1])
            membership, owner = clusters.membership, clusters.batch
        levels.append(weighted_means(levels[-1], weights[-1], membership, len(owner)))
        sums = (
            weights[-1]
            .new_zeros(len(owner))
            .index_add(0, membership[1], weights[-1][membership[0]])
        )
        weights.append(sums)
        owners.append(owner)
        memberships.append(membership)
    return Tree(numbers, tuple(levels), tuple(weights), tuple(owners), tuple(memberships))
