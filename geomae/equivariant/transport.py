"""Features carried along edges, from points of one level to those of another."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.equivariant.depthwise import DepthwiseConvolution
from geomae.equivariant.harmonics import soften, spherical_harmonics
from geomae.equivariant.linear import Linear
from geomae.equivariant.radial import RadialBasis


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
