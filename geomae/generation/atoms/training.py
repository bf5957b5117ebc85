"""Training a flow on atoms."""

import numpy as np
import torch

from geomae.autoencoder.zoo import load
from geomae.errors import GeomaeError
from geomae.generation.atoms.config import AtomFlowConfig, AtomFlowRun
from geomae.generation.atoms.data import MoleculeSet, molecules_of_qm9
from geomae.generation.atoms.flow import AtomFlow
from geomae.generation.statistics import Contents
from geomae.training.order import Order
from geomae.training.task import Task


class ShuffledMolecules:
    """Batches of molecules in an order that the seed and the step decide, epoch by epoch."""

    def __init__(self, data: MoleculeSet, batch_size: int, seed: int):
        self.data = data
        self.order = Order(np.arange(len(data)), batch_size, seed, "molecules")

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> MoleculeSet:
        return self.data.select(torch.from_numpy(self.order.part(step, part, parts)))


def task(config: AtomFlowRun) -> Task:
    """The flow with its first weights, and its data.

    Raises:
        GeomaeError: it does not fit the autoencoder or the data.
    """
    data = molecules_of_qm9(config.data.split, config.model.properties)
    check_fit(config.model, data)
    flow = AtomFlow(config.model, Contents.of(data.kinds, data.inventory(), data.properties))
    settings = config.training
    return Task(flow, ShuffledMolecules(data, settings.batch_size, settings.seed))


def check_fit(config: AtomFlowConfig, data: MoleculeSet) -> None:
    """See that a flow fits the autoencoder that encodes its molecules, and its data.

    Raises:
        GeomaeError: elements or sizes differ.
    """
    model = load(config.autoencoder)
    pairs = (
        ("elements", config.elements, model.elements),
        ("max_atoms", config.max_atoms, model.config.max_atoms),
    )
    for name, own, theirs in pairs:
        if own != theirs:
            raise GeomaeError(
                f"the flow has {name} {own}, the autoencoder '{config.autoencoder}' {theirs}"
            )
    if data.kind.shape[1] > config.max_heavy:
        raise GeomaeError(
            f"the data has molecules of {data.kind.shape[1]} heavy atoms; max_heavy is "
            f"{config.max_heavy}"
        )
