"""The velocity of a flow: an equivariant network on the features of one point."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geomae.equivariant import Constant, GridProduct, Linear, Norm
from geomae.equivariant.layout import Layout

FREQUENCIES = 16
"""Frequencies of the embedding of time."""

LEAST = 1e-3
"""Added to a time and to its distance from 1 where the logarithm of their ratio is taken."""


class VelocityBlock(nn.Module):
    """Features and their products on the sphere, gated by what invariants and conditions say.

    The product is exact on its quadrature grid and the gates are functions of invariants alone, so
    that the block is equivariant to machine precision, reflections included.

    Args:
        channels: channels of the features.
        lmax: highest degree.
        hidden: width of the embedding and of the perceptron that makes the gates.
    """

    def __init__(self, channels: int, lmax: int, hidden: int):
        super().__init__()
        self.channels, self.layout = channels, Layout(lmax)
        self.norm = Norm(channels, lmax)
        self.linear = Linear(channels, channels, lmax)
        self.product = GridProduct(channels, lmax, lmax)
        self.gates = nn.Sequential(
            nn.Linear(channels + hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, (self.layout.multiplets + 1) * channels),
        )
        self.out = Linear(channels, channels, lmax, bias=False)
        self.multiplet = Constant(self.layout.index)
        nn.init.zeros_(self.out.weight)

    def forward(
        self, features: Float[Tensor, "n m c"], embedding: Float[Tensor, "n hidden"]
    ) -> Float[Tensor, "n m c"]:
        own = self.norm(features)
        own = self.linear(own) + self.product(own)
        gates = self.gates(torch.cat([own[:, 0], embedding], 1)).unflatten(1, (-1, self.channels))
        factor, shift = 1 + gates[:, :-1], gates[:, -1:]
        gated = own * factor.index_select(1, self.multiplet(own))
        gated = torch.cat([gated[:, :1] + shift, gated[:, 1:]], 1)
        return features + self.out(gated)


class Velocity(nn.Module):
    """What a flow's network predicts of a noisy latent, time and conditions being given.

    Args:
        latent_channels: channels of a latent.
        lmax: highest degree.
        conditions: numbers that stand for the conditions.
        channels, blocks, hidden: sizes; see `FlowConfig`.
    """

    def __init__(
        self,
        latent_channels: int,
        lmax: int,
        conditions: int,
        *,
        channels: int,
        blocks: int,
        hidden: int,
    ):
        super().__init__()
        self.frequencies = Constant(2.0 ** torch.linspace(-3, 3, FREQUENCIES).double())
        self.embedding = nn.Sequential(
            nn.Linear(2 * FREQUENCIES + conditions, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
        )
        self.widen = Linear(latent_channels, channels, lmax)
        self.blocks = nn.ModuleList(VelocityBlock(channels, lmax, hidden) for _ in range(blocks))
        self.norm = Norm(channels, lmax)
        self.narrow = Linear(channels, latent_channels, lmax)
        nn.init.zeros_(self.narrow.weight)

    def forward(
        self,
        latents: Float[Tensor, "n m c"],
        times: Float[Tensor, " n"],
        conditions: Float[Tensor, "n f"],
    ) -> Float[Tensor, "n m c"]:
        noise = ((1 - times + LEAST) / (times + LEAST)).log()
        phases = noise[:, None] * self.frequencies(times)
        embedding = self.embedding(torch.cat([phases.sin(), phases.cos(), conditions], 1))
        features = self.widen(latents)
        for block in self.blocks:
            features = block(features, embedding)
        return self.narrow(self.norm(features))
