"""The order in which a data set is gone through."""

import numpy as np
from jaxtyping import Int

from geomae.errors import GeomaeError


class Order:
    """Which structures a step learns from: the seed and the step decide, epoch by epoch.

    Args:
        ids: of the structures.
        batch_size: structures a step.
        seed: of the order.
        what: what they are called in errors.
    """

    def __init__(self, ids: Int[np.ndarray, " n"], batch_size: int, seed: int, what: str):
        if len(ids) < batch_size:
            raise GeomaeError(f"{len(ids)} {what} don't fill one batch of {batch_size}")
        self.ids, self.batch_size, self.seed = ids, batch_size, seed
        self.epoch, self.order = -1, ids

    def __call__(self, step: int) -> Int[np.ndarray, " batch"]:
        epoch, batch = divmod(step, len(self.ids) // self.batch_size)
        if epoch != self.epoch:
            shuffle = np.random.default_rng((self.seed, epoch))
            self.epoch, self.order = epoch, shuffle.permutation(self.ids)
        return self.order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def part(self, step: int, part: int, parts: int) -> Int[np.ndarray, " own"]:
        """One of equal parts of a step's structures."""
        return self(step).reshape(parts, -1)[part]


def noise_seed(seed: int, step: int, part: int) -> int:
    """Seed of the random numbers of a part of a step."""
    if part == 0:
        return seed * 1_000_003 + step
    return int(np.random.SeedSequence((seed, step, part)).generate_state(1)[0])
