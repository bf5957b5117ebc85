"""What the encoder and the decoder are made of, beside the layers of the core."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geomae.equivariant import Gate, GridProduct, Linear, Norm, dim


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


class Resize(nn.Module):
    """A linear map to another number of channels, which also cuts degrees off or fills them with
    zeros.
    """

    def __init__(self, channels_in: int, channels_out: int, lmax_in: int, lmax_out: int):
        super().__init__()
        self.kept, self.missing = dim(min(lmax_in, lmax_out)), dim(lmax_out) - dim(lmax_in)
        self.linear = Linear(channels_in, channels_out, min(lmax_in, lmax_out))

    def forward(self, features: Float[Tensor, "n m_in c_in"]) -> Float[Tensor, "n m_out c_out"]:
        resized = self.linear(features[:, : self.kept])
        return nn.functional.pad(resized, (0, 0, 0, max(self.missing, 0)))


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
