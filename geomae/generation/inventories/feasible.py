"""Which inventories could be a molecule's, and which counts can still lead to one."""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from geomae.data.elements import SYMBOLS
from geomae.metrics.bonds import VALENCE


def connectable(
    kinds: Int[np.ndarray, "kinds 3"], inventories: Int[np.ndarray, "n kinds"], most: int
) -> Bool[np.ndarray, " n"]:
    """Whether heavy atoms can have the neighbours that their kinds say, all in one piece.

    A connected graph with given degrees exists where their sum is even and enough, and where
    Erdős and Gallai's inequalities (1960) hold.

    Args:
        kinds: element, hydrogens and heavy neighbours of each kind.
        inventories: heavy atoms of each kind.
        most: atoms at most, hydrogen included.
    """
    size = inventories.sum(1)
    bonds = inventories @ kinds[:, 2]
    fits = (bonds % 2 == 0) & (bonds >= 2 * (size - 1)) & (size > 0)
    fits &= size + inventories @ kinds[:, 1] <= most
    fits &= (size == 1) | ~inventories[:, kinds[:, 2] == 0].any(1)
    degree = np.arange(int(kinds[:, 2].max()) + 1)
    number = np.stack([inventories[:, kinds[:, 2] == d].sum(1) for d in degree], 1)
    larger = np.cumsum(number[:, ::-1], 1)[:, ::-1] - number
    for k in range(1, int(size.max(initial=0)) + 1):
        # of each degree so many are among the k largest
        among = np.clip(k - larger, 0, number)
        others = (number - among) @ np.minimum(degree, k)
        fits &= (k > size) | (among @ degree <= k * (k - 1) + others)
    return fits


def paired(
    kinds: Int[np.ndarray, "kinds 3"], inventories: Int[np.ndarray, "n kinds"]
) -> Bool[np.ndarray, " n"]:
    """Whether valences that single bonds leave open can pair up to multiple bonds.

    Args:
        kinds: element, hydrogens and heavy neighbours of each kind.
        inventories: heavy atoms of each kind.
    """
    valence = np.array([VALENCE[SYMBOLS[z]] for z in kinds[:, 0]])
    open_ = valence - kinds[:, 1] - kinds[:, 2]
    total = inventories @ open_
    return (total % 2 == 0) & (2 * ((inventories > 0) * open_).max(1) <= total)


def unbranched(
    kinds: Int[np.ndarray, "kinds 3"], inventories: Int[np.ndarray, "n kinds"]
) -> Bool[np.ndarray, " n"]:
    """Whether atoms can be a single chain, hydrogens at its ends alone, as a linear molecule's are.

    Args:
        kinds: element, hydrogens and heavy neighbours of each kind.
        inventories: heavy atoms of each kind.
    """
    hydrogens, neighbours = kinds[:, 1], kinds[:, 2]
    size = inventories.sum(1)
    # each atom has two sides, for a neighbour or a hydrogen
    crowded = (neighbours + hydrogens > 2) | ((neighbours == 2) & (hydrogens > 0))
    ends = inventories[:, neighbours < 2].sum(1)
    return ~(inventories[:, crowded] > 0).any(1) & (ends == np.minimum(size, 2))


class Ledger:
    """Which counts can follow others, so that atoms and hydrogens add up.

    Columns are counts: heavy atoms of each element, hydrogens, then heavy atoms of each kind.

    Args:
        kinds: element, hydrogens and heavy neighbours of each kind.
        elements: atomic numbers other than hydrogen's.
        max_atoms, max_heavy: in a molecule.
    """

    def __init__(
        self,
        kinds: Int[Tensor, "kinds 3"],
        elements: tuple[int, ...],
        max_atoms: int,
        max_heavy: int,
    ):
        self.max_atoms, self.max_heavy = max_atoms, max_heavy
        self.elements = torch.tensor(elements)
        self.hydrogens = kinds[:, 1]
        self.member = (kinds[:, :1] == self.elements).long()
        # of each element: what kinds from each column on can still have
        later = torch.ones(len(kinds), len(kinds) + 1).tril().bool()[:, :, None]
        later = later & (self.member > 0)[:, None]
        own = self.hydrogens[:, None, None].expand(later.shape)
        self.known = later.any(0)
        self.least = own.masked_fill(~later, max_atoms).amin(0) * self.known
        self.most = own.masked_fill(~later, 0).amax(0)

    def allowed(self, column: int, counts: Int[Tensor, "n columns"]) -> Bool[Tensor, "n values"]:
        """Counts that a column can have after those before.

        Args:
            column: its number.
            counts: of columns before; others do not matter.
        """
        heavy, elements = counts[:, : len(self.elements)], len(self.elements)
        if column < elements:
            options = torch.arange(self.max_heavy + 1)
            total = heavy[:, :column].sum(1)[:, None] + options
            return (total <= self.max_heavy) & ((total > 0) | (column < elements - 1))
        if column == elements:
            options = torch.arange(self.max_atoms + 1)
            fits = options + heavy.sum(1)[:, None] <= self.max_atoms
            electrons = options + (heavy @ self.elements)[:, None]
            return fits & (electrons % 2 == 0) & self._completed(0, heavy[:, None], options[None])
        number, options = column - elements - 1, torch.arange(self.max_heavy + 1)
        taken = counts[:, elements + 1 : column]
        left = (heavy - taken @ self.member[:number])[:, None] - (
            options[:, None] * self.member[number]
        )
        light = (counts[:, elements] - taken @ self.hydrogens[:number])[:, None]
        return self._completed(number + 1, left, light - options * self.hydrogens[number])

    def _completed(
        self,
        number: int,
        heavy: Int[Tensor, "n #values elements"],
        light: Int[Tensor, "#n values"],
    ) -> Bool[Tensor, "n values"]:
        """Whether kinds from one on can make up what is left of heavy atoms and hydrogens."""
        fits = ((heavy >= 0) & ((heavy == 0) | self.known[number])).all(2)
        least, most = (heavy * self.least[number]).sum(2), (heavy * self.most[number]).sum(2)
        return fits & (least <= light) & (light <= most)
