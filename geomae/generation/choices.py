"""Which orbits of peaks are taken: the likeliest whole ones, by counts, fields and formula."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest

import numpy as np
from jaxtyping import Float

from geomae.symmetry.orbits import Operations

MOST_ORBITS = 12
"""Orbits around one point among which is chosen; the others are not there."""

OPTIONS = 8
"""Ways to choose around one point that are kept, one for each number of children."""

STATES = 400
"""Partial formulas that are kept."""

UNSURE = 1e-3
"""Least and largest probability that a field is believed."""

SAME = 0.1
"""Distance in Å within which two peaks of one kind are one."""


@dataclass(frozen=True)
class Candidate:
    """An orbit of peaks around a point, under its site symmetry.

    Attributes:
        kind: of child.
        position: of its representative about the point, `[3]` in Å.
        stabilizer: operations that leave the representative where it is.
        images: all its points, the representative first, `[k, 3]`.
        probability: the field's.
    """

    kind: int
    position: Float[np.ndarray, "3"]
    stabilizer: Operations
    images: Float[np.ndarray, "k 3"]
    probability: float

    def gap(self, other: "Candidate") -> float:
        """Least distance of a point of one orbit to one of the other, in Å."""
        return float(np.linalg.norm(self.images - other.position, axis=1).min())

    def same_as(self, other: "Candidate") -> bool:
        """Whether another seed has led to the same orbit."""
        return self.kind == other.kind and self.gap(other) < SAME


Option = tuple[float, tuple[Candidate, ...]]
"""Log-likelihood of taking some orbits around a point and no others, and these."""

Chosen = tuple[float, tuple[tuple[Candidate, ...], ...]]
"""Log-likelihood of a choice around several points, and what is taken around each."""


def site_options(
    candidates: Sequence[Candidate], log_counts: Float[np.ndarray, "kinds counts"], apart: float
) -> list[Option]:
    """The likeliest sets of orbits around one point, one for each number of children told.

    The likelihood is that of the numbers of children by the counter, times that of each orbit
    that is taken, times that of each that is not being false.

    Args:
        candidates: orbits, the most probable first.
        log_counts: log-probability of each number of children of each kind.
        apart: orbits with points nearer to each other exclude each other, in Å.
    """
    candidates = candidates[:MOST_ORBITS]
    kinds, most = log_counts.shape[0], log_counts.shape[1] - 1
    taken = (np.arange(2 ** len(candidates))[:, None] >> np.arange(len(candidates))) & 1
    for i, one in enumerate(candidates):
        for j in range(i):
            if one.gap(candidates[j]) < apart:
                taken = taken[~((taken[:, i] == 1) & (taken[:, j] == 1))]
    sizes = np.zeros((len(candidates), kinds), dtype=int)
    for row, candidate in zip(sizes, candidates, strict=True):
        row[candidate.kind] = len(candidate.images)
    counts = taken @ sizes
    possible = (counts <= most).all(1)
    taken, counts = taken[possible], counts[possible]
    probability = np.clip([c.probability for c in candidates], UNSURE, 1 - UNSURE)
    score = taken @ np.log(probability) + (1 - taken) @ np.log1p(-probability)
    score = score + log_counts[np.arange(kinds), counts].sum(1)
    best: dict[tuple[int, ...], int] = {}
    for row in np.argsort(-score, kind="stable").tolist():
        best.setdefault(tuple(counts[row].tolist()), row)
        if len(best) == OPTIONS:
            break
    return [
        (float(score[row]), tuple(c for c, t in zip(candidates, taken[row], strict=True) if t))
        for row in best.values()
    ]


def best_sums(options: Sequence[Sequence[Option]], most: int) -> list[Chosen]:
    """The likeliest choices around several points that don't see each other."""
    found: list[Chosen] = [(0.0, ())]
    for own in options:
        grown = [
            (score + more, (*chosen, orbits)) for score, chosen in found for more, orbits in own
        ]
        found = nlargest(most, grown, key=lambda item: item[0])
    return found


def best_totals(
    options: Sequence[Sequence[Option]],
    multiplicity: Sequence[int],
    log_formula: Float[np.ndarray, "kinds counts"],
    wanted: Callable[[tuple[int, ...]], bool] | None,
    most: int,
) -> list[Chosen]:
    """The likeliest choices of atoms around several points, their sum told by the latent, too.

    A knapsack: of the ways to each partial formula the likeliest is kept.

    Args:
        options: around each point.
        multiplicity: points for which each of these stands.
        log_formula: log-probability of each number of atoms of each element in all; more atoms
            than it has numbers for are not there.
        wanted: which formulas will do; any if None.
        most: choices at most, of different formulas.
    """
    kinds, largest = log_formula.shape[0], log_formula.shape[1] - 1
    states: dict[tuple[int, ...], Chosen] = {(0,) * kinds: (0.0, ())}
    for own, number in zip(options, multiplicity, strict=True):
        grown: dict[tuple[int, ...], Chosen] = {}
        for total, (score, chosen) in states.items():
            for more, orbits in own:
                made = list(total)
                for orbit in orbits:
                    made[orbit.kind] += number * len(orbit.images)
                key, value = tuple(made), score + more
                if sum(made) <= largest and (key not in grown or grown[key][0] < value):
                    grown[key] = value, (*chosen, orbits)
        states = dict(nlargest(STATES, grown.items(), key=lambda item: item[1][0]))
    told = [
        (score + float(log_formula[np.arange(kinds), list(total)].sum()), chosen)
        for total, (score, chosen) in states.items()
        if any(total) and (wanted is None or wanted(total))
    ]
    return nlargest(most, told, key=lambda item: item[0])
