"""Skeletons that no crystal of the data has, for what is asked for."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from math import gcd

import numpy as np
import torch
from jaxtyping import Float

from geomae.generation.conditions import generator_of
from geomae.generation.crystals.wanted import Wanted
from geomae.wyckoff.filling import Chosen, can_fill, filled
from geomae.wyckoff.generic import generic_group
from geomae.wyckoff.groups import RARE, group_statistics
from geomae.wyckoff.proposals import proposed
from geomae.wyckoff.template import Templates

DRAWN = 512
"""Skeletons that are drawn of all groups together; fewer are different."""

GROUPS = 16
"""Groups at most where none is asked for."""

ORBITS, FREE = 0.6, 1.4
"""By so much the logarithm of a skeleton's odds falls with each orbit, and rises with each free
coordinate, among skeletons of the same group and atoms: a fit to how often those of
`crystals-atoms` occur beside others drawn at random.
"""

UNITS = 2.5
"""The power of the number of formula units by which odds fall, a fit to the same data."""

Amounts = dict[tuple[int, ...], float]
"""Atoms of each class of sites, ascending, and how often."""


def proposals(
    known: Templates, wanted: Wanted, seed: int
) -> tuple[Templates, Float[np.ndarray, " k"]] | None:
    """Skeletons on any Wyckoff positions, and the odds of each; None if there can't be any.

    Atoms of the classes are those of the formula, or such as the data has. Orbits are drawn at
    random. Skeletons that have more symmetry than their group, whatever the coordinates, are left
    out of groups that have others.

    Args:
        known: skeletons of the data.
        wanted: what they have to have.
        seed: of what is random.

    Raises:
        MissingExtraError: moyopy is not installed.
    """
    statistics, frequent = group_statistics(known), frequencies(known)
    generator = generator_of(seed, 0, "skeletons")
    weights = statistics.odds
    if wanted.group is not None:
        order = [wanted.group.number]
    else:
        order = 1 + torch.multinomial(torch.from_numpy(weights), 230, generator=generator)
        order = order.tolist()
    chosen: dict[int, Amounts] = {}
    for number in order:
        amounts = fillable(number, wanted, frequent)
        if amounts:
            chosen[number] = amounts
        if len(chosen) == GROUPS:
            break
    if not chosen:
        return None
    keys = [
        (number, own)
        for number, amounts in chosen.items()
        for own in _drawn(number, amounts, DRAWN // len(chosen), generator)
    ]
    templates = proposed(keys, known, statistics)
    odds = _own_symmetry(templates, seed) * _likely(templates)
    counts = [tuple(sorted(templates.counts(row).tolist())) for row in range(len(keys))]
    shares = [chosen[number][own] for (number, _), own in zip(keys, counts, strict=True)]
    odds = _evened(odds, [(number, own) for (number, _), own in zip(keys, counts, strict=True)])
    odds = _evened(odds * np.array(shares), templates.group.tolist())
    return templates, odds * weights[templates.group - 1]


def frequencies(known: Templates) -> Amounts:
    """How often the data's crystals have so many atoms of each class."""
    found: Amounts = defaultdict(float)
    for row in range(len(known)):
        found[tuple(sorted(known.counts(row).tolist()))] += float(known.share[row])
    return dict(found)


def fillable(number: int, wanted: Wanted, frequent: Amounts) -> Amounts:
    """Atoms of each class that whole orbits of a group can come to; empty if none can.

    Those of a formula, fewer units more often. Without one those of the data, or else any number
    of units of its formulas, and of a single element.

    Args:
        number: of the space group.
        wanted: formula and number of atoms.
        frequent: those of the data.
    """

    def able(counts: tuple[int, ...]) -> bool:
        size = sum(counts) if wanted.n_atoms is None else wanted.n_atoms
        return sum(counts) == size <= wanted.most and can_fill(number, counts)

    if wanted.amounts is not None:
        multiples = _multiples({wanted.amounts: 1.0}, wanted.most)
        return {counts: share for counts, share in multiples.items() if able(counts)}
    own = {counts: share for counts, share in frequent.items() if able(counts)}
    if own:
        return own
    units: Amounts = {(1,): RARE}
    for counts, share in frequent.items():
        unit = tuple(n // gcd(*counts) for n in counts)
        units[unit] = units.get(unit, 0.0) + share
    return {
        counts: share for counts, share in _multiples(units, wanted.most).items() if able(counts)
    }


def _multiples(units: Amounts, most: int) -> Amounts:
    """Formula units up to so many atoms, many of them rarely."""
    return {
        tuple(k * n for n in unit): share / k**UNITS
        for unit, share in units.items()
        for k in range(1, most // sum(unit) + 1)
    }


def _drawn(number: int, amounts: Amounts, n: int, generator: torch.Generator) -> list[Chosen]:
    """Different skeletons of a group."""
    options, shares = list(amounts), torch.tensor(list(amounts.values()), dtype=torch.float64)
    rows = torch.multinomial(shares, n, replacement=True, generator=generator).tolist()
    found = [filled(number, options[row], generator) for row in rows]
    return list(dict.fromkeys(tuple(sorted(own)) for own in found if own is not None))


def _likely(templates: Templates) -> Float[np.ndarray, " k"]:
    """Odds of skeletons among those of the same group and atoms of the classes."""
    positions = [templates.positions(row) for row in range(len(templates))]
    orbits = np.array([len(own) for own in positions])
    free = np.array([sum(position.freedom for position in own) for own in positions])
    logarithm = FREE * free - ORBITS * orbits
    return np.exp(logarithm - logarithm.max())


def _evened(odds: Float[np.ndarray, " k"], labels: Sequence[Hashable]) -> Float[np.ndarray, " k"]:
    """Odds in parts of the sum over all that have the same label."""
    number = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    own = np.array([number[label] for label in labels])
    total = np.bincount(own, weights=odds)[own]
    return np.divide(odds, total, out=np.zeros_like(odds), where=total > 0)


def _own_symmetry(templates: Templates, seed: int) -> Float[np.ndarray, " k"]:
    """1 for skeletons whose crystals have their group and no larger one, and for those of groups
    of which there are no such; 0 for others.
    """
    rng = np.random.default_rng([seed, 4])
    groups = np.array([generic_group(templates[row], rng) for row in range(len(templates))])
    own = groups == templates.group
    return (own | ~np.isin(templates.group, templates.group[own])).astype(np.float64)
