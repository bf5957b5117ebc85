"""Every layer turns, mirrors and permutes as it should, in both precisions."""

import pytest
import torch
from torch import nn

from geomae.equivariant import (
    Convolution,
    Density,
    DepthwiseConvolution,
    Dropout,
    EdgeCoupling,
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
from geomae.testing import (
    assert_batch_independent,
    assert_equivariant,
    assert_near,
    assert_permutation_equivariant,
    edges_within,
    random_molecule,
)

CHANNELS, LMAX, CUTOFF = 4, 2, 2.5
IRREPS = "4x0e + 1x1o + 1x2e"
BOTH = "2x0e + 1x0o + 3x1e + 1x1o + 1x2o"
PLAIN, MIXED = "features", "features with parity"

POINTWISE = {
    "linear": (lambda: Linear(CHANNELS, 3, LMAX), PLAIN, PLAIN),
    "linear, both parities": (lambda: Linear(CHANNELS, 3, LMAX, parity=True), MIXED, MIXED),
    "norm": (lambda: Norm(CHANNELS, LMAX), PLAIN, PLAIN),
    "norm, both parities": (lambda: Norm(CHANNELS, LMAX, parity=True), MIXED, MIXED),
    "gate": (lambda: Gate(CHANNELS, LMAX), PLAIN, PLAIN),
    "gate, both parities": (lambda: Gate(CHANNELS, LMAX, parity=True), MIXED, MIXED),
    "norm activation": (lambda: NormActivation(CHANNELS, LMAX), PLAIN, PLAIN),
    "norm activation, both": (lambda: NormActivation(CHANNELS, LMAX, parity=True), MIXED, MIXED),
    "dropout, evaluation": (lambda: Dropout(0.5, LMAX).eval(), PLAIN, PLAIN),
    "grid product": (lambda: GridProduct(CHANNELS, LMAX, 3), PLAIN, PLAIN),
    "tensor product": (lambda: TensorProduct(CHANNELS, LMAX, 3), MIXED, MIXED),
    "tensor product, natural": (
        lambda: TensorProduct(CHANNELS, LMAX, 1, parity=False),
        PLAIN,
        PLAIN,
    ),
    "irreps in": (lambda: IrrepsIn(IRREPS, 5, lmax=3), IRREPS, PLAIN),
    "irreps in, both parities": (lambda: IrrepsIn(BOTH, 5, parity=True), BOTH, MIXED),
    "irreps out": (lambda: IrrepsOut(CHANNELS, LMAX, IRREPS), PLAIN, IRREPS),
    "irreps out, both parities": (
        lambda: IrrepsOut(CHANNELS, LMAX, BOTH, parity=True),
        MIXED,
        BOTH,
    ),
}


def shape_of(kind: str, n: int) -> tuple[int, ...]:
    """Shape of random values that transform in some way."""
    sizes = {PLAIN: (9, CHANNELS), MIXED: (2, 9, CHANNELS), IRREPS: (12,), BOTH: (20,)}
    return (n, *sizes[kind])


class EdgeModel(nn.Module):
    """A layer along edges, as a function of positions and features."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer, self.basis = layer, RadialBasis(2, CUTOFF)

    def forward(self, positions, features, edges):
        vectors = positions[edges[0]] - positions[edges[1]]
        harmonics = spherical_harmonics(LMAX, vectors)
        radial = self.basis(vectors.norm(dim=1))
        if isinstance(self.layer, DepthwiseConvolution):
            return self.layer(features, harmonics, radial, edges, len(positions))
        kernel = self.layer.coupling(harmonics, radial)
        return self.layer(features, kernel, edges, len(positions))


class PairModel(EdgeModel):
    """The same by all pairs, through `Convolution.dense`."""

    def forward(self, positions, features, edges):
        vectors = positions - positions[:, None]
        mask = torch.zeros(vectors.shape[:2], dtype=torch.bool, device=vectors.device)
        mask[edges[1], edges[0]] = True
        away = torch.where(mask[..., None], vectors, torch.ones_like(vectors))
        radial = self.basis(away.norm(dim=-1))
        kernel = self.layer.coupling.pairs(
            spherical_harmonics(LMAX, away)[None], radial[None], mask[None]
        )
        return self.layer.dense(features[None], kernel)[0]


def convolution(**options) -> Convolution:
    return Convolution(CHANNELS, 6, LMAX, LMAX, LMAX, n_radial=2, neighbours=4.0, **options)


ALONG_EDGES = {
    "edges": (lambda: EdgeModel(convolution()), PLAIN),
    "edges, groups": (lambda: EdgeModel(convolution(groups=2)), PLAIN),
    "edges, both parities": (lambda: EdgeModel(convolution(parity=True)), MIXED),
    "edges, groups, both": (lambda: EdgeModel(convolution(groups=2, parity=True)), MIXED),
    "pairs": (lambda: PairModel(convolution()), PLAIN),
    "pairs, groups": (lambda: PairModel(convolution(groups=2)), PLAIN),
    "pairs, both parities": (lambda: PairModel(convolution(parity=True)), MIXED),
    "pairs, groups, both": (lambda: PairModel(convolution(groups=2, parity=True)), MIXED),
    "depthwise": (
        lambda: EdgeModel(DepthwiseConvolution(CHANNELS, LMAX, LMAX, LMAX, groups=2)),
        PLAIN,
    ),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise_layers(name, dtype, device, random, seeded):
    make, kind, result = POINTWISE[name]
    layer, values = seeded(make()).to(device, dtype), random(*shape_of(kind, 5)).to(device, dtype)
    assert_equivariant(layer, [(values, kind)], result)
    assert_permutation_equivariant(layer, [(values, "point")], "point")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", ALONG_EDGES)
def test_layers_along_edges(name, dtype, device, random, seeded, molecule):
    make, kind = ALONG_EDGES[name]
    model, edges = seeded(make()).to(device, dtype), molecule[1].to(device)
    positions = molecule[0].to(device, dtype)
    features = random(*shape_of(kind, len(positions))).to(device, dtype)
    moving = [(positions, "positions"), (features, kind), (edges, "invariant")]
    assert_equivariant(model, moving, kind)
    inputs = [(positions, "point"), (features, "point"), (edges, "edges")]
    assert_permutation_equivariant(model, inputs, "point")


@pytest.mark.parametrize("name", ALONG_EDGES)
def test_molecules_of_a_batch_do_not_see_each_other(name, generator, random, seeded):
    make, kind = ALONG_EDGES[name]
    model = seeded(make())
    molecules = [random_molecule(generator, n_atoms=n).positions for n in (5, 1, 7)]
    items = [(positions, random(*shape_of(kind, len(positions)))) for positions in molecules]

    def apply(items):
        positions, features = (torch.cat(parts) for parts in zip(*items, strict=True))
        sizes = [len(part) for part, _ in items]
        batch = torch.repeat_interleave(torch.arange(len(items)), torch.tensor(sizes))
        edges = edges_within(positions, CUTOFF, batch)
        return model(positions, features, edges).split(sizes)

    assert_batch_independent(apply, items)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_density(dtype, device, molecule, generator):
    positions, edges = molecule[0].to(device, dtype), molecule[1].to(device)
    labels = torch.randint(3, (len(positions),), generator=generator).to(device)
    density = Density(3, 3, RadialBasis(2, CUTOFF))

    def of_points(positions, labels, edges):
        return density(positions[edges[0]] - positions[edges[1]], labels, edges, len(positions))

    moving = [(positions, "positions"), (labels, "invariant"), (edges, "invariant")]
    assert_equivariant(of_points, moving, "features")
    inputs = [(positions, "point"), (labels, "point"), (edges, "edges")]
    assert_permutation_equivariant(of_points, inputs, "point")


@pytest.mark.parametrize("name", ["edges", "edges, groups", "depthwise", "pairs"])
def test_the_same_twice_is_the_same_to_the_last_bit(name, random, seeded, molecule):
    make, kind = ALONG_EDGES[name]
    model, (positions, edges) = seeded(make()), molecule
    features = random(*shape_of(kind, len(positions)))
    assert torch.equal(model(positions, features, edges), model(positions, features, edges))


def test_coupling_to_irreps_and_back_is_a_layer_of_any_irreps(random, seeded):
    model = nn.Sequential(
        seeded(IrrepsIn("2x0e + 1x1e + 1x1o", CHANNELS, lmax=LMAX, parity=True)),
        seeded(TensorProduct(CHANNELS, LMAX, LMAX)),
        seeded(IrrepsOut(CHANNELS, LMAX, "1x0o + 2x1e + 1x2o", parity=True)),
    )
    values = random(4, 8)
    assert_equivariant(model, [(values, "2x0e + 1x1e + 1x1o")], "1x0o + 2x1e + 1x2o")
    assert model(values).abs().amax(0).min() > 0


def test_dropout_drops_whole_multiplets(random):
    torch_state = torch.get_rng_state()
    dropped = Dropout(0.5, LMAX)(random(20, 9, CHANNELS).abs() + 1)
    torch.set_rng_state(torch_state)
    for part in dropped.split([1, 3, 5], 1):
        kept = part != 0
        assert torch.equal(kept.any(1), kept.all(1))
    assert 0 < (dropped == 0).double().mean() < 1


def test_kernels_are_kept_for_edges_but_not_for_others(random, seeded, molecule):
    positions, edges = molecule
    layer, features = seeded(convolution()), random(len(positions), 9, CHANNELS)
    vectors = positions[edges[0]] - positions[edges[1]]
    kernel = EdgeCoupling(LMAX, LMAX, LMAX)(
        spherical_harmonics(LMAX, vectors), RadialBasis(2, CUTOFF)(vectors.norm(dim=1))
    )
    first = layer(features, kernel, edges, len(positions))
    assert_near(layer(features, kernel, edges, len(positions)), first)
    turned = edges.flip(0)
    fresh = EdgeCoupling(LMAX, LMAX, LMAX)(
        spherical_harmonics(LMAX, vectors), RadialBasis(2, CUTOFF)(vectors.norm(dim=1))
    )
    expected = layer(features, fresh, turned, len(positions))
    assert_near(layer(features, kernel, turned, len(positions)), expected)
