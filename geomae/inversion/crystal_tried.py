"""Skeletons that are tried for a crystal: draws on them, and which is the most promising."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geomae.inversion.crystal_orbits import Orbits, on_template
from geomae.wyckoff.candidates import Candidate

SPREADS = (0.03, 0.1, 0.25)
"""Spreads of the strain by which a cell is drawn, of which each start has one."""

MOST_DRAWS = 6
"""Starts of which the best is refined, at most."""

HALF = 6.0
"""Free parameters of a skeleton on which one of two starts ends at the right crystal."""

ANEW = 0.6
"""Part of the mutants of which one orbit is drawn anew."""

SHAKEN = 0.3
"""Å by which coordinates of the other mutants are moved."""

COST = 20
"""Evaluations of a refinement."""


@dataclass(eq=False)
class Tried:
    """A candidate, and how often it was tried.

    Attributes:
        orbits: how its crystals follow from their parameters.
        periods: of the free coordinates, in units of the parameters.
        share: of crystals that have the skeleton, up to a factor.
        times: how often it was tried.
    """

    orbits: Orbits
    periods: Float[Tensor, " q"]
    share: float
    freedom: int
    times: int = 0

    @staticmethod
    def of(candidate: Candidate, volume: float) -> "Tried":
        """Not tried yet; the frame has a volume in Å^3."""
        template = candidate.template
        orbits = on_template(template, candidate.species, volume)
        periods = [
            np.linalg.norm(template.basis[orbit, axis] @ orbits.frame.numpy())
            for orbit, free in enumerate(template.freedom.tolist())
            for axis in range(free)
        ]
        freedom = orbits.n_parameters - round(float(np.trace(template.polar)))
        return Tried(orbits, torch.tensor(np.array(periods)), candidate.share, freedom)

    @property
    def draws(self) -> int:
        """Starts of which the best is refined."""
        return 1 if self.freedom <= 1 else min(2 * self.freedom, MOST_DRAWS)

    @property
    def turn(self) -> float:
        """Chance that another try finds it, for its cost.

        Of starts on the right skeleton about `HALF / (HALF + freedom)` end at the crystal, so that
        each that does not makes the skeleton less likely.
        """
        if self.freedom <= 1 and self.times >= 2:
            return 0.0
        finds = HALF / (HALF + self.freedom)
        return self.share * finds * (1 - finds) ** self.times / (COST + self.draws)

    def drawn(self, k: int, swell: float, generator: torch.Generator) -> Float[Tensor, "k d"]:
        """Parameters of crystals at random.

        Args:
            k: crystals.
            swell: spread of the logarithm of the volume.
            generator: of what is random.
        """
        options = {"generator": generator, "dtype": torch.float64}
        chosen = torch.randint(len(SPREADS), (k,), generator=generator)
        noise = torch.tensor(SPREADS, dtype=torch.float64)[chosen, None, None]
        noise = noise * torch.randn(k, 3, 3, **options)
        strains = self.orbits.strains
        unit = strains / strains.flatten(1).norm(dim=1)[:, None, None]
        noise = torch.einsum("sab,scd,kcd->kab", unit, unit, noise + noise.mT)
        eye = torch.eye(3, dtype=torch.float64)
        trace = noise.diagonal(dim1=1, dim2=2).sum(1) - swell * torch.randn(k, **options)
        strain = torch.linalg.matrix_exp(noise - trace[:, None, None] * eye / 3)
        moves = torch.rand(k, len(self.periods), **options) * self.periods
        return torch.cat([moves, torch.stack([self.orbits.strain(own) for own in strain])], 1)

    def mutants(
        self, parameters: Float[Tensor, " d"], k: int, generator: torch.Generator
    ) -> Float[Tensor, "k d"]:
        """Crystals beside one: an orbit drawn anew, or all coordinates shaken.

        Args:
            parameters: of the one.
            k: crystals.
            generator: of what is random.
        """
        options = {"generator": generator, "dtype": torch.float64}
        count = len(self.periods)
        made = parameters.repeat(k, 1)
        if count:
            mine = self.orbits.owner[self.orbits.along.abs().sum(2).argmax(1)]
            chosen = mine[torch.randint(count, (k,), generator=generator)]
            anew = (mine == chosen[:, None]) & (torch.rand(k, 1, **options) < ANEW)
            shaken = made[:, :count] + SHAKEN * torch.randn(k, count, **options)
            drawn = torch.rand(k, count, **options) * self.periods
            keep = torch.where(anew.any(1, keepdim=True), made[:, :count], shaken)
            made[:, :count] = torch.where(anew, drawn, keep)
        return made
