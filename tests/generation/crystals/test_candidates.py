"""Skeletons that the data lacks, where none of its own is as wanted."""

import numpy as np
import pytest
import torch

from geomae.data.elements import NUMBERS
from geomae.errors import GeomaeError
from geomae.generation.crystals.candidates import candidates
from geomae.generation.crystals.flow import classes_of
from geomae.generation.crystals.proposals import fillable, frequencies
from geomae.generation.crystals.request import read_space_group
from geomae.generation.crystals.wanted import Wanted
from geomae.symmetry import GroupError
from geomae.wyckoff.generic import generic_group


def wanted(flow, group=None, n_atoms=None, most=20, **formula):
    unit = None
    if formula:
        table = {NUMBERS[symbol]: n for symbol, n in formula.items()}
        unit = np.array([table.get(z, 0) for z in flow.elements])
    kind = None if group is None else read_space_group(str(group))
    name = "".join(f"{symbol}{n}" for symbol, n in formula.items())
    return Wanted(kind, name or None, unit, n_atoms, most)


def made(flow, own, seed=0):
    """Skeletons that are drawn, and how often."""
    found = candidates(flow.templates, own, seed)
    assert found.shares.sum() == pytest.approx(1)
    shares = found.shares[found.shares > 0]
    rows = found.rows[found.shares > 0]
    return found, [found.templates[int(row)] for row in rows], shares


def test_known_skeletons_come_before_others(flow):
    found, own, _ = made(flow, wanted(flow, 225))
    assert found.templates is flow.templates and {t.number for t in own} == {225}


@pytest.mark.parametrize(("group", "formula"), [(17, {}), (195, {"Na": 4, "Cl": 6}), (230, {})])
def test_groups_that_the_data_lacks_have_their_own_symmetry(flow, group, formula, rng):
    _, own, _ = made(flow, wanted(flow, group, **formula))
    for template in own:
        assert template.number == group == generic_group(template, rng)


def test_atoms_of_classes_are_those_of_the_data(flow):
    _, own, _ = made(flow, wanted(flow, 17))
    known = frequencies(flow.templates)
    assert {tuple(sorted(template.counts().tolist())) for template in own} <= set(known)


def test_a_formula_has_its_atoms_and_few_units_mostly(flow):
    asked = wanted(flow, 62, Mg=2, Si=1, O=4)
    _, own, shares = made(flow, wanted(flow, 1, Na=2, Cl=1))
    units = np.array([asked.n_atoms or template.n_atoms // 3 for template in own])
    means = [shares[units == k].sum() for k in (1, 2, 3)]
    assert means[0] > means[1] > means[2] > 0
    for template in own:
        allowed = wanted(flow, 1, Na=2, Cl=1).allowed(template)
        assert allowed is not None and (allowed.sum(1) == 1).all()
    with pytest.raises(GroupError, match="Mg2Si1O4 and Pnma exclude each other"):
        candidates(flow.templates, asked, 0)


def test_without_a_group_those_of_the_data_are_frequent(flow):
    _, own, shares = made(flow, wanted(flow, Na=3, Cl=2, Mg=1))
    known = set(flow.templates.group.tolist())
    assert all(sorted(t.counts()) == sorted(t.n_atoms // 6 * np.array([1, 2, 3])) for t in own)
    assert sum(s for t, s in zip(own, shares, strict=True) if t.number in known) > 0.9


def test_other_numbers_of_atoms_have_formulas_of_the_data(flow):
    asked = wanted(flow, 230, n_atoms=16)
    amounts = fillable(230, asked, frequencies(flow.templates))
    assert set(amounts) == {(16,), (8, 8)}
    _, own, _ = made(flow, asked)
    assert {template.n_atoms for template in own} == {16}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"group": 230, "most": 5}, "any element and Ia-3d exclude each other"),
        ({"group": 230, "n_atoms": 18}, "18 atoms a primitive cell and Ia-3d"),
        ({"group": 225, "Na": 2, "Cl": 2, "Mg": 2, "O": 1}, "exclude each other"),
        ({"Na": 1, "Cl": 1, "n_atoms": 7}, "no whole number of formula units Na1Cl1"),
    ],
)
def test_what_whole_orbits_can_not_give_is_refused(flow, asked, words):
    with pytest.raises(GeomaeError, match=words):
        candidates(flow.templates, wanted(flow, **asked), 0)


def test_proposals_depend_on_the_seed_alone(flow):
    state = torch.random.get_rng_state()
    one, again, other = (made(flow, wanted(flow, 17), seed) for seed in (3, 3, 4))
    keys = [
        [(t.size.tolist(), t.member.tolist(), share) for t, share in zip(*own[1:], strict=True)]
        for own in (one, again, other)
    ]
    assert keys[0] == keys[1] != keys[2]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_elements_network_sees_all_orbits_and_the_positions_that_it_knows(flow):
    positions = len(flow.templates.place)
    _, own, _ = made(flow, wanted(flow, 225, Na=3, Cl=5))
    classes = classes_of(own, positions)
    for row, template in enumerate(own):
        orbits = np.bincount(template.member)
        assert classes.sizes[row, : len(orbits)].tolist() == orbits.tolist()
        known = np.bincount(template.member, template.position < positions)
        assert classes.orbits[row].sum(1).tolist() == known.tolist()
    # rock salt's points are among the data's positions, and so are spinel's in another group
    assert 0 < float(classes.orbits.sum()) < float(classes.sizes.sum())
    assert torch.isfinite(flow.element_logits(classes)).all()
