"""Clusters that depend on nothing but where the points are."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.utils import to_dense_batch

from geomae.pooling.tree import weighted_means


@dataclass(frozen=True)
class Clusters:
    """Proposals that coincide, as points.

    Attributes:
        centres: weighted means of the members, `[c, 3]`.
        membership: edges (member, cluster), `[2, edges]`, each once.
        batch: structure of each cluster, `[c]`.
    """

    centres: Float[Tensor, "c 3"]
    membership: Int[Tensor, "2 edges"]
    batch: Int[Tensor, " c"]

    def __len__(self) -> int:
        return len(self.batch)


def symmetric_cluster(
    positions: Float[Tensor, "p 3"],
    tolerance: float,
    batch: Int[Tensor, " p"] | None = None,
    weights: Float[Tensor, " p"] | None = None,
    source: Int[Tensor, " p"] | None = None,
) -> Clusters:
    """Join what is connected by steps shorter than the tolerance.

    No number of clusters is given and nothing is drawn at random: the result does not depend on
    order or orientation, and gradients reach the proposals through the centres. Clusters are
    numbered by their first proposal.

    Args:
        positions: of the proposals.
        tolerance: distance below which two proposals coincide, in the positions' unit.
        batch: structure of each proposal, ascending; proposals of different structures never join.
        weights: of the proposals in the centre's mean; 1 by default.
        source: point that made each proposal, if that is not the proposal's own number; it
            becomes a member of every cluster that holds a proposal of its.
    """
    batch = positions.new_zeros(len(positions), dtype=torch.long) if batch is None else batch
    weights = positions.new_ones(len(positions)) if weights is None else weights
    label = connected_components(positions.detach(), tolerance, batch)
    first, cluster = torch.unique(label, return_inverse=True)
    own = torch.arange(len(label), device=label.device)
    proposals = torch.stack([own, cluster])
    centres = weighted_means(positions, weights, proposals, len(first))
    membership = proposals
    if source is not None:
        membership = torch.unique(torch.stack([source, cluster]), dim=1)
    return Clusters(centres, membership, batch[first])


def connected_components(
    positions: Float[Tensor, "p 3"], tolerance: float, batch: Int[Tensor, " p"]
) -> Int[Tensor, " p"]:
    """The lowest number among the proposals that each is connected to."""
    if not len(positions):
        return batch
    points, mask = to_dense_batch(positions, batch)
    pairs = mask[:, :, None] & mask[:, None]
    near = ((points[:, :, None] - points[:, None]).norm(dim=-1) < tolerance) & pairs
    near |= torch.diag_embed(mask)
    n = points.shape[1]
    label = torch.arange(n, device=points.device).expand(len(points), n)
    while True:
        lowest = torch.where(near, label[:, None], n).amin(-1)
        lowest = torch.where(mask, lowest, n - 1)
        lowest = lowest.gather(1, lowest)
        if torch.equal(lowest[mask], label[mask]):
            break
        label = torch.where(mask, lowest, label)
    starts = torch.cumsum(mask.sum(1), 0) - mask.sum(1)
    return (label + starts[:, None])[mask]
