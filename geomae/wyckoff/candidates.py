"""Which space groups and Wyckoff positions can carry a composition, the most frequent first."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
import torch
from jaxtyping import Int

from geomae.errors import GeomaeError
from geomae.wyckoff.filling import filled, matched
from geomae.wyckoff.groups import GroupStatistics, group_statistics
from geomae.wyckoff.proposals import proposed
from geomae.wyckoff.skeletons import Skeletons
from geomae.wyckoff.template import Template, Templates

STATISTICS = ("crystals-atoms", "perov5-atoms")
"""Released models whose statistics tell how often skeletons occur, which count alike."""

GROUPS = "crystals-atoms"
"""Released model whose statistics tell how often groups occur in skeletons that none has."""

MOST_SAME = 5
"""Elements with as many atoms each whose exchanges are all tried."""

TRIES = 3000
"""Groups that are drawn for skeletons beyond the known ones."""

UNLIKE = 0.05
"""By this the share of a skeleton is multiplied whose orbits are not as large as equal rows are
many."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A skeleton with an element on each orbit.

    Attributes:
        template: group, orbits and mean shape of the cell.
        species: atomic number of each orbit.
        share: of crystals that have the skeleton, up to a factor.
    """

    template: Template
    species: tuple[int, ...]
    share: float


@lru_cache(maxsize=4)
def known_templates(model: str) -> Templates:
    """The skeletons of a flow's training data.

    Args:
        model: name, folder or file of a flow on crystals.

    Raises:
        GeomaeError: there is no such model, or it knows no skeletons.
    """
    from safetensors import safe_open

    from geomae.autoencoder.zoo import weights_of

    with safe_open(weights_of(model), framework="pt") as file:
        names = [name for name in file.keys() if name.startswith("statistics.")]  # noqa: SIM118
        tensors = {name.partition(".")[2]: file.get_tensor(name) for name in names}
    if "place" not in tensors:
        raise GeomaeError(f"'{model}' knows no skeletons of crystals")
    return Templates(Skeletons.from_tensors(tensors))


@lru_cache(maxsize=4)
def _by_counts(model: str) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Numbers of the skeletons that have classes of so many atoms, counts ascending."""
    templates, found = known_templates(model), {}
    for row in range(len(templates)):
        found.setdefault(tuple(sorted(templates.counts(row).tolist())), []).append(row)
    return {counts: tuple(rows) for counts, rows in found.items()}


def candidates(
    numbers: Int[torch.Tensor, " n"],
    equal: dict[int, list[int]] | None = None,
    *,
    models: Sequence[str] = STATISTICS,
) -> list[Candidate]:
    """Known skeletons for a primitive cell of some atoms, the most frequent first.

    Args:
        numbers: atomic numbers of the atoms.
        equal: of each element, how many of its atoms have the same surroundings, if known.
        models: flows on crystals, for their statistics.
    """
    counts, found = Counter(numbers.tolist()), []
    for model in models:
        templates = known_templates(model)
        for row in _by_counts(model).get(tuple(sorted(counts.values())), ()):
            template = templates[row]
            for elements in _assignments(template.counts().tolist(), counts):
                share = float(templates.share[row]) / len(models)
                if equal is not None and not _alike(template, elements, equal):
                    share *= UNLIKE
                kinds = tuple(elements[k] for k in template.member.tolist())
                found.append(Candidate(template, kinds, share))
    return sorted(found, key=lambda own: -own.share)


def general_candidates(
    numbers: Int[torch.Tensor, " n"],
    equal: dict[int, list[int]] | None,
    most: int,
    generator: torch.Generator,
    *,
    model: str = GROUPS,
) -> list[Candidate]:
    """Skeletons drawn at random among all that there can be, whether known or not.

    Groups are drawn by the root of how often they occur; then a position for each group of
    equal rows, or, where these are unknown, positions that add up to an element's atoms.

    Args:
        numbers, equal: as of `candidates`.
        model: a flow on crystals, for how often its groups occur.
        most: skeletons at most.
        generator: of what is random.
    """
    known, statistics = known_templates(model), _statistics(model)
    counts, found = Counter(numbers.tolist()), {}
    elements = sorted(counts)
    weight = torch.from_numpy(np.sqrt(statistics.odds))
    drawn = torch.multinomial(weight, TRIES, replacement=True, generator=generator)
    for number in (drawn + 1).tolist():
        if equal is None:
            chosen = filled(number, [counts[z] for z in elements], generator)
        else:
            chosen = matched(number, [equal[z] for z in elements], generator)
        if chosen is not None:
            found[number, chosen] = None
            if len(found) == most:
                break
    if not found:
        return []
    templates = proposed(list(found), known, statistics)
    return [
        Candidate(own, tuple(elements[k] for k in own.member.tolist()), 1 / len(templates))
        for own in map(templates.__getitem__, range(len(templates)))
    ]


@lru_cache(maxsize=4)
def _statistics(model: str) -> GroupStatistics:
    return group_statistics(known_templates(model))


def _assignments(classes: Sequence[int], counts: Counter[int]) -> Iterator[tuple[int, ...]]:
    """Elements of each class, in all ways that give each element its atoms."""
    places: dict[int, list[int]] = {}
    for place, count in enumerate(classes):
        places.setdefault(count, []).append(place)
    chosen = [-1] * len(classes)

    def fill(left: list[tuple[int, list[int]]]) -> Iterator[tuple[int, ...]]:
        if not left:
            yield tuple(chosen)
            return
        (count, own), *rest = left
        elements = sorted(z for z, n in counts.items() if n == count)
        ways = permutations(elements) if len(elements) <= MOST_SAME else iter([tuple(elements)])
        for way in ways:
            for place, z in zip(own, way, strict=True):
                chosen[place] = z
            yield from fill(rest)

    return fill(sorted(places.items()))


def _alike(template: Template, elements: Sequence[int], equal: dict[int, list[int]]) -> bool:
    """Whether each element's orbits are as large as its groups of equal rows."""
    for member, z in enumerate(elements):
        sizes = template.size[template.member == member]
        if sorted(sizes.tolist()) != sorted(equal[z]):
            return False
    return True
