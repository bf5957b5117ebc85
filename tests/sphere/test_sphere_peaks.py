import pytest
import torch

from geomae.equivariant import dim, spherical_harmonics
from geomae.sphere import evaluate, evaluate_derivatives, find_peaks, project, rotate, sphere_grid

TETRAHEDRON = [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
CUBE = [[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]
OCTAHEDRON = [[s if axis == k else 0 for axis in range(3)] for k in range(3) for s in (-1, 1)]


def _random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _unit(rows):
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float64), dim=1)


def _orthogonal(seed, improper=False):
    matrix = torch.linalg.qr(_random(3, 3, seed=seed))[0]
    matrix = matrix * torch.linalg.det(matrix).sign()
    return -matrix if improper else matrix


def _zonal(*coefficients):
    """Sum of Legendre-like harmonics about the y axis, one coefficient a degree."""
    signal = torch.zeros(1, dim(len(coefficients) - 1), dtype=torch.float64)
    for degree, value in enumerate(coefficients):
        signal[0, degree * (degree + 1)] = value
    return signal


@pytest.mark.parametrize("frequency", [2, 3, 7])
def test_grid_is_a_triangulation_of_the_sphere(frequency):
    grid = sphere_grid(frequency)
    assert len(grid) == 10 * frequency**2 + 2
    neighbours = [set(row) for row in grid.neighbours.tolist()]
    assert sorted({len(row) for row in neighbours}) == [5, 6]
    assert sum(map(len, neighbours)) == 2 * (3 * len(grid) - 6)
    assert all(
        vertex in neighbours[other] for vertex, row in enumerate(neighbours) for other in row
    )
    gaps = (grid.directions[grid.neighbours] - grid.directions[:, None]).norm(dim=2)
    assert gaps.min() > 0.7 * gaps.max()
    assert (grid.directions @ grid.directions.T).amin(1).max() < -1 + 1e-12


@pytest.mark.parametrize("lmax", range(1, 12))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_delta_function_is_one_peak(lmax, dtype):
    vectors = _random(20, 3, seed=lmax)
    batch = torch.arange(20)
    peaks = find_peaks(project(vectors, lmax, batch=batch).to(dtype))
    assert torch.equal(peaks.signal, batch)
    expected = torch.nn.functional.normalize(vectors, dim=1)
    error = (peaks.directions.double() - expected).norm(dim=1).max()
    assert error < (1e-12 if dtype == torch.float64 else 1e-5)
    assert torch.allclose(peaks.values.double(), torch.tensor((lmax + 1.0) ** 2).double())
    assert (peaks.curvatures < 0).all() and not peaks.degenerate.any()
    assert peaks.values.dtype == dtype


@pytest.mark.parametrize(
    ("corners", "lmax"),
    [(TETRAHEDRON, 3), (TETRAHEDRON, 5), (CUBE, 4), (CUBE, 7), (OCTAHEDRON, 4), (OCTAHEDRON, 8)],
)
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_polyhedra_give_back_their_corners(corners, lmax, seed):
    vectors = _unit(corners) if seed is None else _unit(corners) @ _orthogonal(seed, seed == 1).T
    peaks = find_peaks(project(vectors, lmax))
    assert len(peaks) == len(corners)
    assert torch.cdist(peaks.directions, vectors).amin(1).max() < 1e-10
    assert torch.cdist(vectors, peaks.directions).amin(1).max() < 1e-10


def test_peaks_are_stationary_and_sorted():
    signals = _random(50, dim(8))
    peaks = find_peaks(signals, relative_threshold=None)
    found = evaluate_derivatives(signals[peaks.signal], peaks.directions)
    assert found.gradients.abs().max() < 1e-9
    assert torch.allclose(found.values, peaks.values, rtol=1e-12)
    eigenvalues = torch.linalg.eigvalsh(found.hessians)
    assert torch.allclose(eigenvalues[:, :2], peaks.curvatures, rtol=1e-5, atol=1e-5)
    assert torch.allclose(peaks.directions.norm(dim=1), torch.ones(()).double())
    step = torch.diff(peaks.signal)
    assert (step >= 0).all() and (torch.diff(peaks.values)[step == 0] <= 0).all()
    assert torch.equal(peaks.counts, torch.bincount(peaks.signal, minlength=50))
    parts = peaks.split()
    assert len(parts) == 50 and torch.equal(parts[7].values, peaks.values[peaks.signal == 7])


