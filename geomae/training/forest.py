"""The trees of a whole data set, grown once and kept, as batches to train on."""

import hashlib
import json
from pathlib import Path

import torch
from jaxtyping import Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from geomae.autoencoder.config import AutoencoderConfig
from geomae.data.cache import cache_directory, replacing
from geomae.pooling import Tree, grow_tree

CHUNK = 1000
FORMAT = 1


class Forest:
    """Structures as flat arrays with the parent of every point of every level.

    A parent is kept as its number within its structure, one byte; positions of the levels above
    the atoms follow from it.

    Args:
        numbers, positions, offsets: atoms of all structures in a row, and where each starts.
        parents: for each level but the last two, the parent of each point within its structure.
        counts: points of each structure at each level above the atoms but the last.
        heavy_weight: weight of an atom other than hydrogen.
    """

    def __init__(
        self,
        numbers: Tensor,
        positions: Tensor,
        offsets: Tensor,
        parents: list[Tensor],
        counts: list[Tensor],
        heavy_weight: float,
    ):
        self.numbers, self.positions = numbers, positions
        self.parents, self.heavy_weight = parents, heavy_weight
        self.offsets = [offsets, *(torch.cumsum(torch.cat([c[:1] * 0, c]), 0) for c in counts)]

    def __len__(self) -> int:
        return len(self.offsets[0]) - 1

    def batch(self, ids: Int[Tensor, " n"], dtype: torch.dtype = torch.float32) -> Tree:
        """The tree of some structures, in the order given."""
        index = [segments(offsets, ids) for offsets in self.offsets]
        sizes = [offsets[ids + 1] - offsets[ids] for offsets in self.offsets]
        one = torch.ones_like(ids)
        sizes.append(one)
        structure = torch.arange(len(ids))
        owners = [torch.repeat_interleave(structure, size) for size in sizes]
        memberships = []
        for level, owner in enumerate(owners[:-1]):
            own = torch.arange(len(owner))
            if level < len(self.parents):
                starts = torch.cumsum(sizes[level + 1], 0) - sizes[level + 1]
                parent = self.parents[level][index[level]].long() + starts[owner]
            else:
                parent = owner
            memberships.append(torch.stack([own, parent]))
        numbers = self.numbers[index[0]].long()
        weights = [torch.where(numbers > 1, self.heavy_weight, 1.0).to(dtype)]
        for membership, size in zip(memberships, sizes[1:], strict=True):
            zeros = torch.zeros(int(size.sum()), dtype=dtype)
            weights.append(zeros.index_add(0, membership[1], weights[-1]))
        atoms = self.positions[index[0]].to(dtype)
        bare = Tree(numbers, (atoms,), tuple(weights), tuple(owners), tuple(memberships))
        return bare.with_atoms_at(atoms)


def segments(offsets: Int[Tensor, " m"], ids: Int[Tensor, " n"]) -> Int[Tensor, " total"]:
    """Numbers of all entries of some segments of a flat array, in the order given."""
    sizes = offsets[ids + 1] - offsets[ids]
    starts = torch.cumsum(sizes, 0) - sizes
    within = torch.arange(int(sizes.sum())) - torch.repeat_interleave(starts, sizes)
    return torch.repeat_interleave(offsets[ids], sizes) + within


def plant(
    name: str, numbers: Tensor, positions: Tensor, offsets: Tensor, config: AutoencoderConfig
) -> Forest:
    """The forest of a data set from the cache; grown, with a progress bar, where it is not there.

    Args:
        name: of the data set; with the scales it names the file.
        numbers, positions, offsets: its atoms, positions in Å.
        config: gives the scales and the weight of heavy atoms.
    """
    scales = config.scales
    key = json.dumps([FORMAT, scales, config.heavy_weight, len(offsets), int(offsets[-1])])
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    path = cache_directory() / f"{name}-trees-{digest}.safetensors"
    if not path.exists():
        _grow_all(path, numbers, positions, offsets, scales, config.heavy_weight)
    stored = load_file(path)
    depth = len(scales) - 1
    return Forest(
        numbers,
        positions.float(),
        offsets,
        [stored[f"parents_{level}"] for level in range(depth)],
        [stored[f"counts_{level + 1}"].long() for level in range(depth)],
        config.heavy_weight,
    )


def _grow_all(
    path: Path,
    numbers: Tensor,
    positions: Tensor,
    offsets: Tensor,
    scales: list[float],
    heavy_weight: float,
) -> None:
    """Grow every tree, structures of one size together, and write parents and counts."""
    from rich.progress import track

    depth, order = len(scales) - 1, torch.argsort(offsets[1:] - offsets[:-1], stable=True)
    parents: list[list[Tensor]] = [[] for _ in range(depth)]
    counts: list[list[Tensor]] = [[] for _ in range(depth)]
    for ids in track(order.split(CHUNK), "growing trees", transient=True):
        atoms = segments(offsets, ids)
        batch = torch.repeat_interleave(torch.arange(len(ids)), offsets[ids + 1] - offsets[ids])
        tree = grow_tree(
            numbers[atoms].long(), positions[atoms], batch, scales=scales, heavy_weight=heavy_weight
        )
        for level in range(depth):
            size = torch.bincount(tree.batch[level + 1], minlength=len(ids))
            starts = torch.cumsum(size, 0) - size
            parent = tree.memberships[level][1]
            local = parent - starts[tree.batch[level]]
            parents[level].append(local.to(torch.uint8))
            counts[level].append(size.to(torch.uint8))
    tensors, back = {}, torch.argsort(order)
    below = offsets[1:][order] - offsets[:-1][order]
    for level in range(depth):
        size = torch.cat(counts[level])
        starts = torch.cumsum(torch.cat([below[:1] * 0, below]), 0)
        tensors[f"parents_{level}"] = torch.cat(parents[level])[segments(starts, back)]
        tensors[f"counts_{level + 1}"] = size[back]
        below = size.long()
    with replacing(path) as temporary:
        save_file(tensors, temporary)
