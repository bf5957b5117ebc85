"""Networks on the orbits of a crystal: where atoms and lattice go, and which elements share one.

One atom of each orbit looks at all atoms about it, so the cost is that of an asymmetric unit. It
sees distances, and sums of directions of degree 1 and 2 over its neighbours; displacements and
strains are made of the latter, so they turn with the crystal and are those of the crystal, not of
a cell.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from geomae.equivariant import RadialBasis
from geomae.generation.atoms.network import TIME_WAVES, time_waves, working_dtype
from geomae.generation.crystals.batch import Sites
from geomae.generation.crystals.config import ElementsConfig, GeometryConfig

SOFTENING = 1e-3
"""Added to distances in Å by which directions are divided; atoms of noise may coincide."""

CROWD = 30.0
"""Neighbours by which sums over them are divided."""


class OrbitNetwork(nn.Module):
    """Velocity of coordinates, and where strain ends.

    Args:
        config: sizes.
        elements: number of elements.
    """

    def __init__(self, config: GeometryConfig, elements: int):
        super().__init__()
        self.config, width = config, config.channels
        self.element = nn.Embedding(elements, width)
        self.time = nn.Sequential(
            nn.Linear(2 * TIME_WAVES, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.gaussians = RadialBasis(config.radial, config.cutoff, kind="gaussian", envelope=False)
        self.layers = nn.ModuleList(OrbitLayer(config) for _ in range(config.layers))

    def forward(
        self,
        sites: Sites,
        points: Float[Tensor, "orbits 3"],
        strains: Float[Tensor, "n 3 3"],
        times: Float[Tensor, " n"],
    ) -> tuple[Float[Tensor, "orbits 3"], Float[Tensor, "n 3 3"]]:
        """Velocities in Å of first points, and what is left of strains but for the path's share,
        in parts of the path's scale; not confined yet.

        Args:
            sites: the crystals.
            points: first points of orbits, in fractions of the cells.
            strains: logarithmic, of the frames.
            times: 0 for noise to 1 for crystals.
        """
        own, other, vectors = sites.neighbours(points, sites.cells(strains), self.config.cutoff)
        lengths = vectors.norm(dim=1)
        shapes = harmonics(vectors / (lengths[:, None] + SOFTENING))
        weights = self.element.weight.dtype
        state = self.time(time_waves(times).to(weights))[sites.crystal]
        nodes = self.element(sites.element)
        low = working_dtype(nodes)
        nodes, state = nodes.to(low), state.to(low)
        radial = self.gaussians(lengths).to(low)
        envelope = (0.5 + 0.5 * torch.cos(math.pi * lengths / self.config.cutoff))[:, None].to(low)
        share = sites.share().to(weights)[:, None]
        moved = torch.zeros(len(sites.crystal), 3, dtype=weights, device=points.device)
        strained = torch.zeros(len(sites), 6, dtype=weights, device=points.device)
        shapes = shapes.to(weights)
        for layer in self.layers:
            nodes, step, strain = layer(
                nodes, radial, envelope, shapes, own, other, state, share, sites.crystal, len(sites)
            )
            moved = moved + step
            strained = strained.index_add(0, sites.crystal, strain * share)
        return moved.to(points), symmetric(strained).to(points)


class OrbitLayer(nn.Module):
    """One look of every orbit at its neighbours.

    Args:
        config: sizes.
    """

    def __init__(self, config: GeometryConfig):
        super().__init__()
        width, vectors = config.channels, config.vectors
        self.norm = nn.LayerNorm(width)
        self.radial = nn.Linear(config.radial, width)
        self.ends = nn.Linear(width, 2 * width)
        self.factors = nn.Linear(width, vectors)
        self.node = nn.Sequential(
            nn.Linear(4 * width + 2 * vectors, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )
        self.read = nn.Linear(width, 2 * vectors + 1)
        with torch.no_grad():
            self.node[-1].weight.mul_(0.3)
            self.read.weight.mul_(0.1)

    def forward(
        self,
        nodes: Float[Tensor, "orbits c"],
        radial: Float[Tensor, "edges r"],
        envelope: Float[Tensor, "edges 1"],
        shapes: Float[Tensor, "edges 8"],
        own: Int[Tensor, " edges"],
        other: Int[Tensor, " edges"],
        state: Float[Tensor, "orbits c"],
        share: Float[Tensor, "orbits 1"],
        crystal: Int[Tensor, " orbits"],
        n: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features after the look, displacements `[orbits, 3]` and strains `[orbits, 6]`.

        Args:
            nodes: features before.
            radial, envelope, shapes: of the neighbours' distances and directions.
            own, other: orbit that looks, and that of the neighbour.
            state: of the time.
            share: of the crystal's atoms.
            crystal: of each orbit.
            n: crystals.
        """
        normed = self.norm(nodes).to(nodes.dtype)
        one, two = self.ends(normed).chunk(2, 1)
        pairs = nn.functional.silu(self.radial(radial) + one[own] + two[other]) * envelope
        seen = _summed(pairs, own, len(nodes))
        factors = self.factors(pairs).to(shapes)
        bunches = _summed(factors[:, :, None] * shapes[:, None], own, len(nodes))
        squares = bunches.square()
        powers = torch.cat([squares[..., :3].sum(2), squares[..., 3:].sum(2)], 1)
        whole = torch.zeros(n, nodes.shape[1], dtype=share.dtype, device=share.device)
        whole = whole.index_add(0, crystal, normed.to(share) * share)[crystal]
        told = [normed, seen.to(nodes), (powers + 1e-4).sqrt().to(nodes), whole.to(nodes), state]
        nodes = nodes + self.node(torch.cat(told, 1))
        along, across, isotropic = (
            self.read(nodes).to(shapes).split([bunches.shape[1], bunches.shape[1], 1], 1)
        )
        step = torch.einsum("ok,okj->oj", along, bunches[..., :3])
        shear = torch.einsum("ok,okj->oj", across, bunches[..., 3:])
        return nodes, step, torch.cat([shear, isotropic], 1)