def _reference(signals):
    """Maxima by brute force: a fine grid, and an ascent by automatic derivatives."""
    grid = sphere_grid(40)
    values = signals @ spherical_harmonics(8, grid.directions).T
    signal, vertex = torch.nonzero(
        (values[:, :, None] > values[:, grid.neighbours]).all(2), as_tuple=True
    )
    points = grid.directions[vertex]
    for _ in range(12):
        found = evaluate_derivatives(signals[signal], points)
        normal = points[:, :, None] * points[:, None]
        step = torch.linalg.solve(found.hessians - 50 * normal, -found.gradients)
        step = step * (0.03 / step.norm(dim=1, keepdim=True).clamp(min=0.03))
        points = torch.nn.functional.normalize(points + step, dim=1)
    found = evaluate_derivatives(signals[signal], points)
    peaked = torch.linalg.eigvalsh(found.hessians)[:, 1] < -1e-6
    peaked &= found.gradients.norm(dim=1) < 1e-6
    return points[peaked], signal[peaked]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_recall_on_random_signals(dtype):
    signals = _random(200, dim(8), seed=4)
    points, signal = _reference(signals)
    peaks = find_peaks(signals.to(dtype), relative_threshold=None)
    found = peaks.directions.double()
    near = torch.cdist(points, found) < torch.deg2rad(torch.tensor(1.0))
    near &= signal[:, None] == peaks.signal
    assert near.any(1).double().mean() > 0.995
    assert near.any(0).double().mean() > 0.995


@pytest.mark.parametrize("improper", [False, True])
@pytest.mark.parametrize("lmax", [2, 5])
def test_peaks_are_equivariant(improper, lmax):
    vectors, batch = _random(24, 3), torch.arange(24) // 3
    signals, matrix = project(vectors, lmax, batch=batch), _orthogonal(3, improper)
    before, after = find_peaks(signals), find_peaks(rotate(signals, matrix))
    assert torch.equal(before.signal, after.signal)
    assert (before.directions @ matrix.T - after.directions).abs().max() < 1e-10
    assert torch.allclose(before.values, after.values, rtol=1e-11)
    assert torch.allclose(before.curvatures, after.curvatures, rtol=1e-5)


@pytest.mark.parametrize("threshold", [0.4, None])
@pytest.mark.parametrize("lmax", [2, 3, 4, 8])
def test_no_orientation_hides_a_peak(lmax, threshold):
    """Shallow maxima, on the shoulders of higher ones, are a few in a thousand."""
    signals, matrix = _random(1500, dim(lmax), seed=lmax), _orthogonal(lmax, improper=True)
    before = find_peaks(signals, relative_threshold=threshold)
    after = find_peaks(rotate(signals, matrix), relative_threshold=threshold)
    assert torch.equal(before.counts, after.counts)
    assert (before.directions @ matrix.T - after.directions).abs().max() < 1e-6


def test_signals_do_not_see_each_other():
    signals = _random(40, dim(6))
    together = find_peaks(signals)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    shuffled = find_peaks(signals[order]).split()
    for place, number in enumerate(order.tolist()):
        own = together.split()[number]
        assert torch.allclose(own.directions, shuffled[place].directions, atol=1e-10)
        assert torch.allclose(own.directions, find_peaks(signals[number : number + 1]).directions)
    again = find_peaks(signals)
    assert torch.equal(together.directions, again.directions)


def test_scale_and_offset_change_nothing():
    signals = _random(20, dim(6))
    peaks = find_peaks(signals)
    scaled = 1e-6 * signals
    scaled[:, 0] += 1e3
    other = find_peaks(scaled)
    assert torch.equal(peaks.signal, other.signal)
    assert torch.allclose(peaks.directions, other.directions, atol=1e-10)
    assert torch.allclose(find_peaks(1e-200 * signals).directions, peaks.directions)


