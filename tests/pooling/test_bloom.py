"""Blooms with known answers, their symmetry and their gradients."""

import pytest
import torch
from e3nn import o3

from geomae.equivariant import spherical_harmonics
from geomae.pooling import (
    DisplacementBloom,
    MeanShiftBloom,
    PeakBloom,
    PoolingError,
    Proposals,
    mean_shift,
    propose_peaks,
    symmetric_cluster,
)

SQUARE = [[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]
ZIGZAG = [[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [2, 1, 0]]
TETRAHEDRON = [[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]


def points(rows: list) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def groups(proposals: Proposals, tolerance: float = 0.05) -> list[list[int]]:
    """Members of each cluster of the proposals."""
    clusters = symmetric_cluster(
        proposals.positions,
        tolerance,
        proposals.batch,
        proposals.weights,
        proposals.source,
    )
    member, cluster = clusters.membership
    return [sorted(member[cluster == c].tolist()) for c in range(len(clusters))]


def deltas(directions: torch.Tensor, lmax: int) -> torch.Tensor:
    """Coefficients of a sum of bumps, as sharp as the degree allows."""
    return spherical_harmonics(lmax, directions).sum(0, keepdim=True)


def same_set(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> bool:
    gaps = torch.cdist(a, b)
    return len(a) == len(b) and max(gaps.amin(0).max(), gaps.amin(1).max()) < tolerance


def displacement_of_channel() -> DisplacementBloom:
    """A bloom that moves every point by the l = 1 part of its one channel."""
    bloom = DisplacementBloom(1, 1).double()
    torch.nn.init.ones_(bloom.mix.weight)
    return bloom


@pytest.mark.parametrize("place", ["centre", "mode"])
def test_mean_shift_joins_the_corners_of_a_square(place):
    proposals = MeanShiftBloom(0.7, place=place)(points(SQUARE))
    assert groups(proposals) == [[0, 1, 2, 3]]
    assert torch.allclose(proposals.positions, points([[0.5, 0.5, 0]] * 4), atol=1e-7)


def test_displacements_join_the_corners_of_a_square():
    square = points(SQUARE)
    features = torch.zeros(4, 4, 1).double()
    features[:, 1:, 0] = square.mean(0) - square
    proposals = displacement_of_channel()(square, features)
    assert groups(proposals) == [[0, 1, 2, 3]]
    assert torch.allclose(proposals.positions, square.mean(0).expand(4, 3))


@pytest.mark.parametrize("place", ["centre", "mode"])
def test_a_zigzag_becomes_two_pairs(place):
    assert groups(MeanShiftBloom(0.52, place=place)(points(ZIGZAG))) == [[0, 1], [2, 3]]


def test_a_batch_keeps_structures_apart():
    positions = points(SQUARE + ZIGZAG)
    batch = torch.tensor([0] * 4 + [1] * 4)
    proposals = MeanShiftBloom(0.52)(positions, batch=batch)
    assert groups(proposals) == [[0, 1, 2, 3], [4, 5], [6, 7]]
    assert proposals.batch.tolist() == batch.tolist()


def test_mean_shift_proposes_centres_weighted_by_mass():
    pair, weights = points([[0.0, 0, 0], [0.5, 0, 0]]), torch.tensor([3.0, 1.0]).double()
    proposals = MeanShiftBloom(0.7)(pair, weights=weights)
    assert torch.allclose(proposals.positions, points([[0.125, 0, 0]] * 2))


@pytest.mark.parametrize("lmax", [3, 4, 5, 6, 8])
def test_a_tetrahedron_blooms_back_to_its_vertices(lmax):
    vertices = points(TETRAHEDRON) / 3**0.5
    proposals = propose_peaks(deltas(vertices, lmax), torch.zeros(1, 3).double(), 1.0)
    assert same_set(proposals.positions, vertices, 1e-9)
    assert proposals.weights.tolist() == [0.25] * 4
    assert groups(proposals) == [[0]] * 4


def test_a_constant_signal_keeps_its_point():
    signal = torch.zeros(1, 36).double()
    signal[0, 0] = 2.0
    place = points([[1.0, 2, 3]])
    proposals = propose_peaks(signal, place, 1.0)
    assert torch.equal(proposals.positions, place)
    assert proposals.source.tolist() == [0]


def test_a_signal_without_peaks_moves_by_its_vector():
    signal = torch.zeros(1, 36).double()
    signal[0, 1:4] = torch.tensor([0.1, -0.2, 0.3])
    proposals = propose_peaks(signal, points([[1.0, 2, 3]]), 1.0)
    assert torch.allclose(proposals.positions, points([[1.1, 1.8, 3.3]]))


def test_a_ring_has_no_peaks_and_moves_by_its_vector():
    ring = torch.zeros(1, 9).double()
    ring[0, 4:] = -o3.spherical_harmonics(2, points([[0.0, 0, 1]]), True)[0]
    ring[0, 1:4] = torch.tensor([0.0, 0, 0.1])
    proposals = propose_peaks(ring, torch.zeros(1, 3).double(), 1.0)
    assert torch.allclose(proposals.positions, points([[0.0, 0, 0.1]]))


def test_low_peaks_do_not_count():
    directions = points([[0.0, 0, 1], [0, 0, -1], [1, 0, 0]])
    harmonics = spherical_harmonics(6, directions)
    signal = (harmonics * torch.tensor([[1.0], [1.0], [0.6]])).sum(0, keepdim=True)
    origin = torch.zeros(1, 3).double()
    assert len(propose_peaks(signal, origin, 1.0, threshold=0.7)) == 2
    assert len(propose_peaks(signal, origin, 1.0, threshold=0.2)) >= 3


def test_points_may_keep_their_place_beside_their_peaks():
    signals = deltas(points([[0.0, 0, 1], [0, 0, -1]]), 4).expand(2, -1)
    origins = points([[0.0, 0, 0], [5, 0, 0]])
    proposals = propose_peaks(signals, origins, 1.0, keep=torch.tensor([True, False]))
    assert proposals.source.tolist() == [0, 0, 0, 1, 1]
    assert same_set(proposals.positions[:3], points([[0.0, 0, 0], [0, 0, 1], [0, 0, -1]]), 1e-9)
    assert torch.allclose(proposals.weights, torch.tensor([1, 1, 1, 1.5, 1.5]).double() / 3)


def rock_salt() -> tuple[torch.Tensor, torch.Tensor]:
    """Sodium and chlorine of a cube of 27 ions, at distance 1."""
    sites = torch.cartesian_prod(*[torch.arange(3.0, dtype=torch.float64)] * 3)
    odd = sites.sum(1) % 2 == 1
    return sites[~odd], sites[odd]


def test_every_chlorine_of_rock_salt_proposes_its_sodiums():
    sodium, chlorine = rock_salt()
    bonds = torch.cdist(chlorine, sodium) < 1.1
    signals = torch.cat(
        [deltas(sodium[near] - ion, 6) for ion, near in zip(chlorine, bonds, strict=True)]
    )
    proposals = propose_peaks(signals, chlorine, 1.0)
    clusters = symmetric_cluster(proposals.positions, 0.25, source=proposals.source)
    assert same_set(clusters.centres, sodium, 0.1)
    site = torch.cdist(clusters.centres, sodium).argmin(1)
    ion, cluster = clusters.membership
    table = torch.zeros_like(bonds)
    table[ion, site[cluster]] = True
    assert torch.equal(table, bonds)
    assert int(bonds.sum(0).min()) > 1 and int(bonds.sum(1).min()) > 1


def test_half_way_out_every_bond_of_rock_salt_is_a_cluster():
    sodium, chlorine = rock_salt()
    bonds = torch.cdist(chlorine, sodium) < 1.1
    signals = torch.cat(
        [deltas(sodium[near] - ion, 6) for ion, near in zip(chlorine, bonds, strict=True)]
    )
    clusters = symmetric_cluster(propose_peaks(signals, chlorine, 0.5).positions, 0.1)
    ion, site = torch.nonzero(bonds, as_tuple=True)
    assert same_set(clusters.centres, (chlorine[ion] + sodium[site]) / 2, 0.05)


def test_displacements_bend_below_their_limit():
    bloom = DisplacementBloom(1, 1, limit=0.5).double()
    torch.nn.init.ones_(bloom.mix.weight)
    features = torch.zeros(2, 4, 1).double()
    features[0, 1], features[1, 1] = 1e-4, 100.0
    lengths = bloom.displacements(features).norm(dim=1).tolist()
    assert lengths[0] == pytest.approx(1e-4, rel=1e-6)
    assert 0.49 < lengths[1] < 0.5


def improper(generator: torch.Generator) -> torch.Tensor:
    matrix = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(matrix).Q
    return -rotation * torch.det(rotation)


@pytest.mark.parametrize("kind", ["mean_shift", "displacement", "peaks"])
def test_blooms_turn_with_their_points(kind, wigner):
    generator = torch.Generator().manual_seed(3)
    like = {"generator": generator, "dtype": torch.float64}
    positions, features = torch.randn(6, 3, **like), torch.randn(6, 16, 4, **like)
    batch = torch.tensor([0, 0, 0, 0, 1, 1])
    bloom = {
        "mean_shift": MeanShiftBloom(0.8),
        "displacement": DisplacementBloom(4, 3, limit=1.0),
        "peaks": PeakBloom(4, 3, learned_radius=True),
    }[kind].double()
    if kind == "peaks":
        torch.nn.init.normal_(bloom.stretch.weight, std=0.3, generator=generator)
    rotation, shift = improper(generator), torch.randn(3, **like)
    turned = torch.einsum("ij,njc->nic", wigner(3, rotation), features)
    plain = bloom(positions, features, batch)
    moved = bloom(positions @ rotation.T + shift, turned, batch)
    expected = plain.positions @ rotation.T + shift
    for point in range(6):
        ours, theirs = expected[plain.source == point], moved.positions[moved.source == point]
        assert same_set(ours, theirs, 1e-8)


def test_positions_of_modes_have_exact_gradients():
    positions = points(ZIGZAG) + torch.linspace(0, 0.1, 12).double().view(4, 3)
    positions.requires_grad_()
    weights = torch.tensor([1.0, 2.0, 1.5, 1.0]).double().requires_grad_()
    for place in ("centre", "mode"):
        bloom = MeanShiftBloom(0.52, place=place)
        assert torch.autograd.gradcheck(
            lambda x, w, bloom=bloom: bloom(x, weights=w).positions, (positions, weights), eps=1e-5
        )


def test_positions_of_peaks_have_exact_gradients():
    generator = torch.Generator().manual_seed(0)
    signals = torch.randn(2, 25, generator=generator, dtype=torch.float64).requires_grad_()
    stretch = 0.1 * torch.randn(2, 9, generator=generator, dtype=torch.float64)
    positions = torch.randn(2, 3, generator=generator, dtype=torch.float64).requires_grad_()

    def places(signals, positions, stretch):
        return propose_peaks(signals, positions, 1.3, stretch=stretch).positions

    inputs = (signals, positions, stretch.requires_grad_())
    assert torch.autograd.gradcheck(places, inputs, eps=1e-5, atol=1e-4)


def test_displacements_have_gradients_to_weights():
    bloom = DisplacementBloom(2, 1).double()
    features = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0)).double()
    bloom(torch.zeros(3, 3).double(), features).positions.square().sum().backward()
    assert bloom.mix.weight.grad[1].abs().min() > 0


@pytest.mark.parametrize("n", [0, 1])
def test_blooms_of_no_points_and_of_one(n):
    positions, features = torch.zeros(n, 3).double(), torch.zeros(n, 4, 2).double()
    for bloom in (MeanShiftBloom(1.0), DisplacementBloom(2, 1), PeakBloom(2, 1)):
        proposals = bloom.double()(positions, features)
        assert len(proposals) == n
        assert torch.equal(proposals.positions, positions)


def test_errors_say_what_was_expected():
    with pytest.raises(PoolingError, match="scale must be positive"):
        MeanShiftBloom(0.0)
    with pytest.raises(PoolingError, match="degree 1"):
        DisplacementBloom(3, 0)
    with pytest.raises(PoolingError, match="lmax_signal"):
        PeakBloom(3, 2, lmax_signal=3)
    with pytest.raises(PoolingError, match=r"expected features \[2, 9, 3\]"):
        PeakBloom(3, 2)(torch.zeros(2, 3), torch.zeros(2, 4, 3))
    with pytest.raises(PoolingError, match="ascending"):
        MeanShiftBloom(1.0)(torch.zeros(2, 3), batch=torch.tensor([1, 0]))


def test_rounding_does_not_choose_sides_where_it_is_named():
    """A chain's middle stands on a saddle, also where it is off by what refinement leaves."""
    line = torch.tensor([[-0.9, 0.0, 0.0], [0.0, 0.0, 0.0], [0.9, 0.0, 0.0]], dtype=torch.float64)
    weights = torch.tensor([6.0, 1.0, 6.0])
    exact = mean_shift(line, weights, 0.5).positions
    for shift, stays in ((1e-8, True), (-1e-8, True), (1e-4, False)):
        moved = line.clone()
        moved[1, 0] += shift
        modes = mean_shift(moved, weights, 0.5, ridge=1e-6).positions
        assert ((modes - exact).abs().max() < 1e-6) == stays
