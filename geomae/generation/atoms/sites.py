"""Atoms on whole orbits of a point group, hydrogens about theirs included."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.symmetry import PointGroup
from geomae.symmetry.orbits import Operations
from geomae.symmetry.sites import PointSites, Site, sum_of


@dataclass(frozen=True, eq=False)
class Seating:
    """Heavy atoms on orbits.

    Attributes:
        sites: of each orbit.
        kind: of each heavy atom, `[heavy]`.
        moves: number of the atom that each operation of the group makes of each, `[g, heavy]`.
    """

    sites: tuple[Site, ...]
    kind: Int[np.ndarray, " heavy"]
    moves: Int[np.ndarray, "g heavy"]

    @property
    def crowding(self) -> int:
        """Orbits on axes, beyond two on each.

        Atoms on an axis are a chain; molecules seldom have three.
        """
        on_axes = Counter(site.stabilizer for site in self.sites if site.freedom == 1)
        return sum(max(0, number - 2) for number in on_axes.values())


@dataclass(frozen=True)
class Coat:
    """Hydrogens on orbits about their heavy atoms.

    Attributes:
        parent: heavy atom of each hydrogen, `[light]`.
        moves: number of the hydrogen that each operation of the group makes of each,
            `[g, light]`.
    """

    parent: Int[np.ndarray, " light"]
    moves: Int[np.ndarray, "g light"]


class Sites(PointSites):
    """How atoms can sit in a point group.

    Args:
        group: about the origin.
    """

    def __init__(self, group: PointGroup):
        super().__init__(group)
        self._possible: dict[tuple[Operations, int], bool] = {}

    def seated(
        self,
        kinds: Int[np.ndarray, "kinds 3"],
        inventory: Int[np.ndarray, " kinds"],
        rng: np.random.Generator,
    ) -> Seating | None:
        """Heavy atoms on orbits drawn at random, where they can have their hydrogens; None if
        there are no such orbits.

        Args:
            kinds: element, hydrogens and heavy neighbours of each kind.
            inventory: heavy atoms of each kind.
            rng: of the draw.
        """
        present = np.flatnonzero(inventory).tolist()
        sites = self.types(self.orbits.everything)
        central = next((site for site in sites if not site.freedom), None)
        takers: list[int | None] = [None]
        if central is not None:
            takers += [kind for kind in present if self._coats(central, int(kinds[kind, 1]))]
        for number in rng.permutation(len(takers)):
            taker, seats = takers[number], []
            for kind in present:
                hydrogens = int(kinds[kind, 1])
                open_ = [s for s in sites if s.freedom and self._coats(s, hydrogens)]
                drawn = sum_of(int(inventory[kind]) - (kind == taker), open_, rng)
                if drawn is None:
                    break
                drawn = (central, *drawn) if kind == taker and central is not None else drawn
                seats += [(kind, site) for site in drawn]
            else:
                return self._arranged(seats)
        return None

    def _around(self, site: Site) -> list[Site]:
        """Where hydrogens about an atom of a site can be."""
        return [own for own in self.types(site.stabilizer) if own.freedom]

    def _coats(self, site: Site, hydrogens: int) -> bool:
        """Whether an atom of a site can have so many hydrogens."""
        key = site.stabilizer, hydrogens
        if key not in self._possible:
            drawn = _coat_of(hydrogens, self._around(site), np.random.default_rng(0))
            self._possible[key] = drawn is not None
        return self._possible[key]

    def _arranged(self, seats: Sequence[tuple[int, Site]]) -> Seating:
        kind: list[int] = []
        moves = []
        for own, site in seats:
            moves.append(len(kind) + self._moves(site.stabilizer))
            kind += [own] * site.size
        return Seating(tuple(s for _, s in seats), np.array(kind), np.concatenate(moves, 1))

    def coat(
        self, kinds: Int[np.ndarray, "kinds 3"], seating: Seating, rng: np.random.Generator
    ) -> Coat:
        """Hydrogens on orbits about seated heavy atoms, drawn at random.

        Args:
            kinds: element, hydrogens and heavy neighbours of each kind.
            seating: of the heavy atoms.
            rng: of the draw.
        """
        everything = self.orbits.everything
        moves, parent, start = [np.zeros((len(everything), 0), dtype=int)], [], 0
        for site in seating.sites:
            above = self.orbits.cosets(site.stabilizer, everything)
            hydrogens = int(kinds[seating.kind[start], 1])
            for about in _coat_of(hydrogens, self._around(site), rng) or ():
                own = self.orbits.cosets(about.stabilizer, everything)
                moves.append(len(parent) + self._moves(about.stabilizer))
                parent += (start + above.of[list(own.representatives)]).tolist()
            start += site.size
        return Coat(np.array(parent, dtype=int), np.concatenate(moves, 1))


def _coat_of(
    hydrogens: int, sites: Sequence[Site], rng: np.random.Generator
) -> tuple[Site, ...] | None:
    """Orbits of the hydrogens about one atom, at most one of them on each axis; None if there are
    none.
    """
    axes = [site for site in sites if site.freedom == 1]
    others = [site for site in sites if site.freedom > 1]
    options = []
    for number in range(len(axes) + 1):
        for chosen in combinations(axes, number):
            rest = hydrogens - sum(site.size for site in chosen)
            if rest >= 0 and (drawn := sum_of(rest, others, rng)) is not None:
                options.append((*chosen, *drawn))
    return options[rng.integers(len(options))] if options else None


def projection(
    operations: Float[Tensor, "g 3 3"], moves: Int[Tensor, "n g a"]
) -> Callable[[Float[Tensor, "n a 3"]], Float[Tensor, "n a 3"]]:
    """What symmetry leaves of vectors on atoms: the mean of what operations make of them.

    Args:
        operations: of the group.
        moves: number of the atom that each makes of each.
    """

    def project(vectors: Float[Tensor, "n a 3"]) -> Float[Tensor, "n a 3"]:
        n, g, _ = moves.shape
        rows = torch.arange(n, device=moves.device)[:, None, None]
        there = vectors[rows, moves]
        return torch.einsum("gji,ngaj->nai", operations.to(vectors), there) / g

    return project
