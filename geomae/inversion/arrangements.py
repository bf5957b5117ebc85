"""Directions of atoms whose mutual angles are known as lists, put together one atom after another.

Which pair of atoms has which angle is not known, only how many pairs of each two shells have each
(`geomae.inversion.angles`). Three atoms that stand leave few places for another one: its cosines to
them are on the lists, and its length is 1. Of these places the ones are taken whose cosines
to each other and to all others make up the lists. Nothing is left to chance, and what is not
found is not there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from jaxtyping import Float, Int

from geomae.inversion.angles import Angles

CLOSE = 1e-4
"""How far from a cosine of the list one may be."""

FLAT = (1e-8, 1e-4)
"""Squared heights above a plane, or distances from an axis, up to which they count as none, and may
be none.
"""

APART = 0.1
"""Part of a direction beside others that makes it an axis of its own."""

MOST_PLACES = 2000
"""Places that are looked at for the atoms of a shell."""

MOST_CHOICES = 3000
"""Sets of places that are looked at for a shell, in all."""

MOST_VISITS = 1000
"""Arrangements, finished or not, that are looked at."""

Tables = Callable[[int, int], Angles | None]
"""Cosines between the atoms of two shells, or within one; None where they aren't known."""


@dataclass(frozen=True)
class Arrangement:
    """Directions of some shells' atoms, up to rotation and reflection.

    Attributes:
        owner: shell of each atom, `[n]`.
        directions: unit vectors, `[n, 3]`.
    """

    owner: Int[np.ndarray, " n"]
    directions: Float[np.ndarray, "n 3"]

    @cached_property
    def shells(self) -> list[int]:
        """Those that have atoms here."""
        return list(dict.fromkeys(self.owner.tolist()))

    def with_atoms(self, shell: int, directions: Float[np.ndarray, "m 3"]) -> "Arrangement":
        """The same with more atoms of a shell."""
        owner = np.concatenate([self.owner, np.full(len(directions), shell)])
        return Arrangement(owner, np.concatenate([self.directions, directions]))


NOTHING = Arrangement(np.zeros(0, dtype=int), np.zeros((0, 3)))


