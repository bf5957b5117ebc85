"""Pooling steps, their mirror and hierarchies of them: symmetry, gradients, names, errors."""

from itertools import pairwise

import pytest
import torch
from jaxtyping import TypeCheckError
from pydantic import ValidationError

from geomae.pooling import (
    Combine,
    Hierarchy,
    Pool,
    PoolConfig,
    PoolingError,
    Proposals,
    Unpool,
    UnpoolConfig,
)

SMALL = {"lmax": 2, "channels": 4, "n_radial": 4, "lmax_filter": 2}
BLOOMS = [
    {"bloom": "mean_shift", "scale": 0.9},
    {"bloom": "displacement", "scale": 0.8, "tolerance": 0.6},
    {"bloom": "peaks", "scale": 0.6, "tolerance": 0.3},
    {"bloom": "centroid"},
]


def improper(generator: torch.Generator) -> torch.Tensor:
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    return -rotation * torch.det(rotation)


def make(kind: type, config, channels: int, lmax: int) -> torch.nn.Module:
    """A step with weights that depend on no global state."""
    step = kind(config, channels, lmax).double()
    generator = torch.Generator().manual_seed(5)
    for parameter in step.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return step


@pytest.fixture
def cloud() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        "positions": torch.randn(9, 3, generator=generator, dtype=torch.float64),
        "features": torch.randn(9, 4, 3, generator=generator, dtype=torch.float64),
        "batch": torch.tensor([0] * 6 + [1] * 3),
        "weights": torch.rand(9, generator=generator, dtype=torch.float64) + 0.5,
    }


def turned(cloud: dict, wigner, matrix: torch.Tensor, shift: torch.Tensor) -> dict:
    features = torch.einsum("ij,njc->nic", wigner, cloud["features"])
    return cloud | {"positions": cloud["positions"] @ matrix.T + shift, "features": features}


def assert_same_points(a, b, wigner, matrix: torch.Tensor, shift: torch.Tensor) -> None:
    """Whether b holds the points of a, turned, in any order."""
    expected = a.positions @ matrix.T + shift
    features = torch.einsum("ij,njc->nic", wigner, a.features)
    assert len(a) == len(b)
    gaps = torch.cdist(expected, b.positions) + 1e3 * (a.batch[:, None] != b.batch)
    match = gaps.argmin(1)
    assert sorted(match.tolist()) == list(range(len(b)))
    assert (expected - b.positions[match]).abs().max() < 1e-8
    scale = 1 + features.abs().max()
    assert (features - b.features[match]).abs().max() < 1e-8 * scale
    assert torch.allclose(a.weights, b.weights[match])


@pytest.mark.parametrize("bloom", BLOOMS, ids=lambda bloom: bloom["bloom"])
def test_pooling_turns_with_its_points(cloud, wigner, bloom):
    pool = make(Pool, PoolConfig(**SMALL, **bloom), 3, 1)
    generator = torch.Generator().manual_seed(7)
    matrix = improper(generator)
    shift = torch.randn(3, generator=generator, dtype=torch.float64)
    plain, moved = pool(**cloud), pool(**turned(cloud, wigner(1, matrix), matrix, shift))
    assert_same_points(plain, moved, wigner(2, matrix), matrix, shift)


@pytest.mark.parametrize("bloom", BLOOMS, ids=lambda bloom: bloom["bloom"])
def test_pooling_does_not_see_the_order(cloud, wigner, bloom):
    pool = make(Pool, PoolConfig(**SMALL, **bloom), 3, 1)
    order = torch.tensor([3, 1, 5, 0, 2, 4, 8, 6, 7])
    mixed = {name: value[order] for name, value in cloud.items()}
    eye, zero = torch.eye(3).double(), torch.zeros(3).double()
    assert_same_points(pool(**cloud), pool(**mixed), wigner(2, eye), eye, zero)


@pytest.mark.parametrize("bloom", BLOOMS, ids=lambda bloom: bloom["bloom"])
def test_weights_are_kept(cloud, bloom):
    pooled = make(Pool, PoolConfig(**SMALL, **bloom), 3, 1)(**cloud)
    for structure in (0, 1):
        before = cloud["weights"][cloud["batch"] == structure].sum()
        assert torch.allclose(pooled.weights[pooled.batch == structure].sum(), before)


def test_unpooling_turns_with_its_points(cloud, wigner):
    config = UnpoolConfig(**SMALL, radius=0.7, tolerance=0.2, lmax_signal=2, keep=True)
    unpool = make(Unpool, config, 3, 1)
    generator = torch.Generator().manual_seed(8)
    matrix = improper(generator)
    shift = torch.randn(3, generator=generator, dtype=torch.float64)
    plain, moved = unpool(**cloud), unpool(**turned(cloud, wigner(1, matrix), matrix, shift))
    assert len(plain) > len(cloud["batch"])
    assert_same_points(plain, moved, wigner(2, matrix), matrix, shift)


def test_unpooling_merges_duplicates(cloud):
    unpool = make(Unpool, UnpoolConfig(**SMALL, radius=0.7, tolerance=50.0), 3, 1)
    unpooled = unpool(**cloud)
    assert unpooled.batch.tolist() == [0, 1]
    assert unpooled.membership.tolist() == [list(range(9)), [0] * 6 + [1] * 3]


