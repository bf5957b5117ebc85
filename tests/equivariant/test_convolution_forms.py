"""Edges and pairs are the same convolution; sizes, gaps and errors."""

import pytest
import torch

from geomae.equivariant import (
    Convolution,
    DepthwiseConvolution,
    EdgeCoupling,
    RadialBasis,
    dim,
    spherical_harmonics,
)
from geomae.equivariant.slots import slots_by
from geomae.testing import assert_near, edges_within, random_molecule

CUTOFF, N_RADIAL = 3.0, 2
SIZES = (5, 2, 7)


@pytest.fixture
def padded(generator, random):
    """Positions `[3, 7, 3]` of molecules of unequal size, and which of them are atoms."""
    positions = 20 + random(len(SIZES), max(SIZES), 3)
    filled = torch.zeros(positions.shape[:2], dtype=torch.bool)
    for number, size in enumerate(SIZES):
        positions[number, :size] = random_molecule(generator, n_atoms=size).positions
        filled[number, :size] = True
    return positions, filled


def couple(layer: Convolution, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    harmonics = spherical_harmonics(layer.coupling.degrees[1], vectors)
    return harmonics, RadialBasis(N_RADIAL, CUTOFF, kind="gaussian")(vectors.norm(dim=-1))


@pytest.mark.parametrize("degrees", [(2, 2, 2), (0, 1, 3), (2, 1, 1)])
@pytest.mark.parametrize("parity", [False, True], ids=["natural", "both parities"])
@pytest.mark.parametrize("groups", [None, N_RADIAL], ids=["full", "groups"])
def test_pairs_equal_edges(groups, parity, degrees, padded, random, seeded):
    positions, filled = padded
    layer = seeded(
        Convolution(3, 4, *degrees, n_radial=N_RADIAL, groups=groups, parity=parity, neighbours=3.0)
    )
    features = random(*positions.shape[:2], *(2,) * parity, dim(degrees[0]), 3)
    apart = positions[:, None] - positions[:, :, None]
    near = (apart.norm(dim=-1) < CUTOFF) & filled[:, None] & filled[:, :, None]
    near &= ~torch.eye(positions.shape[1], dtype=torch.bool)
    dense = layer.dense(features, layer.coupling.pairs(*couple(layer, apart), near))[filled]
    atoms = positions[filled]
    edges = edges_within(atoms, CUTOFF, filled.nonzero()[:, 0])
    kernel = layer.coupling(*couple(layer, atoms[edges[0]] - atoms[edges[1]]))
    assert_near(layer(features[filled], kernel, edges, len(atoms)), dense)


@pytest.mark.parametrize("groups", [None, N_RADIAL], ids=["full", "groups"])
def test_bipartite_edges_and_points_without_any(groups, random, seeded):
    layer = seeded(Convolution(3, 4, 1, 2, 2, n_radial=N_RADIAL, groups=groups))
    features, vectors = random(4, 4, 3), random(9, 3)
    edges = torch.tensor([[3, 0, 0, 0, 0, 0, 0, 1, 3], [0, 4, 1, 2, 0, 5, 1, 1, 1]])
    result = layer(features, layer.coupling(*couple(layer, vectors)), edges, 7)
    one_by_one = sum(
        layer(features, layer.coupling(*couple(layer, vectors[[k]])), edges[:, [k]], 7)
        for k in range(9)
    )
    assert_near(result, one_by_one)
    assert not result[[3, 6]].any()


@pytest.mark.parametrize("groups", [None, N_RADIAL], ids=["full", "groups"])
def test_no_edges_give_zeros(groups, random):
    layer = Convolution(3, 4, 1, 1, 1, n_radial=N_RADIAL, groups=groups).double()
    edges, kernel = (
        torch.zeros(2, 0, dtype=torch.long),
        layer.coupling(*couple(layer, random(0, 3))),
    )
    assert torch.equal(layer(random(4, 4, 3), kernel, edges, 5), torch.zeros(5, 4, 4).double())


@pytest.mark.parametrize("groups", [None, N_RADIAL], ids=["full", "groups"])
def test_degrees_that_no_path_reaches_are_zero(groups, random, seeded):
    layer = seeded(Convolution(3, 4, 0, 1, 3, n_radial=N_RADIAL, groups=groups))
    edges, kernel = torch.tensor([[0, 1], [1, 0]]), layer.coupling(*couple(layer, random(2, 3)))
    result = layer(random(2, 1, 3), kernel, edges, 2)
    assert result.shape == (2, 16, 4)
    assert result[:, :4].all()
    assert not result[:, 4:].any()


def test_a_kernel_made_without_gradients_in_between_still_has_them(random, seeded):
    layer, features = seeded(Convolution(3, 4, 1, 1, 1, n_radial=N_RADIAL)), random(2, 4, 3)
    vectors, edges = random(2, 3).requires_grad_(), torch.tensor([[0, 1], [1, 0]])
    kernel = layer.coupling(*couple(layer, vectors))
    with torch.no_grad():
        layer(features, kernel, edges, 2)
    layer(features, kernel, edges, 2).square().sum().backward()
    assert vectors.grad is not None
    assert vectors.grad.any()


def test_kernels_serve_only_their_own_degrees_and_radial_functions(random):
    layer = Convolution(3, 4, 1, 1, 1, n_radial=N_RADIAL).double()
    edges, features = torch.tensor([[0, 1], [1, 0]]), random(2, 4, 3)
    other = EdgeCoupling(1, 1, 2)(random(2, 4), random(2, N_RADIAL))
    with pytest.raises(ValueError, match="expected EdgeCoupling\\(1, 1, 1\\)"):
        layer(features, other, edges, 2)
    with pytest.raises(ValueError, match="3 radial functions, expected 2"):
        layer(features, layer.coupling(random(2, 4), random(2, 3)), edges, 2)
    with pytest.raises(ValueError, match="degree 1 needs 4"):
        layer.coupling(random(2, 9), random(2, N_RADIAL))


def test_groups_must_fit():
    with pytest.raises(ValueError, match="must equal n_radial"):
        Convolution(3, 4, 1, 1, 1, n_radial=N_RADIAL, groups=4)
    with pytest.raises(ValueError, match="multiple of groups"):
        DepthwiseConvolution(6, 1, 1, 1, groups=4)


@pytest.mark.parametrize("slack", [0.0, 0.4, 0.9])
def test_slots_hold_every_edge_once(slack, generator):
    point = torch.randint(6, (31,), generator=generator)
    table = slots_by(point, 8, slack=slack)
    values = torch.arange(31.0)
    assert torch.equal(table.collect(table.spread(values)), values[table.edge])
    assert torch.equal(table.edge.sort().values, torch.arange(31))
    rows = table.spread(point).view(table.n_rows, table.width)
    filled = table.filled.view(table.n_rows, table.width)
    assert torch.equal(rows[filled], table.point[:, None].expand_as(rows)[filled])
    assert not table.whole
