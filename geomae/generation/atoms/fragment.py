"""A given fragment: which atoms of an inventory it can be, and how samples keep its shape."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.data.elements import SYMBOLS
from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.generation.inventory import heavy_atoms

TRIES = 20
"""Ways to find a fragment in an inventory that are tried."""


@dataclass(frozen=True)
class Fragment:
    """Heavy atoms that every sample has, in their places to each other.

    A hydrogen of the fragment stands for a place where something else may be.

    Attributes:
        keys: element, hydrogens and heavy neighbours of each heavy atom, `[k, 3]`.
        positions: of these in Å, `[k, 3]`.
    """

    keys: Int[np.ndarray, "k 3"]
    positions: Float[Tensor, "k 3"]

    @staticmethod
    def of(structure: Structure, elements: tuple[int, ...]) -> "Fragment":
        """The fragment that a structure is.

        Args:
            structure: a molecule.
            elements: that there can be.

        Raises:
            GeomaeError: it has another element, or no heavy atom.
        """
        strange = set(structure.numbers.tolist()) - set(elements)
        if strange:
            known = ", ".join(SYMBOLS[z] for z in elements)
            names = ", ".join(SYMBOLS[z] for z in sorted(strange))
            raise GeomaeError(f"the fragment has {names}; the flow knows {known}")
        if not bool((structure.numbers > 1).any()):
            raise GeomaeError("the fragment has no atom but hydrogen")
        offsets = torch.tensor([0, structure.n_atoms])
        found = heavy_atoms(
            structure.numbers, structure.positions, offsets, torch.zeros(1, dtype=torch.long)
        )
        return Fragment(found.keys.numpy(), structure.positions[structure.numbers > 1].double())

    def fits(self, kinds: Int[np.ndarray, "kinds 3"]) -> Int[np.ndarray, "k kinds"]:
        """Whether each heavy atom can be of each kind, hydrogens exchanged for heavy neighbours."""
        element, hydrogens, neighbours = (kinds[:, i] for i in range(3))
        own = self.keys[:, :, None]
        places = own[:, 1] + own[:, 2] == hydrogens + neighbours
        return ((own[:, 0] == element) & places & (hydrogens <= own[:, 1])).astype(int)

    def found_in(
        self,
        kinds: Int[np.ndarray, "kinds 3"],
        inventory: Int[np.ndarray, " kinds"],
        rng: np.random.Generator,
    ) -> Int[np.ndarray, " k"] | None:
        """A kind for each heavy atom, drawn at random from an inventory; None if it lacks one.

        Args:
            kinds: element, hydrogens and heavy neighbours of each kind.
            inventory: heavy atoms of each kind.
            rng: of the draw.
        """
        fits = self.fits(kinds)
        for _ in range(TRIES):
            left, chosen = inventory.copy(), np.full(len(self.keys), -1)
            for atom in np.argsort(fits.sum(1), kind="stable"):
                odds = fits[atom] * left
                if not odds.any():
                    break
                chosen[atom] = rng.choice(len(kinds), p=odds / odds.sum())
                left[chosen[atom]] -= 1
            else:
                return chosen
        return None

    def possible(
        self, kinds: Int[np.ndarray, "kinds 3"], inventories: Int[np.ndarray, "rows kinds"]
    ) -> np.ndarray:
        """Which inventories may have it and something besides; not all of them do."""
        more = inventories.sum(1) > len(self.keys)
        for row in self.fits(kinds):
            more &= inventories[:, row > 0].any(1)
        counts = {z: (self.keys[:, 0] == z).sum() for z in set(self.keys[:, 0].tolist())}
        for z, count in counts.items():
            more &= inventories[:, kinds[:, 0] == z].sum(1) >= count
        return more

    def held(self, ends: Float[Tensor, "n a 3"]) -> Float[Tensor, "n a 3"]:
        """Where atoms end, the first ones in the fragment's shape, laid on where they would be."""
        count = len(self.positions)
        there = ends[:, :count]
        centre = there.mean(1, keepdim=True)
        own = (self.positions - self.positions.mean(0)).to(ends)
        left, _, right = torch.linalg.svd((own.T @ (there - centre)).double())
        sign = torch.linalg.det(left @ right).sign()
        right = torch.cat([right[:, :2], right[:, 2:] * sign[:, None, None]], 1)
        laid = own @ (left @ right).to(ends) + centre
        return torch.cat([laid, ends[:, count:]], 1)