@pytest.mark.parametrize("n", [0, 3])
@pytest.mark.parametrize("lmax", [0, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_signals_and_no_peaks(n, lmax, dtype):
    peaks = find_peaks(torch.zeros(n, dim(lmax), dtype=dtype))
    assert len(peaks) == 0 and peaks.directions.shape == (0, 3) and peaks.curvatures.shape == (0, 2)
    assert peaks.constant.all() and peaks.n_signals == n
    assert len(peaks.split()) == n


def test_constants_are_reported():
    signals = torch.zeros(3, dim(4), dtype=torch.float64)
    signals[:2, 0] = torch.tensor([5.0, -3.0])
    signals[2] = project(_random(1, 3), 4)[0]
    peaks = find_peaks(signals)
    assert peaks.constant.tolist() == [True, True, False]
    assert peaks.signal.tolist() == [2]
    assert find_peaks(project(_unit(CUBE), 3)).constant.all()


def test_a_signal_that_is_not_finite_disturbs_no_other():
    signals = _random(5, dim(4))
    broken = signals.clone()
    broken[2, 3] = torch.nan
    peaks, others = find_peaks(broken), find_peaks(signals)
    assert peaks.counts[2] == 0
    expected = others.directions[others.signal != 2]
    assert torch.allclose(peaks.directions, expected, atol=1e-12)


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rings_are_reported_once(seed, dtype):
    matrix = torch.eye(3).double() if seed is None else _orthogonal(seed)
    belt = rotate(_zonal(0, 0, -1), matrix).to(dtype)
    peaks = find_peaks(belt)
    assert len(peaks) == 1 and peaks.degenerate.all() and not peaks.constant.any()
    axis = matrix[:, 1].to(dtype)
    assert (peaks.directions @ axis).abs().max() < 1e-3
    assert torch.allclose(peaks.values, evaluate(belt, peaks.directions))
    two = rotate(_zonal(0, 0, 0, 0, -1), matrix).to(dtype)
    peaks = find_peaks(two)
    assert len(peaks) == 2 and peaks.degenerate.all()
    assert torch.allclose(
        (peaks.directions @ axis).sum().abs(), torch.zeros((), dtype=dtype), atol=1e-3
    )
    both = find_peaks(project(matrix[:, 1:2].T, 4).to(dtype), relative_threshold=None)
    assert both.degenerate.tolist() == [False, False, True]


def test_threshold_and_separation():
    vectors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    weights = torch.tensor([1.0, 0.8, 0.6], dtype=torch.float64)
    signal = project(vectors, 6, weights)
    heights = [len(find_peaks(signal, relative_threshold=level)) for level in (0.4, 0.7, 0.9)]
    assert heights == [3, 2, 1]
    assert len(find_peaks(signal, min_separation=80.0)) == 3
    assert len(find_peaks(signal, min_separation=100.0)) == 1
    chain = project(torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 0]]).double(), 8, weights)
    kept = find_peaks(chain, min_separation=60.0)
    assert len(find_peaks(chain)) == 3
    assert len(kept) == 2  # the lowest is close to the middle one only, which is dropped
    assert len(find_peaks(_random(50, dim(8)), min_separation=180.0)) == 50


def test_gradients_follow_from_the_implicit_function_theorem():
    signal = project(_random(3, 3, seed=2), 5, torch.tensor([1.0, 0.9, 0.8]).double())
    signal = (signal + 0.1 * _random(1, dim(5))).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda c: find_peaks(c).directions, (signal,), eps=1e-6, atol=1e-6
    )
    assert torch.autograd.gradcheck(lambda c: find_peaks(c).values, (signal,), eps=1e-6, atol=1e-6)


def test_degenerate_peaks_carry_no_direction():
    signal = _zonal(0, 0, -1).requires_grad_()
    peaks = find_peaks(signal)
    (gradient,) = torch.autograd.grad(peaks.directions.sum(), signal, retain_graph=True)
    assert not gradient.any()
    (gradient,) = torch.autograd.grad(peaks.values.sum(), signal)
    assert torch.isfinite(gradient).all() and gradient.any()
    with torch.no_grad():
        assert not find_peaks(signal).values.requires_grad


def test_wrong_input_is_refused():
    for bad in (torch.zeros(4), torch.zeros(1, 5), torch.zeros(1, 4, dtype=torch.long)):
        with pytest.raises(Exception, match=r"lmax|coefficients|Type"):
            find_peaks(bad)
    with pytest.raises(ValueError, match="min_separation"):
        find_peaks(torch.zeros(1, 4), min_separation=-1.0)
    with pytest.raises(ValueError, match="frequency"):
        sphere_grid(1)
