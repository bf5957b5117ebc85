"""Whole orbits that come to numbers of atoms."""

from itertools import combinations_with_replacement, product

import pytest

from geomae.wyckoff.filling import can_fill, filled, matched
from geomae.wyckoff.table import positions_of_group


def every_sum(number: int, most: int) -> set[tuple[int, int]]:
    """Atoms of two classes that orbits of a group come to, by trying all of them."""
    known = positions_of_group(number)
    found = set()
    orbits = [row for row, own in enumerate(known) if own.size <= most]
    several = [
        rows
        for k in range(1, most + 1)
        for rows in combinations_with_replacement(orbits, k)
        if sum(known[row].size for row in rows) <= most
    ]
    for rows in several:
        points = [row for row in rows if not known[row].freedom]
        if len(points) == len(set(points)):
            for side in product((0, 1), repeat=len(rows)):
                own = [known[row].size for row, here in zip(rows, side, strict=True) if here]
                found.add((sum(own), sum(known[row].size for row in rows) - sum(own)))
    return found


@pytest.mark.parametrize(("number", "most"), [(2, 4), (14, 8), (205, 16), (221, 5), (227, 10)])
def test_what_can_be_filled_is_what_trying_all_orbits_finds(number, most):
    found = every_sum(number, most)
    for one in range(1, most):
        for other in range(1, most + 1 - one):
            assert can_fill(number, (one, other)) == ((one, other) in found)


def test_large_orbits_alone_fill_few_numbers():
    assert [n for n in range(1, 21) if can_fill(230, (n,))] == [8, 12, 16, 20]
    assert all(can_fill(1, (n, 3)) for n in (*range(1, 18), 3000))


@pytest.mark.parametrize(("number", "counts"), [(2, (9, 5)), (221, (1, 1, 3)), (62, (4, 8, 8))])
def test_a_draw_never_ends_too_early(number, counts, generator):
    known = positions_of_group(number)
    for _ in range(20):
        chosen = filled(number, counts, generator)
        assert chosen is not None
        assert tuple(sum(known[row].size for row in own) for own in chosen) == counts
        points = [row for own in chosen for row in own if not known[row].freedom]
        assert len(points) == len(set(points))
    assert filled(62, (3, 4), generator) is None


def test_orbits_of_given_sizes_are_matched(generator):
    known = positions_of_group(221)
    chosen = matched(221, [[1, 3], [1]], generator)
    assert chosen is not None
    assert [[known[row].size for row in own] for own in chosen] == [[1, 3], [1]]
    assert matched(221, [[1], [1], [1]], generator) is None
