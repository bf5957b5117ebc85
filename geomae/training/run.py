"""A training run from its configuration: data, model, loop, released weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geomae.autoencoder.model import Autoencoder
from geomae.checkpoint import Checkpoint, write_checkpoint
from geomae.data import load_source
from geomae.errors import GeomaeError
from geomae.metrics import summarise
from geomae.metrics.evaluation import reconstruct
from geomae.pooling import Tree
from geomae.training.config import RunConfig
from geomae.training.forest import Forest, plant
from geomae.training.loop import Evaluation, Trainer


class ShuffledTrees:
    """Batches of trees in an order that the seed and the step decide, epoch by epoch."""

    def __init__(self, forest: Forest, ids: np.ndarray, batch_size: int, seed: int):
        if len(ids) < batch_size:
            raise GeomaeError(f"{len(ids)} structures don't fill one batch of {batch_size}")
        self.forest, self.ids, self.batch_size, self.seed = forest, ids, batch_size, seed
        self.epoch, self.order = -1, ids

    def __call__(self, step: int) -> Tree:
        epoch, batch = divmod(step, len(self.ids) // self.batch_size)
        if epoch != self.epoch:
            shuffle = np.random.default_rng((self.seed, epoch))
            self.epoch, self.order = epoch, shuffle.permutation(self.ids)
        start = batch * self.batch_size
        return self.forest.batch(torch.from_numpy(self.order[start : start + self.batch_size]))


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


def train(
    config: RunConfig,
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
        model = Autoencoder(config.model)
    trainer = Trainer(model, training_data(config), config, folder, held_out(config))
    trainer.run(report)
    return trainer


def release(trainer: Trainer, path: Path | str) -> None:
    """Write the averaged weights and the model's configuration, ready for `geomae.load`."""
    config = trainer.config.model.model_dump(mode="json")
    write_checkpoint(path, Checkpoint(trainer.config.model.kind, config, trainer.average))
