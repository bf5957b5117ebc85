"""Features carried along edges, from points of one level to those of another."""

from collections.abc import Iterator

import torch
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
        carried = self.convolution(self.before(features), *self.filters(vectors), edges, n_targets)
        return self.after(carried)

    def along(
        self,
        features: Float[Tensor, "n m_in c_in"],
        vectors: Float[Tensor, "edges 3"],
        edge: Int[Tensor, " n"],
    ) -> Float[Tensor, "n m_out c_out"]:
        """What each of many features becomes along its edge; linear: without the bias.

        Args:
            features: to carry.
            vectors: from target to source along each edge, in Å.
            edge: of each feature; many share one.
        """
        matrices = self.convolution.matrices(*self.filters(vectors))
        groups = matrices.shape[1]
        split = self.before(features).unflatten(2, (groups, -1))
        carried = split.new_empty(len(features), groups, matrices.shape[2], split.shape[3])
        for edges, rows in rows_alike(edge, len(vectors)):
            parts = split[rows.clamp(min=0)].permute(0, 3, 2, 1, 4)
            made = torch.matmul(matrices[edges], parts.flatten(3))
            made = made.unflatten(3, parts.shape[3:]).permute(0, 3, 1, 2, 4)
            carried[rows[rows >= 0]] = made[rows >= 0]
        mixed = self.after(carried.transpose(1, 2).flatten(2))
        return mixed if self.after.bias is None else mixed - _shift(self.after, mixed)

    def filters(
        self, vectors: Float[Tensor, "edges 3"]
    ) -> tuple[Float[Tensor, "edges f"], Float[Tensor, "edges g"]]:
        """Harmonics of softened directions, and the groups' radial functions."""
        directions, lengths = soften(vectors, self.softening)
        harmonics = spherical_harmonics(self.lmax_filter, directions, normalize=False)
        return harmonics, self.basis(lengths)


def _shift(linear: Linear, like: Tensor) -> Tensor:
    """The bias of a linear layer, `[components, channels]`."""
    assert linear.bias is not None
    return linear.scalar(like)[:, 0] * linear.bias


def rows_alike(
    owner: Int[Tensor, " n"], n_owners: int, together: int = 16
) -> Iterator[tuple[Int[Tensor, " k"], Int[Tensor, "k most"]]]:
    """Tables of the rows that belong to each owner, owners with about as many rows together.

    Yields owners, and their rows, -1 where there is none. Owners without rows are left out.
    """
    count = torch.bincount(owner, minlength=n_owners)
    start = torch.cumsum(count, 0) - count
    rows = torch.argsort(owner, stable=True)
    order = torch.argsort(count, stable=True)
    for owners in order[count[order] > 0].split(together):
        column = torch.arange(int(count[owners].max()), device=owner.device)
        place = (start[owners, None] + column).clamp(max=len(rows) - 1)
        yield owners, torch.where(column < count[owners, None], rows[place], -1)