def test_batches_give_what_their_structures_give(cloud):
    pool = make(Pool, PoolConfig(**SMALL, scale=0.9), 3, 1)
    together = pool(**cloud)
    for structure in (0, 1):
        mine = cloud["batch"] == structure
        part = {name: value[mine] for name, value in cloud.items() if name != "batch"}
        alone = pool(**part)
        assert torch.allclose(alone.features, together.features[together.batch == structure])


def test_hierarchies_end_in_the_weighted_centroid(cloud):
    configs = [PoolConfig(**SMALL, scale=0.6), PoolConfig(**SMALL, scale=1.0)]
    levels = make(Hierarchy, [*configs, {**SMALL, "bloom": "centroid"}], 3, 1)(**cloud)
    sizes = [len(level) for level in levels]
    assert sizes[0] == 9 and sizes[-1] == 2 and sizes == sorted(sizes, reverse=True)
    weights, positions = cloud["weights"][:6, None], cloud["positions"][:6]
    centroid = (weights * positions).sum(0) / weights.sum()
    assert torch.allclose(levels.top.positions[0], centroid)
    assert levels.top.features.shape == (2, 9, 4)
    assert levels[0].membership is None
    for below, level in pairwise(levels):
        assert level.membership[0].max() == len(below) - 1
        assert level.membership[1].max() == len(level) - 1


def test_a_hierarchy_of_one_step_makes_one_point(cloud):
    levels = make(Hierarchy, [PoolConfig(**SMALL, bloom="centroid")], 3, 1)(**cloud)
    assert repr(levels) == "Levels(9 -> 2 points)"


def test_gradients_pass_through_positions_of_new_points():
    config = PoolConfig(**SMALL, bloom="displacement", scale=0.8, tolerance=0.6, cutoff=0)
    pool = make(Pool, config, 3, 1)
    generator = torch.Generator().manual_seed(4)
    positions = torch.randn(5, 3, generator=generator, dtype=torch.float64).requires_grad_()
    features = torch.randn(5, 4, 3, generator=generator, dtype=torch.float64).requires_grad_()

    def outputs(positions, features):
        pooled = pool(positions, features)
        return pooled.positions, pooled.features

    assert torch.autograd.gradcheck(outputs, (positions, features), eps=1e-5, atol=1e-5)


def test_gradients_pass_through_peaks_to_what_comes_in(cloud):
    unpool = make(Unpool, UnpoolConfig(**SMALL, radius=0.7, tolerance=0.05), 3, 1)
    positions = cloud["positions"][:3].clone().requires_grad_()
    features = cloud["features"][:3].clone().requires_grad_()

    def outputs(positions, features):
        unpooled = unpool(positions, features)
        return unpooled.positions, unpooled.features

    assert torch.autograd.gradcheck(outputs, (positions, features), eps=1e-6, atol=1e-4)


def test_combining_fades_no_member_on_its_centre():
    combine = Combine(3, 4, 1, 2, n_radial=4, lmax_filter=2)
    features, places = torch.ones(1, 4, 3), torch.zeros(1, 3)
    out = combine(features, places, places, torch.zeros(2, 1, dtype=torch.long))
    assert out.shape == (1, 9, 4) and bool(out.isfinite().all())


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("bloom", BLOOMS, ids=lambda bloom: bloom["bloom"])
def test_no_points_and_one_point(n, bloom):
    pool = make(Pool, PoolConfig(**SMALL, **bloom), 3, 1)
    pooled = pool(torch.zeros(n, 3).double(), torch.zeros(n, 4, 3).double())
    assert len(pooled) == n and pooled.features.shape == (n, 9, 4)
    unpool = make(Unpool, UnpoolConfig(**SMALL), 3, 1)
    assert len(unpool(torch.zeros(n, 3).double(), torch.zeros(n, 4, 3).double())) == n


def test_errors_say_what_was_expected(cloud):
    with pytest.raises(PoolingError, match="last step, and only it"):
        Hierarchy([PoolConfig(**SMALL)], 3, 1)
    with pytest.raises(PoolingError, match="last step, and only it"):
        Hierarchy([], 3, 1)
    with pytest.raises(ValidationError, match="multiple of n_radial"):
        PoolConfig(channels=6, n_radial=4)
    with pytest.raises(ValidationError, match="Extra inputs"):
        PoolConfig(scael=1.0)
    pool = make(Pool, PoolConfig(**SMALL), 3, 1)
    with pytest.raises(PoolingError, match=r"expected features \[9, 4, 3\]"):
        pool(cloud["positions"], cloud["features"][:, :1])
    with pytest.raises(PoolingError, match="weights must be positive"):
        pool(cloud["positions"], cloud["features"], weights=torch.zeros(9))
    with pytest.raises((PoolingError, TypeCheckError)):
        pool(cloud["positions"][:, :2], cloud["features"])


def test_names_are_readable(cloud):
    pool = make(Pool, PoolConfig(**SMALL, scale=0.9), 3, 1)
    assert "MeanShiftBloom(scale=0.9" in repr(pool)
    pooled = pool(**cloud)
    assert repr(pooled).startswith("Pooled(") and "memberships" in repr(pooled)
    assert repr(pooled.proposals) == "Proposals(9 from 9 points)"
    with pytest.raises((PoolingError, TypeCheckError)):
        Proposals(torch.zeros(2, 3), torch.zeros(1).long(), torch.zeros(2).long(), torch.ones(2))
