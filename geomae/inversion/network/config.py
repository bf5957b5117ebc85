"""Typed configuration of the network that inverts SOAP vectors, and of its training run."""

from typing import Literal

from pydantic import Field

from geomae.autoencoder.config import Config, Elements
from geomae.training.config import Run


class SoapConfig(Config):
    """The SOAP vectors that the network reads; options as those of `Soap`."""

    r_cut: float = Field(6.0, gt=1)
    n_max: int = Field(8, ge=1)
    l_max: int = Field(6, ge=1, le=11)
    sigma: float = Field(0.5, gt=0)


class InversionConfig(Config):
    """A network from the SOAP vector of one centre and a frame to the fields of its elements.

    Attributes:
        elements: atomic numbers that it knows, ascending.
        soap: the vectors it reads.
        directions: of channel space that are kept, in each degree.
        components: principal components of what is left, which the perceptron sees.
        width, depth: of the perceptron on invariants.
        lmax, channels: size of the features that the frame turns into place.
        blocks: node blocks on these.
        hidden, n_radial: width of the field's perceptron and its radial functions.
        radius: reach of the field in Å.
        softening: length in Å below which directions fade.
        atoms, rivals: in training, atoms of each environment that are looked for, and
            directions that each is told from.
    """

    kind: Literal["inversion"] = "inversion"
    elements: Elements
    soap: SoapConfig = SoapConfig()
    directions: int = Field(20, ge=1)
    components: int = Field(256, ge=1)
    width: int = Field(320, ge=1)
    depth: int = Field(4, ge=1)
    lmax: int = Field(6, ge=1)
    channels: int = Field(24, ge=1)
    blocks: int = Field(1, ge=0)
    hidden: int = Field(96, ge=1)
    n_radial: int = Field(24, ge=1)
    radius: float = Field(8.0, gt=0)
    softening: float = Field(0.5, gt=0)
    atoms: int = Field(6, ge=1)
    rivals: int = Field(32, ge=1)


class EnvironmentData(Config):
    """What is learned from: atoms around atoms of molecules, the one in the middle left out.

    Attributes:
        source: name of a data set that can be trained on.
        split: part of it that trains.
        shortest, longest: each environment's cutoff is drawn evenly between these, in Å.
    """

    source: Literal["qm9"] = "qm9"
    split: str = "train"
    shortest: float = Field(4.0, gt=0)
    longest: float = Field(8.0, gt=0)


class InversionRun(Run):
    """One training run of the network: what it learns from, what it trains, and how."""

    data: EnvironmentData = EnvironmentData()
    model: InversionConfig
