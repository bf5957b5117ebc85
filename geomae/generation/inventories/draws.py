"""Inventories drawn from a model of them, of a formula or a number of atoms if asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.generation.inventories.feasible import connectable, paired
from geomae.generation.inventories.model import IMPOSSIBLE, InventoryModel

ROUNDS = 1000
"""Times that an inventory is drawn at most until it could be a molecule's; after so many it is
taken as it is."""


@dataclass(frozen=True)
class Learned:
    """Inventories as a model knows them.

    Attributes:
        model: tells their probability.
        left_out: inventories that are not wanted, by the number of atoms of each kind.
    """

    model: InventoryModel
    left_out: frozenset[tuple[int, ...]] = frozenset()

    def wanted(self, inventories: Int[np.ndarray, "n kinds"]) -> Bool[np.ndarray, " n"]:
        """Which are not left out."""
        return np.array([tuple(row) not in self.left_out for row in inventories.tolist()], bool)


@dataclass(frozen=True)
class InventoryDraws:
    """Draws inventories that could be a molecule's.

    Attributes:
        learned: what is drawn from.
        formula: atoms of each element, `[elements]`; any if None.
        n_atoms: atoms in all; any if None.
    """

    learned: Learned
    formula: Int[Tensor, " elements"] | None = None
    n_atoms: int | None = None
    _formulas: tuple[Tensor, np.ndarray] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.formula is None and self.n_atoms is not None:
            formulas, likelihood = formula_likelihood(self.learned.model)
            rows = formulas.sum(1) == self.n_atoms
            odds = likelihood[rows].double().exp().numpy()
            object.__setattr__(self, "_formulas", (formulas[rows], np.cumsum(odds)))

    @property
    def possible(self) -> bool:
        """Whether the model knows molecules of such a size."""
        if self.formula is not None:
            config = self.learned.model.config
            heavy = int(self.formula[1:].sum())
            return heavy <= config.max_heavy and int(self.formula.sum()) <= config.max_atoms
        return self._formulas is None or len(self._formulas[0]) > 0

    def sure(self, rngs: Sequence[np.random.Generator]) -> Int[np.ndarray, "n kinds"]:
        """Inventories that could be a molecule's; where few of them could, this takes long."""
        return self(rngs, ROUNDS)[0]

    @torch.no_grad()
    def __call__(
        self, rngs: Sequence[np.random.Generator], rounds: int
    ) -> tuple[Int[np.ndarray, "n kinds"], Bool[np.ndarray, " n"]]:
        """Inventories, and whether each could be a molecule's and is not left out.

        Args:
            rngs: of each; what is drawn depends on the others by rounding only.
            rounds: times that each is drawn at most until it could be.
        """
        model = self.learned.model
        found = np.zeros((len(rngs), len(model.kinds)), dtype=int)
        fits = np.zeros(len(rngs), dtype=bool)
        for _ in range(rounds):
            rows = np.flatnonzero(~fits)
            if not len(rows):
                break
            numbers = np.stack([rngs[row].random(model.columns + 1) for row in rows])
            drawn, whole = self._drawn(torch.from_numpy(numbers))
            found[rows] = drawn.numpy()
            fits[rows] = (
                whole.numpy() & possible(model, found[rows]) & self.learned.wanted(found[rows])
            )
        return found, fits

    def _drawn(
        self, numbers: Float[Tensor, "n columns"]
    ) -> tuple[Int[Tensor, "n kinds"], Bool[Tensor, " n"]]:
        """Inventories, and whether they have the formulas that they should.

        Args:
            numbers: uniformly distributed from 0 to 1; the last ones draw the formula.
        """
        model = self.learned.model
        elements = len(model.config.elements)
        counts = torch.zeros(len(numbers), model.columns, dtype=torch.long)
        given = self._given(numbers[:, -1])
        state = model.blank(len(counts))
        for column in range(model.columns):
            if given is not None and column < elements:
                counts[:, column] = given[:, column]
            else:
                odds = model.log_probabilities(column, state, counts).double().exp().cumsum(1)
                mark = numbers[:, column, None] * odds[:, -1:]
                counts[:, column] = (odds <= mark).sum(1).clamp(max=odds.shape[1] - 1)
            state = state + model.embedded(column, counts[:, column])
        inventory = counts[:, elements:]
        return inventory, (model.counts(inventory) == counts).all(1)

    def _given(self, numbers: Float[Tensor, " n"]) -> Int[Tensor, "n elements"] | None:
        """Heavy atoms of each element and hydrogens, where something is asked of them."""
        if self.formula is not None:
            return self.formula.roll(-1).expand(len(numbers), -1)
        if self._formulas is None:
            return None
        formulas, odds = self._formulas
        return formulas[np.searchsorted(odds, numbers.numpy() * odds[-1])].roll(-1, 1)


def possible(
    model: InventoryModel, inventories: Int[np.ndarray, "n kinds"]
) -> Bool[np.ndarray, " n"]:
    """Which inventories could be those of a molecule with closed shells."""
    kinds = model.kinds.numpy()
    return connectable(kinds, inventories, model.config.max_atoms) & paired(kinds, inventories)


@torch.no_grad()
def formula_likelihood(
    model: InventoryModel,
) -> tuple[Int[Tensor, "formulas elements"], Float[Tensor, " formulas"]]:
    """Formulas that a model can make, and the logarithm of the probability of each."""
    heavy, most = len(model.config.elements) - 1, model.config.max_heavy
    atoms = torch.cartesian_prod(*[torch.arange(most + 1)] * heavy).view(-1, heavy)
    atoms = atoms[(atoms.sum(1) > 0) & (atoms.sum(1) <= most)]
    light = torch.arange(model.config.max_atoms + 1)
    counts = torch.zeros(len(atoms) * len(light), model.columns, dtype=torch.long)
    counts[:, :heavy] = atoms.repeat_interleave(len(light), 0)
    counts[:, heavy] = light.repeat(len(atoms))
    state, total = model.blank(len(counts)), torch.zeros(len(counts))
    for column in range(heavy + 1):
        own = counts[:, column]
        total += model.log_probabilities(column, state, counts).gather(1, own[:, None])[:, 0]
        state = state + model.embedded(column, own)
    made = total > IMPOSSIBLE / 2
    return counts[made, : heavy + 1].roll(1, 1), total[made]
