"""Typed configuration of a flow on atoms, and of its training run."""

from typing import Literal

from pydantic import Field

from geomae.autoencoder.config import Config, Elements
from geomae.generation.config import FlowData
from geomae.training.config import Run


class StageConfig(Config):
    """Sizes of the network that moves one kind of atoms, and of the path along which it does.

    Attributes:
        spread: of the noise and of what it becomes, in Å along each axis.
        node_channels, pair_channels: features of an atom and of a pair of atoms.
        hidden: width of the pairs' perceptrons.
        triangles: channels in which pairs see the pairs that make a triangle with them.
        heads: of the attention between atoms.
        layers: one after the other.
        radial: Gaussians of the distance.
        reach: distance in Å up to which they stand.
    """

    spread: float = Field(gt=0)
    node_channels: int = Field(128, ge=1)
    pair_channels: int = Field(64, ge=1)
    hidden: int = Field(128, ge=1)
    triangles: int = Field(32, ge=2, multiple_of=2)
    heads: int = Field(8, ge=1)
    layers: int = Field(8, ge=1)
    radial: int = Field(32, ge=2)
    reach: float = Field(9.6, gt=0)


class AtomFlowConfig(Config):
    """A flow on the atoms of molecules: heavy ones first, then hydrogens.

    Attributes:
        autoencoder: name of the released autoencoder that encodes what is made.
        elements: atomic numbers that the autoencoder knows, ascending.
        max_atoms: largest structure that the autoencoder takes.
        max_heavy: most atoms other than hydrogen.
        skeleton, hydrogens: the two networks.
        properties: scalar properties that can be asked for.
        properties_untold: share of samples in training that do not see a property.
        hydrogen_share: part of each batch that the hydrogens' network learns from; they are
            easier to place than the skeleton, and there are more of them.
        time_mean, time_spread: in training the logit of half of the times is normal with these;
            the other half is uniform.
        recall_share: of batches in training that see where the network itself said before that
            atoms end.
        noise_scaling: spread of the logarithm by which noise is scaled in training at the end of
            the path, falling to none at half of it. So the network tells from a structure how
            noisy it is, and mends errors that earlier steps left.
    """

    kind: Literal["atom_flow"] = "atom_flow"
    autoencoder: str
    elements: Elements
    max_atoms: int = Field(ge=1)
    max_heavy: int = Field(ge=1)
    skeleton: StageConfig
    hydrogens: StageConfig
    properties: tuple[str, ...] = ()
    properties_untold: float = Field(0.5, ge=0, le=1)
    hydrogen_share: float = Field(0.25, gt=0, le=1)
    time_mean: float = 0.5
    time_spread: float = Field(1.0, gt=0)
    recall_share: float = Field(0.0, ge=0, le=1)
    noise_scaling: float = Field(0.0, ge=0)


class AtomFlowRun(Run):
    """One training run of a flow on atoms: what it learns from, what it trains, and how."""

    data: FlowData = FlowData()
    model: AtomFlowConfig
