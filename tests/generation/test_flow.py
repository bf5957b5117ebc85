"""The flow is exactly equivariant, reproducible sample by sample, and learns what it is shown."""

import pytest
import torch
from ase.build import molecule
from torch import Tensor

from geomae.autoencoder import Latents, load
from geomae.data import as_structures
from geomae.equivariant import wigner_matrices
from geomae.errors import CheckpointError, GeomaeError
from geomae.generation import (
    Conditions,
    FlowConfig,
    LatentFlow,
    Settings,
    load_flow,
    redrawing,
    revise,
)
from geomae.generation.data import LatentSet
from geomae.generation.inventory import compositions_of
from geomae.generation.statistics import Statistics
from geomae.testing import assert_equivariant, random_orthogonal

KINDS = torch.tensor([[6, 2, 2], [6, 3, 1], [8, 1, 1]])
STOCHASTIC = Settings(renewal=0.5, guidance=2.0, temperature=0.9, warp=1.5)


def latent_set(n: int, lmax: int = 3, channels: int = 4) -> LatentSet:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(n, (lmax + 1) ** 2, channels, generator=generator)
    latents = latents * torch.logspace(-1, 1, channels) + 3
    inventory = torch.randint(0, 3, (n, len(KINDS)), generator=generator)
    inventory[:, 0] += 1
    gap = 0.2 + 0.05 * inventory[:, 2] + 0.01 * torch.randn(n, generator=generator)
    counts = compositions_of(KINDS, inventory, (1, 6, 8))
    return LatentSet(latents, counts, KINDS, inventory, {"gap": gap})


def flow_config(lmax: int = 3, channels: int = 4) -> FlowConfig:
    return FlowConfig(
        autoencoder="qm9",
        elements=(1, 6, 8),
        max_atoms=20,
        lmax=lmax,
        latent_channels=channels,
        channels=8,
        blocks=2,
        hidden=16,
        properties=("gap",),
    )


