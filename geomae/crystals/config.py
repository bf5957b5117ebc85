"""Typed configuration of an autoencoder of crystals."""

from math import inf
from typing import Literal

from pydantic import Field, model_validator

from geomae.autoencoder.config import Config, Elements, LatentConfig, LevelConfig


class SitesConfig(Config):
    """How an atom sees its neighbourhood, its images' included.

    Attributes:
        cutoff: radius of the neighbourhood, in Å.
        n_radial: radial functions in it.
        lmax, channels: size of an atom's features.
        width: channels of the density from which they are mixed.
        blocks: node blocks applied to them.
    """

    cutoff: float = Field(5.0, gt=0)
    n_radial: int = Field(8, ge=1)
    lmax: int = Field(3, ge=0)
    channels: int = Field(32, ge=1)
    width: int = Field(64, ge=1)
    blocks: int = Field(1, ge=0)


class PeaksConfig(LevelConfig):
    """A field around the anchor whose peaks are wanted; see `LevelConfig` for what it says."""

    scale: float = Field(inf, gt=0)


class CrystalConfig(Config):
    """An autoencoder of crystals.

    Attributes:
        elements: atomic numbers that it knows, ascending.
        max_atoms: of the largest primitive cell that it takes.
        symprec: distance in Å within which symmetry is taken to be meant.
        sites: how atoms see their neighbourhoods.
        lmax, channels: size of the features at the anchor, in the encoder and the decoder; degrees
            below 4 don't tell how a cubic crystal is turned.
        encoder_blocks, decoder_blocks: node blocks on them.
        groups, lmax_filter, softening: of the convolution that carries atoms to the anchor.
        image_width: atoms count at each of their images, with weights that fall with the distance r
            from the anchor as exp(-r^2 / 2 width^2) and sum to one; in Å.
        vector_width: the same for lattice vectors of one class; in Å.
        atoms: the field whose peaks are the atoms nearest to the anchor.
        lattice: the field whose peaks are the Voronoi-relevant lattice vectors.
        latent: what the features at the anchor are narrowed to.
    """

    kind: Literal["crystals"] = "crystals"
    elements: Elements
    max_atoms: int = Field(ge=1)
    symprec: float = Field(1e-3, gt=0)
    sites: SitesConfig = SitesConfig()
    lmax: int = Field(6, ge=0)
    channels: int = Field(64, ge=1)
    encoder_blocks: int = Field(1, ge=0)
    decoder_blocks: int = Field(2, ge=0)
    groups: int = Field(8, ge=1)
    lmax_filter: int = Field(6, ge=0)
    softening: float = Field(0.8, gt=0)
    image_width: float = Field(0.7, gt=0)
    vector_width: float = Field(1.0, gt=0)
    atoms: PeaksConfig
    lattice: PeaksConfig
    latent: LatentConfig = LatentConfig(lmax=6, channels=32)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "CrystalConfig":
        if self.channels % self.groups:
            raise ValueError(
                f"channels ({self.channels}) must be a multiple of groups ({self.groups})"
            )
        if self.latent.lmax > self.lmax:
            raise ValueError(
                f"the latent's lmax ({self.latent.lmax}) can't exceed lmax ({self.lmax})"
            )
        return self
