"""Crystals that differ from a drawn one by an orbit of atoms or its element, most likely first."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

from geomae.crystals.reading import Draft
from geomae.crystals.symmetry import nearest

SPACING = 0.45
"""Distance in Å of the places of a cell that are looked at."""

CANDIDATES = 20
"""Likeliest elements that are tried on a site."""

MOST = 120
"""Exchanges that are tried, the likeliest."""


def without(draft: Draft, atoms: Int[np.ndarray, " k"]) -> Draft:
    """A crystal without some of its atoms."""
    kept = np.setdiff1d(np.arange(len(draft.numbers)), atoms)
    return Draft(draft.numbers[kept], draft.positions[kept], draft.cell, draft.confidence[kept])


def with_atoms(draft: Draft, number: int, places: Float[np.ndarray, "k 3"]) -> Draft:
    """A crystal with more atoms of one element."""
    return Draft(
        np.append(draft.numbers, np.full(len(places), number)),
        np.concatenate([draft.positions, places]),
        draft.cell,
        np.append(draft.confidence, np.zeros(len(places))),
    )


def places_of(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "k 3"]:
    """A grid of places in a cell, at their images nearest to the anchor."""
    counts = np.ceil(np.linalg.norm(cell, axis=1) / SPACING).astype(int)
    axes = [np.arange(count) / count for count in counts]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) @ cell
    return nearest(grid, cell)[0]


def removals(draft: Draft, orbits: Sequence[Int[np.ndarray, " _"]]) -> list[Draft]:
    """The crystal without one of its orbits; the anchor stays."""
    return [without(draft, orbit) for orbit in orbits if 0 not in orbit]


def exchanges(
    draft: Draft,
    orbits: Sequence[Int[np.ndarray, " _"]],
    likelihood: Float[np.ndarray, "n e"],
    elements: Int[np.ndarray, " e"],
) -> list[Draft]:
    """The crystal with another element on an orbit or on all sites of an element, or with the
    elements of two orbits swapped; each choice once, the likeliest first.

    Args:
        draft: crystal.
        orbits: of its atoms.
        likelihood: log-probability of each element at each atom.
        elements: atomic numbers.
    """
    n, kinds = len(draft.numbers), np.searchsorted(elements, draft.numbers)
    groups = list(orbits)
    groups += [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    choices = []
    for sites in groups:
        for kind in np.argsort(-likelihood[sites].sum(0))[:CANDIDATES]:
            choices.append((sites, np.full(len(sites), kind)))
    for first, second in combinations(orbits, 2):
        if kinds[first[0]] != kinds[second[0]]:
            new = np.repeat(kinds[[second[0], first[0]]], [len(first), len(second)])
            choices.append((np.concatenate([first, second]), new))
    scored: dict[tuple[int, ...], float] = {}
    for sites, new in choices:
        other = kinds.copy()
        other[sites] = new
        scored[tuple(other.tolist())] = float(likelihood[np.arange(n), other].sum())
    scored.pop(tuple(kinds.tolist()), None)
    kept = sorted(scored, key=lambda other: -scored[other])[:MOST]
    return [replace(draft, numbers=elements[list(other)]) for other in kept]
