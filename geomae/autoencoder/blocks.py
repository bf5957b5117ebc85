"""What the encoder and the decoder are made of, beside the layers of the core."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.equivariant import (
    DepthwiseConvolution,
    Gate,
    GridProduct,
    Linear,
    Norm,
    RadialBasis,
    soften,
    spherical_harmonics,
)


class NodeBlock(nn.Module):
    """Two residual steps on a point's features: an exact product of signals, then a gate."""

    def __init__(self, channels: int, lmax: int):
        super().__init__()
        self.product = nn.Sequential(
            Norm(channels, lmax),
            GridProduct(channels, lmax, lmax),
            Linear(channels, channels, lmax),
        )
        self.gate = nn.Sequential(
            Norm(channels, lmax),
            Linear(channels, channels, lmax),
            Gate(channels, lmax),
            Linear(channels, channels, lmax),
        )

    def forward(self, features: Float[Tensor, "n m c"]) -> Float[Tensor, "n m c"]:
        features = features + self.product(features)
        return features + self.gate(features)


class Transport(nn.Module):
    """A convolution along edges between points of different levels, inward or outward.

    Args:
        channels_in, channels_out, lmax_in, lmax_out: sizes of the features at both ends.
        lmax_filter: highest degree of the filter.
        groups: channel groups, each with its own radial function.
        reach: length of the longest edges, in Å.
        softening: length in Å below which directions fade; an edge may have length zero.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        lmax_in: int,
        lmax_out: int,
        *,
        lmax_filter: int,
        groups: int,
        reach: float,
        softening: float,
    ):
        super().__init__()
        self.lmax_filter, self.softening = lmax_filter, softening
        self.basis = RadialBasis(groups, reach + softening, kind="gaussian", envelope=False)
        self.before = Linear(channels_in, channels_out, lmax_in, bias=False)
        self.convolution = DepthwiseConvolution(
            channels_out, lmax_in, lmax_filter, lmax_out, groups=groups
        )
        self.after = Linear(channels_out, channels_out, lmax_out)

    def forward(
        self,
        features: Float[Tensor, "sources m_in c_in"],
        vectors: Float[Tensor, "edges 3"],
        edges: Int[Tensor, "2 edges"],
        n_targets: int,
    ) -> Float[Tensor, "targets m_out c_out"]:
        """Features at the targets, from those at the sources.

        Args:
            features: at the sources.
            vectors: from target to source along each edge, in Å.
            edges: (source, target).
            n_targets: number of targets; one without edges gets zeros.
        """
        directions, lengths = soften(vectors, self.softening)
        harmonics = spherical_harmonics(self.lmax_filter, directions, normalize=False)
        carried = self.convolution(
            self.before(features), harmonics, self.basis(lengths), edges, n_targets
        )
        return self.after(carried)


class Counter(nn.Module):
    """Reads numbers from a point's invariants: how many of each kind.

    Returns logits `[n, kinds, most + 1]` over the counts 0 to `most`.
    """

    def __init__(self, channels: int, lmax: int, *, kinds: int, most: int, hidden: int = 128):
        super().__init__()
        self.kinds = kinds
        self.starts = [degree**2 for degree in range(lmax + 2)]
        width = channels * (lmax + 2)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.SiLU(),
            nn.Linear(hidden, kinds * (most + 1)),
        )

    def forward(self, features: Float[Tensor, "n m c"]) -> Float[Tensor, "n kinds counts"]:
        squares = features.square()
        powers = [
            squares[:, start:stop].mean(1)
            for start, stop in zip(self.starts[:-1], self.starts[1:], strict=True)
        ]
        invariants = torch.cat([features[:, 0], *powers], -1)
        return self.mlp(invariants).unflatten(-1, (self.kinds, -1))
