"""Typed configuration of a flow on crystals of given space groups, and of its training run."""

from typing import Literal

from pydantic import Field

from geomae.autoencoder.config import Config, Elements
from geomae.training.config import Run


class GeometryConfig(Config):
    """Sizes of the network that moves atoms and lattice.

    Attributes:
        channels: features of an orbit, and of a pair.
        vectors: channels of the sums of directions about an atom.
        layers: one after the other.
        radial: Gaussians of the distance.
        cutoff: distance in Å up to which atoms see each other.
        strain: spread of the noise of the lattice, along each axis of strain.
    """

    channels: int = Field(96, ge=1)
    vectors: int = Field(16, ge=1)
    layers: int = Field(4, ge=1)
    radial: int = Field(24, ge=2)
    cutoff: float = Field(5.0, gt=0)
    strain: float = Field(0.1, gt=0)


class ElementsConfig(Config):
    """Sizes of the network that says which elements share a crystal.

    Attributes:
        channels: features of a class of sites that share an element.
        layers, heads: of the attention between classes.
    """

    channels: int = Field(96, ge=1)
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)


class CrystalFlowConfig(Config):
    """A flow on crystals: elements on sites of a space group, then lattice and coordinates.

    Attributes:
        autoencoder: name of the released autoencoder that encodes what is made.
        elements: atomic numbers that the autoencoder knows, ascending.
        max_atoms: most atoms of a primitive cell.
        geometry, composition: the two networks.
    """

    kind: Literal["crystal_flow"] = "crystal_flow"
    autoencoder: str
    elements: Elements
    max_atoms: int = Field(ge=1)
    geometry: GeometryConfig = GeometryConfig()
    composition: ElementsConfig = ElementsConfig()


class CrystalFlowData(Config):
    """What is learned from.

    Attributes:
        sources: data sets and their splits, such as `perov5/train`.
        without: data sets and splits whose crystals are left out: those of the same identifier,
            or of the same reduced formula, space group and number of atoms.
        symprec: distance in Å within which symmetry is taken to be meant.
    """

    sources: tuple[str, ...]
    without: tuple[str, ...] = ()
    symprec: float = Field(0.01, gt=0)


class CrystalFlowRun(Run):
    """One training run of a flow on crystals: what it learns from, what it trains, and how."""

    data: CrystalFlowData
    model: CrystalFlowConfig
