"""Orbits that add up to numbers of atoms: whether there are any, and some at random.

Orbits on a position with free coordinates may be as many as one likes; a point holds one orbit.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product

import torch

from geomae.wyckoff.table import positions_of_group

Chosen = tuple[tuple[int, ...], ...]
"""Wyckoff positions of each class of sites, ascending, as `positions_of_group` numbers them."""


def can_fill(number: int, counts: Sequence[int]) -> bool:
    """Whether whole orbits of a group come to so many atoms of each class; exact.

    Args:
        number: of the space group, 1 to 230.
        counts: atoms of each class in a primitive cell.
    """
    known = positions_of_group(number)
    points = [own.size for own in known if not own.freedom]
    return _fillable(tuple(sorted(counts)), tuple(sorted(points)), _free_sizes(number))


def filled(number: int, counts: Sequence[int], generator: torch.Generator) -> Chosen | None:
    """Orbits of so many atoms of each class, one after the other at random among those after which
    the rest can be filled; None if none can.

    Args:
        number, counts: as of `can_fill`.
        generator: of what is random.
    """
    if not can_fill(number, counts):
        return None
    known, free = positions_of_group(number), _free_sizes(number)
    points = {row: own.size for row, own in enumerate(known) if not own.freedom}
    taken: set[int] = set()
    chosen: list[list[int]] = []

    def leaves_the_rest(row: int, left: int, others: Sequence[int]) -> bool:
        if known[row].size > left or row in taken:
            return False
        rest = [size for point, size in points.items() if point not in taken | {row}]
        return _fillable(
            tuple(sorted([left - known[row].size, *others])), tuple(sorted(rest)), free
        )

    for place, count in enumerate(counts):
        own, left = [], count
        while left:
            able = [
                row for row in range(len(known)) if leaves_the_rest(row, left, counts[place + 1 :])
            ]
            row = able[int(torch.randint(len(able), (), generator=generator))]
            if row in points:
                taken.add(row)
            own.append(row)
            left -= known[row].size
        chosen.append(own)
    return tuple(tuple(sorted(own)) for own in chosen)


def matched(
    number: int, sizes: Sequence[Sequence[int]], generator: torch.Generator
) -> Chosen | None:
    """Orbits of given sizes, at random; None where the draw comes to an end too early.

    Args:
        number: of the space group, 1 to 230.
        sizes: of the orbits of each class.
        generator: of what is random.
    """
    known, taken = positions_of_group(number), set()
    chosen: list[tuple[int, ...]] = []
    for wanted in sizes:
        own = []
        for size in wanted:
            able = [
                row
                for row, position in enumerate(known)
                if position.size == size and not (position.freedom == 0 and row in taken)
            ]
            if not able:
                return None
            row = able[int(torch.randint(len(able), (), generator=generator))]
            taken.add(row)
            own.append(row)
        chosen.append(tuple(sorted(own)))
    return tuple(chosen)


@lru_cache(maxsize=256)
def _free_sizes(number: int) -> tuple[int, ...]:
    """Of orbits with free coordinates."""
    return tuple(sorted({own.size for own in positions_of_group(number) if own.freedom}))


@lru_cache(maxsize=1 << 17)
def _fillable(counts: tuple[int, ...], points: tuple[int, ...], free: tuple[int, ...]) -> bool:
    """Whether points, each taken once at most, and orbits of free sizes come to all counts."""
    if not counts:
        return True
    first, rest = counts[0], counts[1:]
    for taken in _subsets(points):
        left = first - sum(taken)
        if left >= 0 and _sums(left, free):
            others = Counter(points) - Counter(taken)
            if _fillable(rest, tuple(sorted(others.elements())), free):
                return True
    return False


@lru_cache(maxsize=1 << 12)
def _sums(total: int, sizes: tuple[int, ...]) -> bool:
    """Whether a sum of sizes, each as often as one likes, is the total."""
    reached = [True]
    for n in range(1, total + 1):
        reached.append(any(size <= n and reached[n - size] for size in sizes))
    return reached[total]


def _subsets(points: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Different choices among sizes, the fewest first of each."""
    kinds = sorted(Counter(points).items())
    for amounts in product(*(range(n + 1) for _, n in kinds)):
        yield tuple(size for (size, _), n in zip(kinds, amounts, strict=True) for _ in range(n))
