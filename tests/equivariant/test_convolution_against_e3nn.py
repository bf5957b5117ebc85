"""Convolutions and products agree with e3nn's tensor products under mapped weights."""

import pytest
import torch
from e3nn import o3

from geomae.equivariant import (
    Convolution,
    DepthwiseConvolution,
    EdgeCoupling,
    GridProduct,
    Layout,
    RadialBasis,
    TensorProduct,
    from_flat,
    irreps_of,
    spherical_harmonics,
    to_flat,
)
from geomae.testing import assert_near

CUTOFF, N_RADIAL = 2.5, 4
DEGREES = [(2, 2, 2), (1, 3, 2), (2, 1, 3), (0, 2, 2)]


@pytest.fixture
def geometry(molecule):
    """Harmonics up to degree 3, radial functions and edges of a molecule."""
    positions, edges = molecule
    vectors = positions[edges[0]] - positions[edges[1]]
    radial = RadialBasis(N_RADIAL, CUTOFF)(vectors.norm(dim=1))
    return spherical_harmonics(3, vectors), radial, edges, len(positions)


def group_weights(layer: Convolution) -> torch.Tensor:
    """Weights `[routes, in, radial, out]` of the full form that equals the group form."""
    parts = layer.weight.unflatten(2, (N_RADIAL, -1))
    full = parts.new_zeros(*parts.shape[:2], N_RADIAL, *parts.shape[2:])
    for group in range(N_RADIAL):
        full[:, :, group, group] = parts[:, :, group]
    return full.flatten(3)


def split(flat: torch.Tensor, irreps: o3.Irreps) -> tuple[torch.Tensor, ...]:
    return flat.split([mul * ir.dim for mul, ir in irreps], 1)


@pytest.mark.parametrize("parity", [False, True], ids=["natural", "both parities"])
@pytest.mark.parametrize("groups", [None, N_RADIAL], ids=["full", "groups"])
@pytest.mark.parametrize("degrees", DEGREES)
def test_fully_connected(degrees, groups, parity, geometry, random, seeded, precisely):
    harmonics, radial, edges, n = geometry
    c_in, c_out, lmax_filter = 3, 8, degrees[1]
    harmonics = harmonics[:, : (lmax_filter + 1) ** 2]
    layer = seeded(
        Convolution(c_in, c_out, *degrees, n_radial=N_RADIAL, groups=groups, parity=parity)
    )
    irreps_in = irreps_of(Layout(degrees[0], parity), c_in)
    irreps_out = irreps_of(Layout(degrees[2], parity), c_out)
    with precisely():
        product = o3.FullyConnectedTensorProduct(
            irreps_in, irreps_of(Layout(lmax_filter), 1), irreps_out, shared_weights=False
        )
    weight = group_weights(layer) if groups else layer.weight.unflatten(2, (N_RADIAL, c_out))
    by_route = {
        (route.source, layer.coupling.paths[route.path].degree_filter, route.target): weight[number]
        for number, route in enumerate(layer.routes)
    }
    weights = [
        torch.einsum("ubw,eb->euw", by_route[i.i_in1, i.i_in2, i.i_out], radial).flatten(1)
        for i in product.instructions
    ]
    assert len(weights) == len(by_route)
    features = random(n, *(2,) * parity, (degrees[0] + 1) ** 2, c_in)
    flat = to_flat(features, irreps_in, parity=parity)
    messages = product(flat[edges[0]], harmonics, torch.cat(weights, 1) * c_in**0.5)
    summed = messages.new_zeros(n, irreps_out.dim).index_add(0, edges[1], messages)
    expected = from_flat(summed, irreps_out, lmax=degrees[2], channels=c_out, parity=parity)
    assert_near(layer(features, layer.coupling(harmonics, radial), edges, n), expected)


