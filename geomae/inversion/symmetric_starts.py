"""Directions on orbits of point groups, for atoms that one radius or more have together.

Where many atoms of an element are at one radius, as around a site of a crystal, a symmetry is at
work as a rule, and random directions seldom lead there. Directions on whole orbits leave few
numbers open.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial.distance import pdist
from torch import Tensor

from geomae.symmetry import PointGroup
from geomae.symmetry.orbits import fixed_space
from geomae.symmetry.sites import PointSites, sum_of

NONPOLAR = (
    "Oh", "Td", "Th", "D6h", "D4h", "D3h", "D3d", "D2d", "D2h", "C3h", "S4", "S6", "D3", "D2",
    "C2h", "Ci", "D5h", "Ih",
)  # fmt: skip
"""Groups that leave no direction as it is."""

POLAR = ("C6v", "C4v", "C3v", "C2v", "C4", "C3", "C2")
"""Groups that leave one."""

STRAIGHT = 1e-2
"""Part of the largest singular value of sums of directions below which another one is none."""

APART = 0.1
"""Least distance of directions of one shell."""

DRAWN = 8
"""Groups that are drawn for a start until one has orbits for all shells."""


def symmetric_directions(
    counts: Int[Tensor, " k"],
    sums: Float[Tensor, "k 3"],
    directions: Float[Tensor, "starts n 3"],
    generator: torch.Generator,
) -> Float[Tensor, "starts n 3"]:
    """Directions of the atoms of shells, each start on whole orbits of a group drawn at random.

    Args:
        counts: atoms of each shell.
        sums: of their directions, which the group has to leave as they are.
        directions: of each start where no group fits.
        generator: of groups and orbits.
    """
    made = directions.clone()
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    groups, frame = _groups_of(sums)
    for start in range(len(made) if groups else 0):
        for _ in range(DRAWN):
            placed = _orbits(groups[rng.integers(len(groups))], counts.tolist(), rng)
            if placed is not None:
                made[start] = torch.from_numpy(placed) @ frame.T
                break
    return made


def _groups_of(sums: Float[Tensor, "k 3"]) -> tuple[tuple[str, ...], Float[Tensor, "3 3"]]:
    """Groups that leave sums of directions as they are, and the rotation from their axes."""
    _, sizes, rows = torch.linalg.svd(sums, full_matrices=True)
    rank = int((sizes > STRAIGHT * sizes.amax().clamp(min=1.0)).sum())
    # the axis, or the normal of the mirror plane, comes last
    frame = {1: rows.flip(0), 2: rows}.get(rank, torch.eye(3, dtype=sums.dtype))
    frame = (frame * torch.sign(torch.linalg.det(frame))).T
    return (NONPOLAR, POLAR, ("Cs",), ())[rank], frame


def _orbits(
    name: str, counts: list[int], rng: np.random.Generator
) -> Float[np.ndarray, "n 3"] | None:
    """Directions on orbits of a group, none upon another; None if no such are found."""
    sites = _sites(name)
    everything = sites.orbits.everything
    shells = []
    for count in counts:
        own = []
        drawn = sum_of(count, [s for s in sites.types(everything) if s.freedom], rng)
        if drawn is None:
            return None
        for site in drawn:
            space = fixed_space(sites.orbits.operations[list(site.stabilizer)])
            point = rng.normal(size=len(space)) @ space
            representatives = sites.orbits.cosets(site.stabilizer, everything).representatives
            own.append(sites.orbits.images(point / np.linalg.norm(point), representatives))
        shells.append(np.concatenate(own))
        if count > 1 and pdist(shells[-1]).min() < APART:
            return None
    return np.concatenate(shells)


@cache
def _sites(name: str) -> PointSites:
    return PointSites(PointGroup.named(name))
