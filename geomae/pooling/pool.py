"""One step inward, and its mirror outward."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.pooling.bloom import DisplacementBloom, MeanShiftBloom, PeakBloom
from geomae.pooling.cluster import symmetric_cluster
from geomae.pooling.combine import Combine, Convolve
from geomae.pooling.config import PoolConfig, StepConfig, UnpoolConfig
from geomae.pooling.proposals import Proposals, points_of
from geomae.pooling.tree import weighted_means


@dataclass(frozen=True)
class Pooled:
    """Points that a pooling step made.

    Attributes:
        positions: `[c, 3]`, in Å.
        features: `[c, components, channels]`.
        batch: structure of each, `[c]`.
        membership: edges (member, cluster), `[2, edges]`; a point may belong to several.
        proposals: what the members bloomed to.
        weights: of each, the sum of its proposals', `[c]`.
    """

    positions: Float[Tensor, "c 3"]
    features: Float[Tensor, "c m channels"]
    batch: Int[Tensor, " c"]
    membership: Int[Tensor, "2 edges"]
    proposals: Proposals
    weights: Float[Tensor, " c"]

    def __len__(self) -> int:
        return len(self.batch)

    def __repr__(self) -> str:
        sizes = list(self.features.shape)
        return (
            f"{type(self).__name__}({len(self)} points, features {sizes}, "
            f"{self.membership.shape[1]} memberships)"
        )


class Unpooled(Pooled):
    """Points that an unpooling step made; membership edges are (parent, point)."""

    __slots__ = ()


@dataclass(frozen=True)
class Merged:
    """Proposals that became points.

    Attributes:
        positions, weights, batch: of the points.
        membership: edges (proposer, point), each once.
    """

    positions: Float[Tensor, "c 3"]
    weights: Float[Tensor, " c"]
    batch: Int[Tensor, " c"]
    membership: Int[Tensor, "2 edges"]


def merge(proposals: Proposals, tolerance: float) -> Merged:
    """Proposals that coincide as points, at their weighted mean.

    Args:
        proposals: of any number of structures.
        tolerance: steps shorter than this connect proposals, in Å.
    """
    clusters = symmetric_cluster(proposals.positions, tolerance, proposals.batch, proposals.weights)
    proposal, point = clusters.membership
    sums = proposals.weights.new_zeros(len(clusters))
    weights = sums.index_add(0, point, proposals.weights[proposal])
    membership = torch.unique(torch.stack([proposals.source[proposal], point]), dim=1)
    return Merged(clusters.centres, weights, clusters.batch, membership)


class CentroidBloom(nn.Module):
    """Every point proposes the weighted centroid of its structure."""

    def forward(
        self,
        positions: Float[Tensor, "n 3"],
        features: Tensor | None = None,
        batch: Int[Tensor, " n"] | None = None,
        weights: Float[Tensor, " n"] | None = None,
    ) -> Proposals:
        """One proposal a point; arguments are those of `MeanShiftBloom`."""
        points = points_of(positions, batch, weights)
        own = torch.arange(len(positions), device=positions.device)
        edges = torch.stack([own, points.batch])
        centroids = weighted_means(positions, points.weights, edges, points.n_structures)
        return Proposals(centroids[points.batch], own, points.batch, points.weights)


class _Step(nn.Module):
    """Convolve, bloom, join, combine."""

    bloom: nn.Module
    result: type[Pooled] = Pooled

    def __init__(self, config: StepConfig, channels_in: int, lmax_in: int):
        super().__init__()
        self.config = config
        self.channels_in, self.lmax_in = channels_in, lmax_in
        self.lmax = max(lmax_in, config.lmax)
        shared = {"lmax_filter": config.lmax_filter, "n_radial": config.n_radial}
        self.convolve = Convolve(
            channels_in, config.channels, lmax_in, self.lmax, cutoff=config.cutoff, **shared
        )
        self.combine = Combine(
            config.channels,
            config.channels,
            self.lmax,
            config.lmax,
            reach=config.reach,
            softening=config.softening,
            **shared,
        )

    def forward(
        self,
        positions: Float[Tensor, "n 3"],
        features: Float[Tensor, "n m c"],
        batch: Int[Tensor, " n"] | None = None,
        weights: Float[Tensor, " n"] | None = None,
    ) -> Pooled:
        """The points of the next level.

        Args:
            positions: in Å.
            features: of the points.
            batch: structure of each point, ascending; one structure by default.
            weights: of the points in centres and densities; 1 by default.
        """
        points = points_of(positions, batch, weights)
        features = self.convolve(features, positions, points.batch)
        proposals = self.bloom(positions, features, points.batch, points.weights)
        merged = merge(proposals, self.config.tolerance)
        carried = self.combine(features, positions, merged.positions, merged.membership)
        return self.result(
            merged.positions, carried, merged.batch, merged.membership, proposals, merged.weights
        )

    def extra_repr(self) -> str:
        config = self.config
        return (
            f"{self.channels_in} channels to degree {self.lmax_in} -> "
            f"{config.channels} to {config.lmax}, tolerance={config.tolerance}"
        )


class Pool(_Step):
    """One step inward: convolve, bloom, cluster what coincides, combine the members' features.

    Args:
        config: of the step.
        channels_in, lmax_in: size of the features that come in.
    """

    config: PoolConfig

    def __init__(self, config: PoolConfig, channels_in: int, lmax_in: int):
        super().__init__(config, channels_in, lmax_in)
        self.bloom = bloom_of(config, config.channels, self.lmax)


class Unpool(_Step):
    """One step outward: convolve, bloom by peaks, merge duplicates, combine.

    Args:
        config: of the step.
        channels_in, lmax_in: size of the features that come in.
    """

    config: UnpoolConfig
    bloom: PeakBloom
    result = Unpooled

    def __init__(self, config: UnpoolConfig, channels_in: int, lmax_in: int):
        super().__init__(config, channels_in, lmax_in)
        self.bloom = PeakBloom(
            config.channels,
            self.lmax,
            lmax_signal=config.lmax_signal,
            radius=config.radius,
            learned_radius=config.learned_radius,
            threshold=config.threshold,
            floor=config.floor,
            keep=config.keep,
        )


def bloom_of(config: PoolConfig, channels: int, lmax: int) -> nn.Module:
    """The bloom that a configuration names, for features of a given size."""
    if config.bloom == "mean_shift":
        return MeanShiftBloom(config.scale)
    if config.bloom == "displacement":
        return DisplacementBloom(channels, lmax, limit=config.scale)
    if config.bloom == "peaks":
        return PeakBloom(channels, lmax, lmax_signal=config.lmax_signal, radius=config.scale)
    return CentroidBloom()
