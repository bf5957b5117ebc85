"""A network on pairs of atoms that says where atoms belong; equivariant to rounding.

It sees atoms by their labels and distances alone, and moves them along differences of positions,
as E(n)-equivariant graph networks do (Satorras et al. 2021). Pairs have features of their own and
see the pairs that make a triangle with them (Jumper et al., AlphaFold, 2021), so angles and rings
are told without spherical harmonics. Every layer measures distances anew, in its own estimate.
Pairs are told what an estimate before said, too (self-conditioning, Chen et al., "Analog bits",
2022).
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from geomae.equivariant import RadialBasis
from geomae.generation.atoms.config import StageConfig

TIME_WAVES = 16
SOFTENING = 1e-8
"""Å^2 added to squared distances, so that the slope at zero is finite."""


class PairNetwork(nn.Module):
    """Direction and length in which each atom moves.

    Args:
        config: sizes.
        labels: number of labels; 0 stands for no atom.
        told: numbers that tell the conditions of a structure.
        links: kinds of links between atoms.
    """

    def __init__(self, config: StageConfig, labels: int, told: int, links: int):
        super().__init__()
        self.config, nodes, pairs = config, config.node_channels, config.pair_channels
        self.label = nn.Embedding(labels + 1, nodes)
        self.time = nn.Sequential(
            nn.Linear(2 * TIME_WAVES + told, nodes), nn.SiLU(), nn.Linear(nodes, nodes)
        )
        self.ends = nn.Linear(nodes, 2 * pairs)
        self.link = nn.Embedding(links + 1, pairs)
        self.gaussians = RadialBasis(config.radial, config.reach, kind="gaussian", envelope=False)
        self.radial = nn.Linear(config.radial, pairs)
        self.recall = nn.Linear(config.radial, pairs, bias=False)
        nn.init.zeros_(self.recall.weight)
        self.layers = nn.ModuleList(PairLayer(config) for _ in range(config.layers))

    def forward(
        self,
        labels: Int[Tensor, "n a"],
        links: Int[Tensor, "n a a"],
        base: Float[Tensor, "n a 3"],
        displaced: Float[Tensor, "n a 3"],
        moves: Bool[Tensor, "n a"],
        times: Float[Tensor, " n"],
        told: Float[Tensor, "n f"],
        recalled: Float[Tensor, "n a 3"] | None = None,
    ) -> Float[Tensor, "n a 3"]:
        """What is left of displacements but for the path's share, in parts of the path's scale.

        Args:
            labels: of atoms; 0 where there is none.
            links: between atoms; 0 for none.
            base: places in Å from which displacements count.
            displaced: how far atoms are from them now; zero for those that do not move.
            moves: which atoms do.
            times: 0 for noise to 1 for structures.
            told: conditions.
            recalled: where displacements were said to end before; None if nobody did.
        """
        keep, scale = (x[:, None, None] for x in path(times, self.config.spread))
        real = labels > 0
        apart = ~torch.eye(labels.shape[1], dtype=torch.bool, device=labels.device)
        valid = (real[:, :, None] & real[:, None] & apart)[..., None]
        state = self.time(torch.cat([time_waves(times), told], 1))
        nodes = self.label(labels) + state[:, None]
        one, other = self.ends(nodes).chunk(2, -1)
        gaussians = self.gaussians(lengths(base + displaced)).to(nodes.dtype)
        before = torch.zeros_like(gaussians)
        if recalled is not None:
            before = self.gaussians(lengths(base + recalled)).to(nodes.dtype)
        pairs = self.radial(gaussians) + self.recall(before) + self.link(links)
        low = working_dtype(nodes)
        pairs = (pairs + one[:, :, None] + other[:, None]).to(low)
        nodes, state = nodes.to(low), state.to(low)
        share = real.sum(1).clamp(min=1).to(low).rsqrt()[:, None, None, None]
        moved = torch.zeros_like(displaced)
        for layer in self.layers:
            estimate = base + torch.where(moves[..., None], keep * displaced + scale * moved, 0)
            difference = estimate[:, :, None] - estimate[:, None]
            distance = lengths(estimate)
            gaussians = self.gaussians(distance).to(low)
            nodes, pairs, weights = layer(nodes, pairs, gaussians, state, valid, share)
            step = weights.to(displaced) * difference / (distance[..., None] + 1)
            moved = moved + torch.where(moves[..., None], step.sum(2), 0)
        return moved


class PairLayer(nn.Module):
    """One exchange between atoms and pairs.

    Args:
        config: sizes.
    """

    def __init__(self, config: StageConfig):
        super().__init__()
        nodes, pairs, hidden = config.node_channels, config.pair_channels, config.hidden
        self.heads, self.triangles = config.heads, config.triangles
        self.pair_norm, self.node_norm = nn.LayerNorm(pairs), nn.LayerNorm(nodes)
        self.enter = nn.Linear(pairs + config.radial, hidden)
        self.ends = nn.Linear(nodes, 2 * hidden, bias=False)
        self.state = nn.Linear(nodes, hidden)
        self.leave = nn.Linear(hidden, pairs)
        self.sides = nn.Linear(hidden, 2 * config.triangles)
        self.triangle = nn.Linear(config.triangles, pairs)
        self.attention = nn.Linear(hidden, config.heads)
        self.value = nn.Linear(nodes, nodes)
        self.pool = nn.Linear(hidden, nodes, bias=False)
        self.node = nn.Sequential(
            nn.Linear(3 * nodes, 2 * nodes), nn.SiLU(), nn.Linear(2 * nodes, nodes)
        )
        self.weight = nn.Linear(pairs, 1, bias=False)
        with torch.no_grad():
            for last in (self.leave, self.triangle, self.node[-1]):
                last.weight.mul_(0.3)
                last.bias.zero_()
            self.weight.weight.mul_(0.1)

    def forward(
        self,
        nodes: Float[Tensor, "n a c"],
        pairs: Float[Tensor, "n a a p"],
        gaussians: Float[Tensor, "n a a r"],
        state: Float[Tensor, "n c"],
        valid: Bool[Tensor, "n a a 1"],
        share: Float[Tensor, "n 1 1 1"],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features after the exchange, and the weight of each pair's difference `[n, a, a, 1]`.

        Args:
            nodes, pairs: features before.
            gaussians: of the distances.
            state: time and conditions.
            valid: pairs of two different atoms that are there.
            share: by which sums over atoms are multiplied.
        """
        real = valid.to(nodes.dtype)
        normed = self.node_norm(nodes).to(nodes.dtype)
        one, other = self.ends(normed).chunk(2, -1)
        entering = torch.cat([self.pair_norm(pairs).to(pairs.dtype), gaussians], -1)
        hidden = self.enter(entering) + one[:, :, None] + other[:, None]
        hidden = nn.functional.silu(hidden + self.state(state)[:, None, None]) * real
        left, right = (self.sides(hidden) * real).permute(0, 3, 1, 2).chunk(2, 1)
        half = self.triangles // 2
        out = left[:, :half] @ right[:, :half].transpose(2, 3)
        into = left[:, half:].transpose(2, 3) @ right[:, half:]
        closed = torch.cat([out, into], 1) * share
        pairs = pairs + self.leave(hidden) + self.triangle(closed.permute(0, 2, 3, 1))
        logits = self.attention(hidden).masked_fill(~valid, -1e4)
        weights = logits.softmax(2).to(nodes.dtype).permute(0, 3, 1, 2)
        values = self.value(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        seen = (weights @ values).transpose(1, 2).flatten(2)
        seen = seen + self.pool(hidden.sum(2) * share[:, 0])
        told = state[:, None].expand(-1, nodes.shape[1], -1)
        nodes = nodes + self.node(torch.cat([normed, seen, told], -1))
        return nodes, pairs, self.weight(pairs) * real


def time_waves(times: Float[Tensor, " n"]) -> Float[Tensor, "n waves"]:
    """Sines and cosines of times from 0 to 1, of which the slowest makes half a turn."""
    waves = times[:, None] * math.pi * torch.arange(1, TIME_WAVES + 1).to(times)
    return torch.cat([waves.sin(), waves.cos()], 1)


def path(times: Float[Tensor, " n"], spread: float) -> tuple[Tensor, Tensor]:
    """What a displacement at a time tells of where it ends, and how much it leaves open.

    Noise and displacements of the same spread mix as `(1 - t) noise + t displacement`; were both
    normal, the displacement would have the first times what is seen as mean, and the second as
    spread (Karras et al. 2022 precondition so).
    """
    power = times.square() + (1 - times).square()
    return times / power, spread * (1 - times) * power.rsqrt()


def lengths(positions: Float[Tensor, "n a 3"]) -> Float[Tensor, "n a a"]:
    """Distances between all atoms of each structure, a little softened, in Å."""
    squared = (positions[:, :, None] - positions[:, None]).square().sum(-1)
    return (squared + SOFTENING).sqrt()


def working_dtype(features: Tensor) -> torch.dtype:
    """What features are kept in: autocast's precision where it is on."""
    kind = features.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else features.dtype
