"""Wyckoff positions of space groups, and crystals arranged on them."""

import json

import numpy as np
import pytest

from geomae.wyckoff.positions import group_action, position_of
from geomae.wyckoff.table import TABLE, found_positions, positions_of_group


@pytest.mark.parametrize(
    ("number", "count"), [(1, 1), (12, 10), (62, 4), (70, 8), (166, 9), (194, 12)]
)
def test_groups_have_the_wyckoff_positions_of_the_tables(number, count):
    known, found = positions_of_group(number), found_positions(number)
    assert len(known) == len(found) == count
    assert [(own.size, own.freedom) for own in known] == [(o.size, o.freedom) for o in found]
    assert known[-1].freedom == 3


def test_all_groups_have_1731_positions():
    assert sum(map(len, json.loads(TABLE.read_text()))) == 1731


@pytest.mark.parametrize("number", [2, 14, 62, 99, 129, 166, 194, 225, 227, 230])
def test_positions_are_kept_by_their_operations(number, rng):
    action = group_action(number)
    for point in (np.zeros(3), np.array([0, 0, 0.123]), rng.random(3)):
        position = position_of(action, point)
        other = position.free @ rng.random(3) + position.fixed
        assert position_of(action, other).size == position.size == len(position.cosets)
        assert np.abs(position.basis @ position.free.T - position.basis).max(initial=0) < 1e-12
