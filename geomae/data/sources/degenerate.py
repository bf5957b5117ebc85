"""Pairs of different structures that have the same invariants: what a description can't tell.

| pair | equal in both | reference |
|---|---|---|
| circle | power spectrum about the first atom: radii, and angles between its neighbours | Pozdnyakov et al., Phys. Rev. Lett. 125, 166001 (2020), figure 1a |
| b8, b8-... | bispectrum about the first atom, triples of odd sum as well | the same, and Nigam et al., APL Mach. Learn. 2, 016110 (2024) |
| kite | list of all distances | Boutin and Kemper, Adv. Appl. Math. 32, 709 (2004) |
| ruler | list of all distances | Bloom, J. Comb. Theory A 22, 378 (1977) |

The structures are built from those descriptions. Each carries `name`, `pair` and `equal`.
"""  # noqa: E501

from collections.abc import Sequence

import numpy as np

from geomae.data.sources import only_whole
from geomae.data.structure import Structure

B8_FAMILY = {
    "b8": {"angles": (0.0, 87.0, 184.0), "turn": 86.0},
    "b8-narrow": {"angles": (0.0, 50.0, 130.0), "turn": 35.0},
    "b8-wide": {"angles": (0.0, 100.0, 210.0), "turn": 50.0},
}
"""Angles of a triangle's corners on its circle, and of the second triangle to it, in degrees."""


def structures(split: str = "all", n: int | None = None) -> list[Structure]:
    """The pairs, members one after the other; positions in Å, of an environment about its centre.

    In 'circle' and 'b8' the first atom is the centre, at the origin.
    """
    only_whole("degenerate", split)
    pairs = [_pair("circle", "power spectrum about the first atom", *circle_pair())]
    for name, options in B8_FAMILY.items():
        pairs.append(_pair(name, "bispectrum about the first atom", *b8_pair(**options)))
    pairs.append(_pair("kite", "distances", *kite_pair()))
    pairs.append(_pair("ruler", "distances", *ruler_pair()))
    return [member for pair in pairs for member in pair][:n]


def circle_pair(radius: float = 1.1) -> tuple[Structure, Structure]:
    """Four hydrogens at corners of an octagon around a carbon: 0, 1, 3, 4 and 0, 1, 2, 5.

    Both have the angles 45, 45, 90, 135, 135 and 180 degrees between them.

    Args:
        radius: of the octagon, in Å.
    """
    members = []
    for corners in ((0, 1, 3, 4), (0, 1, 2, 5)):
        angles = np.pi / 4 * np.array(corners)
        ring = radius * np.stack([np.cos(angles), np.sin(angles), np.zeros(4)], 1)
        members.append(Structure([6, 1, 1, 1, 1], np.concatenate([np.zeros((1, 3)), ring])))
    return members[0], members[1]


def b8_pair(
    angles: Sequence[float],
    turn: float,
    *,
    radius: float = 1.4,
    height: float = 0.9,
    apex: float = 1.9,
) -> tuple[Structure, Structure]:
    """Eight borons: a centre, one triangle above and the same, turned, below, and an apex.

    The apex stands above in one member and below in the other. A half turn about an axis in the
    middle plane takes the environment of three neighbours in one member to one in the other, apex
    included, so that every triple of neighbours occurs in both; but not all seven at once.

    Args:
        angles: of the triangle's corners on their circle, in degrees; all different.
        turn: of the lower triangle against the upper one, in degrees.
        radius: of the triangles' circle, in Å.
        height: of the triangles above and below the centre, in Å.
        apex: distance of the apex from the centre, in Å.
    """
    corners = np.radians(np.asarray(angles, dtype=float))
    rings = []
    for z, start in ((height, 0.0), (-height, np.radians(turn))):
        directions = np.stack([np.cos(corners + start), np.sin(corners + start)], 1)
        rings.append(np.column_stack([radius * directions, np.full(len(corners), z)]))
    members = [
        Structure([5] * 8, np.concatenate([np.zeros((1, 3)), *rings, [[0.0, 0.0, sign * apex]]]))
        for sign in (1, -1)
    ]
    return members[0], members[1]


def kite_pair(scale: float = 1.0) -> tuple[Structure, Structure]:
    """Four carbons as a trapezoid and as a kite, both with squared distances 2, 2, 4, 10, 10, 16.

    Args:
        scale: unit of length, in Å.
    """
    trapezoid = [(0, 0, 0), (4, 0, 0), (1, 1, 0), (3, 1, 0)]
    kite = [(0, 0, 0), (4, 0, 0), (3, 1, 0), (3, -1, 0)]
    first, second = (Structure([6] * 4, scale * np.array(p, float)) for p in (trapezoid, kite))
    return first, second


def ruler_pair(scale: float = 0.8) -> tuple[Structure, Structure]:
    """Six carbons on a line, at 0, 1, 4, 10, 12, 17 and at 0, 1, 8, 11, 13, 17.

    Args:
        scale: unit of length, in Å.
    """
    members = []
    for marks in ((0, 1, 4, 10, 12, 17), (0, 1, 8, 11, 13, 17)):
        points = np.zeros((6, 3))
        points[:, 0] = scale * np.array(marks)
        members.append(Structure([6] * 6, points))
    return members[0], members[1]


def _pair(name: str, equal: str, *members: Structure) -> list[Structure]:
    for letter, member in zip("ab", members, strict=True):
        member.name, member.pair, member.equal = f"{name}-{letter}", name, equal
    return list(members)
