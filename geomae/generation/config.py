"""Typed configuration of a flow on latents, and of its training run."""

from typing import Literal

from pydantic import Field

from geomae.autoencoder.config import Config, Elements
from geomae.training.config import Run


class FlowConfig(Config):
    """A flow on the latents of an autoencoder.

    Attributes:
        autoencoder: name of the released autoencoder whose latents it makes.
        elements: atomic numbers that the autoencoder knows, ascending.
        max_atoms: largest structure that the autoencoder takes.
        lmax, latent_channels: size of a latent.
        channels: channels of the velocity's features.
        blocks: blocks of the velocity.
        hidden: width of the embedding of time and conditions, and of the blocks' perceptrons.
        whitening: principal components of latents are divided by their spread to this power:
            0 leaves their spreads as they are, 1 makes them all alike.
        properties: scalar properties that can be asked for.
        time_mean, time_spread: in training the logit of the time is normal with these.
        counts_untold, inventory_untold, properties_untold: share of samples in training that do
            not see their composition, their inventory of heavy atoms, or a property. Those that
            do not see their composition see no inventory either.
    """

    kind: Literal["flow"] = "flow"
    autoencoder: str
    elements: Elements
    max_atoms: int = Field(ge=1)
    lmax: int = Field(ge=1)
    latent_channels: int = Field(ge=1)
    channels: int = Field(64, ge=1)
    blocks: int = Field(6, ge=1)
    hidden: int = Field(128, ge=2)
    whitening: float = Field(0.5, ge=0, le=1)
    properties: tuple[str, ...] = ()
    time_mean: float = 0.0
    time_spread: float = Field(1.0, gt=0)
    counts_untold: float = Field(0.1, ge=0, le=1)
    inventory_untold: float = Field(0.1, ge=0, le=1)
    properties_untold: float = Field(0.5, ge=0, le=1)


class FlowData(Config):
    """What is learned from.

    Attributes:
        source: name of a data set that can be trained on.
        split: part of it that trains.
    """

    source: Literal["qm9"] = "qm9"
    split: str = "train"


class FlowRun(Run):
    """One training run of a flow: what it learns from, what it trains, and how."""

    data: FlowData = FlowData()
    model: FlowConfig
