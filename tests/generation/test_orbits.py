"""Orbits of points, and formulas that are sums of them."""

import numpy as np
import pytest
import torch

from geomae.generation import check_formula, formula_fits, orbit_sizes
from geomae.symmetry import GroupError, PointGroup
from geomae.symmetry.orbits import Orbits

GROUPS = ("C1", "Cs", "Ci", "C2v", "C3", "D2h", "D3h", "D4h", "D6h", "S4", "Td", "Oh", "Ih")


@pytest.mark.parametrize("name", [*GROUPS[:-1], pytest.param("Ih", marks=pytest.mark.slow)])
def test_sizes_are_those_of_points_on_all_kinds_of_places(name):
    """Points found by averaging random ones over every subgroup have no other orbits."""
    group, found = PointGroup.named(name), set()
    orbits = Orbits(group)
    generator = np.random.default_rng(0)
    for own in group.subgroups():
        point = own.operations.numpy().mean(0) @ generator.standard_normal(3)
        if np.linalg.norm(point) > 1e-6:
            _, stabilizer = orbits.snapped(point, orbits.everything, 1e-7)
            found.add(len(group) // len(stabilizer))
    sizes = orbit_sizes(name)
    assert set(sizes.sizes) == found
    fixed = float(group.operations.mean(0).diagonal().sum())
    assert sizes.centre == (round(fixed) == 0)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("D6h", {"C": 6, "H": 6}),
        ("Td", {"C": 1, "H": 4}),
        ("Td", {"C": 5, "H": 12}),
        ("Oh", {"C": 8, "H": 8}),
        ("D3h", {"C": 3, "H": 6}),
        ("C2v", {"C": 1, "H": 2, "O": 1}),
        ("C∞v", {"C": 1, "N": 1, "H": 1}),
        ("D∞h", {"C": 1, "O": 2}),
        ("Kh", {"C": 1}),
    ],
)
def test_formulas_of_molecules_that_have_the_group_fit(name, counts):
    assert formula_fits(PointGroup.named(name), counts)


@pytest.mark.parametrize(
    ("name", "counts", "said"),
    [
        ("Oh", {"C": 1, "H": 2, "O": 1}, "H2 fills no whole orbits"),
        ("D2h", {"C": 1, "H": 2, "O": 1}, "C and O would both need the centre"),
        ("Td", {"C": 2, "H": 6}, "C2 fills no whole orbits"),
        ("Kh", {"H": 2}, "has no orbits"),
        ("D∞h", {"C": 1, "N": 1, "H": 1}, "centre"),
    ],
)
def test_group_and_formula_that_exclude_each_other(name, counts, said):
    with pytest.raises(GroupError, match=said):
        check_formula(PointGroup.named(name), counts)


def test_a_point_near_an_axis_is_set_on_it():
    orbits = Orbits(PointGroup.named("C6v"))
    point, stabilizer = orbits.snapped(np.array([0.1, 0.05, 1.0]), orbits.everything, 0.25)
    assert np.allclose(point, [0, 0, 1.0]) and len(stabilizer) == 12
    point, stabilizer = orbits.snapped(np.array([2.0, 0.05, 1.0]), orbits.everything, 0.25)
    assert np.allclose(point, [2.0, 0, 1.0], atol=1e-3) and len(stabilizer) == 2


@pytest.mark.parametrize("name", GROUPS)
def test_an_asymmetric_unit_has_a_point_of_every_orbit(name):
    orbits = Orbits(PointGroup.named(name))
    points = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    images = points @ orbits.group.operations.transpose(1, 2)
    inside = orbits.asymmetric(images.flatten(0, 1), orbits.everything, 1e-9).unflatten(0, (-1, 50))
    assert bool(inside.any(0).all())
    assert int(inside.sum()) == 50  # and of a general one no more
