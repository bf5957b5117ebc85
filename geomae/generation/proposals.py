"""Inventories that no molecule of the data has, for formulas and groups that none of them has."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from geomae.generation.inventories.feasible import connectable

DRAWS = 20_000
"""Inventories that are drawn at once."""

ROUNDS = 5

MOST_ORBITS = 4
"""Orbits of heavy atoms at most, where the formula is free."""


def propose(
    kinds: Int[np.ndarray, "kinds 3"],
    frequencies: Float[np.ndarray, " kinds"],
    rng: np.random.Generator,
    *,
    counts: Mapping[int, int] | None = None,
    sizes: Sequence[int] = (1,),
    centre: bool = True,
    n_atoms: int | None = None,
    most: int,
) -> Int[np.ndarray, "found kinds"]:
    """Inventories that could be a molecule's: bonds between heavy atoms pair up, and are enough to
    hold them together.

    Args:
        kinds: element, hydrogens and heavy neighbours of each kind.
        frequencies: how often each is drawn.
        rng: of the draw.
        counts: atoms of each element by atomic number, hydrogen included; any if None.
        sizes: of orbits; atoms of a kind come in such numbers.
        centre: whether one atom can be an orbit by itself.
        n_atoms: atoms in all; any if None.
        most: atoms at most.

    Returns:
        Different ones, in the order drawn; none if none was found.
    """
    heavy = None if counts is None else {z: n for z, n in counts.items() if z != 1 and n}
    for _ in range(ROUNDS):
        if heavy is None:
            tables = _free(kinds, frequencies, rng, sizes, centre, most)
        else:
            tables = _of_formula(kinds, frequencies, rng, heavy, sizes, centre)
        hydrogens, size = tables @ kinds[:, 1], tables.sum(1)
        fits = connectable(kinds, tables, most)
        if counts is not None:
            fits &= hydrogens == counts.get(1, 0)
        if n_atoms is not None:
            fits &= size + hydrogens == n_atoms
        if fits.any():
            own = tables[fits]
            _, first = np.unique(own, axis=0, return_index=True)
            return own[np.sort(first)]
    return np.zeros((0, len(kinds)), dtype=int)


def _of_formula(
    kinds: np.ndarray,
    frequencies: np.ndarray,
    rng: np.random.Generator,
    heavy: Mapping[int, int],
    sizes: Sequence[int],
    centre: bool,
) -> Int[np.ndarray, "draws kinds"]:
    """Kinds for the atoms of each element, orbit by orbit."""
    tables = np.zeros((DRAWS, len(kinds)), dtype=int)
    for z, count in heavy.items():
        own = np.flatnonzero(kinds[:, 0] == z)
        if not len(own):
            return tables
        shares = frequencies[own] / frequencies[own].sum()
        left = np.full(DRAWS, count)
        while left.any():
            options = np.array([*sizes, *([1] if centre and 1 not in sizes else [])])
            size = options[rng.integers(len(options), size=DRAWS)]
            size = np.where(size <= left, size, 0)
            size = np.where((size == 0) & (left > 0) & (left < options.min()), left, size)
            kind = own[rng.choice(len(own), DRAWS, p=shares)]
            np.add.at(tables, (np.arange(DRAWS), kind), size)
            left = left - size
    return tables


def _free(
    kinds: np.ndarray,
    frequencies: np.ndarray,
    rng: np.random.Generator,
    sizes: Sequence[int],
    centre: bool,
    most: int,
) -> Int[np.ndarray, "draws kinds"]:
    """A few orbits of any kinds, and sometimes an atom in the centre."""
    fitting = np.array([size for size in sizes if size <= most])
    tables = np.zeros((DRAWS, len(kinds)), dtype=int)
    rows, shares = np.arange(DRAWS), frequencies / frequencies.sum()
    if len(fitting):
        orbits = rng.integers(1, MOST_ORBITS + 1, size=DRAWS)
        for number in range(MOST_ORBITS):
            size = np.where(number < orbits, rng.choice(fitting, DRAWS), 0)
            np.add.at(tables, (rows, rng.choice(len(kinds), DRAWS, p=shares)), size)
    if centre:
        one = rng.integers(2, size=DRAWS) if len(fitting) else np.ones(DRAWS, dtype=int)
        np.add.at(tables, (rows, rng.choice(len(kinds), DRAWS, p=shares)), one)
    return tables
