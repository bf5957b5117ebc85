"""Training an autoencoder of molecules: the trees of a data set as batches."""

import numpy as np
import torch
from jaxtyping import Float, Int
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
    """The batches that a configuration asks for.

    Raises:
        GeomaeError: it names a data set that can't be trained on, or one that is not there.
    """
    name, split = config.data.source, config.data.split
    numbers, positions, offsets, ids = _arrays(name, split)
    heavy = np.add.reduceat((numbers > 1).numpy().astype(int), offsets[:-1].numpy())
    ids = with_least_share(ids, heavy[ids], config.data.least_share)
    if config.data.displaced:
        n = len(offsets) - 1
        moved = displaced(positions, offsets, config.data.displaced, config.training.seed)
        numbers, positions = numbers.repeat(2), torch.cat([positions, moved])
        offsets = torch.cat([offsets, offsets[1:] + offsets[-1]])
        ids, name = np.concatenate([ids, ids + n]), f"{name}-displaced-{config.data.displaced}"
    forest = plant(name, numbers, positions, offsets, config.model)
    return ShuffledTrees(forest, ids, config.training.batch_size, config.training.seed)


def _arrays(name: str, split: str) -> tuple[Tensor, Tensor, Tensor, np.ndarray]:
    """Atomic numbers, positions and offsets of a whole data set, and structures of a split."""
    if name == "qm9":
        from geomae.data.sources.qm9 import load_qm9, split_indices

        qm9 = load_qm9()
        return qm9.numbers, qm9.positions, qm9.offsets, split_indices(split)
    if name == "organic":
        from geomae.data.sources.organic import load_organic

        organic = load_organic()
        return organic.numbers, organic.positions.double(), organic.offsets, organic.indices(split)
    raise GeomaeError(f"can train on: qm9, organic; not on '{name}'")


def displaced(
    positions: Float[Tensor, "atoms 3"], offsets: Int[Tensor, " n_and_one"], most: float, seed: int
) -> Float[Tensor, "atoms 3"]:
    """Positions of structures whose atoms have moved at random, all of one structure as far.

    Args:
        positions: in Å.
        offsets: where each structure starts.
        most: root mean square displacement of a structure's atoms, in Å; each structure's is drawn
            evenly from 0 to this.
        seed: of the displacements.
    """
    rng = np.random.default_rng(seed)
    sizes = np.diff(offsets.numpy())
    length = np.repeat(rng.uniform(0, most, len(sizes)), sizes)[:, None] / 3**0.5
    return positions + torch.from_numpy(length * rng.standard_normal(positions.shape))


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
