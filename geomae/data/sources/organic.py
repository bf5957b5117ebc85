"""Organic molecules of 1 to 50 heavy atoms with conformers, as `datasets/organic` builds them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor

from geomae.data.cache import cache_directory
from geomae.data.structure import Structure
from geomae.errors import GeomaeError

FILE, FORMAT = "organic.safetensors", "1"

SPLITS = ("train", "valid", "test", "large")
"""Parts of the set, in the order of their numbers in the file."""

TRAINED_HEAVY = 40
"""Heavy atoms of the largest molecule that is not in the part `large`."""

HOW = "`python datasets/organic/build.py` builds it (geomae[qm9,rdkit])"


@dataclass(frozen=True)
class Organic:
    """The data set as flat arrays; `structure(i)` makes one structure of them.

    Attributes:
        numbers: atomic numbers of all structures in a row, uint8.
        positions: in Å.
        offsets: where each structure starts.
        conformer: which of a molecule's conformers each is, from 0.
        mmff: whether MMFF94s was used, else UFF.
        split: part that each is in, by its number in `SPLITS`.
        smiles: of each.
    """

    numbers: UInt8[Tensor, " atoms"]
    positions: Float[Tensor, "atoms 3"]
    offsets: Int[Tensor, " n_and_one"]
    conformer: UInt8[Tensor, " n"]
    mmff: UInt8[Tensor, " n"]
    split: UInt8[Tensor, " n"]
    smiles: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def structure(self, i: int) -> Structure:
        """Structure `i`, with its SMILES, its conformer's number and the force field."""
        span = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        return Structure(
            self.numbers[span],
            self.positions[span].double(),
            name=f"organic-{i:06d}",
            smiles=self.smiles[i],
            conformer=int(self.conformer[i]),
            force_field="MMFF94s" if self.mmff[i] else "UFF",
        )

    def indices(self, split: str) -> Int[np.ndarray, " own"]:
        """Structures of a split, in the order of the set.

        Raises:
            GeomaeError: there is no such split.
        """
        if split == "all":
            return np.arange(len(self))
        if split not in SPLITS:
            raise GeomaeError(f"organic has the splits {', '.join(SPLITS)} and all, not '{split}'")
        return np.flatnonzero(self.split.numpy() == SPLITS.index(split))


def load_organic() -> Organic:
    """The data set from the cache.

    Raises:
        GeomaeError: it has not been built yet, or is of another format.
    """
    path = cache_directory() / FILE
    if not path.exists():
        raise GeomaeError(f"the data set organic is not at {path}; {HOW}")
    try:
        with safe_open(path, framework="pt") as file:
            form = (file.metadata() or {}).get("format")
            if form != FORMAT:
                raise GeomaeError(f"{path} has the format {form}, not {FORMAT}; {HOW} anew")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, KeyError, SafetensorError) as error:
        raise GeomaeError(f"can't read {path}: {error}; {HOW} anew") from error
    sizes = tensors["sizes"].long()
    offsets = torch.cat([sizes.new_zeros(1), torch.cumsum(sizes, 0)])
    smiles = tuple(bytes(tensors["smiles"].numpy()).decode().split("\n"))
    names = ("conformer", "mmff", "split")
    return Organic(
        tensors["numbers"], tensors["positions"], offsets, *(tensors[n] for n in names), smiles
    )


def structures(split: str = "all", n: int | None = None) -> list[Structure]:
    """The first `n` structures of a split, in the order of the set."""
    data = load_organic()
    return [data.structure(int(i)) for i in data.indices(split)[:n]]
