"""Molecules as dense arrays of heavy atoms and their hydrogens."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from geomae.data.sources.qm9 import load_qm9, split_indices
from geomae.generation.data import scalars_of
from geomae.generation.inventory import heavy_atoms
from geomae.training.forest import segments

TAKEN_TOGETHER = 2000


@dataclass(frozen=True)
class MoleculeSet:
    """Molecules about the centroid of their heavy atoms.

    Attributes:
        kinds: of heavy atoms that occur, `[kinds, 3]`; see `geomae.generation.inventory`.
        kind: number of each heavy atom's kind plus one, 0 where there is no atom, `[n, heavy]`.
        skeleton: positions of heavy atoms in Å, `[n, heavy, 3]`.
        parent: heavy atom that each hydrogen is nearest to, -1 for none, `[n, light]`.
        hydrogens: positions of hydrogens about their heavy atoms in Å, `[n, light, 3]`.
        properties: scalar properties by name, `[n]`, in the data set's units.
    """

    kinds: Int[Tensor, "kinds 3"]
    kind: Int[Tensor, "n heavy"]
    skeleton: Float[Tensor, "n heavy 3"]
    parent: Int[Tensor, "n light"]
    hydrogens: Float[Tensor, "n light 3"]
    properties: dict[str, Float[Tensor, " n"]]

    def __len__(self) -> int:
        return len(self.kind)

    def select(self, ids: Int[Tensor, " k"]) -> "MoleculeSet":
        """Some of the molecules, in the order given, without atoms that none of them has."""
        kind, parent = self.kind[ids], self.parent[ids]
        heavy = int((kind > 0).sum(1).max())
        light = int((parent >= 0).sum(1).max())
        return MoleculeSet(
            self.kinds,
            kind[:, :heavy].long(),
            self.skeleton[ids][:, :heavy],
            parent[:, :light].long(),
            self.hydrogens[ids][:, :light],
            {name: values[ids] for name, values in self.properties.items()},
        )

    def inventory(self) -> Int[Tensor, "n kinds"]:
        """Heavy atoms of each kind."""
        table = torch.zeros(len(self), len(self.kinds) + 1, dtype=torch.long)
        ones = torch.ones_like(self.kind, dtype=torch.long)
        return table.scatter_add(1, self.kind.long(), ones)[:, 1:]


def molecules_of_qm9(split: str, properties: tuple[str, ...] = ()) -> MoleculeSet:
    """A split of QM9.

    Args:
        split: 'train', 'valid', 'test' or 'all'.
        properties: scalars of the molecules to give along.

    Raises:
        GeomaeError: QM9 has no such property.
    """
    data, ids = load_qm9(), torch.from_numpy(split_indices(split))
    return arranged(
        data.numbers, data.positions, data.offsets, ids, scalars_of(data, ids, properties)
    )


def arranged(
    numbers: Integer[Tensor, " atoms"],
    positions: Float[Tensor, "atoms 3"],
    offsets: Int[Tensor, " structures"],
    ids: Int[Tensor, " n"],
    properties: dict[str, Float[Tensor, " n"]],
) -> MoleculeSet:
    """Some molecules of a data set, of elements for which bonds by distance are known.

    Args:
        numbers, positions, offsets: atoms of all molecules in a row, and where each starts.
        ids: of the molecules.
        properties: of those.
    """
    heavy = torch.cumsum(torch.nn.functional.pad(numbers > 1, (1, 0)), 0)[offsets]
    heavy = (heavy[1:] - heavy[:-1])[ids]
    light = (offsets[ids + 1] - offsets[ids]) - heavy
    keys = torch.zeros(len(ids), int(heavy.max()), 3, dtype=torch.long)
    skeleton = torch.zeros(*keys.shape)
    parent = torch.full((len(ids), max(int(light.max()), 1)), -1, dtype=torch.long)
    hydrogens = torch.zeros(*parent.shape, 3)
    for part in torch.argsort(heavy + light, stable=True).split(TAKEN_TOGETHER):
        atoms = segments(offsets, ids[part])
        x, z = positions[atoms], numbers[atoms]
        own = heavy_atoms(numbers, positions, offsets, ids[part])
        slot = _slots(own.owner, len(part))
        first = _firsts(own.owner, len(part))
        place = x[z > 1]
        keys[part[own.owner], slot] = own.keys
        centroid = torch.zeros(len(part), 3, dtype=x.dtype).index_add(0, own.owner, place)
        centroid = centroid / heavy[part][:, None]
        skeleton[part[own.owner], slot] = (place - centroid[own.owner]).float()
        row = part[own.hydrogen_owner], _slots(own.hydrogen_owner, len(part))
        parent[row] = own.parent
        above = place[first[own.hydrogen_owner] + own.parent]
        hydrogens[row] = (x[z == 1] - above).float()
    rows, kind = keys.flatten(0, 1).unique(dim=0, return_inverse=True)
    padded = int(bool((rows[0] == 0).all()))
    kind = kind.view(keys.shape[:2]) + 1 - padded
    return MoleculeSet(rows[padded:], kind, skeleton, parent, hydrogens, properties)


def _firsts(owner: Int[Tensor, " k"], n: int) -> Int[Tensor, " n"]:
    """Where each owner's entries begin."""
    sizes = torch.bincount(owner, minlength=n)
    return torch.cumsum(sizes, 0) - sizes


def _slots(owner: Int[Tensor, " k"], n: int) -> Int[Tensor, " k"]:
    """Number of each entry among its owner's."""
    return torch.arange(len(owner)) - _firsts(owner, n)[owner]