@pytest.mark.parametrize("n_targets", [4, 6, 9])
def test_depthwise(n_targets, geometry, random, seeded, precisely):
    """Fewer or more targets than sources take different ways to the same."""
    harmonics, radial, edges, n = geometry
    edges = torch.stack([edges[0], edges[1] % n_targets])
    channels, layer = 8, seeded(DepthwiseConvolution(8, 2, 3, 2, groups=N_RADIAL))
    paths = EdgeCoupling(2, 3, 2).paths
    irreps = irreps_of(Layout(2), channels)
    ends = [(channels, (path.degree_out, (-1) ** path.degree_out)) for path in paths]
    with precisely():
        product = o3.TensorProduct(
            irreps,
            irreps_of(Layout(3), 1),
            o3.Irreps(ends),
            [(p.degree_in, p.degree_filter, k, "uvu", True) for k, p in enumerate(paths)],
            shared_weights=False,
            internal_weights=False,
        )
    weights = radial[:, :, None] * layer.weight
    weights = weights.repeat_interleave(channels // N_RADIAL, 1).transpose(1, 2).flatten(1)
    features = random(n, 9, channels)
    messages = product(to_flat(features, irreps)[edges[0]], harmonics, weights)
    summed = messages.new_zeros(n_targets, messages.shape[1]).index_add(0, edges[1], messages)
    expected = features.new_zeros(n_targets, 9, channels)
    for part, path in zip(
        summed.split([m * ir.dim for m, ir in o3.Irreps(ends)], 1), paths, strict=True
    ):
        degree = path.degree_out
        share = sum(other.degree_out == degree for other in paths) ** -0.5
        block = part.unflatten(1, (channels, -1)).transpose(1, 2)
        expected[:, degree**2 : (degree + 1) ** 2] += share * block
    assert_near(layer(features, harmonics, radial, edges, n_targets), expected)


@pytest.mark.parametrize("parity", [False, True], ids=["natural", "both parities"])
@pytest.mark.parametrize("lmax_out", [1, 3])
def test_tensor_product(lmax_out, parity, random, seeded, precisely):
    channels, layer = 3, seeded(TensorProduct(3, 2, lmax_out, parity=parity))
    irreps = irreps_of(Layout(2, parity), channels)
    combinations = [(p, q) for p in range(1 + parity) for q in range(1 + parity)]
    ends, instructions, weights, places = [], [], [], []
    for number, path in enumerate(layer.paths):
        for p, q in combinations:
            end = layer.layout_out.multiplet(path.degree_out, (p + q) % 2)
            ends.append((channels, irreps_of(layer.layout_out, 1)[end].ir))
            left = layer.layout_in.multiplet(path.degree_in, p)
            right = layer.layout_in.multiplet(path.degree_filter, q)
            instructions.append((left, right, len(places), "uuu", True))
            weights.append(layer.weight[number, p, q])
            places.append(end)
    with precisely():
        product = o3.TensorProduct(
            irreps,
            irreps,
            o3.Irreps(ends),
            instructions,
            shared_weights=True,
            internal_weights=False,
        )
    features, other = (random(5, *(2,) * parity, 9, channels) for _ in range(2))
    left = to_flat(layer.left(features), irreps, parity=parity)
    right = to_flat(layer.right(other), irreps, parity=parity)
    made = product(left, right, torch.cat(weights)).split(
        [m * ir.dim for m, ir in o3.Irreps(ends)], 1
    )
    multiplets = [torch.zeros(5, size, channels).double() for size in layer.layout_out.sizes]
    for part, place in zip(made, places, strict=True):
        share = places.count(place) ** -0.5
        multiplets[place] += share * part.unflatten(1, (channels, -1)).transpose(1, 2)
    assert_near(layer(features, other), layer.layout_out.unflatten(torch.cat(multiplets, 1)))


def test_grid_product_is_the_product_of_signals(random, seeded):
    layer, features = seeded(GridProduct(3, 2, 4)), random(5, 9, 3)
    directions = random(20, 3)
    narrow, wide = spherical_harmonics(2, directions), spherical_harmonics(4, directions)
    product = (narrow @ layer.left(features)) * (narrow @ layer.right(features))
    assert_near(wide @ layer(features), product)


def test_grid_product_truncates_exactly(random, seeded):
    layer, short, features = seeded(GridProduct(3, 2, 4)), GridProduct(3, 2, 1), random(5, 9, 3)
    short.double().load_state_dict(layer.state_dict())
    assert_near(short(features), layer(features)[:, :4])


def test_the_cross_product_is_a_path(random):
    """With both parities the odd path of two vectors is their cross product, an axial vector."""
    layer = TensorProduct(1, 1, 1).double()
    features, other = torch.zeros(2, 4, 2, 4, 1, dtype=torch.float64)
    features[:, 1, 1:, 0], other[:, 1, 1:, 0] = random(4, 3), random(4, 3)
    with torch.no_grad():
        layer.left.weight.fill_(1), layer.right.weight.fill_(1)
    axial = layer(features, other)[:, 0, 1:, 0]
    cross = torch.linalg.cross(features[:, 1, 1:, 0], other[:, 1, 1:, 0])
    ratio = (axial * cross).sum() / cross.square().sum()
    assert abs(ratio) > 1e-3
    assert_near(axial, ratio * cross)
