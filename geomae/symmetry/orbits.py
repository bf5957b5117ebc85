"""Orbits of points under a point group."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.symmetry.groups import PointGroup

Operations = tuple[int, ...]
"""Numbers of some operations of a group, ascending; of a subgroup, as a rule."""

FIXED = 1e-6
"""Distance in Å within which a point is where an operation brings it."""


@dataclass(frozen=True)
class Cosets:
    """Left cosets of a subgroup: the images of a point that it fixes.

    Attributes:
        representatives: number of one operation of each, the identity's first.
        of: number of the coset that each operation belongs to, `[g]`.
    """

    representatives: Operations
    of: Int[np.ndarray, " g"]


class Orbits:
    """A point group about the origin, as what it does to points.

    Args:
        group: finite, or with the finite subgroup that stands for it in `PointGroup.operations`.
    """

    def __init__(self, group: PointGroup):
        self.group = group
        self.operations: Float[np.ndarray, "g 3 3"] = group.operations.numpy()
        self.everything: Operations = tuple(range(len(self.operations)))
        self._cosets: dict[tuple[Operations, Operations], Cosets] = {}

    @cached_property
    def table(self) -> Int[np.ndarray, "g g"]:
        """Number of the operation "first b, then a" for each a and b."""
        return self.group.table.numpy()

    def images(
        self, point: Float[np.ndarray, "3"], operations: Operations
    ) -> Float[np.ndarray, "k 3"]:
        """Where some operations bring a point."""
        return self.operations[list(operations)] @ point

    def snapped(
        self, point: Float[np.ndarray, "3"], within: Operations, tolerance: float
    ) -> tuple[Float[np.ndarray, "3"], Operations]:
        """A point on the special position that it is close to, and what leaves it there.

        Args:
            point: in Å.
            within: the subgroup whose operations count.
            tolerance: an operation that moves the point by less should leave it where it is.
        """
        moved = np.linalg.norm(self.images(point, within) - point, axis=1)
        near = [g for g, gap in zip(within, moved, strict=True) if gap <= tolerance]
        point = self.images(point, self._closure(near)).mean(0)
        gaps = np.linalg.norm(self.images(point, within) - point, axis=1)
        return point, tuple(g for g, gap in zip(within, gaps, strict=True) if gap <= FIXED)

    def _closure(self, members: list[int]) -> Operations:
        """The subgroup that some operations generate."""
        own = np.unique(members)
        while True:
            made = np.unique(np.append(self.table[np.ix_(own, own)], own))
            if len(made) == len(own):
                return tuple(made.tolist())
            own = made

    def cosets(self, subgroup: Operations, within: Operations) -> Cosets:
        """Cosets `g H` of a subgroup H in another one; operations outside that have number -1."""
        key = subgroup, within
        if key not in self._cosets:
            of, representatives = np.full(len(self.operations), -1), []
            for g in within:
                if of[g] < 0:
                    of[self.table[g, list(subgroup)]] = len(representatives)
                    representatives.append(g)
            self._cosets[key] = Cosets(tuple(representatives), of)
        return self._cosets[key]

    def asymmetric(
        self, points: Float[Tensor, "p 3"], within: Operations, margin: float
    ) -> Bool[Tensor, " p"]:
        """Which points are in one asymmetric unit of a subgroup, or no farther from it than that.

        The unit is what lies nearer to one point in general position than to its images.
        """
        if len(within) == 1:
            return torch.ones(len(points), dtype=torch.bool, device=points.device)
        axes = self.group.frame @ GENERAL.to(self.group.frame)
        images = self.group.operations[list(within)].transpose(1, 2) @ axes
        heights = points @ images.to(points).T
        return points @ axes.to(points) >= heights.amax(1) - margin


GENERAL = torch.tensor([0.5144957554275265, 0.30151134457776363, 0.8027192], dtype=torch.float64)
"""A direction that no operation of a group in its standard setting brings near itself."""


@dataclass(frozen=True)
class OrbitSizes:
    """How many equivalent points a group can have.

    Attributes:
        sizes: of orbits of which there can be any number, ascending.
        centre: whether the centre is a point of its own, which one atom can have.
    """

    sizes: tuple[int, ...]
    centre: bool

    def reachable(self, most: int) -> Bool[np.ndarray, " n"]:
        """Whether each number of points from 0 to `most` is a sum of orbits beside the centre."""
        found = np.zeros(most + 1, dtype=bool)
        found[0] = True
        for n in range(1, most + 1):
            found[n] = any(found[n - size] for size in self.sizes if size <= n)
        return found


@lru_cache(maxsize=128)
def orbit_sizes(name: str) -> OrbitSizes:
    """Sizes of the orbits of a group, given by its symbol."""
    group = PointGroup.named(name)
    if group.symbol.family == "K":
        return OrbitSizes((), True)
    if group.infinite:
        pairs = group.symbol.family == "D" or group.symbol.suffix == "h"
        return OrbitSizes((2,), True) if pairs else OrbitSizes((1,), False)
    operations = group.operations.numpy()
    points = special_points(operations)
    points.append(GENERAL.numpy())
    sizes = set()
    for point in points:
        kept = np.linalg.norm(operations @ point - point, axis=1) < FIXED
        sizes.add(len(operations) // int(kept.sum()))
    return OrbitSizes(tuple(sorted(sizes)), not len(fixed_space(operations)))


def special_points(operations: Float[np.ndarray, "g 3 3"]) -> list[Float[np.ndarray, "3"]]:
    """A point on each axis of some operations, those where mirrors meet included, and on each
    mirror; none is the centre.
    """
    spaces = [fixed_space(operation[None]) for operation in operations]
    planes = [space for space in spaces if len(space) == 2]
    axes = [space[0] for space in spaces if len(space) == 1]
    axes += [np.cross(np.cross(*a), np.cross(*b)) for i, a in enumerate(planes) for b in planes[:i]]
    points = [axis / np.linalg.norm(axis) for axis in axes if np.linalg.norm(axis) > FIXED]
    return points + [space[0] + np.sqrt(2) * space[1] for space in planes]


def fixed_space(operations: Float[np.ndarray, "k 3 3"]) -> Float[np.ndarray, "d 3"]:
    """Orthonormal rows that span what all operations leave as it is."""
    mean = operations.mean(0)
    values, vectors = np.linalg.eigh((mean + mean.T) / 2)
    return vectors[:, values > 1 - FIXED].T
