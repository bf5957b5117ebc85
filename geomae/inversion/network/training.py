"""Training the network that inverts SOAP vectors."""

from collections.abc import Callable
from pathlib import Path

import torch

from geomae.inversion.network.config import InversionRun
from geomae.inversion.network.environments import EnvironmentBatches
from geomae.inversion.network.model import Inverter
from geomae.inversion.network.reduction import grams_of
from geomae.training.loop import Trainer

SAMPLE = 4096
"""Environments that the reduction of invariants is read off."""


def train(
    config: InversionRun,
    folder: Path | str,
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> Trainer:
    """Train, or go on where the folder's checkpoint ends.

    Args:
        config: of the run.
        folder: for checkpoints and the log.
        report: called with the step and the running losses.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        model = Inverter(config.model)
    batches = EnvironmentBatches(config.data, config.training.batch_size, config.training.seed)
    if not (Path(folder) / "checkpoint.safetensors").exists() and not config.training.start:
        fit_reduction(model, batches)
    trainer = Trainer(model, batches, config, folder)
    trainer.run(report)
    return trainer


def fit_reduction(model: Inverter, batches: EnvironmentBatches, sample: int = SAMPLE) -> None:
    """Read the reduction of invariants off the first environments."""
    grams = []
    for step in range(-(-sample // batches.batch_size)):
        batch = batches(step)
        grams.append(grams_of(model.soap, batch.numbers, batch.vectors).float())
    model.reduction.fit(torch.cat(grams))
