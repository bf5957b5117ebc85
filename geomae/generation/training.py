"""Training a flow on the latents of a data set, encoded once and kept."""

import numpy as np
import torch

from geomae.autoencoder.zoo import load
from geomae.errors import GeomaeError
from geomae.generation.config import FlowConfig, FlowRun
from geomae.generation.data import LatentSet, latents_of_qm9
from geomae.generation.flow import LatentFlow
from geomae.generation.statistics import Statistics
from geomae.training.order import Order
from geomae.training.task import Task


class ShuffledLatents:
    """Batches of latents in an order that the seed and the step decide, epoch by epoch."""

    def __init__(self, data: LatentSet, batch_size: int, seed: int):
        self.data = data
        self.order = Order(np.arange(len(data)), batch_size, seed, "latents")

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> LatentSet:
        return self.data.select(torch.from_numpy(self.order.part(step, part, parts)))


def task(config: FlowRun) -> Task:
    """The flow with its first weights, and its data.

    Raises:
        GeomaeError: it does not fit the autoencoder.
    """
    check_fit(config.model)
    data = latents_of_qm9(config.model.autoencoder, config.data.split, config.model.properties)
    flow = LatentFlow(config.model, Statistics.of_latents(data))
    return Task(flow, ShuffledLatents(data, config.training.batch_size, config.training.seed))


def check_fit(config: FlowConfig) -> None:
    """See that a flow fits the autoencoder whose latents it makes.

    Raises:
        GeomaeError: elements, sizes or latents differ.
    """
    model = load(config.autoencoder)
    own = {
        "elements": config.elements,
        "max_atoms": config.max_atoms,
        "latents": ((config.lmax + 1) ** 2, config.latent_channels),
    }
    theirs = {
        "elements": model.elements,
        "max_atoms": model.config.max_atoms,
        "latents": model.encoder.latent_shape,
    }
    for name, value in own.items():
        if value != theirs[name]:
            raise GeomaeError(
                f"the flow has {name} {value}, the autoencoder '{config.autoencoder}' "
                f"{theirs[name]}"
            )
