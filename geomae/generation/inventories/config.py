"""Typed configuration of a model of inventories, and of its training run."""

from typing import Literal

from pydantic import Field

from geomae.autoencoder.config import Config, Elements
from geomae.generation.config import FlowData
from geomae.training.config import Run


class InventoryConfig(Config):
    """A probability of inventories: atoms of each element, then heavy atoms of each kind.

    Attributes:
        elements: atomic numbers, ascending, hydrogen first.
        max_atoms: most atoms.
        max_heavy: most atoms other than hydrogen.
        channels: width of the network.
        blocks: residual blocks.
        properties: scalar properties whose mean and spread it tells of an inventory.
        property_weight: of their log-likelihood, beside that of inventories.
    """

    kind: Literal["inventories"] = "inventories"
    elements: Elements
    max_atoms: int = Field(ge=1)
    max_heavy: int = Field(ge=1)
    channels: int = Field(128, ge=1)
    blocks: int = Field(2, ge=1)
    properties: tuple[str, ...] = ()
    property_weight: float = Field(0.1, ge=0)


class InventoryRun(Run):
    """One training run of a model of inventories: what it learns from, what it trains, and how."""

    data: FlowData = FlowData()
    model: InventoryConfig
