"""What a molecule is made of: how many heavy atoms of each kind.

A kind is an element, the number of hydrogens that are nearest to the atom, and the number of heavy
atoms within the length of a single bond of it. A carbon with two hydrogens and two such neighbours
is a methylene group. Inventories say more than a formula and less than a graph.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from geomae.metrics.bonds import THRESHOLDS
from geomae.training.forest import segments

COUNTED_TOGETHER = 2000


def inventories(
    numbers: Integer[Tensor, " atoms"],
    positions: Float[Tensor, "atoms 3"],
    offsets: Int[Tensor, " structures"],
    ids: Int[Tensor, " n"],
) -> tuple[Int[Tensor, "kinds 3"], Int[Tensor, "n kinds"]]:
    """The kinds of heavy atoms in some molecules of a data set, and how many of each they have.

    Args:
        numbers, positions, offsets: atoms of all molecules in a row, and where each starts; of
            elements for which bonds by distance are known.
        ids: of the molecules.
    """
    sizes = offsets[ids + 1] - offsets[ids]
    order = torch.argsort(sizes, stable=True)
    keys, owners = [], []
    for part in order.split(COUNTED_TOGETHER):
        own = heavy_atoms(numbers, positions, offsets, ids[part])
        keys.append(own.keys)
        owners.append(part[own.owner])
    kinds, kind = torch.cat(keys).unique(dim=0, return_inverse=True)
    table = torch.zeros(len(ids), len(kinds), dtype=torch.long)
    ones = torch.ones_like(kind)
    return kinds, table.index_put((torch.cat(owners), kind), ones, accumulate=True)


@dataclass(frozen=True)
class HeavyAtoms:
    """Heavy atoms of some molecules, and the hydrogens that they have.

    Attributes:
        keys: element, hydrogens and heavy neighbours of each heavy atom, `[heavy, 3]`.
        owner: number of its molecule.
        parent: number of each hydrogen's heavy atom among those of its molecule, `[light]`.
        hydrogen_owner: number of each hydrogen's molecule.
    """

    keys: Int[Tensor, "heavy 3"]
    owner: Int[Tensor, " heavy"]
    parent: Int[Tensor, " light"]
    hydrogen_owner: Int[Tensor, " light"]


def heavy_atoms(
    numbers: Integer[Tensor, " atoms"],
    positions: Float[Tensor, "atoms 3"],
    offsets: Int[Tensor, " structures"],
    ids: Int[Tensor, " n"],
) -> HeavyAtoms:
    """The heavy atoms of some molecules of a data set, in their order; see `inventories`."""
    sizes = offsets[ids + 1] - offsets[ids]
    rows = torch.repeat_interleave(torch.arange(len(ids)), sizes)
    slots = torch.arange(len(rows)) - (torch.cumsum(sizes, 0) - sizes)[rows]
    atoms = segments(offsets, ids)
    shape = (len(ids), int(sizes.max()))
    z = torch.zeros(shape, dtype=torch.long).index_put((rows, slots), numbers[atoms].long())
    x = torch.zeros(*shape, 3).index_put((rows, slots), positions[atoms].float())
    distances = torch.cdist(x, x) + torch.diag_embed(torch.full(shape, torch.inf))
    heavy = z > 1
    to_heavy = torch.where(heavy[:, None], distances, torch.inf)
    bonded = (to_heavy < THRESHOLDS[0].float()[z[:, :, None], z[:, None]]) & heavy[..., None]
    nearest = to_heavy.argmin(2)
    hydrogens = torch.zeros_like(z).scatter_add(1, nearest, (z == 1).long())
    number = torch.cumsum(heavy, 1) - 1
    return HeavyAtoms(
        torch.stack([z, hydrogens, bonded.sum(2)], 2)[heavy],
        torch.nonzero(heavy)[:, 0],
        number.gather(1, nearest)[z == 1],
        torch.nonzero(z == 1)[:, 0],
    )


def compositions_of(
    kinds: Int[Tensor, "kinds 3"], inventory: Int[Tensor, "n kinds"], elements: tuple[int, ...]
) -> Int[Tensor, "n elements"]:
    """Atoms of each element that inventories come to."""
    columns = [kinds[:, 1] if z == 1 else (kinds[:, 0] == z).to(kinds) for z in elements]
    return inventory @ torch.stack(columns, 1)
