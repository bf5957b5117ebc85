"""Which inventories samples are drawn from: those of the data, a model's, or proposed ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.data.elements import NUMBERS, SYMBOLS
from geomae.generation.atoms.flow import AtomFlow
from geomae.generation.conditions import log_density, property_likelihood
from geomae.generation.inventories.draws import InventoryDraws, Learned, even_marks
from geomae.generation.proposals import propose
from geomae.generation.request import Asked, parse_formula
from geomae.symmetry.orbits import OrbitSizes

PROPOSED = 400
"""Inventories at most that are proposed where none is known."""

TRIED = 256
"""Draws that tell how many of a model's could be a molecule's."""

ACCEPTED = 0.02
"""Share of these at least for which inventories are drawn when they are needed."""

POOL = 4096
"""Draws among which is chosen where more is asked for than a model can be told."""

Test = Callable[[Int[np.ndarray, "rows kinds"]], Bool[np.ndarray, " rows"]]
"""Which inventories can be placed as samples have to be."""


Inventories = Callable[
    [Float[np.ndarray, " n"], Sequence[np.random.Generator]], Int[np.ndarray, "n kinds"]
]
"""The inventories at marks from 0 to 1, or where sources of randomness say if those can't be."""


@dataclass(frozen=True)
class Listed:
    """Inventories that are listed.

    Attributes:
        inventories: different ones.
        shares: how often each is drawn; their sum is one.
    """

    inventories: Int[np.ndarray, "rows kinds"]
    shares: Float[np.ndarray, " rows"]

    def __call__(
        self, marks: Float[np.ndarray, " n"], rngs: Sequence[np.random.Generator]
    ) -> Int[np.ndarray, "n kinds"]:
        ends = self.shares.cumsum()
        return self.inventories[np.searchsorted(ends[:-1], marks * ends[-1], side="right")]


@dataclass(frozen=True)
class Candidates:
    """Inventories that fit what is asked for.

    Attributes:
        flow: that places them, and whose data has some.
        learned: inventories of a model; those of the data alone if None.
        asked: what samples are to be.
        seed: of what is tried and proposed.
        orbits: in which numbers atoms of a kind come.
        test: which inventories can be placed; all of them if None.
        most: atoms at most.
    """

    flow: AtomFlow
    learned: Learned | None
    asked: Asked
    seed: int
    orbits: OrbitSizes
    test: Test | None
    most: int

    def found(self) -> Inventories | None:
        """Those that are known, or else proposed; None if there are none."""
        if self.test is None and not self.asked.properties:
            draws = self._draws()
            if (
                draws is not None
                and draws(even_marks(self.seed, range(TRIED)))[1].mean() >= ACCEPTED
            ):
                return draws.sure
        for source in (self._known, self._proposed):
            inventories, odds = source()
            if len(inventories):
                return Listed(inventories, odds / odds.sum())
        return None

    def _formula(self) -> Int[Tensor, " elements"] | None:
        if self.asked.formula is None:
            return None
        counts = parse_formula(self.asked.formula)
        return torch.tensor([counts.get(SYMBOLS[z], 0) for z in self.flow.elements])

    def _draws(self) -> InventoryDraws | None:
        """Of the model, with the formula and the size; None if it knows none such."""
        if self.learned is None:
            return None
        draws = InventoryDraws(self.learned, self._formula(), self.asked.n_atoms)
        return draws if draws.possible else None

    def _known(self) -> tuple[Int[np.ndarray, "rows kinds"], Float[np.ndarray, " rows"]]:
        """Those of the data, and many of a model's, and their odds."""
        known, formula = self.flow.inventories(), self._formula()
        formulas = self.flow.formulas()
        fits = torch.ones(len(known), dtype=torch.bool)
        if formula is not None:
            fits &= (formulas == formula).all(1)
        if self.asked.n_atoms is not None:
            fits &= formulas.sum(1) == self.asked.n_atoms
        if self.learned is None:
            fits[fits.clone()] = torch.from_numpy(self._fits(known[fits].numpy()))
            likelihood = property_likelihood(self.flow, self.asked.properties)
            odds = self.flow.statistics["shares"].double().cpu() * likelihood
            return known[fits].numpy(), odds[fits].numpy()
        own, draws = known[fits].numpy(), self._draws()
        if draws is not None:
            drawn, could_be = draws(even_marks(self.seed, range(POOL)))
            own = np.unique(np.concatenate([own, drawn[could_be]]), axis=0)
        own = own[self._fits(own)]
        return own, self._odds(own)

    def _proposed(self) -> tuple[Int[np.ndarray, "rows kinds"], Float[np.ndarray, " rows"]]:
        """Others, and their odds."""
        shares, known = self.flow.statistics["shares"].double().cpu(), self.flow.inventories()
        counts = None
        if self.asked.formula is not None:
            parsed = parse_formula(self.asked.formula)
            counts = {NUMBERS[symbol]: n for symbol, n in parsed.items()}
        own = propose(
            self.flow.kinds().numpy(),
            (shares @ known.double()).numpy(),
            np.random.default_rng([self.seed, 1]),
            counts=counts,
            sizes=self.orbits.sizes,
            centre=self.orbits.centre,
            n_atoms=self.asked.n_atoms,
            most=self.most,
        )[:PROPOSED]
        own = own[self._fits(own)]
        return own, np.ones(len(own))

    def _fits(self, inventories: Int[np.ndarray, "rows kinds"]) -> Bool[np.ndarray, " rows"]:
        """Which are wanted and can be placed."""
        fits = np.ones(len(inventories), dtype=bool)
        if self.learned is not None:
            fits = self.learned.wanted(inventories)
        if self.test is not None:
            fits[fits] = self.test(inventories[fits])
        return fits

    @torch.no_grad()
    def _odds(self, inventories: Int[np.ndarray, "rows kinds"]) -> Float[np.ndarray, " rows"]:
        """In parts of the likeliest, by the model: of inventories with their properties."""
        assert self.learned is not None, "only a model tells the odds of what the data lacks"
        if not len(inventories):
            return np.zeros(0)
        model, rows = self.learned.model, torch.from_numpy(inventories)
        logarithm = model.log_likelihood(model.counts(rows)).double() / self.learned.temperature
        names, values = model.config.properties, self.asked.properties
        means, spreads = model.property_moments(rows)
        for name, value in values.items():
            column = names.index(name)
            logarithm += log_density(value, means[:, column], spreads[:, column])
        return (logarithm - logarithm.amax()).exp().numpy()
