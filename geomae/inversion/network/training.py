"""Training the network that inverts SOAP vectors."""

import torch

from geomae.inversion.network.config import InversionRun
from geomae.inversion.network.environments import EnvironmentBatches
from geomae.inversion.network.model import Inverter
from geomae.inversion.network.reduction import grams_of
from geomae.training.task import Task

SAMPLE = 4096
"""Environments that the reduction of invariants is read off."""


def task(config: InversionRun) -> Task:
    """The network with its first weights, and its data; the reduction of invariants is read off
    the first of them.
    """
    model = Inverter(config.model)
    batches = EnvironmentBatches(config.data, config.training.batch_size, config.training.seed)
    fit_reduction(model, batches)
    return Task(model, batches)


def fit_reduction(model: Inverter, batches: EnvironmentBatches, sample: int = SAMPLE) -> None:
    """Read the reduction of invariants off the first environments."""
    grams = []
    for step in range(-(-sample // batches.order.batch_size)):
        batch = batches(step)
        grams.append(grams_of(model.soap, batch.numbers, batch.vectors).float())
    model.reduction.fit(torch.cat(grams))
