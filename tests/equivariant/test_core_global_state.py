"""The core changes nothing outside it; modules survive casting, saving and compiling."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn

from geomae.equivariant import (
    Convolution,
    Density,
    DepthwiseConvolution,
    Gate,
    GridProduct,
    IrrepsIn,
    IrrepsOut,
    Norm,
    RadialBasis,
    TensorProduct,
    spherical_harmonics,
)
from geomae.testing import assert_equivariant, unchanged_global_state

EDGES = torch.tensor([[0, 1, 2, 0, 3], [1, 0, 0, 2, 1]])


def network() -> nn.Sequential:
    return nn.Sequential(
        IrrepsIn("2x0e + 1x1o", 4, lmax=2),
        Norm(4, 2),
        GridProduct(4, 2, 2),
        Gate(4, 2),
        TensorProduct(4, 2, 2, parity=False),
        IrrepsOut(4, 2, "1x1o + 1x2e"),
    )


def test_calls_leave_the_global_state(random):
    model = network()
    convolution = Convolution(4, 4, 2, 2, 2, n_radial=2)
    depthwise = DepthwiseConvolution(4, 2, 2, 2, groups=2)
    density, vectors = Density(2, 2, RadialBasis(2, 3.0)), random(5, 3).float()
    with unchanged_global_state():
        model(random(3, 5).float())
        harmonics, radial = spherical_harmonics(2, vectors), density.basis(vectors.norm(dim=1))
        features = density(vectors, torch.tensor([0, 1, 0, 1]), EDGES, 4)
        kernel = convolution.coupling(harmonics, radial)
        convolution(features, kernel, EDGES, 4).sum().backward()
        depthwise(features, harmonics, radial, EDGES, 4)


def test_tables_stay_exact_through_lower_precision(random):
    model = network().half().float().double()
    assert_equivariant(model, [(random(3, 5), "2x0e + 1x1o")], "1x1o + 1x2e")


@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_are_the_same(way, random):
    model, values = network().double(), random(3, 5)
    assert torch.equal(way(model)(values), model(values))


def test_states_load(random):
    model, other, values = network().double(), network().double(), random(3, 5)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(values), model(values))


def test_every_layer_says_what_it_is():
    text = repr(network())
    for name in ("IrrepsIn", "Norm", "GridProduct", "Gate", "TensorProduct", "IrrepsOut"):
        assert f"{name}(" in text
    assert "routes=" in repr(Convolution(4, 4, 1, 1, 1, n_radial=2))


COMPILED = """
import torch
from torch import nn
from geomae.equivariant import *
from geomae.testing import assert_near

layers = [Linear(4, 4, 2), Norm(4, 2), GridProduct(4, 2, 2), Gate(4, 2)]
pointwise, features = nn.Sequential(*layers).double(), torch.randn(5, 9, 4).double()
assert_near(torch.compile(pointwise, fullgraph=True)(features), pointwise(features))

layer, apart = Convolution(4, 4, 2, 2, 2, n_radial=2).double(), torch.randn(1, 5, 5, 3).double()
radial = RadialBasis(2, 3.0)(apart.norm(dim=-1))
kernel = layer.coupling.pairs(spherical_harmonics(2, apart), radial)

def dense(features):
    return layer.dense(features, kernel)

features = torch.randn(1, 5, 9, 4).double()
assert_near(torch.compile(dense)(features), dense(features))
"""


@pytest.mark.slow
def test_compiled_modules_give_the_same():
    """In a process of its own: the shape checks of tests are nothing that compiles."""
    subprocess.run([sys.executable, "-c", COMPILED], check=True)
