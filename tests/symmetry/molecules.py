"""Molecules of known symmetry, built from geometry alone or taken from ASE's collections."""

from itertools import product
from math import cos, pi, sin, sqrt

import numpy as np
from ase.build import molecule

from geomae.data import Structure, as_structures

GOLDEN = (1 + sqrt(5)) / 2


def ring(n: int, radius: float, height: float = 0.0, turn: float = 0.0) -> list[list[float]]:
    """Points of a regular polygon normal to z; `turn` in steps of it."""
    angles = [2 * pi * (k + turn) / n for k in range(n)]
    return [[radius * cos(a), radius * sin(a), height] for a in angles]


def ethane(turn: float) -> Structure:
    """Ethane, staggered for 0.5, eclipsed for 0, in between D3."""
    carbon = [[0, 0, 0.765], [0, 0, -0.765]]
    return Structure([6] * 2 + [1] * 6, carbon + ring(3, 1.02, 1.16) + ring(3, 1.02, -1.16, turn))


def ferrocene(turn: float) -> Structure:
    """Eclipsed for 0, staggered for 0.5."""
    places = [[0.0, 0.0, 0.0]]
    for height, own in ((1.66, 0.0), (-1.66, turn)):
        places += ring(5, 1.22, height, own) + ring(5, 2.30, height, own)
    return Structure([26] + ([6] * 5 + [1] * 5) * 2, places)


def dodecahedrane() -> Structure:
    corners = [list(p) for p in product((-1, 1), repeat=3)]
    for a, b in product((-1 / GOLDEN, 1 / GOLDEN), (-GOLDEN, GOLDEN)):
        corners += [[0, a, b], [a, b, 0], [b, 0, a]]
    inner = np.array(corners) * 1.24
    return Structure([6] * 20 + [1] * 20, np.concatenate([inner, inner * 1.51]))


def cubane() -> Structure:
    corners = np.array(list(product((-1.0, 1.0), repeat=3)))
    return Structure([6] * 8 + [1] * 8, np.concatenate([0.785 * corners, 1.415 * corners]))


def prism(n: int, turn: float = 0.0, height: float = 1.1) -> Structure:
    """Two polygons above each other: Dnh, for a turn of a half Dnd, else Dn."""
    return Structure([6] * 2 * n, ring(n, 2.0, height) + ring(n, 2.0, -height, turn))


def _axes(*lengths: float) -> list[list[float]]:
    return [[sign * length * (k == i) for k in range(3)] for i, length in enumerate(lengths)
            for sign in (1, -1)]  # fmt: skip


def molecules() -> dict[str, tuple[Structure, str]]:
    """Name, structure, point group."""
    fluorines = [*ring(3, 1.53), [0, 0, 1.58], [0, 0, -1.58]]
    found = {
        "water": (molecule("H2O"), "C2v"),
        "ammonia": (molecule("NH3"), "C3v"),
        "methane": (molecule("CH4"), "Td"),
        "ethane, staggered": (ethane(0.5), "D3d"),
        "ethane, eclipsed": (ethane(0.0), "D3h"),
        "ethane, in between": (ethane(0.2), "D3"),
        "allene": (molecule("C3H4_D2d"), "D2d"),
        "ferrocene, eclipsed": (ferrocene(0.0), "D5h"),
        "ferrocene, staggered": (ferrocene(0.5), "D5d"),
        "SF6": (Structure([16] + [9] * 6, [[0, 0, 0], *_axes(1.56, 1.56, 1.56)]), "Oh"),
        "cubane": (cubane(), "Oh"),
        "dodecahedrane": (dodecahedrane(), "Ih"),
        "C60": (molecule("C60"), "Ih"),
        "PF5": (Structure([15] + [9] * 5, [[0, 0, 0], *fluorines]), "D3h"),
        "benzene": (molecule("C6H6"), "D6h"),
        "carbon dioxide": (molecule("CO2"), "D∞h"),
        "hydrogen cyanide": (molecule("HCN"), "C∞v"),
        "hydrogen peroxide": (molecule("H2O2"), "C2"),
        "bromochlorofluoromethane": (
            Structure([6, 1, 9, 17, 35], [[0, 0, 0], [0.63, 0.63, 0.63], [-0.8, -0.8, 0.8],
                                         [-1.0, 1.0, -1.0], [1.1, -1.1, -1.1]]),
            "C1",
        ),
        "ethene": (molecule("C2H4"), "D2h"),
        "butane": (molecule("trans-butane"), "C2h"),
        "methanol": (molecule("CH3OH"), "Cs"),
        "argon": (Structure([18], [[1.0, 2.0, 3.0]]), "Kh"),
        "square antiprism": (prism(4, 0.5), "D4d"),
        "twisted prism": (prism(6, 0.2), "D6"),
    }  # fmt: skip
    return {name: (as_structures(given)[0], group) for name, (given, group) in found.items()}
