"""How often space groups occur in a flow's data, and the shapes of their cells."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from geomae.errors import MissingExtraError
from geomae.wyckoff.template import Templates

RARE = 1e-4
"""Share of crystals that a group has beside what the data says."""

EVEN = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
"""Metric of vectors of equal length at right angles; a group makes of it what it allows."""


@dataclass(frozen=True, eq=False)
class GroupStatistics:
    """What is known of the 230 groups.

    Attributes:
        share: of the data's crystals that have each, `[230]`.
        metric: mean of the cells' metrics at volume 1, as of `Skeletons`, `[230, 6]`: that of the
            group's crystals, or else of those with the same Bravais lattice, or else of a cell of
            equal lengths.
    """

    share: Float[np.ndarray, " 230"]
    metric: Float[np.ndarray, "230 6"]

    @property
    def odds(self) -> Float[np.ndarray, " 230"]:
        """How often groups are drawn, those too that don't occur."""
        return self.share + RARE


def group_statistics(known: Templates) -> GroupStatistics:
    """Of the skeletons of a flow's data.

    Raises:
        MissingExtraError: moyopy is not installed.
    """
    share, total = np.zeros(230), np.zeros((230, 6))
    np.add.at(share, known.group - 1, known.share)
    np.add.at(total, known.group - 1, known.share[:, None] * known.metric)
    lattices = np.array(_lattices())
    of_lattices = np.stack([total[lattices == own].sum(0) for own in lattices])
    metric = np.where(total[:, :1] > 0, total, of_lattices)
    return GroupStatistics(share, np.where(metric[:, :1] > 0, metric, EVEN))


@lru_cache(maxsize=1)
def _lattices() -> tuple[str, ...]:
    """Bravais lattice of each group and the face that is centred, which decide the setting."""
    try:
        from moyopy import SpaceGroupType
    except ImportError as error:
        raise MissingExtraError("moyopy", "crystals") from error
    types = [SpaceGroupType(number) for number in range(1, 231)]
    return tuple(f"{own.bravais_class} {own.hm_short[0]}" for own in types)
