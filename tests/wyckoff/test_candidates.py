"""Skeletons that carry a composition."""

from collections import Counter

import numpy as np
import pytest
import torch

from geomae.inversion.crystal_orbits import on_template
from geomae.wyckoff.candidates import candidates, general_candidates


def test_candidates_carry_the_composition_and_frequent_ones_come_first():
    found = candidates(torch.tensor([22, 22, 8, 8, 8, 8]))
    assert [own.share for own in found] == sorted([own.share for own in found], reverse=True)
    for own in found:
        counts = Counter(np.repeat(own.species, own.template.size).tolist())
        assert counts == {22: 2, 8: 4}
    assert 225 in {own.template.number for own in candidates(torch.tensor([11, 17]))}
    # perovskite, five elements: every way to put them on the sites
    same = [own.species for own in candidates(torch.tensor([20, 22, 8, 8, 8]))]
    assert any(s[0] == 20 for s in same) and any(s[0] == 22 for s in same)


def test_five_elements_are_put_on_a_perovskite_in_all_ways():
    numbers = torch.tensor([7, 8, 9, 26, 57])
    found = [own for own in candidates(numbers) if own.template.number == 25]
    assert len({own.species for own in found}) == len(found) == 120
    assert not candidates(numbers, models=["crystals-atoms"])


def test_statistics_of_models_count_alike():
    numbers = torch.tensor([20, 22, 8, 8, 8])
    alone = [candidates(numbers, models=[own]) for own in ("crystals-atoms", "perov5-atoms")]
    shares = sorted(own.share / 2 for found in alone for own in found)
    assert sorted(own.share for own in candidates(numbers)) == pytest.approx(shares)


def test_equal_rows_make_skeletons_with_other_orbits_rare():
    numbers = torch.tensor([22, 22, 8, 8, 8, 8])
    free = {id(own.template): own.share for own in candidates(numbers)}
    for own in candidates(numbers, {22: [2], 8: [4]}):
        alike = sorted(own.template.size.tolist()) == [2, 4]
        assert own.share == pytest.approx(free[id(own.template)] * (1 if alike else 0.05))


@pytest.mark.parametrize("equal", [{22: [2], 8: [4]}, None])
def test_skeletons_beyond_the_known_ones_carry_the_composition(equal, generator):
    numbers = torch.tensor([22, 22, 8, 8, 8, 8])
    found = general_candidates(numbers, equal, 50, generator)
    assert len(found) == 50 and len({own.template.number for own in found}) > 10
    for own in found:
        counts = Counter(np.repeat(own.species, own.template.size).tolist())
        assert counts == {22: 2, 8: 4}
        if equal:
            assert sorted(own.template.size.tolist()) == [2, 4]
        orbits = on_template(own.template, own.species, 60.0)
        assert float(orbits.frame.det().abs()) == pytest.approx(60.0)


def test_a_point_without_freedom_is_taken_once(generator):
    # Pm-3m has two single points: three atoms of an element can't all have one
    found = general_candidates(torch.tensor([11, 11, 11]), {11: [1, 1, 1]}, 200, generator)
    assert all(own.template.number != 221 for own in found)
