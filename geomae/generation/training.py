"""Training a flow on the latents of a data set, encoded once and kept."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from geomae.autoencoder.zoo import load
from geomae.errors import GeomaeError
from geomae.generation.config import FlowConfig, FlowRun
from geomae.generation.data import LatentSet, latents_of_qm9
from geomae.generation.flow import LatentFlow
from geomae.generation.statistics import Statistics
from geomae.training.loop import Trainer


class ShuffledLatents:
    """Batches of latents in an order that the seed and the step decide, epoch by epoch."""

    def __init__(self, data: LatentSet, batch_size: int, seed: int):
        if len(data) < batch_size:
            raise GeomaeError(f"{len(data)} latents don't fill one batch of {batch_size}")
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.epoch, self.order = -1, np.arange(len(data))

    def __call__(self, step: int) -> LatentSet:
        epoch, batch = divmod(step, len(self.data) // self.batch_size)
        if epoch != self.epoch:
            shuffle = np.random.default_rng((self.seed, epoch))
            self.epoch, self.order = epoch, shuffle.permutation(len(self.data))
        rows = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
        return self.data.select(torch.from_numpy(rows))


def train(
    config: FlowRun,
    folder: Path | str,
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> Trainer:
    """Train, or go on where the folder's checkpoint ends.

    Args:
        config: of the run.
        folder: for checkpoints and the log.
        report: called with the step and the running losses.
    """
    check_fit(config.model)
    data = latents_of_qm9(config.model.autoencoder, config.data.split, config.model.properties)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        flow = LatentFlow(config.model, Statistics.of(data))
    batches = ShuffledLatents(data, config.training.batch_size, config.training.seed)
    trainer = Trainer(flow, batches, config, folder)
    trainer.run(report)
    return trainer


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
