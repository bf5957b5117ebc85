"""Atoms on whole orbits, their hydrogens included."""

import numpy as np
import pytest
import torch

from geomae.generation.atoms.sites import Sites, projection
from geomae.generation.proposals import propose
from geomae.symmetry import PointGroup

METHANE = np.array([[6, 4, 0]])
BENZENE = np.array([[6, 1, 2]])
GROUPS = ("C1", "Cs", "Ci", "C2", "C2v", "C3", "C3v", "D2h", "D3h", "D4h", "D6h", "Td", "Oh", "Ih")


def random_vectors(n, atoms):
    return torch.randn(n, atoms, 3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("group", "sizes"),
    [
        ("C1", {1}),
        ("C2v", {1, 2, 4}),
        ("D6h", {1, 2, 6, 12, 24}),
        ("Td", {1, 4, 6, 12, 24}),
        ("Oh", {1, 6, 8, 12, 24, 48}),
        ("Ih", {1, 12, 20, 30, 60, 120}),
        ("C∞v", {1}),
        ("D∞h", {1, 2}),
    ],
)
def test_sites_are_those_of_the_tables(group, sizes):
    sites = Sites(PointGroup.named(group))
    assert {site.size for site in sites.types(sites.orbits.everything)} == sizes


def test_sites_that_the_group_makes_equivalent_are_one():
    sites = Sites(PointGroup.named("D6h"))
    found = sites.types(sites.orbits.everything)
    # centre, main axis, two kinds of twofold axes, three kinds of planes, nothing
    assert [site.freedom for site in found] == [0, 1, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize("name", GROUPS)
def test_what_is_projected_has_the_group(name):
    group = PointGroup.named(name)
    sites = Sites(group)
    order = len(group.operations)
    kinds = np.array([[6, 0, 2]])
    seating = sites.seated(kinds, np.array([order]), np.random.default_rng(0))
    assert seating is not None and len(seating.kind) == order
    moves = torch.from_numpy(seating.moves)[None]
    once = projection(group.operations, moves)(random_vectors(1, order))
    again = projection(group.operations, moves)(once)
    assert torch.allclose(once, again, atol=1e-12) and once.norm() > 0.1
    for number, operation in enumerate(group.operations):
        assert torch.allclose(once[0] @ operation.T, once[0, moves[0, number]], atol=1e-12)


@pytest.mark.parametrize(
    ("group", "kinds", "count", "fits"),
    [
        ("Td", METHANE, 1, True),
        ("D4h", METHANE, 1, True),
        ("D6h", METHANE, 1, False),
        ("Oh", METHANE, 1, False),
        ("D6h", BENZENE, 6, True),
        ("Td", BENZENE, 6, True),
        ("D4h", BENZENE, 3, False),
        ("C3", np.array([[6, 3, 1]]), 2, True),
        ("C∞v", np.array([[6, 1, 1]]), 2, True),
        ("C∞v", np.array([[6, 3, 1]]), 2, False),
        ("D3h", np.array([[6, 2, 2]]), 3, True),
        ("D6h", np.array([[6, 3, 1]]), 2, False),
    ],
)
def test_hydrogens_need_orbits_about_their_atoms(group, kinds, count, fits):
    sites = Sites(PointGroup.named(group))
    rng = np.random.default_rng(0)
    seating = sites.seated(kinds, np.array([count]), rng)
    assert (seating is not None) == fits
    if seating is not None:
        coat = sites.coat(kinds, seating, rng)
        assert len(seating.kind) == count and len(coat.parent) == count * kinds[0, 1]


@pytest.mark.parametrize("name", ["C2v", "D3h", "Td", "D6h"])
def test_operations_move_hydrogens_with_their_atoms(name):
    group = PointGroup.named(name)
    sites, rng = Sites(group), np.random.default_rng(1)
    kinds = np.array([[6, 1, 2], [6, 3, 1], [8, 0, 2]])
    for _ in range(20):
        seating = sites.seated(kinds, np.array([12, 0, 1]), rng)
        assert seating is not None
        assert (seating.kind == 2).sum() == 1
        coat = sites.coat(kinds, seating, rng)
        assert (np.bincount(coat.parent, minlength=13) == kinds[seating.kind, 1]).all()
        for heavy, light in zip(seating.moves, coat.moves, strict=True):
            assert np.array_equal(heavy[coat.parent], coat.parent[light])
            assert np.array_equal(seating.kind[heavy], seating.kind)


def test_at_most_one_atom_is_in_the_centre():
    sites = Sites(PointGroup.named("Oh"))
    kinds = np.array([[6, 0, 6], [7, 0, 6]])
    rng = np.random.default_rng(0)
    assert sites.seated(kinds, np.array([1, 1]), rng) is None
    assert sites.seated(kinds, np.array([1, 6]), rng) is not None


def test_proposals_are_what_was_asked_for():
    kinds = np.array([[6, 0, 3], [6, 1, 2], [6, 1, 3], [6, 2, 2], [6, 3, 1], [7, 0, 2], [8, 0, 2]])
    shares, rng = np.ones(len(kinds)), np.random.default_rng(0)
    found = propose(kinds, shares, rng, counts={6: 5, 1: 8, 8: 1}, most=29)
    assert len(found) > 1 and len(np.unique(found, axis=0)) == len(found)
    assert (found @ kinds[:, 1] == 8).all() and (found @ (kinds[:, 0] == 6) == 5).all()
    assert ((found @ kinds[:, 2]) % 2 == 0).all()
    orbits = propose(kinds, shares, rng, sizes=(6, 8), centre=False, n_atoms=12, most=29)
    assert len(orbits) and (orbits.sum(1) + orbits @ kinds[:, 1] == 12).all()
    assert not len(propose(kinds, shares, rng, counts={6: 1, 1: 9}, most=29))
