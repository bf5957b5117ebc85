"""Places in a point group that some of its operations leave where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from geomae.symmetry.groups import PointGroup
from geomae.symmetry.orbits import FIXED, GENERAL, Operations, Orbits, fixed_space, special_points

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


class PointSites:
    """Kinds of places that a point group has.

    Args:
        group: about the origin.
    """

    def __init__(self, group: PointGroup):
        self.group, self.orbits = group, Orbits(group)
        self._types: dict[Operations, tuple[Site, ...]] = {}

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
