"""Which part of the work a process does."""

import os
from dataclasses import dataclass

from geomae.errors import GeomaeError

RANKS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))
"""Environment variables of torchrun and of SLURM's srun: number of a process, and of how many."""


@dataclass(frozen=True)
class Part:
    """Part `index`, from 0, of `count`: the shards whose number leaves that rest."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise GeomaeError(
                f"a part is i/n with 0 <= i < n, such as 0/4, not {self.index}/{self.count}"
            )

    def has(self, number: int) -> bool:
        """Whether a shard belongs to it."""
        return number % self.count == self.index

    def split(self, workers: int) -> list["Part"]:
        """As many equal parts of this part."""
        return [Part(self.index + self.count * k, self.count * workers) for k in range(workers)]

    @classmethod
    def parse(cls, text: str) -> "Part":
        """From 'i/n'."""
        words = text.split("/")
        if len(words) != 2 or not all(word.strip().isdigit() for word in words):
            raise GeomaeError(f"a part is i/n with 0 <= i < n, such as 0/4, not '{text}'")
        return cls(int(words[0]), int(words[1]))

    @classmethod
    def from_environment(cls) -> "Part":
        """What torchrun or SLURM say; the whole if neither says anything."""
        for rank, size in RANKS:
            if rank in os.environ and size in os.environ:
                return cls.parse(f"{os.environ[rank]}/{os.environ[size]}")
        return cls()
