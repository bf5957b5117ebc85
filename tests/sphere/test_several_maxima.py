"""Of several maxima on top of one bump the highest is found from any, however it is turned."""

import pytest
import torch

from geomae.sphere.ascent import climb, highest_around, maximise, merge_maxima, second_order
from geomae.testing import random_orthogonal


@pytest.fixture
def bump():
    """A function with three maxima a few hundredths apart, and their places, the highest first."""
    generator = torch.Generator().manual_seed(0)
    places = 0.02 * torch.randn(3, 3, generator=generator, dtype=torch.float64)
    heights = torch.tensor([0.0, -2e-4, -5e-4], dtype=torch.float64)

    def function(points, owner):
        square = (points[:, None] - places).square().sum(2)
        return torch.logsumexp(2e5 * (heights - 2 * square), 1) / 2e5

    return function, places


def ends(function, seeds):
    owner = torch.arange(len(seeds))
    maxima = merge_maxima(maximise(function, seeds, owner), tolerance=0.1)
    higher = highest_around(
        function,
        lambda points, owner: second_order(function, points, owner),
        maxima,
        distance=0.05,
        tolerance=0.125,
    )
    return maxima.positions, higher.positions


def test_the_highest_maximum_is_found_from_each(bump):
    function, places = bump
    own, highest = ends(function, places + 1e-3)
    assert torch.allclose(own, places, atol=1e-4)
    assert torch.allclose(highest, places[:1].expand(3, 3), atol=1e-4)


def test_it_turns_with_the_function(bump):
    function, places = bump
    matrix = -random_orthogonal(torch.Generator().manual_seed(1), improper=False)
    turned = ends(lambda points, owner: function(points @ matrix, owner), places @ matrix.T)[1]
    assert torch.allclose(turned, ends(function, places)[1] @ matrix.T, atol=1e-10)


def test_maxima_that_are_alone_stay():
    def function(points, owner):
        return -(points - owner[:, None]).square().sum(1) * (1 + points.square().sum(1))

    def derivatives(points, owner):
        return second_order(function, points, owner)

    seeds = torch.tensor([[0.1, 0.0, 0.0], [0.9, 1.1, 1.0]], dtype=torch.float64)
    maxima = merge_maxima(climb(derivatives, seeds, torch.arange(2)), tolerance=0.1)
    higher = highest_around(function, derivatives, maxima, distance=0.05, tolerance=0.1)
    assert torch.equal(higher.positions, maxima.positions)
