"""Features of new points from those of their members, and of points from their neighbours'."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.utils import to_dense_batch

from geomae.equivariant import (
    DepthwiseConvolution,
    Gate,
    GridProduct,
    Linear,
    Norm,
    RadialBasis,
    Transport,
    dim,
    spherical_harmonics,
)
from geomae.pooling.proposals import check_features


class Combine(nn.Module):
    """An equivariant convolution along membership edges, from members to their clusters.

    Directions are softened, so that features are smooth where a member stands on its centre.

    Args:
        channels_in, lmax_in: size of the members' features.
        channels_out, lmax_out: size of the clusters' features.
        lmax_filter: highest degree of the filter.
        n_radial: channel groups, each with its own radial function; divides `channels_out`.
        reach: length of the longest edges, in Å.
        softening: length in Å below which directions fade.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        lmax_in: int,
        lmax_out: int,
        *,
        lmax_filter: int = 4,
        n_radial: int = 8,
        reach: float = 3.0,
        softening: float = 0.5,
    ):
        super().__init__()
        self.channels_in, self.lmax_in = channels_in, lmax_in
        self.transport = Transport(
            channels_in,
            channels_out,
            lmax_in,
            lmax_out,
            lmax_filter=lmax_filter,
            groups=n_radial,
            reach=reach,
            softening=softening,
        )

    def forward(
        self,
        features: Float[Tensor, "members m_in c_in"],
        positions: Float[Tensor, "members 3"],
        centres: Float[Tensor, "clusters 3"],
        membership: Int[Tensor, "2 edges"],
    ) -> Float[Tensor, "clusters m_out c_out"]:
        """Features of the clusters; one without members gets those of nothing.

        Args:
            features, positions: of the members; positions in Å.
            centres: of the clusters, in Å.
            membership: edges (member, cluster).
        """
        features = check_features(features, len(positions), self.lmax_in, self.channels_in)
        member, cluster = membership
        vectors = positions[member] - centres[cluster]
        return self.transport(features, vectors.to(features.dtype), membership, len(centres))


class Convolve(nn.Module):
    """Points see their neighbours, then themselves: the step before a bloom.

    A map to the new size, to which three residual steps add: a convolution over the neighbours,
    an exact product of signals, and a gate. What a neighbour adds fades towards the cutoff.

    Args:
        channels_in, lmax_in: size of the features that come in.
        channels, lmax: size of those that go out, lmax at least lmax_in.
        cutoff: radius of the neighbourhood, in Å; 0 leaves out the convolution.
        lmax_filter: highest degree of the filter.
        n_radial: channel groups, each with its own radial function; divides `channels`.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        lmax_in: int,
        lmax: int,
        *,
        cutoff: float,
        lmax_filter: int = 4,
        n_radial: int = 8,
    ):
        super().__init__()
        self.channels_in, self.lmax_in = channels_in, lmax_in
        self.lmax_filter, self.cutoff = lmax_filter, cutoff
        self.added = dim(lmax) - dim(lmax_in)
        self.embed = Linear(channels_in, channels, lmax_in)
        if cutoff > 0:
            self.basis = RadialBasis(n_radial, cutoff)
            self.convolution = DepthwiseConvolution(
                channels, lmax_in, lmax_filter, lmax, groups=n_radial
            )
            self.mix = Linear(channels, channels, lmax)
        self.product = nn.Sequential(
            Norm(channels, lmax),
            GridProduct(channels, lmax, lmax),
            Linear(channels, channels, lmax),
        )
        self.gate = nn.Sequential(
            Norm(channels, lmax), Linear(channels, channels, lmax), Gate(channels, lmax)
        )

    def forward(
        self,
        features: Float[Tensor, "n m_in c_in"],
        positions: Float[Tensor, "n 3"],
        batch: Int[Tensor, " n"],
    ) -> Float[Tensor, "n m c"]:
        """Features of the same points.

        Args:
            features: of the points.
            positions: in Å.
            batch: structure of each point, ascending.
        """
        features = check_features(features, len(positions), self.lmax_in, self.channels_in)
        embedded = self.embed(features)
        features = nn.functional.pad(embedded, (0, 0, 0, self.added))
        edges = neighbours(positions.detach(), self.cutoff, batch)
        if edges.shape[1]:
            vectors = (positions[edges[0]] - positions[edges[1]]).to(features.dtype)
            harmonics = spherical_harmonics(self.lmax_filter, vectors)
            radial = self.basis(vectors.norm(dim=1))
            seen = self.convolution(embedded, harmonics, radial, edges, len(features))
            features = features + self.mix(seen)
        features = features + self.product(features)
        return features + self.gate(features)

    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff}"


def neighbours(
    positions: Float[Tensor, "n 3"], cutoff: float, batch: Int[Tensor, " n"]
) -> Int[Tensor, "2 edges"]:
    """Pairs (source, target) of different points of a structure that are closer than the cutoff.

    Points at the same place have no direction to each other and are no neighbours.
    """
    if cutoff <= 0 or not len(positions):
        return batch.new_zeros(2, 0)
    dense, mask = to_dense_batch(positions, batch)
    number, _ = to_dense_batch(torch.arange(len(positions), device=batch.device), batch)
    length = (dense[:, :, None] - dense[:, None]).norm(dim=-1)
    near = (length < cutoff) & (length > 1e-6) & mask[:, :, None] & mask[:, None]
    structure, target, source = torch.nonzero(near, as_tuple=True)
    return torch.stack([number[structure, source], number[structure, target]])