class Arranger:
    """Looks for all arrangements that have given cosines.

    Args:
        counts: atoms of each shell, `[k]`.
        tables: of cosines.

    Attributes:
        exhausted: whether nothing was left out so far, for its number.
        used: pairs of shells whose cosines were used.
    """

    def __init__(self, counts: Int[np.ndarray, " k"], tables: Tables):
        self.counts, self.tables = counts, tables
        self.exhausted, self.choices, self.visits = True, 0, 0
        self.used: set[tuple[int, int]] = set()

    def arranged(self, start: Arrangement, shells: set[int]) -> Iterator[Arrangement]:
        """All arrangements that go on from one, each with as many of the shells as can be placed.

        Args:
            start: atoms that stand.
            shells: to be added.
        """
        self.visits += 1
        if self.visits > MOST_VISITS:
            self.exhausted = False
            return
        following = self._next(start, shells)
        if following is None:
            yield start
            return
        shell, axes, rank = following
        missing = int(self.counts[shell] - (start.owner == shell).sum())
        inside, outside = self._places(start, shell, axes, rank)
        for chosen in self._chosen(start, shell, inside, missing):
            yield from self.arranged(start.with_atoms(shell, chosen), shells - {shell})
        # the first atom outside the span of what stands may be anywhere about it
        for place in outside:
            more = start.with_atoms(shell, place[None])
            left = shells if missing > 1 else shells - {shell}
            yield from self.arranged(more, left)

    def known(self, a: int, b: int) -> Angles | None:
        """Cosines of two shells, remembered as used."""
        self.used.add((min(a, b), max(a, b)))
        return self.tables(a, b)

    def _next(self, start: Arrangement, shells: set[int]) -> tuple[int, list[int], int] | None:
        """The shell with the fewest places, the atoms from which these are told, and how many
        independent atoms there are.
        """
        begun = [s for s in shells if s in start.shells]
        rank = len(self._axes(start, None))
        best = None
        for shell in begun or sorted(shells):
            own = self.tables(shell, shell) if self.counts[shell] > 1 else None
            axes = self._axes(start, shell)
            if self.counts[shell] > 1 and own is None and (rank < 3 or len(axes) < 3):
                continue
            if len(axes) < min(rank, 2):
                continue
            ways = 1
            for atom in axes:
                ways *= len(self._between(shell, int(start.owner[atom])).cosines)
            # a shell that comes first has its own angles to begin with
            ways = ways if axes else len(own.cosines) if own else 1
            size = (3 - len(axes), ways, -int(self.counts[shell]))
            if ways <= MOST_PLACES and (best is None or size < best[0]):
                best = size, shell, axes, rank
        return None if best is None else best[1:]

    def _between(self, a: int, b: int) -> Angles:
        found = self.known(a, b)
        assert found is not None
        return found

    def _axes(self, start: Arrangement, shell: int | None) -> list[int]:
        """Up to three independent atoms, of few cosines to a shell."""
        axes: list[int] = []
        beside, far = start.directions, np.ones(len(start.owner))
        ways = np.ones(len(beside))
        if shell is not None:
            for other in start.shells:
                table = self.tables(shell, other)
                ways[start.owner == other] = np.inf if table is None else len(table.cosines)
        while len(axes) < 3 and len(beside):
            atom = int(np.argmin(np.where(far > APART, ways - far, np.inf)))
            if not (far[atom] > APART and ways[atom] < np.inf):
                break
            axes.append(atom)
            along = beside[atom] / far[atom]
            beside = beside - (beside @ along)[:, None] * along
            far = np.sqrt((beside**2).sum(1))
        return axes

    def _places(
        self, start: Arrangement, shell: int, axes: list[int], rank: int
    ) -> tuple[Float[np.ndarray, "i 3"], Float[np.ndarray, "o 3"]]:
        """Where an atom of a shell may be: in the span of the axes, or beyond, one of each kind."""
        if not axes:
            return np.zeros((0, 3)), np.array([[0.0, 0.0, 1.0]])
        lists = [self._between(shell, int(start.owner[atom])).cosines for atom in axes]
        cosines = np.array(list(product(*lists)))
        own = start.directions[axes]
        within = np.linalg.solve(own @ own.T, cosines.T).T @ own
        left = 1 - (within**2).sum(1)
        if len(axes) == 3:
            flat, beyond = within[np.abs(left) < CLOSE], within[:0]
        else:
            flat = within[np.abs(left) < FLAT[1]]
            high = left >= FLAT[0]
            height = np.sqrt(left[high])[:, None] * _normal(own)
            beyond = within[high] + height
            if rank > len(axes):
                # both sides count where something stands on one of them
                flat = np.concatenate([flat, beyond, beyond - 2 * height])
                beyond = beyond[:0]
        return self._fitting(start, shell, flat), self._fitting(start, shell, beyond)

    def _fitting(self, start: Arrangement, shell: int, places: np.ndarray) -> np.ndarray:
        """Places, as unit vectors, whose cosines to all that stands are on the lists."""
        if not len(places):
            return places
        places = places / np.sqrt((places**2).sum(1, keepdims=True))
        cosines = places @ start.directions.T
        good = np.ones(len(places), dtype=bool)
        for other in start.shells:
            table = self.known(shell, other)
            part = cosines[:, start.owner == other]
            if table is not None:
                gaps = np.abs(part[..., None] - table.cosines).min(2)
                good &= (gaps < CLOSE).all(1)
            elif other == shell:
                good &= (part < 1 - CLOSE).all(1)
        places = places[good]
        if len(places) < 2:
            return places
        same = np.triu(places @ places.T > 1 - 1e-2 * CLOSE, 1).any(0)
        return places[~same]

    def _chosen(
        self, start: Arrangement, shell: int, places: Float[np.ndarray, "c 3"], missing: int
    ) -> Iterator[Float[np.ndarray, "m 3"]]:
        """Sets of places that make up the lists of cosines."""
        if len(places) < missing:
            return
        seen, wanted = [np.zeros((len(places), 0))], [np.zeros(0)]
        for other in start.shells:
            table = self.known(shell, other)
            if table is None or other == shell:
                continue
            kinds = _kinds(places @ start.directions[start.owner == other].T, table)
            seen.append(_histograms(kinds, len(table.cosines)))
            wanted.append(table.counts)
        mine = start.directions[start.owner == shell]
        own = self.known(shell, shell) if self.counts[shell] > 1 else None
        if own is not None:
            kinds = _kinds(places @ mine.T, own)
            placed = _kinds(mine @ mine.T, own)[np.triu_indices(len(mine), 1)]
            rest = own.counts - np.bincount(placed, minlength=len(own.counts))
            between = _kinds(places @ places.T, own)
            first = _histograms(kinds, len(own.cosines))
        else:
            rest = np.zeros(0)
            between = np.where(places @ places.T < 1 - CLOSE, 0, -1)
            first = np.zeros((len(places), 0))
        others = np.concatenate(wanted)
        for other in start.shells:
            if other == shell and len(mine):
                others = others - self._counted(start, shell, mine)
        for index in self._sets(np.concatenate(seen, 1), others, first, rest, between, missing):
            yield places[index]

    def _counted(self, start: Arrangement, shell: int, mine: np.ndarray) -> np.ndarray:
        """Pairs that atoms of a shell make with the others that stand, by cosine."""
        found = [np.zeros(0)]
        for other in start.shells:
            table = self.tables(shell, other)
            if table is None or other == shell:
                continue
            kinds = _kinds(mine @ start.directions[start.owner == other].T, table)
            found.append(_histograms(kinds, len(table.cosines)).sum(0))
        return np.concatenate(found)

    def _sets(
        self,
        seen: np.ndarray,
        wanted: np.ndarray,
        first: np.ndarray,
        rest: np.ndarray,
        between: Int[np.ndarray, "c c"],
        missing: int,
    ) -> Iterator[list[int]]:
        """Numbers of places: what they see adds up to what is wanted, and pairs to the rest."""

        def go(taken: list[int], seen_left: np.ndarray, rest_left: np.ndarray, free: np.ndarray):
            if len(taken) == missing:
                if not seen_left.any() and not rest_left.any():
                    yield taken
                return
            for place in free.tolist():
                self.choices += 1
                if self.choices > MOST_CHOICES:
                    self.exhausted = False
                    return
                after = seen_left - seen[place]
                pairs = rest_left - first[place]
                if len(rest) and taken:
                    pairs = pairs - np.bincount(between[place, taken], minlength=len(rest))
                if (after < 0).any() or (pairs < 0).any():
                    continue
                left = free[(free > place) & (between[place, free] >= 0)]
                if len(left) + len(taken) + 1 >= missing:
                    yield from go([*taken, place], after, pairs, left)

        yield from go([], wanted, rest, np.arange(len(seen)))


def _normal(axes: Float[np.ndarray, "r 3"]) -> Float[np.ndarray, " 3"]:
    """A unit vector perpendicular to one or two others."""
    other = axes[1] if len(axes) > 1 else np.eye(3)[np.abs(axes[0]).argmin()]
    normal = np.cross(axes[0], other)
    return normal / np.sqrt(normal @ normal)


def _kinds(cosines: Float[np.ndarray, "*n"], table: Angles) -> Int[np.ndarray, "*n"]:
    """Number of each cosine on the list; -1 for those that are not on it."""
    gaps = np.abs(cosines[..., None] - table.cosines)
    return np.where(gaps.min(-1) < CLOSE, gaps.argmin(-1), -1)


def _histograms(kinds: Int[np.ndarray, "c n"], size: int) -> Int[np.ndarray, "c size"]:
    """How often each number comes in each row; those below zero don't."""
    return (kinds[:, :, None] == np.arange(size)).sum(1)
