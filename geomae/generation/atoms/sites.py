"""Atoms on whole orbits of a point group, hydrogens about theirs included."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.generation.orbits import FIXED, GENERAL, Operations, Orbits, fixed_space, special_points
from geomae.symmetry import PointGroup

AXIS_WEIGHT = 0.3
"""How often orbits on axes are drawn, beside those in planes and elsewhere."""


@dataclass(frozen=True)
class Site:
    """Points that a subgroup leaves where they are, and nothing else does.

    Attributes:
        stabilizer: the subgroup.
        size: points of an orbit of them.
        freedom: dimension of the space that the subgroup leaves as it is.
    """

    stabilizer: Operations
    size: int
    freedom: int


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


class Sites:
    """How atoms can sit in a point group.

    Args:
        group: about the origin.
    """

    def __init__(self, group: PointGroup):
        self.group, self.orbits = group, Orbits(group)
        self._types: dict[Operations, tuple[Site, ...]] = {}
        self._possible: dict[tuple[Operations, int], bool] = {}

    @cached_property
    def inverse(self) -> Int[np.ndarray, " g"]:
        """Number of each operation's inverse."""
        identity = int(np.argmax(np.trace(self.orbits.operations, axis1=1, axis2=2)))
        return np.argmax(self.orbits.table == identity, axis=1)

    def types(self, within: Operations) -> tuple[Site, ...]:
        """Sites of a subgroup, one of each class of equivalent ones, the general one last."""
        if within not in self._types:
            self._types[within] = tuple(self._find(within))
        return self._types[within]

    def _find(self, within: Operations) -> list[Site]:
        points = [np.zeros(3), *special_points(self.orbits.operations[list(within)])]
        points.append(self.group.frame.numpy() @ GENERAL.numpy())
        found: dict[Operations, Site] = {}
        for point in points:
            gaps = np.linalg.norm(self.orbits.images(point, within) - point, axis=1)
            stabilizer = tuple(g for g, gap in zip(within, gaps, strict=True) if gap < FIXED)
            space = fixed_space(self.orbits.operations[list(stabilizer)])
            if self.group.infinite and not self._on_axis(space):
                continue
            site = Site(stabilizer, len(within) // len(stabilizer), len(space))
            found.setdefault(self._class(stabilizer, within), site)
        return sorted(found.values(), key=lambda site: site.freedom)

    def _on_axis(self, space: Float[np.ndarray, "d 3"]) -> bool:
        """Whether nothing but the axis of an infinite group, or less, is left as it is."""
        axis = self.group.axis
        if not len(space) or axis is None:
            return not len(space)
        return len(space) == 1 and abs(float(space[0] @ axis.numpy())) > 1 - FIXED

    def _class(self, subgroup: Operations, within: Operations) -> Operations:
        """The first of the subgroups that are equivalent to one."""
        table = self.orbits.table
        members = np.array(subgroup)
        images = [np.sort(table[table[g, members], self.inverse[g]]) for g in within]
        return min(tuple(image.tolist()) for image in images)

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

    def _moves(self, stabilizer: Operations) -> Int[np.ndarray, "g size"]:
        """Which point of an orbit each operation makes of each."""
        cosets = self.orbits.cosets(stabilizer, self.orbits.everything)
        return cosets.of[self.orbits.table[:, list(cosets.representatives)]]


def sum_of(total: int, sites: Sequence[Site], rng: np.random.Generator) -> tuple[Site, ...] | None:
    """Orbits that make up a number of points, at random; None if there are none."""
    weights = [AXIS_WEIGHT if site.freedom == 1 else 1.0 for site in sites]
    ways = np.zeros(total + 1)
    ways[0] = 1
    for n in range(1, total + 1):
        pairs = zip(sites, weights, strict=True)
        ways[n] = sum(weight * ways[n - s.size] for s, weight in pairs if s.size <= n)
    if not ways[total]:
        return None
    drawn = []
    while total:
        pairs = zip(sites, weights, strict=True)
        odds = np.array([w * ways[total - s.size] if s.size <= total else 0.0 for s, w in pairs])
        site = sites[rng.choice(len(sites), p=odds / odds.sum())]
        drawn.append(site)
        total -= site.size
    return tuple(drawn)


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
