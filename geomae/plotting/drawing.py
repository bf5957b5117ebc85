"""What every picture of atoms needs: colours, radii and the bonds to draw."""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float

from geomae.data.elements import SYMBOLS
from geomae.data.structure import Structure
from geomae.errors import UnsupportedStructureError
from geomae.metrics.bonds import bond_orders

STRETCH = 1.15
"""Atoms nearer than this multiple of the sum of their covalent radii are joined."""


@cache
def element_colours() -> Float[np.ndarray, "elements 3"]:
    """Red, green and blue from 0 to 1 by atomic number: Jmol's CPK colours, from ASE.

    Hydrogen is light grey instead of white, so as to be seen on white paper.
    """
    from ase.data.colors import jmol_colors

    colours = np.array(jmol_colors)
    colours[1] = 0.92
    return colours


@cache
def covalent_radii() -> Float[np.ndarray, " elements"]:
    """Covalent radii in Å by atomic number, from ASE (Cordero et al., 2008)."""
    from ase.data import covalent_radii

    return np.array(covalent_radii)


def ball_radii(numbers: np.ndarray) -> np.ndarray:
    """Radii in Å of the balls that stand for atoms: small ones differ less than real atoms do."""
    return 0.12 + 0.26 * covalent_radii()[numbers]


def element_style(number: int) -> dict[str, str | float]:
    """Symbol, colour (`#rrggbb`) and ball radius in Å of an element."""
    red, green, blue = (round(255 * float(c)) for c in element_colours()[number])
    return {
        "symbol": SYMBOLS[number],
        "colour": f"#{red:02x}{green:02x}{blue:02x}",
        "radius": round(float(ball_radii(np.array([number]))[0]), 3),
    }


def bonds_of(structure: Structure) -> list[tuple[int, int, int]]:
    """Bonds to draw as (atom, atom, order).

    By EDM's rules where they know every element, else single bonds by covalent radii. Bonds to
    periodic images are left out.
    """
    try:
        orders = bond_orders(structure.numbers, structure.positions).numpy()
    except UnsupportedStructureError:
        radii = torch.from_numpy(covalent_radii())[structure.numbers]
        distances = torch.cdist(structure.positions, structure.positions)
        near = distances < STRETCH * (radii[:, None] + radii)
        orders = near.fill_diagonal_(False).long().numpy()
    return [
        (int(a), int(b), int(orders[a, b]))
        for a, b in zip(*np.nonzero(np.triu(orders)), strict=True)
    ]
