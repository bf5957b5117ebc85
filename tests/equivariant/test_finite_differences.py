"""Gradients against finite differences, to positions, features and parameters."""

import pytest
import torch

from geomae.equivariant import (
    Convolution,
    Density,
    DepthwiseConvolution,
    Gate,
    GridProduct,
    IrrepsIn,
    IrrepsOut,
    Linear,
    Norm,
    NormActivation,
    RadialBasis,
    TensorProduct,
    spherical_harmonics,
)
from geomae.testing import assert_gradients

POSITIONS = [[0.0, 0.1, 0.0], [1.1, 0.0, 0.2], [-0.2, 1.0, 0.7]]
EDGES = torch.tensor([[0, 0, 1, 2], [1, 2, 0, 1]])

POINTWISE = {
    "linear": (lambda: Linear(2, 2, 1), (4, 2)),
    "linear, both parities": (lambda: Linear(2, 1, 1, parity=True), (2, 4, 2)),
    "norm": (lambda: Norm(2, 1), (4, 2)),
    "gate": (lambda: Gate(2, 1), (4, 2)),
    "norm activation": (lambda: NormActivation(2, 1), (4, 2)),
    "grid product": (lambda: GridProduct(2, 1, 2), (4, 2)),
    "tensor product": (lambda: TensorProduct(1, 1, 1), (2, 4, 1)),
    "irreps in": (lambda: IrrepsIn("2x0e + 1x1o", 2), (5,)),
    "irreps out": (lambda: IrrepsOut(2, 1, "2x0e + 1x1o"), (4, 2)),
}


def geometry(positions):
    vectors = positions[EDGES[0]] - positions[EDGES[1]]
    return spherical_harmonics(1, vectors), RadialBasis(2, 3.0)(vectors.norm(dim=1))


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise(name, random, seeded):
    make, shape = POINTWISE[name]
    layer = seeded(make())
    assert_gradients(layer, [random(2, *shape)], parameters=list(layer.parameters()))


@pytest.mark.parametrize("parity", [False, True], ids=["natural", "both parities"])
@pytest.mark.parametrize("groups", [None, 2], ids=["full", "groups"])
def test_convolution(groups, parity, random, seeded):
    layer = seeded(Convolution(1, 2, 1, 1, 1, n_radial=2, groups=groups, parity=parity))

    def run(positions, features):
        return layer(features, layer.coupling(*geometry(positions)), EDGES, 3)

    inputs = [torch.tensor(POSITIONS, dtype=torch.float64), random(3, *(2,) * parity, 4, 1)]
    assert_gradients(run, inputs, parameters=[layer.weight])


@pytest.mark.parametrize("groups", [None, 2], ids=["full", "groups"])
def test_convolution_of_pairs(groups, random, seeded):
    layer = seeded(Convolution(1, 2, 1, 1, 1, n_radial=2, groups=groups))
    others = ~torch.eye(3, dtype=torch.bool)

    def run(positions, features):
        apart = positions - positions[:, None]
        # away from the origin, where directions have no gradient
        apart = torch.where(others[..., None], apart, torch.ones_like(apart))
        harmonics, radial = spherical_harmonics(1, apart), RadialBasis(2, 3.0)(apart.norm(dim=-1))
        kernel = layer.coupling.pairs(harmonics[None], radial[None], others[None])
        return layer.dense(features[None], kernel)

    inputs = [torch.tensor(POSITIONS, dtype=torch.float64), random(3, 4, 1)]
    assert_gradients(run, inputs, parameters=[layer.weight])


@pytest.mark.parametrize("n_targets", [3, 4])
def test_depthwise(n_targets, random, seeded):
    layer = seeded(DepthwiseConvolution(2, 1, 1, 1, groups=2))

    def run(positions, features):
        return layer(features, *geometry(positions), EDGES, n_targets)

    inputs = [torch.tensor(POSITIONS, dtype=torch.float64), random(3, 4, 2)]
    assert_gradients(run, inputs, parameters=[layer.weight])


def test_density():
    density = Density(2, 2, RadialBasis(2, 3.0))

    def run(positions):
        vectors = positions[EDGES[0]] - positions[EDGES[1]]
        return density(vectors, torch.tensor([0, 1, 0]), EDGES, 3)

    assert_gradients(run, [torch.tensor(POSITIONS, dtype=torch.float64)])


@pytest.mark.parametrize("kind", ["bessel", "gaussian"])
def test_radial_basis(kind):
    lengths = torch.tensor([0.2, 1.0, 2.9, 3.4], dtype=torch.float64)
    assert_gradients(RadialBasis(3, 3.0, kind=kind), [lengths])
