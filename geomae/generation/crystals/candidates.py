"""Which skeletons crystals are made on: those of the data, or else proposed ones."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from geomae.errors import GeomaeError
from geomae.generation.crystals.proposals import proposals
from geomae.generation.crystals.wanted import Wanted
from geomae.symmetry import GroupError
from geomae.wyckoff.template import Template, Templates


@dataclass(frozen=True, eq=False)
class Candidates:
    """Skeletons to draw from.

    Attributes:
        templates: all of them.
        rows: which of these are drawn.
        shares: how often each is; their sum is one.
    """

    templates: Templates
    rows: Int[np.ndarray, " k"]
    shares: Float[np.ndarray, " k"]

    def __call__(self, rng: np.random.Generator) -> Template:
        """One of them at random."""
        return self.templates[int(rng.choice(self.rows, p=self.shares))]


def candidates(known: Templates, wanted: Wanted, seed: int) -> Candidates:
    """The data's skeletons as frequent as there; where none is as wanted, others.

    Args:
        known: skeletons of the data.
        wanted: what they have to have.
        seed: of what is proposed.

    Raises:
        GroupError: whole orbits of the group can't come to what is wanted.
        GeomaeError: whole formula units can't have so many atoms.
        MissingExtraError: moyopy is not installed.
    """
    rows = np.arange(len(known))
    if wanted.group is not None:
        rows = rows[known.group == wanted.group.number]
    rows = np.array([row for row in rows.tolist() if wanted.fits(known.counts(row))], dtype=int)
    if len(rows):
        return Candidates(known, rows, known.share[rows] / known.share[rows].sum())
    made = proposals(known, wanted, seed)
    if made is None:
        raise _refusal(wanted)
    templates, odds = made
    return Candidates(templates, np.arange(len(templates)), odds / odds.sum())


def _refusal(wanted: Wanted) -> GeomaeError:
    """Why there is no skeleton."""
    atoms = f"{wanted.n_atoms} atoms a primitive cell"
    if wanted.group is None:
        return GeomaeError(f"no whole number of formula units {wanted.formula} has {atoms}")
    given = [wanted.formula, None if wanted.n_atoms is None else atoms]
    what = " and ".join(own for own in given if own) or "any element"
    return GroupError(
        f"{what} and {wanted.group.name} exclude each other in a primitive cell of at most "
        f"{wanted.most} atoms: no whole orbits on its Wyckoff positions come to that"
    )
