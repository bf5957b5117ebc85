"""The network on points: symmetry, smoothness, batches, crystals, and what it refuses."""

import pytest
import torch

from geomae.equivariant.flat import IrrepsError
from geomae.equivariant.network import PointNetwork
from geomae.errors import GeomaeError
from geomae.testing import (
    assert_batch_independent,
    assert_equivariant,
    assert_near,
    assert_permutation_equivariant,
    random_molecule,
    random_orthogonal,
    unchanged_global_state,
    wigner_matrix,
)

SMALL = {"channels": 4, "layers": 2, "cutoff": 2.5, "n_radial": 4}
BOTH_IN, BOTH_OUT = "2x0e + 1x0o + 1x1e", "1x0e + 1x0o + 1x1e + 1x1o + 1x2e + 1x2o"
NATURAL_IN, NATURAL_OUT = "2x0e + 1x1o", "1x0e + 1x1o + 2x2e"
KINDS = {
    "both parities": (BOTH_IN, BOTH_OUT, {}),
    "natural parity": (NATURAL_IN, NATURAL_OUT, {"parity": False}),
    "sum": (BOTH_IN, BOTH_OUT, {"reduce": "sum"}),
    "mean": (BOTH_IN, BOTH_OUT, {"reduce": "mean"}),
}


def network(name: str, seeded, dtype=torch.float64) -> PointNetwork:
    irreps_in, irreps_out, options = KINDS[name]
    return seeded(PointNetwork(irreps_in, irreps_out, **SMALL, **options)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", KINDS)
def test_turns_mirrors_and_permutes(name, dtype, seeded, random, molecule):
    model = network(name, seeded, dtype)
    positions = molecule[0].to(dtype)
    features = random(len(positions), model.irreps_in.dim).to(dtype)
    inputs = [(features, KINDS[name][0]), (positions, "positions")]
    assert_equivariant(model, inputs, KINDS[name][1])
    role = "fixed" if model.reduce else "point"
    assert_permutation_equivariant(model, [(features, "point"), (positions, "point")], role)


def test_every_output_is_reached(seeded, random, molecule):
    model = network("both parities", seeded)
    scalars = random(len(molecule[0]), model.irreps_in.dim)
    values = model(scalars, molecule[0])
    assert values.abs().amax(0).min() > 1e-6


def test_pseudoscalar_of_a_chiral_heap_from_scalars_alone(seeded, random, molecule):
    model = seeded(PointNetwork("1x0e", "1x0o", **{**SMALL, "layers": 3}, reduce="sum"))
    ones = molecule[0].new_ones(len(molecule[0]), 1)
    value = model(ones, molecule[0])
    assert value.abs() > 1e-8
    assert_near(model(ones, -molecule[0]), -value)


@pytest.mark.parametrize("name", KINDS)
def test_structures_of_a_batch_do_not_see_each_other(name, generator, random, seeded):
    model = network(name, seeded)
    items = [random_molecule(generator, n_atoms=n).positions for n in (5, 1, 7)]
    items = [(random(len(p), model.irreps_in.dim), p) for p in items]

    def apply(items):
        features, positions = (torch.cat(parts) for parts in zip(*items, strict=True))
        sizes = [len(p) for _, p in items]
        batch = torch.repeat_interleave(torch.arange(len(items)), torch.tensor(sizes))
        return model(features, positions, batch).split([1] * len(items) if model.reduce else sizes)

    assert_batch_independent(apply, items)


def test_crystals_turn_and_their_supercells_agree(generator, random, seeded):
    model = network("both parities", seeded)
    cell = torch.eye(3, dtype=torch.float64) * 2.4 + 0.2 * random(3, 3)
    features, positions = random(2, model.irreps_in.dim), random(2, 3)
    plain = model(features, positions, cell=cell)
    for improper in (False, True):
        matrix = random_orthogonal(generator, improper=improper)
        turned = features @ wigner_matrix(BOTH_IN, matrix).T
        result = model(turned, positions @ matrix.T + 0.7, cell=cell @ matrix.T)
        assert_near(result, plain @ wigner_matrix(BOTH_OUT, matrix).T)
    doubled = torch.cat([positions, positions + cell[0]])
    wide = cell * torch.tensor([[2.0], [1.0], [1.0]]).double()
    result = model(features.repeat(2, 1), doubled, cell=wide)
    assert_near(result, plain.repeat(2, 1))


def test_smooth_where_a_neighbour_leaves(seeded):
    model = network("both parities", seeded)
    features = torch.ones(2, model.irreps_in.dim).double()
    place = torch.tensor([[0.0, 0, 0], [0, 0, SMALL["cutoff"]]]).double()
    inside = place * (1 - 1e-5)
    assert_near(model(features, inside), model(features, place), 1e-10)


def test_same_twice_and_global_state_untouched(seeded, random, molecule):
    model = network("both parities", seeded)
    features = random(len(molecule[0]), model.irreps_in.dim)
    with unchanged_global_state():
        first = model(features, molecule[0])
    assert torch.equal(first, model(features, molecule[0]))


def test_says_what_does_not_fit(seeded, molecule):
    with pytest.raises(IrrepsError, match="needs lmax >= 3, got 2"):
        PointNetwork("1x0e", "1x3o")
    with pytest.raises(IrrepsError, match="both parities"):
        PointNetwork("1x0e", "1x1e", parity=False)
    with pytest.raises(IrrepsError, match="can't read irreps"):
        PointNetwork("1x0e", "vector")
    with pytest.raises(GeomaeError, match="layers must be above 0, not 0"):
        PointNetwork("1x0e", "1x1o", layers=0)
    with pytest.raises(GeomaeError, match="reduce must be"):
        PointNetwork("1x0e", "1x1o", reduce="max")
    model = network("both parities", seeded)
    with pytest.raises(IrrepsError, match="expected values"):
        model(torch.ones(6, 2).double(), molecule[0])


@pytest.mark.parametrize("name", ["both parities", "natural parity"])
def test_last_layer_solved_gives_what_another_network_gives(name, seeded, random, molecule):
    irreps_in, irreps_out, options = KINDS[name]
    sizes = {**SMALL, "channels": 40} | options
    teacher = network(name, seeded)
    model = seeded(PointNetwork(irreps_in, irreps_out, **sizes))
    features = random(len(molecule[0]), model.irreps_in.dim)
    target = teacher(features, molecule[0]).detach()
    assert (model(features, molecule[0]) - target).abs().max() > 1e-2
    model.solve_readout(model.hidden(features, molecule[0]), target)
    assert_near(model(features, molecule[0]), target, 1e-6)
    with pytest.raises(IrrepsError, match="expected a target"):
        model.solve_readout(model.hidden(features, molecule[0]), target[:, :2])


def test_last_layer_solved_does_not_blow_up_what_symmetry_forbids(seeded):
    model = seeded(PointNetwork("1x0e", "1x0e + 1x1o", **SMALL))
    square = torch.tensor([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]]).double()
    features, up = square.new_ones(4, 1), torch.tensor([[1.0, 0, 0, 1.0]]).double().expand(4, 4)
    model.solve_readout(model.hidden(features, square), up)
    values = model(features, square)
    assert_near(values[:, 0], up[:, 0])
    assert values[:, 3].abs().max() < 1e-12
    assert max(float(weight.detach().abs().max()) for weight in model.read.weight) < 1e4
