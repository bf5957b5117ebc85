import pytest
import torch

from geomae.equivariant import dim, sphere_quadrature
from geomae.sphere import (
    bispectrum,
    bispectrum_triples,
    cross_spectrum,
    evaluate,
    power_spectrum,
    rotate,
)

LMAX = 5


def _random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=[False, True], ids=["rotation", "reflection"])
def matrix(request):
    q = torch.linalg.qr(_random(3, 3, seed=5))[0]
    q = q * torch.linalg.det(q).sign()
    return -q if request.param else q


def test_powers_add_up_to_the_mean_square():
    signal = _random(dim(LMAX))
    nodes, weights = sphere_quadrature(2 * LMAX)
    mean = (evaluate(signal, nodes).square() * weights).sum()
    torch.testing.assert_close(power_spectrum(signal).sum(), mean)


def test_spectra_are_invariant(matrix):
    features = _random(3, dim(LMAX), 4)
    turned = rotate(features.mT, matrix).mT
    assert power_spectrum(features.mT).shape == (3, 4, LMAX + 1)
    assert torch.allclose(power_spectrum(features.mT), power_spectrum(turned.mT), atol=1e-10)
    assert torch.allclose(cross_spectrum(features), cross_spectrum(turned), atol=1e-10)
    even, even_turned = bispectrum(features.mT), bispectrum(turned.mT)
    assert even.shape == (3, 4, len(bispectrum_triples(LMAX)))
    assert torch.allclose(even, even_turned, atol=1e-10)


def test_odd_triples_change_sign_under_reflection(matrix):
    signals = _random(4, dim(LMAX))
    triples = torch.tensor(bispectrum_triples(LMAX, odd=True))
    odd = triples.sum(1) % 2 == 1
    assert odd.any() and not odd.all()
    before = bispectrum(signals, odd=True)
    after = bispectrum(rotate(signals, matrix), odd=True)
    sign = torch.where(odd, torch.linalg.det(matrix).sign(), 1.0)
    assert torch.allclose(after, before * sign, atol=1e-10)
    assert (before[:, odd].abs() > 1e-3).any()
    torch.testing.assert_close(before[:, ~odd], bispectrum(signals))


def test_cross_spectrum_holds_the_powers():
    features = _random(2, dim(LMAX), 3)
    diagonal = cross_spectrum(features).diagonal(dim1=2, dim2=3)
    torch.testing.assert_close(diagonal, power_spectrum(features.mT).mT)


def test_cross_spectrum_sees_how_channels_are_turned(matrix):
    features = _random(1, dim(LMAX), 2)
    turned = features.clone()
    turned[..., 1] = rotate(features[..., 1], matrix)
    assert torch.allclose(power_spectrum(features.mT), power_spectrum(turned.mT))
    assert not torch.allclose(cross_spectrum(features), cross_spectrum(turned), atol=1e-3)


def test_empty_and_float32():
    assert bispectrum(torch.zeros(0, 9), odd=True).shape == (
        0,
        len(bispectrum_triples(2, odd=True)),
    )
    assert cross_spectrum(torch.zeros(0, 9, 2)).shape == (0, 3, 2, 2)
    assert bispectrum(torch.ones(1, 9)).dtype == torch.float32
    with pytest.raises(ValueError, match="axis 1"):
        cross_spectrum(torch.zeros(1, 5, 2))
