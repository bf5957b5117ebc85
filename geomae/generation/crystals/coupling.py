"""Which noise becomes which crystal: equivalent ways to say where orbits are are matched first.

Noise of coordinates is the same in every equivalent description, so the nearest one may be taken.
Paths cross less then, and what a network has to tell from the middle of one is less ambiguous.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from geomae.wyckoff.template import Template


def coupled(
    templates: Sequence[Template],
    coordinates: Float[np.ndarray, "orbits 3"],
    noise: Float[np.ndarray, "orbits 3"],
) -> Float[np.ndarray, "orbits 3"]:
    """Free coordinates of the same crystals, told so that they are near noise, modulo periods.

    Any point of an orbit that lies where its first one can may be that one, and orbits of the same
    element on the same Wyckoff position may be exchanged.

    Args:
        templates: of the crystals.
        coordinates: of their orbits, one crystal after the other.
        noise: of the same orbits.
    """
    told, start = np.empty_like(coordinates), 0
    for own in templates:
        span = slice(start, start + len(own.size))
        told[span] = _nearest(own, coordinates[span], noise[span])
        start += len(own.size)
    return told


def _nearest(
    own: Template, coordinates: Float[np.ndarray, "k 3"], noise: Float[np.ndarray, "k 3"]
) -> Float[np.ndarray, "k 3"]:
    ways = np.einsum("oj,owjk->owk", coordinates, own.turns) + own.moves
    told = coordinates.copy()
    alike = own.member * (own.position.max() + 1) + own.position
    for label in np.unique(alike):
        rows = np.flatnonzero(alike == label)
        if own.freedom[rows[0]]:
            gaps = ways[rows][:, None] - noise[rows][None, :, None]
            steps = (gaps - np.round(gaps)) @ (own.basis[rows[0]] @ own.frame)
            costs = np.square(steps).sum(-1)
            taken, places = linear_sum_assignment(costs.min(2))
            for row, place in zip(taken, places, strict=True):
                told[rows[place]] = ways[rows[row], costs[row, place].argmin()]
    return told
