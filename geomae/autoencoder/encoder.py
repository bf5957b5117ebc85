"""The encoder: atoms see their neighbours, then pool into groups, motifs and one point."""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.utils import to_dense_batch

from geomae.autoencoder.blocks import NodeBlock, Resize
from geomae.autoencoder.config import AutoencoderConfig
from geomae.equivariant import Linear, RadialBasis, Transport, dim, spherical_harmonics
from geomae.pooling import Tree, grow_tree


class AtomEmbedding(nn.Module):
    """Features of atoms: the density of each element around them, and their own element."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        atoms, n_elements = config.atoms, len(config.elements)
        self.lmax = atoms.lmax
        index = torch.full((119,), -1)
        index[list(config.elements)] = torch.arange(n_elements)
        self.register_buffer("index", index, persistent=False)
        self.basis = RadialBasis(atoms.n_radial, atoms.cutoff)
        self.mix = Linear(atoms.n_radial * n_elements, atoms.channels, atoms.lmax, bias=False)
        self.scale = nn.Parameter(torch.ones(n_elements, atoms.channels))
        self.shift = nn.Parameter(torch.randn(n_elements, atoms.channels))
        self.n_elements = n_elements

    def forward(self, tree: Tree) -> Float[Tensor, "atoms m c"]:
        element = self.index[tree.numbers]
        return self.embed(self.densities(tree, element), element)

    def embed(
        self, densities: Float[Tensor, "atoms m channels"], element: Int[Tensor, " atoms"]
    ) -> Float[Tensor, "atoms m c"]:
        """Features from densities and the atoms' own elements."""
        features = self.mix(densities) * self.scale[element][:, None]
        scalars = features[:, :1] + self.shift[element][:, None]
        return torch.cat([scalars, features[:, 1:]], 1)

    def densities(self, tree: Tree, element: Tensor) -> Float[Tensor, "atoms m channels"]:
        """Sum over neighbours of radial functions times harmonics, for each element apart."""
        atom, neighbour = _near(tree.positions[0], tree.batch[0], self.basis.cutoff)
        vectors = tree.positions[0][neighbour] - tree.positions[0][atom]
        harmonics = spherical_harmonics(self.lmax, vectors)
        radial = self.basis(vectors.norm(dim=-1))
        shells = (harmonics[:, :, None] * radial[:, None]).flatten(1)
        n, labels = len(element), self.n_elements
        sums = shells.new_zeros(n * labels, shells.shape[1])
        sums = sums.index_add(0, atom * labels + element[neighbour], shells)
        parts = sums.unflatten(0, (n, labels)).unflatten(2, (harmonics.shape[1], -1))
        return parts.permute(0, 2, 3, 1).flatten(2)


def _near(
    positions: Float[Tensor, "atoms 3"], batch: Int[Tensor, " atoms"], cutoff: float
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Ordered pairs of different atoms of one structure that are closer than a distance in Å."""
    with torch.no_grad():
        places, mask = to_dense_batch(positions, batch)
        square = (places[:, None] - places[:, :, None]).square().sum(-1)
        pairs = mask[:, :, None] & mask[:, None] & (square < cutoff**2)
        pairs &= ~torch.eye(places.shape[1], dtype=torch.bool, device=mask.device)
        structure, first, second = pairs.nonzero(as_tuple=True)
        size = mask.sum(1)
        start = torch.cumsum(size, 0) - size
    return start[structure] + first, start[structure] + second


class Encoder(nn.Module):
    """Structures to one array of features at one point each, by pooling along a tree.

    Every level combines the features of its members by a convolution along the edges of the
    tree; only geometry and elements go in.
    """

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        self.embedding = AtomEmbedding(config)
        sizes = [config.atoms, *config.levels]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(NodeBlock(size.channels, size.lmax) for _ in range(size.encoder_blocks))
            )
            for size in sizes[:-1]
        )
        self.combine = nn.ModuleList(
            Transport(
                below.carried,
                level.channels,
                below.lmax,
                level.lmax,
                lmax_filter=level.lmax_filter,
                groups=level.groups,
                reach=level.radius,
                softening=level.softening,
            )
            for below, level in pairwise(sizes)
        )
        self.codes = nn.ModuleDict(
            {
                str(number): Resize(level.channels, level.code, level.lmax, level.lmax)
                for number, level in enumerate(config.levels, 1)
                if level.code
            }
        )
        last, latent = config.levels[-1], config.latent
        self.narrow = latent and Resize(last.channels, latent.channels, last.lmax, latent.lmax)

    def grow(
        self,
        numbers: Int[Tensor, " atoms"],
        positions: Float[Tensor, "atoms 3"],
        batch: Tensor,
        ridge: float = 0.0,
    ) -> Tree:
        """The hierarchy of atoms, by this encoder's scales; `ridge` as in `mean_shift`."""
        scales, weight = self.config.scales, self.config.heavy_weight
        return grow_tree(numbers, positions, batch, scales=scales, heavy_weight=weight, ridge=ridge)

    def forward(self, tree: Tree) -> Float[Tensor, "n m c"]:
        """Latents `[structures, (lmax + 1)^2, channels]`."""
        return self.levels(tree)[-1]

    def levels(self, tree: Tree) -> list[Tensor]:
        """Features of the points of every level, atoms first and the latent last."""
        features = [self.embedding(tree)]
        for level, (blocks, combine) in enumerate(zip(self.blocks, self.combine, strict=True)):
            features[-1] = blocks(features[-1])
            edges, below, above = tree.memberships[level], *tree.positions[level : level + 2]
            vectors = below[edges[0]] - above[edges[1]]
            features.append(
                self.coded(combine(features[-1], vectors, edges, len(above)), level + 1)
            )
        if self.narrow:
            features[-1] = self.narrow(features[-1])
        return features

    def coded(self, features: Float[Tensor, "n m c"], level: int) -> Float[Tensor, "n m d"]:
        """Features of a level narrowed, where the configuration says so."""
        return self.codes[str(level)](features) if str(level) in self.codes else features

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Components and channels of a latent."""
        latent = self.config.latent or self.config.levels[-1]
        return dim(latent.lmax), latent.channels
