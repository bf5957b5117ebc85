"""Features of any irreps, to the core's layout and back."""

import pytest
import torch
from e3nn import o3

from geomae.equivariant import (
    IrrepsError,
    IrrepsIn,
    IrrepsOut,
    Layout,
    from_flat,
    irreps_of,
    to_flat,
)
from geomae.testing import assert_equivariant

NATURAL = ["4x0e + 1x1o + 1x2e", "1x2e + 2x0e + 3x1o + 1x0e", "5x0e", "2x3o"]
BOTH = ["2x0e + 1x0o + 3x1e + 1x1o", "1x1o + 1x1e + 2x1o", "1x2o"]
CASES = [(irreps, False) for irreps in NATURAL] + [(irreps, True) for irreps in NATURAL + BOTH]


@pytest.mark.parametrize(("irreps", "parity"), CASES)
def test_there_and_back(irreps, parity, random):
    flat = random(5, o3.Irreps(irreps).dim)
    features = from_flat(flat, irreps, lmax=3, channels=6, parity=parity)
    assert features.shape == (5, *(2,) * parity, 16, 6)
    assert torch.equal(to_flat(features, irreps, parity=parity), flat)
    assert int((features != 0).sum()) == flat.numel()


@pytest.mark.parametrize(("irreps", "parity"), CASES)
def test_both_directions_turn_as_the_wigner_matrices_say(irreps, parity, random):
    kind = "features with parity" if parity else "features"
    flat, features = random(5, o3.Irreps(irreps).dim), random(5, *(2,) * parity, 16, 6)
    assert_equivariant(lambda x: from_flat(x, irreps, parity=parity), [(flat, irreps)], kind)
    assert_equivariant(lambda x: to_flat(x, irreps, parity=parity), [(features, kind)], irreps)


def test_components_are_where_e3nn_has_them(random):
    flat = random(2, 12)
    features = from_flat(flat, "4x0e + 1x1o + 1x2e")
    assert features.shape == (2, 9, 4)
    assert torch.equal(features[:, 0], flat[:, :4])
    assert torch.equal(features[:, 1:4, 0], flat[:, 4:7])
    assert torch.equal(features[:, 4:, 0], flat[:, 7:])
    assert not features[:, 1:, 1:].any()


def test_irreps_of_a_layout():
    assert irreps_of(Layout(2), 3) == o3.Irreps("3x0e + 3x1o + 3x2e")
    assert irreps_of(Layout(1, True), 2) == o3.Irreps("2x0e + 2x1e + 2x0o + 2x1o")


@pytest.mark.parametrize("parity", [False, True])
def test_layouts_own_irreps_are_its_components(parity, random):
    layout = Layout(2, parity)
    features, irreps = random(3, *(2,) * parity, 9, 4), irreps_of(layout, 4)
    flat = to_flat(features, irreps, parity=parity)
    assert torch.equal(from_flat(flat, irreps, parity=parity), features)


def test_kinds_without_input_are_zero(random):
    features = IrrepsIn("2x0e + 1x2e", 3, lmax=3).double()(random(4, 7))
    assert features[:, 0].all()
    assert features[:, 4:9].all()
    assert not features[:, 1:4].any()
    assert not features[:, 9:].any()


def test_bias_goes_to_even_scalars_alone(random):
    layer = IrrepsOut(2, 1, "1x1o + 2x0e + 1x0o + 1x0e", parity=True).double()
    torch.nn.init.constant_(layer.bias, 5.0)
    assert layer(torch.zeros(1, 2, 4, 2).double())[0].tolist() == [0, 0, 0, 5, 5, 0, 5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: from_flat(torch.zeros(2, 3), "3x9z"), "can't read irreps '3x9z'"),
        (lambda: from_flat(torch.zeros(2, 5), "2x0e"), r"expected values \[points, 2\]"),
        (lambda: from_flat(torch.zeros(2, 3), "1x1e"), "no natural parity"),
        (lambda: from_flat(torch.zeros(2, 5), "1x2e", lmax=1), "exceeds the highest degree 1"),
        (lambda: from_flat(torch.zeros(2, 4), "4x0e", channels=3), "there are 3 channels"),
        (lambda: to_flat(torch.zeros(2, 4, 3), "1x2e"), "exceeds the highest degree 1"),
        (lambda: to_flat(torch.zeros(2, 4, 3), "1x0o"), "parity=True"),
        (lambda: to_flat(torch.zeros(2, 4, 3), "2x0e + 2x0e"), "there are 3 channels"),
        (lambda: IrrepsIn("1x1e", 4), "no natural parity"),
        (lambda: IrrepsIn("1x0e", 4)(torch.zeros(2, 2)), r"expected values \[points, 1\]"),
        (lambda: IrrepsOut(4, 1, "1x2e"), "exceeds the highest degree 1"),
    ],
)
def test_wrong_irreps_are_named(call, message):
    with pytest.raises(IrrepsError, match=message):
        call()


def test_features_that_are_no_layout(random):
    with pytest.raises(ValueError, match="expected features"):
        to_flat(random(2, 5, 3), "1x0e")
    with pytest.raises(ValueError, match="expected features"):
        IrrepsOut(3, 1, "1x0e").double()(random(2, 9, 3))
