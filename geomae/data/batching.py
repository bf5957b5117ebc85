"""Batches of structures of about the same size: little padding."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler
from torch_geometric.data import Data

from geomae.errors import GeomaeError


class SizeBuckets(Sampler[list[int]]):
    """Batches within buckets of similar size, every structure once an epoch.

    A batch sampler: `DataLoader(structures, batch_sampler=SizeBuckets(structures, 64))`, PyTorch
    Geometric's or PyTorch's. The order depends on the seed and the epoch alone.

    Args:
        sizes: atoms of each structure, or the structures themselves.
        batch_size: structures of a batch; the last of a bucket may have fewer.
        buckets: of neighbouring sizes, chosen for the least padding of a table of pairs; 1 is none.
        seed: of the order.

    Raises:
        GeomaeError: `batch_size` or `buckets` is below 1.
    """

    def __init__(
        self,
        sizes: Sequence[int] | Sequence[Data] | np.ndarray,
        batch_size: int,
        *,
        buckets: int = 8,
        seed: int = 0,
    ):
        if batch_size < 1 or buckets < 1:
            raise GeomaeError(
                f"batch_size and buckets must be at least 1, not {batch_size} and {buckets}"
            )
        counts = [s.num_nodes if isinstance(s, Data) else int(s) for s in sizes]
        self.sizes = np.array(counts, dtype=np.int64)
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0
        bounds = best_bounds(self.sizes, buckets)
        bucket = np.searchsorted(bounds, self.sizes)
        self.buckets = [np.flatnonzero(bucket == k) for k in range(len(bounds))]

    def set_epoch(self, epoch: int) -> None:
        """Another epoch, another order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(-(-len(bucket) // self.batch_size) for bucket in self.buckets)

    def __iter__(self) -> Iterator[list[int]]:
        (state,) = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
        batches = []
        for bucket in self.buckets:
            shuffled = bucket[torch.randperm(len(bucket), generator=generator).numpy()]
            batches += [
                shuffled[start : start + self.batch_size].tolist()
                for start in range(0, len(shuffled), self.batch_size)
            ]
        for number in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[number]

    def padding(self, order: int = 2) -> float:
        """Padded entries for each real one, in the current epoch's batches.

        Args:
            order: 1 for an entry an atom, 2 for an entry a pair of atoms.
        """
        padded = sum(len(batch) * int(self.sizes[batch].max()) ** order for batch in self)
        return padded / max(int((self.sizes**order).sum()), 1) - 1


def best_bounds(sizes: np.ndarray, buckets: int, most: int = 512) -> np.ndarray:
    """Largest sizes of buckets that leave the least padding of pairs of atoms, ascending.

    By dynamic programming over the sizes that occur: optimal if these are not too many, else
    over as many of their quantiles.

    Args:
        sizes: of the structures.
        buckets: at most this many.
        most: bounds to choose from.
    """
    if not len(sizes):
        return np.zeros(0, dtype=np.int64)
    choices = np.unique(sizes)
    if len(choices) > most:
        shares = np.linspace(0, 1, most)
        choices = np.unique(np.quantile(sizes, shares, method="higher"))
    below = np.concatenate([[0], np.searchsorted(np.sort(sizes), choices, side="right")])
    last = np.arange(len(choices)) + 1
    cost = np.concatenate([[0.0], np.full(len(choices), np.inf)])
    cuts = []
    for _ in range(min(buckets, len(choices))):
        table = cost[None, :] + (below[last, None] - below[None, :]) * choices[:, None] ** 2.0
        table[np.arange(len(choices) + 1)[None, :] >= last[:, None]] = np.inf
        cuts.append(table.argmin(1))
        cost = np.concatenate([[np.inf], table.min(1)])
    bounds, place = [], len(choices)
    for cut in reversed(cuts):
        bounds.append(choices[place - 1])
        place = cut[place - 1]
    return np.array(bounds[::-1])
