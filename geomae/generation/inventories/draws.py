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

GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Learned:
    """Inventories as a model knows them.

    Attributes:
        model: tells their probability.
        left_out: inventories that are not wanted, by the number of atoms of each kind.
        temperature: below 1 likely counts are preferred, above 1 all are more alike: logarithms of
            probabilities are divided by it.
    """

    model: InventoryModel
    left_out: frozenset[tuple[int, ...]] = frozenset()
    temperature: float = 1.0

    def wanted(self, inventories: Int[np.ndarray, "n kinds"]) -> Bool[np.ndarray, " n"]:
        """Which are not left out."""
        return np.array([tuple(row) not in self.left_out for row in inventories.tolist()], bool)

    def log_probabilities(
        self, column: int, state: Float[Tensor, "n channels"], counts: Int[Tensor, "n columns"]
    ) -> Float[Tensor, "n values"]:
        """As `InventoryModel.log_probabilities`, at the temperature."""
        found = self.model.log_probabilities(column, state, counts)
        return (found / self.temperature).log_softmax(1)


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
            formulas, likelihood = formula_likelihood(self.learned)
            rows = formulas.sum(1) == self.n_atoms
            odds = likelihood[rows].double().exp().numpy()
            object.__setattr__(self, "_formulas", (formulas[rows], odds))

    @property
    def possible(self) -> bool:
        """Whether the model knows molecules of such a size."""
        if self.formula is not None:
            config = self.learned.model.config
            heavy = int(self.formula[1:].sum())
            return heavy <= config.max_heavy and int(self.formula.sum()) <= config.max_atoms
        return self._formulas is None or len(self._formulas[0]) > 0

    def sure(
        self, marks: Float[np.ndarray, " n"], rngs: Sequence[np.random.Generator]
    ) -> Int[np.ndarray, "n kinds"]:
        """Inventories that could be a molecule's; where few of them could, this takes long.

        Args:
            marks: say which, as those of a call.
            rngs: say it again where that one could be no molecule's.
        """
        found, fits = self(marks)
        for _ in range(ROUNDS - 1):
            rows = np.flatnonzero(~fits)
            if not len(rows):
                break
            found[rows], fits[rows] = self(np.array([rngs[row].random() for row in rows]))
        return found

    @torch.no_grad()
    def __call__(
        self, marks: Float[np.ndarray, " n"]
    ) -> tuple[Int[np.ndarray, "n kinds"], Bool[np.ndarray, " n"]]:
        """Inventories, and whether each could be a molecule's and is not left out.

        Args:
            marks: from 0 to 1. Inventories lie side by side there, each as long as its
                probability (as in arithmetic coding), and that at the mark is taken; which one
                depends on the other marks by rounding only.
        """
        model, rest = self.learned.model, torch.from_numpy(marks).double()
        elements = len(model.config.elements)
        counts = torch.zeros(len(marks), model.columns, dtype=torch.long)
        given, rest = self._given(rest)
        state = model.blank(len(counts))
        for column in range(model.columns):
            if given is not None and column < elements:
                counts[:, column] = given[:, column]
            else:
                odds = self.learned.log_probabilities(column, state, counts).double().exp()
                counts[:, column], rest = _at_marks(odds, rest)
            state = state + model.embedded(column, counts[:, column])
        found = counts[:, elements:].numpy()
        whole = (model.counts(counts[:, elements:]) == counts).all(1).numpy()
        return found, whole & possible(model, found) & self.learned.wanted(found)

    def _given(
        self, marks: Float[Tensor, " n"]
    ) -> tuple[Int[Tensor, "n elements"] | None, Float[Tensor, " n"]]:
        """Heavy atoms of each element and hydrogens, where something is asked of them, and where
        the marks are among what is left open.
        """
        if self.formula is not None:
            return self.formula.roll(-1).expand(len(marks), -1), marks
        if self._formulas is None:
            return None, marks
        formulas, odds = self._formulas
        rows, rest = _at_marks(torch.from_numpy(odds).expand(len(marks), -1), marks)
        return formulas[rows].roll(-1, 1), rest


def _at_marks(
    odds: Float[Tensor, "n values"], marks: Float[Tensor, " n"]
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """Values whose share of the way from 0 to 1 holds a mark, and where in it that is."""
    ends = odds.cumsum(1)
    place = marks[:, None] * ends[:, -1:]
    found = (ends <= place).sum(1, keepdim=True).clamp(max=odds.shape[1] - 1)
    length = odds.gather(1, found)
    rest = (place - ends.gather(1, found) + length) / length
    return found[:, 0], rest[:, 0].clamp(0, 1)


def even_marks(seed: int, numbers: Sequence[int]) -> Float[np.ndarray, " n"]:
    """Marks from 0 to 1 that lie evenly, however many there are: multiples of the golden ratio.

    Any n in a row are 0.38 / n apart at least, so what is drawn with a smaller share comes once in
    them at most, and everything about as often as its share (Kronecker's sequence; Niederreiter,
    Random Number Generation and Quasi-Monte Carlo Methods, 1992).

    Args:
        seed: of the first one.
        numbers: of marks.
    """
    start = np.random.default_rng([seed, 4]).random()
    return (start + np.array(numbers, dtype=float) * GOLDEN) % 1


def possible(
    model: InventoryModel, inventories: Int[np.ndarray, "n kinds"]
) -> Bool[np.ndarray, " n"]:
    """Which inventories could be those of a molecule with closed shells."""
    kinds = model.kinds.numpy()
    return connectable(kinds, inventories, model.config.max_atoms) & paired(kinds, inventories)


@torch.no_grad()
def formula_likelihood(
    learned: Learned,
) -> tuple[Int[Tensor, "formulas elements"], Float[Tensor, " formulas"]]:
    """Formulas that a model can make, and the logarithm of the probability of each."""
    model = learned.model
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
        total += learned.log_probabilities(column, state, counts).gather(1, own[:, None])[:, 0]
        state = state + model.embedded(column, own)
    made = total > IMPOSSIBLE / 2
    return counts[made, : heavy + 1].roll(1, 1), total[made]