@pytest.fixture(scope="module")
def flow() -> LatentFlow:
    """A flow whose weights are all at work."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = LatentFlow(flow_config(), Statistics.of_latents(latent_set(200))).double()
        with torch.no_grad():
            for parameter in made.velocity.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_velocity_turns_and_mirrors_with_the_latents(dtype):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = LatentFlow(flow_config(), Statistics.of_latents(latent_set(200))).to(dtype)
        with torch.no_grad():
            for parameter in made.velocity.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    data = latent_set(3)
    told = made.told(data.counts, data.inventory, data.properties["gap"][:, None])
    times = torch.tensor([0.0, 0.3, 0.99], dtype=dtype)
    points = torch.randn(3, 16, 4, dtype=dtype, generator=torch.Generator().manual_seed(2))
    assert_equivariant(lambda x: made(x, times, told), [(points, "features")], "features")


def test_coordinates_have_one_size_and_go_back_to_latents(flow):
    data = latent_set(200)
    latents = data.latents.double()
    coordinates = flow.coordinates(latents)
    assert torch.allclose(flow.latents(coordinates), latents, atol=1e-4)  # axes are float32
    spread = flow.scales()[1]
    assert torch.allclose(spread.square().mean(), torch.ones((), dtype=torch.float64))
    assert torch.allclose(coordinates[:, 0].square().mean(0).sqrt(), spread[0], rtol=1e-5)


def test_a_sample_depends_on_the_seed_and_its_number_alone(flow):
    many = flow.sample(40, steps=3, seed=5, settings=STOCHASTIC).array
    few = flow.sample(3, steps=3, seed=5, settings=STOCHASTIC).array
    assert torch.equal(many[:3], few)
    assert not torch.allclose(many[0], many[1])
    assert not torch.allclose(flow.sample(3, steps=3, seed=6, settings=STOCHASTIC).array, few)


def invariant_under(matrices: list[Tensor], lmax: int) -> Tensor:
    turns = [torch.block_diag(*wigner_matrices(lmax, matrix)) for matrix in matrices]
    return torch.stack(turns).mean(0)


def test_a_symmetric_start_stays_symmetric(flow):
    frame = random_orthogonal(torch.Generator().manual_seed(3)).double()
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, -1]], dtype=torch.float64)
    turns = [frame @ torch.linalg.matrix_power(quarter, k) @ frame.T for k in range(4)]
    average = invariant_under(turns, 3)
    drawn = flow.sample(
        4, steps=5, project=lambda x: torch.einsum("ij,njc->nic", average, x), settings=STOCHASTIC
    )
    turned = drawn.rotate(turns[1])
    assert (turned.array - drawn.array).abs().max() < 1e-10 * drawn.array.abs().max()
    assert (flow.sample(4, steps=5).rotate(turns[1]).array - drawn.array).abs().max() > 0.1


def test_a_start_is_followed_from_its_time(flow):
    start = Latents(latent_set(5).latents.double(), torch.zeros(5, 3))
    late = flow.sample(5, steps=2, start=start, time=0.999)
    assert (late.array - start.array).abs().max() < 0.1 * start.array.abs().max()
    with pytest.raises(GeomaeError, match="needs latents"):
        flow.sample(5, time=0.5)
    with pytest.raises(GeomaeError, match="shape"):
        flow.sample(4, start=start, time=0.5)


def test_each_pass_of_a_revision_starts_from_what_was_drawn(flow):
    latents = Latents(latent_set(3).latents.double(), torch.zeros(3, 3))
    given = []

    def redraw(own: Latents) -> Latents:
        given.append(own)
        return latents

    revised = revise(flow, latents, redraw, times=(0.5, 0.999))
    assert given[0] is latents
    assert not torch.allclose(given[1].array, latents.array, atol=0.1)
    assert (revised.array - latents.array).abs().max() < 0.1 * latents.array.abs().max()
    with pytest.raises(GeomaeError, match="must ascend"):
        revise(flow, latents, redraw, times=(0.5, 0.5))


def test_redrawing_keeps_the_latents_of_structures():
    model = load("qm9")
    structures = as_structures([molecule("CH3CH2OH"), molecule("C6H6")])
    latents = model.encode(structures)
    nothing = Latents(torch.zeros_like(latents.array[:1]), latents.centres[:1])
    again = redrawing(model)(Latents.join([latents, nothing]))
    error = (again.array[:2] - latents.array).flatten(1).norm(dim=1)
    assert (error < 0.13 * latents.array.flatten(1).norm(dim=1)).all()
    assert torch.isfinite(again.array).all()


def test_compositions_are_those_asked_for_or_of_the_data(flow):
    asked = torch.tensor([[6, 2, 1]]).expand(4, 3)
    assert torch.equal(flow.compositions(4, conditions=Conditions(counts=asked)), asked)
    sizes = torch.tensor([9, 12, 9, 5])
    drawn = flow.compositions(4, conditions=Conditions(n_atoms=sizes))
    assert torch.equal(drawn.sum(1), sizes)
    known = {tuple(row) for row in latent_set(200).counts.tolist()}
    assert {tuple(row) for row in flow.compositions(50, seed=1).tolist()} <= known


def test_compositions_follow_a_property(flow):
    low = flow.compositions(60, conditions=Conditions(properties={"gap": 0.2}))[:, 2]
    high = flow.compositions(60, conditions=Conditions(properties={"gap": 0.3}))[:, 2]
    assert low.double().mean() < 0.5 < 1.5 < high.double().mean()


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (Conditions(properties={"mu": 1.0}), "not trained on 'mu'; its properties: gap"),
        (Conditions(counts=torch.ones(2, 2, dtype=torch.long)), "shape"),
        (Conditions(counts=torch.tensor([[30, 1, 0], [1, 1, 1]])), "1 to 20 atoms"),
        (Conditions(n_atoms=torch.tensor([9, 2])), "no composition of 2 atoms"),
        (
            Conditions(counts=torch.tensor([[6, 2, 1]] * 2), n_atoms=torch.tensor([9, 8])),
            "exclude each other",
        ),
    ],
)
def test_conditions_that_cannot_be_met_are_refused(flow, conditions, message):
    with pytest.raises(GeomaeError, match=message):
        flow.sample(2, steps=1, conditions=conditions)


def test_a_flow_comes_back_from_its_file(flow, tmp_path):
    flow.float().save(tmp_path / "weights.safetensors")
    again = load_flow(tmp_path)
    assert torch.equal(again.sample(2, steps=2).array, flow.sample(2, steps=2).array)
    flow.double()
    with pytest.raises(CheckpointError, match="load_flow"):
        load(tmp_path)


def test_a_flow_learns_what_it_is_shown():
    """Scalars that the composition tells, and vectors of one length in any direction."""
    generator = torch.Generator().manual_seed(0)
    n = 512
    inventory = torch.randint(0, 2, (n, 3), generator=generator)
    inventory[:, 0] = 1
    vectors = torch.nn.functional.normalize(torch.randn(n, 3, 1, generator=generator), dim=1)
    scalars = 2.0 * inventory[:, 2:, None] - 1
    counts = compositions_of(KINDS, inventory, (1, 6, 8))
    data = LatentSet(torch.cat([scalars, vectors], 1), counts, KINDS, inventory, {})
    config = flow_config(lmax=1, channels=1).model_copy(update={"properties": ()})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = LatentFlow(config, Statistics.of_latents(data))
    optimiser = torch.optim.Adam(made.velocity.parameters(), lr=5e-3)
    for _ in range(300):
        loss = made.loss(data, generator)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    counts = torch.tensor([[5, 2, 0], [6, 2, 1]]).repeat(32, 1)
    conditions, plain = Conditions(counts=counts), Settings(guidance=1.0)
    drawn = made.eval().sample(64, conditions=conditions, steps=20, settings=plain).array
    expected = 2.0 * counts[:, 2] - 1
    assert (drawn[:, 0, 0] - expected).abs().mean() < 0.15
    lengths = drawn[:, 1:, 0].norm(dim=1)
    assert (lengths - 1).abs().mean() < 0.15
    assert drawn[:, 1:, 0].mean(0).norm() < 0.35
