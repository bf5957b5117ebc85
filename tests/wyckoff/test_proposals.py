"""Skeletons that a flow's data lacks."""

import numpy as np
import pytest

from geomae.wyckoff.candidates import known_templates
from geomae.wyckoff.generic import generic_group
from geomae.wyckoff.groups import EVEN, group_statistics
from geomae.wyckoff.proposals import known_positions, proposed
from geomae.wyckoff.table import positions_of_group


@pytest.fixture(scope="module")
def known():
    return known_templates("perov5-atoms")


def test_positions_that_the_data_has_keep_their_numbers(known):
    own = known_positions(known, 221)
    positions = positions_of_group(221)
    assert own and len(set(own.values())) == len(own)
    absent = next(row for row in range(len(positions)) if row not in own)
    keys = [(221, ((row,), (absent,))) for row in own]
    made = proposed(keys, known, group_statistics(known))
    for row, (position, number) in enumerate(own.items()):
        template = made[row]
        assert template.position[0] == number
        assert template.size[0] == positions[position].size
        np.testing.assert_array_equal(made.place[number], known.place[number])
        assert template.position[1] >= len(known.place)
    # the same position of another skeleton has the same number
    assert len({int(made[row].position[1]) for row in range(len(keys))}) == 1


@pytest.mark.parametrize("number", [3, 38, 146, 195, 230])
def test_cells_of_groups_that_the_data_lacks_have_their_symmetry(known, number):
    statistics = group_statistics(known)
    assert statistics.share[number - 1] == 0
    key = number, ((len(positions_of_group(number)) - 1,),)
    template = proposed([key], known, statistics)[0]
    metric = template.frame @ template.frame.T
    assert np.linalg.det(metric) == pytest.approx(1)
    for rotation in template.operations.rotations:
        np.testing.assert_allclose(rotation.T @ metric @ rotation, metric, atol=1e-9)


def test_shapes_are_the_groups_or_else_those_of_its_lattice(known):
    statistics = group_statistics(known)
    assert statistics.share.sum() == pytest.approx(1, abs=1e-4)
    own = known.group == 99
    mean = (known.share[own, None] * known.metric[own]).sum(0)
    np.testing.assert_allclose(statistics.metric[98], mean)
    # P4 has the lattice of P4mm and P4/mmm, and I4 that of no group of Perov-5
    np.testing.assert_allclose(statistics.metric[74], statistics.metric[[98, 122]].sum(0))
    np.testing.assert_array_equal(statistics.metric[78], EVEN)


@pytest.mark.parametrize(
    ("number", "row", "found"), [(1, 0, 2), (195, 0, 221), (195, -1, 195), (19, 0, 19)]
)
def test_the_group_of_generic_crystals_is_told(known, rng, number, row, found):
    row = range(len(positions_of_group(number)))[row]
    made = proposed([(number, ((row,),))], known, group_statistics(known))
    assert generic_group(made[0], rng) == found
