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
        buckets: of equal numbers of structures, sorted by size; 1 is no sorting at all.
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
        order = np.argsort(self.sizes, kind="stable")
        self.buckets = [part for part in np.array_split(order, buckets) if len(part)]

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
