import pytest
import torch
from e3nn import o3

from geomae.equivariant import dim, sphere_quadrature, spherical_harmonics
from geomae.sphere import evaluate, evaluate_derivatives, project, rotate


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _orthogonal(seed, improper):
    matrix = torch.linalg.qr(_random(3, 3, seed=seed))[0]
    matrix = matrix * torch.linalg.det(matrix).sign()
    return -matrix if improper else matrix


def test_projection_is_normalised_as_said():
    vectors = _random(1, 3)
    signal = project(vectors, 6, torch.tensor([2.0], dtype=torch.float64))[0]
    nodes, weights = sphere_quadrature(6)
    assert torch.isclose((evaluate(signal, nodes) * weights).sum(), torch.tensor(2.0).double())
    assert torch.isclose(signal[0], torch.tensor(2.0).double())
    assert torch.isclose(evaluate(signal, vectors)[0], torch.tensor(2.0 * 49).double())


def test_coefficients_are_means_of_signal_times_harmonic():
    signal = _random(dim(5))
    nodes, weights = sphere_quadrature(10)
    means = (evaluate(signal, nodes) * weights) @ spherical_harmonics(5, nodes)
    torch.testing.assert_close(means, signal)


def test_projection_of_batches():
    vectors, weights = _random(7, 3), _random(7, seed=1)
    batch = torch.tensor([0, 0, 2, 2, 2, 3, 3])
    signals = project(vectors, 4, weights, batch, size=5)
    assert signals.shape == (5, 25)
    assert not signals[1].any() and not signals[4].any()
    for number in (0, 2, 3):
        own = batch == number
        torch.testing.assert_close(signals[number], project(vectors[own], 4, weights[own])[0])
    assert project(vectors[:0], 4).shape == (1, 25)
    assert project(vectors[:0], 4, batch=batch[:0]).shape == (0, 25)


def test_zero_vectors_count_in_degree_0_only():
    vectors = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    signal = project(vectors, 4)
    assert signal[0, 0] == 1 and not signal[0, 1:].any()
    signal.sum().backward()
    assert not vectors.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("improper", [False, True])
def test_projection_is_equivariant(dtype, improper):
    vectors = _random(5, 3)
    matrix = _orthogonal(1, improper)
    turned = project((vectors @ matrix.T).to(dtype), 8)
    expected = rotate(project(vectors.to(dtype), 8), matrix.to(dtype))
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5 * expected.norm()
    assert (turned - expected).norm() < tolerance


@pytest.mark.parametrize("improper", [False, True])
def test_rotation_is_that_of_wigner_matrices(improper):
    matrix = _orthogonal(2, improper)
    irreps = o3.Irreps([(1, (degree, (-1) ** degree)) for degree in range(7)])
    expected = irreps.D_from_matrix(matrix.float()).double()
    signal = _random(3, dim(6))
    assert torch.allclose(rotate(signal, matrix), signal @ expected.T, atol=1e-5)
    points = _random(4, 3)
    values = evaluate(rotate(signal, matrix)[:, None], points @ matrix.T)
    assert torch.allclose(values, evaluate(signal[:, None], points), atol=1e-12, rtol=0)


def test_rotation_broadcasts_and_refuses_other_matrices():
    matrices = torch.stack([_orthogonal(seed, seed % 2 == 1) for seed in range(4)])
    signal = _random(dim(3))
    together = rotate(signal, matrices)
    for one, matrix in zip(together, matrices, strict=True):
        torch.testing.assert_close(one, rotate(signal, matrix))
    with pytest.raises(ValueError, match="orthogonal"):
        rotate(signal, 2 * matrices[0])


@pytest.mark.parametrize("lmax", [1, 2, 5, 8, 11])
def test_derivatives_are_those_of_automatic_differentiation(lmax):
    signals, points = _random(6, dim(lmax)), _random(6, 3, seed=1)
    # The signal doesn't change along the radius, so these are derivatives on the sphere.
    unit = torch.nn.functional.normalize(points, dim=1).requires_grad_()
    values = (spherical_harmonics(lmax, unit) * signals).sum(1)
    (gradient,) = torch.autograd.grad(values.sum(), unit, create_graph=True)
    rows = [
        torch.autograd.grad(gradient[:, axis].sum(), unit, retain_graph=True)[0]
        for axis in range(3)
    ]
    tangent = torch.eye(3) - unit[:, :, None] * unit[:, None]
    hessian = tangent @ torch.stack(rows, 1) @ tangent
    found = evaluate_derivatives(signals, points)
    assert torch.allclose(found.values, values, atol=1e-11, rtol=0)
    assert torch.allclose(found.gradients, gradient, atol=1e-10, rtol=0)
    assert torch.allclose(found.hessians, hessian, atol=1e-9, rtol=0)
    poles = torch.tensor([[0.0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=torch.float64)
    at_poles = evaluate_derivatives(signals[:, None], poles)
    assert torch.allclose(at_poles.values, evaluate(signals[:, None], poles), atol=1e-11, rtol=0)
    assert at_poles.hessians.shape == (6, 4, 3, 3)


def test_derivatives_are_differentiable_in_the_coefficients():
    points = torch.nn.functional.normalize(_random(2, 3), dim=1)
    signals = _random(2, dim(3), seed=3).requires_grad_()

    def everything(coefficients):
        found = evaluate_derivatives(coefficients, points)
        return found.values, found.gradients, found.hessians

    assert torch.autograd.gradcheck(everything, (signals,))


def test_shapes_that_are_no_signals_are_refused():
    with pytest.raises(ValueError, match=r"\(lmax \+ 1\)\^2"):
        evaluate(torch.zeros(5), torch.ones(1, 3))
    assert evaluate(torch.ones(4), torch.ones(3)).shape == ()
    assert evaluate_derivatives(torch.ones(4), torch.ones(3)).hessians.shape == (3, 3)
