"""Features of children from the sum that the encoder made of them, once their places are known."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.autoencoder.blocks import Resize
from geomae.equivariant import Linear, Transport


class Superposition:
    """What the encoder makes of the features of the last level's children, along given edges.

    It is linear but for a constant: `z = A x + b`, with a matrix `A` that depends on the places.

    Args:
        combine: the encoder's convolution to the last level.
        narrow: what follows it, if anything.
        vectors: from point to child, in Å.
        edges: (child, point), children in ascending order, one edge each.
        n_points: number of points.
    """

    def __init__(
        self,
        combine: Transport,
        narrow: Resize | None,
        vectors: Float[Tensor, "children 3"],
        edges: Int[Tensor, "2 children"],
        n_points: int,
    ):
        self.point, self.n_points = edges[1], n_points
        self.matrices = combine.convolution.matrices(*combine.filters(vectors))
        self.before = _by_component(combine.before)
        self.after = _by_component(combine.after)
        shift = combine.after.bias
        if narrow is not None:
            by = _by_component(narrow.linear)
            self.after = self.after[: len(by)] @ by
            assert shift is not None and narrow.linear.bias is not None, "both are made with one"
            shift = shift @ by[0] + narrow.linear.bias
        self.shift = shift

    def __call__(self, features: Float[Tensor, "children i c"]) -> Float[Tensor, "points o d"]:
        """`A x`."""
        groups = self.matrices.shape[1]
        mixed = torch.bmm(features.transpose(0, 1), self.before).transpose(0, 1)
        split = mixed.unflatten(2, (groups, -1)).transpose(1, 2)
        carried = (self.matrices @ split).transpose(1, 2).flatten(2)
        total = carried.new_zeros(self.n_points, *carried.shape[1:])
        total = total.index_add(0, self.point, carried)[:, : len(self.after)]
        return torch.bmm(total.transpose(0, 1), self.after).transpose(0, 1)

    def adjoint(self, values: Float[Tensor, "points o d"]) -> Float[Tensor, "children i c"]:
        """`A^T z`."""
        groups, outer = self.matrices.shape[1:3]
        total = torch.bmm(values.transpose(0, 1), self.after.transpose(1, 2)).transpose(0, 1)
        total = torch.nn.functional.pad(total, (0, 0, 0, outer - total.shape[1]))
        split = total[self.point].unflatten(2, (groups, -1)).transpose(1, 2)
        mixed = (self.matrices.transpose(2, 3) @ split).transpose(1, 2).flatten(2)
        return torch.bmm(mixed.transpose(0, 1), self.before.transpose(1, 2)).transpose(0, 1)

    def solve(
        self,
        latents: Float[Tensor, "points o d"],
        start: Float[Tensor, "children i c"],
        steps: int,
    ) -> Float[Tensor, "children i c"]:
        """Features whose sum comes close to latents, by conjugate gradients on the squared error.

        Few steps change a start only where the latent tells much.

        Args:
            latents: of the points.
            start: features to begin with.
            steps: of the iteration.
        """
        constant = torch.zeros_like(latents[:1])
        constant[0, 0] = self.shift
        error = latents - constant - self(start)
        features, slope = start, self.adjoint(error)
        direction, size = slope, self._size(slope)
        tiny = torch.finfo(latents.dtype).tiny
        for _ in range(steps):
            change = self(direction)
            length = size / change.square().sum((1, 2)).clamp(min=tiny)
            features = features + length[self.point, None, None] * direction
            error = error - length[:, None, None] * change
            slope = self.adjoint(error)
            last, size = size, self._size(slope)
            ratio = (size / last.clamp(min=tiny))[self.point, None, None]
            direction = slope + ratio * direction
        return features

    def _size(self, features: Float[Tensor, "children i c"]) -> Float[Tensor, " points"]:
        """Squared length of the features of each point's children together."""
        squares = features.square().sum((1, 2))
        return squares.new_zeros(self.n_points).index_add(0, self.point, squares)


def _by_component(linear: Linear) -> Float[Tensor, "components c d"]:
    """The matrix of every component."""
    return linear.weight.index_select(0, linear.multiplet(linear.weight))
