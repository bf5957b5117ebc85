import pytest
import torch

from geomae.equivariant import dim
from geomae.sphere import BallField, rotate

RADIUS = 3.0


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _field(n=3, lmax=4, radial=6, seed=0):
    return BallField(_random(n, radial, dim(lmax), seed=seed), RADIUS)


def test_evaluation_of_all_and_of_single_fields():
    field, points = _field(), _random(5, 3)
    table = field.evaluate(points)
    assert table.shape == (3, 5)
    owner = torch.tensor([2, 0, 1, 1, 0])
    torch.testing.assert_close(field.evaluate(points, owner), table[owner, torch.arange(5)])


def test_peaks_are_maxima():
    field = _field()
    peaks = field.find_peaks()
    assert len(peaks) > 3 and not peaks.degenerate.any()
    assert (peaks.curvatures < 0).all() and (peaks.positions.norm(dim=1) <= RADIUS).all()
    points = peaks.positions.clone().requires_grad_()
    (slope,) = torch.autograd.grad(field.evaluate(points, peaks.field).sum(), points)
    assert slope.abs().max() < 1e-10
    step = torch.diff(peaks.field)
    assert (step >= 0).all() and (torch.diff(peaks.values)[step == 0] <= 0).all()
    high = field.find_peaks(threshold=float(peaks.values.median()))
    assert 0 < len(high) < len(peaks)


@pytest.mark.parametrize("improper", [False, True])
def test_peaks_are_equivariant(improper):
    matrix = torch.linalg.qr(_random(3, 3, seed=1))[0]
    matrix = matrix * torch.linalg.det(matrix).sign() * (-1 if improper else 1)
    field = _field()
    turned = BallField(rotate(field.coefficients, matrix), RADIUS)
    level = float(field.find_peaks().values.quantile(0.3))
    before = field.find_peaks(threshold=level, spacing=0.25)
    after = turned.find_peaks(threshold=level, spacing=0.25)
    assert torch.equal(before.field, after.field)
    assert (before.positions @ matrix.T - after.positions).abs().max() < 1e-9


def test_fields_do_not_see_each_other():
    field = _field(4)
    together = field.find_peaks()
    for number in range(4):
        alone = BallField(field.coefficients[number : number + 1], RADIUS).find_peaks()
        own = together.field == number
        assert torch.allclose(together.positions[own], alone.positions, atol=1e-10)


def test_gradients_follow_from_the_implicit_function_theorem():
    coefficients = _random(1, 2, dim(1), seed=3).requires_grad_()

    def found(c):
        peaks = BallField(c, RADIUS).find_peaks(spacing=1.0)
        return peaks.positions, peaks.values

    assert len(found(coefficients)[0])
    assert torch.autograd.gradcheck(found, (coefficients,), eps=1e-6, atol=1e-5)


def test_shells_are_reported_and_are_no_peaks():
    coefficients = torch.zeros(2, 6, 4, dtype=torch.float64)
    coefficients[0, 3, 0] = 1
    coefficients[1, 0, 0] = 1
    peaks = BallField(coefficients, RADIUS).find_peaks()
    assert peaks.degenerate.tolist() == [True, False]
    assert peaks.field.tolist() == [1]
    assert peaks.positions.norm(dim=1).max() < 1e-8


def test_empty_float32_and_wrong_input():
    assert len(BallField(torch.zeros(0, 3, 4), RADIUS).find_peaks()) == 0
    assert len(BallField(torch.zeros(2, 3, 4), RADIUS).find_peaks()) == 0
    peaks = BallField(_random(2, 4, 9, dtype=torch.float32), RADIUS).find_peaks()
    assert peaks.positions.dtype == torch.float32 and len(peaks)
    with pytest.raises(ValueError, match="coefficients"):
        BallField(torch.zeros(1, 3, 5), RADIUS)
    with pytest.raises(ValueError, match="positive"):
        BallField(torch.zeros(1, 3, 4), -1.0)