def _summed(values: Tensor, own: Int[Tensor, " edges"], n: int) -> Tensor:
    """Sums over the neighbours of each orbit, in single precision at least."""
    whole = torch.float64 if values.dtype == torch.float64 else torch.float32
    total = torch.zeros(n, *values.shape[1:], dtype=whole, device=values.device)
    return total.index_add(0, own, values.to(whole)) / CROWD


def harmonics(directions: Float[Tensor, "edges 3"]) -> Float[Tensor, "edges 8"]:
    """The directions, and the five components of their traceless products; see `symmetric`."""
    x, y, z = directions.unbind(1)
    third = 3**0.5
    quadratic = [
        third * x * y,
        third * y * z,
        z * z - 0.5 * (x * x + y * y),
        third * x * z,
        0.5 * third * (x * x - y * y),
    ]
    return torch.cat([directions, torch.stack(quadratic, 1)], 1)


def symmetric(components: Float[Tensor, "n 6"]) -> Float[Tensor, "n 3 3"]:
    """Symmetric matrices: five components of degree 2 as in `harmonics`, and the mean diagonal."""
    xy, yz, zz, xz, xx_yy, mean = components.unbind(1)
    third = 3**-0.5
    rows = [
        mean - third * zz + xx_yy, xy, xz,
        xy, mean - third * zz - xx_yy, yz,
        xz, yz, mean + 2 * third * zz,
    ]  # fmt: skip
    return torch.stack(rows, 1).unflatten(1, (3, 3))


class ElementNetwork(nn.Module):
    """Which element a class of sites holds, given those of some others.

    Args:
        config: sizes.
        elements: number of elements.
        positions: number of Wyckoff positions that occur.
    """

    def __init__(self, config: ElementsConfig, elements: int, positions: int):
        super().__init__()
        width = config.channels
        self.element = nn.Embedding(elements + 1, width)
        self.position = nn.Embedding(positions, width)
        self.group = nn.Embedding(231, width)
        self.amount = nn.Linear(4, width)
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.attention = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, elements))
        with torch.no_grad():
            for table in (self.element, self.position, self.group):
                table.weight.mul_(0.3)

    def forward(
        self,
        element: Int[Tensor, "n classes"],
        there: Bool[Tensor, "n classes"],
        counts: Float[Tensor, "n classes"],
        sizes: Float[Tensor, "n classes"],
        orbits: Float[Tensor, "n classes positions"],
        group: Int[Tensor, " n"],
    ) -> Float[Tensor, "n classes elements"]:
        """Logits of each class's element.

        Args:
            element: number of the element plus one; 0 where it is not told.
            there: which classes there are.
            counts: atoms of each class.
            sizes: orbits of each class.
            orbits: of each class on each position that occurs.
            group: number of the space group.
        """
        total = counts.sum(1, keepdim=True).clamp(min=1)
        amounts = torch.stack(
            [
                counts.clamp(min=1).log(),
                counts / total,
                sizes,
                total.log().expand_as(counts),
            ],
            2,
        )
        sites = orbits @ self.position.weight.to(orbits)
        tokens = self.element(element) + sites + self.group(group)[:, None] + self.amount(amounts)
        seen = self.attention(tokens, src_key_padding_mask=~there)
        return self.head(seen)
