"""What a skeleton has to have: a space group, the atoms of a formula, or a number of atoms."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from geomae.generation.crystals.request import SpaceGroupType
from geomae.wyckoff.template import Template


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is asked of skeletons.

    Attributes:
        group: space group; any if None.
        formula: of a formula unit, as it was asked for.
        unit: atoms of each of the flow's elements in a formula unit; any if None.
        n_atoms: of a primitive cell; any if None.
        most: atoms of a primitive cell at most.
    """

    group: SpaceGroupType | None
    formula: str | None
    unit: Int[np.ndarray, " elements"] | None
    n_atoms: int | None
    most: int

    @property
    def amounts(self) -> tuple[int, ...] | None:
        """Atoms of each element in a formula unit, ascending; None if there is no formula."""
        return None if self.unit is None else tuple(sorted(self.unit[self.unit > 0].tolist()))

    def fits(self, counts: Int[np.ndarray, " classes"]) -> bool:
        """Whether classes of so many atoms have the formula and number of atoms."""
        if self.n_atoms is not None and counts.sum() != self.n_atoms:
            return False
        return self.unit is None or self.units(counts) is not None

    def units(self, counts: Int[np.ndarray, " classes"]) -> int | None:
        """Formula units that classes of so many atoms come to; None if to no whole number."""
        assert self.amounts is not None, "asked where there is a formula"
        units, rest = divmod(int(counts.sum()), sum(self.amounts))
        alike = np.array_equal(np.sort(counts), units * np.array(self.amounts))
        return units if alike and not rest else None

    def allowed(self, template: Template) -> Float[np.ndarray, "classes elements"] | None:
        """Which elements each class of a skeleton that fits may have, as 0 and 1; None if any."""
        if self.unit is None:
            return None
        counts = template.counts()
        units = self.units(counts)
        assert units is not None, "skeletons were chosen so"
        return (counts[:, None] == units * self.unit).astype(np.float64)
