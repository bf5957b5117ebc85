"""Bond lengths, angles, torsions and compositions of molecules, and how two sets differ in them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

BINS = {"bonds": 0.01, "angles": 2.0, "torsions": 5.0}
"""Widths of the histograms' bins: Å, degrees, degrees."""

Key = tuple[int, ...]
"""What is counted: elements and orders first, the number of the bin last."""


@dataclass(frozen=True)
class Shape:
    """What one molecule adds to the histograms.

    Attributes:
        bonds: (elements, order, bin of the length).
        angles: (elements of the ends, of the middle, bin of the angle).
        torsions: (elements of the middle bond, its order, bin of the unsigned torsion): those along
            heavy atoms; a mirror image has the same.
        composition: (element, number of its atoms), of every element that is there.
    """

    bonds: Counter[Key]
    angles: Counter[Key]
    torsions: Counter[Key]
    composition: Counter[Key]


def shape_of(
    numbers: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "n 3"],
    orders: Int[np.ndarray, "n n"],
) -> Shape:
    """The shape of one molecule, given its bond orders; positions in Å."""
    first, second = np.nonzero(np.triu(orders))
    lengths = np.linalg.norm(positions[first] - positions[second], axis=1)
    bonds = _counted(
        *np.sort([numbers[first], numbers[second]], axis=0),
        orders[first, second],
        _binned(lengths, "bonds"),
    )
    neighbours = [np.flatnonzero(row) for row in orders]
    elements, amounts = np.unique(numbers, return_counts=True)
    return Shape(
        bonds,
        _angles(numbers, positions, neighbours),
        _torsions(numbers, positions, orders, neighbours),
        _counted(elements, amounts),
    )


def _angles(
    numbers: np.ndarray, positions: np.ndarray, neighbours: list[np.ndarray]
) -> Counter[Key]:
    triples = [
        (a, j, b)
        for j, near in enumerate(neighbours)
        for k, a in enumerate(near)
        for b in near[k + 1 :]
    ]
    if not triples:
        return Counter()
    a, j, b = np.array(triples).T
    u, v = positions[a] - positions[j], positions[b] - positions[j]
    sines, cosines = np.linalg.norm(np.cross(u, v), axis=1), (u * v).sum(1)
    angles = np.degrees(np.arctan2(sines, cosines))
    ends = np.sort([numbers[a], numbers[b]], axis=0)
    return _counted(*ends, numbers[j], _binned(angles, "angles"))


def _torsions(
    numbers: np.ndarray, positions: np.ndarray, orders: np.ndarray, neighbours: list[np.ndarray]
) -> Counter[Key]:
    chains = [
        (a, j, k, b)
        for j, k in zip(*np.nonzero(np.triu(orders)), strict=True)
        for a in neighbours[j]
        for b in neighbours[k]
        if len({a, j, k, b}) == 4 and numbers[a] > 1 and numbers[b] > 1
    ]
    if not chains:
        return Counter()
    a, j, k, b = np.array(chains).T
    axis = positions[k] - positions[j]
    left = np.cross(positions[a] - positions[j], axis)
    right = np.cross(positions[b] - positions[k], axis)
    sines, cosines = np.linalg.norm(np.cross(left, right), axis=1), (left * right).sum(1)
    torsions = np.degrees(np.arctan2(sines, cosines))
    middle = np.sort([numbers[j], numbers[k]], axis=0)
    return _counted(*middle, orders[j, k], _binned(torsions, "torsions"))


def _binned(values: np.ndarray, name: str) -> np.ndarray:
    return np.floor(values / BINS[name]).astype(int)


def _counted(*columns: np.ndarray) -> Counter[Key]:
    return Counter(zip(*(np.asarray(c).tolist() for c in columns), strict=True))


def shape_distances(
    found: Sequence[Shape], reference: Sequence[Shape]
) -> dict[str, int | float | None]:
    """Jensen-Shannon distances of two sets of molecules: 0 if they are alike, 1 if nothing is.

    The distance is the square root of the divergence to the base 2, over histograms of kind and
    bin together, so that both what there is and where it lies count. Two small samples of
    one distribution differ, too: compare figures of samples as large.

    Returns:
        `bonds_js`, `angles_js`, `torsions_js`, `composition_js`; None where one side has nothing.
    """
    distances: dict[str, int | float | None] = {}
    for name in ("bonds", "angles", "torsions", "composition"):
        sides = [_total([getattr(shape, name) for shape in side]) for side in (found, reference)]
        distances[f"{name}_js"] = jensen_shannon(*sides)
    return distances


def _total(counters: Sequence[Counter[Key]]) -> Counter[Key]:
    total: Counter[Key] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def jensen_shannon(first: Counter[Key], second: Counter[Key]) -> float | None:
    """Distance of two histograms, in 0..1; None if one is empty."""
    if not first or not second:
        return None
    keys = sorted(first.keys() | second.keys())
    p, q = (np.array([side[key] for key in keys], dtype=float) for side in (first, second))
    p, q = p / p.sum(), q / q.sum()
    mean = (p + q) / 2
    divergence = (_entropy(mean) - (_entropy(p) + _entropy(q)) / 2) / np.log(2)
    return float(max(divergence, 0.0) ** 0.5)


def _entropy(shares: np.ndarray) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())
