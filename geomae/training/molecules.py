"""Training an autoencoder of molecules: the trees of a data set as batches."""

import numpy as np
import torch
from torch import Tensor

from geomae.autoencoder.model import Autoencoder
from geomae.data import load_source
from geomae.errors import GeomaeError
from geomae.metrics import summarise
from geomae.metrics.evaluation import reconstruct
from geomae.pooling import Tree
from geomae.training.config import RunConfig
from geomae.training.forest import Forest, plant
from geomae.training.loop import Evaluation
from geomae.training.order import Order
from geomae.training.task import Task


class ShuffledTrees:
    """Batches of trees in an order that the seed and the step decide, epoch by epoch."""

    def __init__(self, forest: Forest, ids: np.ndarray, batch_size: int, seed: int):
        self.forest, self.order = forest, Order(ids, batch_size, seed, "structures")

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> Tree:
        return self.forest.batch(torch.from_numpy(self.order.part(step, part, parts)))


def with_least_share(ids: np.ndarray, kind: np.ndarray, share: float) -> np.ndarray:
    """Repeat structures of rare kinds until each kind has at least a share of the original number.

    Args:
        ids: of the structures.
        kind: of each.
        share: of the number of structures; 0 repeats none.
    """
    parts = [ids]
    for value in np.unique(kind):
        own = ids[kind == value]
        parts.append(np.tile(own, max(0, int(share * len(ids) / len(own)) - 1)))
    return np.concatenate(parts)


def training_data(config: RunConfig) -> ShuffledTrees:
    """The batches that a configuration asks for."""
    if config.data.source != "qm9":
        raise GeomaeError(f"can train on: qm9; not on '{config.data.source}'")
    from geomae.data.sources.qm9 import load_qm9, split_indices

    data = load_qm9()
    forest = plant("qm9", data.numbers, data.positions, data.offsets, config.model)
    ids = split_indices(config.data.split)
    heavy = np.add.reduceat((data.numbers > 1).numpy().astype(int), data.offsets[:-1].numpy())
    ids = with_least_share(ids, heavy[ids], config.data.least_share)
    return ShuffledTrees(forest, ids, config.training.batch_size, config.training.seed)


def held_out(config: RunConfig) -> Evaluation | None:
    """Reconstructs structures of the validation split; None if the configuration asks for none."""
    if not config.training.evaluate_n:
        return None
    structures = load_source(config.data.source, split="valid", n=config.training.evaluate_n)

    def evaluate(weights: dict[str, Tensor]) -> dict[str, float]:
        with torch.random.fork_rng(devices=[]):
            model = Autoencoder(config.model)
        model.load_state_dict(weights)
        items = reconstruct(model, structures, refine=False)
        summary = summarise([i.comparison for i in items], [i.certified for i in items])
        return {name: summary[name] for name in ("composition_accuracy", "reconstructed", "rmsd")}

    return evaluate


def task(config: RunConfig) -> Task:
    """The model with its first weights, its data, and what is held out."""
    return Task(Autoencoder(config.model), training_data(config), held_out(config))
