"""The encoder of crystals: atoms see their neighbours, then they and the lattice meet at the
anchor.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geomae.autoencoder.blocks import NodeBlock, Resize
from geomae.crystals.batch import CrystalBatch, shares
from geomae.crystals.config import CrystalConfig
from geomae.crystals.meeting import Meeting, sums_of_products
from geomae.equivariant import Linear, RadialBasis, dim, spherical_harmonics

CLASSES = 7
"""Classes of a lattice modulo twice itself, but for its own."""


class SiteEmbedding(nn.Module):
    """Features of atoms: the density of elements around them, and their own element.

    An element is a learned vector, so that any number of elements costs the same.
    """

    def __init__(self, config: CrystalConfig):
        super().__init__()
        sites, n = config.sites, len(config.elements)
        self.lmax = sites.lmax
        index = torch.full((119,), -1)
        index[list(config.elements)] = torch.arange(n)
        self.register_buffer("index", index, persistent=False)
        self.basis = RadialBasis(sites.n_radial, sites.cutoff)
        self.radial = nn.Parameter(torch.randn(sites.n_radial, sites.width) * 0.5)
        self.element = nn.Parameter(torch.randn(n, sites.width))
        self.mix = Linear(sites.width, sites.channels, sites.lmax, bias=False)
        self.scale = nn.Parameter(torch.ones(n, sites.channels))
        self.shift = nn.Parameter(torch.randn(n, sites.channels))

    def forward(self, crystals: CrystalBatch) -> Float[Tensor, "atoms m c"]:
        element = self.index[crystals.numbers]
        vectors = crystals.edge_vectors()
        source, target = crystals.edges
        shells = self.basis(vectors.norm(dim=1)) @ self.radial * self.element[element[source]]
        harmonics = spherical_harmonics(self.lmax, vectors)
        density = sums_of_products(harmonics, shells, target, len(element))
        features = self.mix(density) * self.scale[element][:, None]
        scalars = features[:, :1] + self.shift[element][:, None]
        return torch.cat([scalars, features[:, 1:]], 1)


class LatticeDensity(nn.Module):
    """Features of a lattice: the density of its Voronoi-relevant vectors about the origin."""

    def __init__(self, config: CrystalConfig):
        super().__init__()
        self.lmax, self.width = config.lmax, config.vector_width
        level = config.lattice
        self.basis = RadialBasis(level.n_radial, level.radius, kind="gaussian", envelope=False)
        self.mix = Linear(level.n_radial, config.channels, config.lmax, bias=False)

    def forward(self, crystals: CrystalBatch) -> Float[Tensor, "n m c"]:
        vectors = crystals.lattice_vectors()
        group = crystals.vector_crystal * CLASSES + crystals.vector_class
        weights = shares(vectors, group, crystals.n * CLASSES, self.width)
        radial = self.basis(vectors.norm(dim=1)) * weights[:, None]
        harmonics = spherical_harmonics(self.lmax, vectors)
        density = sums_of_products(harmonics, radial, crystals.vector_crystal, crystals.n)
        return self.mix(density)


class CrystalEncoder(nn.Module):
    """Crystals to one array of features at their anchors.

    Atoms count at every image, with weights that fall with the distance from the anchor and sum to
    one for each atom, so that the latent is smooth in positions and lattice: nothing jumps where
    another image becomes the nearest. So do lattice vectors within their classes.
    """

    def __init__(self, config: CrystalConfig):
        super().__init__()
        self.config = config
        sites = config.sites
        self.embedding = SiteEmbedding(config)
        self.site_blocks = nn.Sequential(
            *(NodeBlock(sites.channels, sites.lmax) for _ in range(sites.blocks))
        )
        self.combine = Meeting(
            sites.channels,
            config.channels,
            sites.lmax,
            config.lmax,
            lmax_filter=config.lmax_filter,
            groups=config.groups,
            reach=config.atoms.radius,
            softening=config.softening,
        )
        self.lattice = LatticeDensity(config)
        self.blocks = nn.Sequential(
            *(NodeBlock(config.channels, config.lmax) for _ in range(config.encoder_blocks))
        )
        self.narrow = Resize(
            config.channels, config.latent.channels, config.lmax, config.latent.lmax
        )

    def forward(self, crystals: CrystalBatch) -> Float[Tensor, "n m c"]:
        """Latents `[n, (lmax + 1)^2, channels]`."""
        features = self.site_blocks(self.embedding(crystals))
        vectors, atom = crystals.image_vectors(), crystals.image_atom
        weights = shares(vectors, atom, len(crystals.numbers), self.config.image_width)
        met = self.combine(features, vectors, weights, atom, crystals.batch, crystals.n)
        return self.narrow(self.blocks(met + self.lattice(crystals)))

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Components and channels of a latent."""
        return dim(self.config.latent.lmax), self.config.latent.channels
