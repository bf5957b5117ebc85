"""The flow on atoms: what its networks keep, how noise is matched, and its files."""

from copy import deepcopy

import pytest
import torch
from e3nn import o3

from geomae.errors import CheckpointError
from geomae.generation.atoms.coupling import coupled
from geomae.generation.atoms.data import molecules_of_qm9
from geomae.generation.atoms.flow import AtomFlow, Placing
from geomae.generation.atoms.integration import NormalNumbers, Steps, placed
from geomae.generation.atoms.network import path
from geomae.generation.flow import load_flow

EXACT = {torch.float64: 1e-10, torch.float32: 1e-5}


def ids(molecules, n=6):
    return molecules.select(torch.arange(10, 10 + n))


def stages(flow, batch) -> dict[str, Placing]:
    return {
        "skeleton": flow.bones(batch.kind),
        "hydrogens": flow.coat(batch.kind, batch.skeleton, batch.parent),
    }


@pytest.fixture
def flow(flow):
    """With what it recalls mattering; weights start without."""
    flow = deepcopy(flow)
    for network in (flow.skeleton, flow.hydrogens):
        weight = network.recall.weight.data
        weight.copy_(0.1 * torch.randn(weight.shape, generator=generator()))
    return flow


def ends(flow, placing, displaced, base=None):
    times = torch.linspace(0, 0.95, len(displaced), dtype=flow.dtype)
    told = flow.told(torch.full((len(displaced), 1), 0.2))
    if base is not None:
        placing = Placing(placing.labels, placing.links, base, placing.moves, placing.free)
    recalled = flow.ends(placing, displaced, times, told)
    return flow.ends(placing, displaced, times, told, recalled)


def test_an_estimate_before_is_seen(flow, molecules):
    batch = ids(molecules)
    placing = stages(flow, batch)["skeleton"]
    displaced = flow.noise(placing, torch.randn(*placing.labels.shape, 3, generator=generator()))
    times = torch.full((len(displaced),), 0.5)
    told = flow.told(torch.full((len(displaced), 1), 0.2))
    first = flow.ends(placing, displaced, times, told)
    again = flow.ends(placing, displaced, times, told, first)
    assert (again - first).detach().abs().max() > 1e-4


@pytest.mark.parametrize("stage", ["skeleton", "hydrogens"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("sign", [1, -1])
def test_atoms_end_where_they_should_in_any_orientation(flow, molecules, stage, dtype, sign):
    flow = flow_in(flow, dtype)
    batch = ids(molecules)
    placing = stages(flow, batch)[stage]
    normal = torch.randn(*placing.labels.shape, 3, dtype=dtype, generator=generator())
    displaced = flow.noise(placing, normal)
    turn = (sign * o3.rand_matrix(dtype=torch.float64)).to(dtype)
    shift = torch.tensor([3.0, -2.0, 1.0], dtype=dtype)
    moved = placing.base @ turn.T + (0 if placing.free else shift)
    turned = ends(flow, placing, displaced @ turn.T, moved)
    expected = ends(flow, placing, displaced) @ turn.T
    assert (turned - expected).abs().max() < EXACT[dtype] * expected.abs().max()


def contents_of(flow):
    return type(flow).contents.from_tensors({k: v.detach() for k, v in flow.statistics.items()})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("stage", ["skeleton", "hydrogens"])
def test_the_order_of_atoms_and_empty_places_do_not_matter(flow, molecules, stage):
    flow = flow_in(flow, torch.float64)
    placing = stages(flow, ids(molecules))[stage]
    n, atoms = placing.labels.shape
    displaced = flow.noise(placing, torch.randn(n, atoms, 3, dtype=torch.float64))
    expected = ends(flow, placing, displaced)

    order = torch.randperm(atoms)
    shuffled = Placing(
        placing.labels[:, order], placing.links[:, order][:, :, order], placing.base[:, order],
        placing.moves[:, order], placing.free,
    )  # fmt: skip
    assert torch.allclose(ends(flow, shuffled, displaced[:, order]), expected[:, order], atol=1e-12)

    wide = torch.nn.functional.pad
    longer = Placing(
        wide(placing.labels, (0, 3)), wide(placing.links, (0, 3, 0, 3)),
        wide(placing.base, (0, 0, 0, 3)), wide(placing.moves, (0, 3)), placing.free,
    )  # fmt: skip
    found = ends(flow, longer, wide(displaced, (0, 0, 0, 3)))
    assert torch.allclose(found[:, :atoms], expected, atol=1e-12)
    assert not found[:, atoms:].any()


def flow_in(flow, dtype):
    with torch.random.fork_rng(devices=[]):
        copy = AtomFlow(flow.config, contents_of(flow))
    copy.load_state_dict(flow.state_dict())
    return copy.to(dtype)


def test_given_atoms_stay_and_free_ones_keep_their_centroid(flow, molecules):
    batch = ids(molecules)
    for stage, placing in stages(flow, batch).items():
        like = torch.zeros(())
        numbers = NormalNumbers(3, range(len(batch)), stage, like)
        untold = torch.full((len(batch), 1), torch.nan)
        found = placed(flow, placing, untold, numbers, Steps(4))
        given = ~placing.moves
        assert torch.equal(found[given], placing.base[given])
        if placing.free:
            assert found.sum(1).abs().max() < 1e-5


def test_properties_change_what_is_made(flow, molecules):
    batch = ids(molecules)
    placing, made = flow.bones(batch.kind), []
    for value in (0.1, 0.4, torch.nan):
        numbers = NormalNumbers(3, range(len(batch)), "skeleton", torch.zeros(()))
        made.append(placed(flow, placing, torch.full((len(batch), 1), value), numbers, Steps(4)))
    assert not torch.allclose(made[0], made[1]) and not torch.allclose(made[1], made[2])


def test_sharpness_goes_away_from_what_the_network_says_without_its_estimate(flow, molecules):
    batch = ids(molecules)
    placing, untold = flow.bones(batch.kind), torch.full((len(batch), 1), torch.nan)
    atoms = placing.labels.shape[1]

    def made(**how):
        numbers = NormalNumbers(3, range(len(batch)), "skeleton", torch.zeros(()))
        return placed(flow, placing, untold, numbers, Steps(2, warp=1.0, **how))

    # two steps: the first has no estimate, the second ends the way
    plain, late, sharp = made(sharpness=1.0), made(sharp_from=0.6), made(sharpness=3.0)
    assert torch.equal(plain, late)
    start = flow.noise(placing, NormalNumbers(3, range(len(batch)), "skeleton", plain)(atoms))
    told, at = flow.told(untold), torch.zeros(len(batch))
    first = flow.ends(placing, start, at, told)
    middle = torch.lerp(start, first, 0.5)
    own, unaware = (flow.ends(placing, middle, at + 0.5, told, x) for x in (first, None))
    assert torch.allclose(sharp, own + 2 * (own - unaware), atol=1e-5)
    assert not torch.allclose(sharp, plain, atol=1e-3)


def test_the_path_knows_everything_at_its_end_and_nothing_at_its_start():
    keep, scale = path(torch.tensor([0.0, 0.5, 1.0]), 1.3)
    assert torch.allclose(keep, torch.tensor([0.0, 1.0, 1.0]))
    assert torch.allclose(scale, torch.tensor([1.3, 1.3 * 0.5**0.5, 0.0]))


def test_the_path_is_the_best_guess_for_normal_displacements():
    target, noise = 1.3 * torch.randn(2, 200_000, generator=generator()).double()
    seen = torch.lerp(noise, target, 0.3)
    keep, scale = path(torch.tensor([0.3], dtype=torch.float64), 1.3)
    assert float((seen * target).mean() / seen.square().mean()) == pytest.approx(keep.item(), 0.02)
    assert float((target - keep * seen).std()) == pytest.approx(scale.item(), 0.02)


@pytest.mark.parametrize("turn", [True, False])
def test_noise_is_matched_within_like_atoms(turn):
    noise, target = torch.randn(2, 20, 6, 3, generator=generator(), dtype=torch.float64)
    alike = torch.tensor([1, 1, 1, 2, 2, 3]).expand(20, -1)
    found = coupled(noise, target, alike, turn=turn)
    assert (found - target).square().sum() < (noise - target).square().sum()
    lengths = [x.norm(dim=-1) for x in (noise, found)]
    for span in (slice(0, 3), slice(3, 5), slice(5, 6)):
        assert torch.allclose(*[x[:, span].sort(1).values for x in lengths])
    if not turn:
        assert torch.equal(found[:, 5], noise[:, 5])


def test_a_structure_is_laid_on_its_own_turned_and_renumbered_copy():
    target = torch.randn(4, 5, 3, generator=generator(), dtype=torch.float64)
    target = target - target.mean(1, keepdim=True)
    turned = 1e-3 * target + target @ o3.matrix_x(torch.tensor(0.3).double()).T
    found = coupled(turned, target, torch.ones(4, 5, dtype=torch.long), turn=True)
    assert torch.allclose(found, 1.001 * target, atol=1e-3)


def test_molecules_are_taken_apart_without_loss(molecules):
    where = molecules.kind > 0
    elements = molecules.kinds[molecules.kind[where] - 1, 0]
    assert set(elements.tolist()) == {6, 7, 8, 9}
    hydrogens = molecules.kinds[molecules.kind[where] - 1, 1].sum()
    assert hydrogens == (molecules.parent >= 0).sum()
    lengths = molecules.hydrogens[molecules.parent >= 0].norm(dim=-1)
    assert lengths.min() > 0.9 and lengths.max() < 1.2
    assert molecules.skeleton.sum(1).abs().max() < 1e-4


@pytest.mark.slow
def test_qm9_is_taken_apart_without_loss():
    data = molecules_of_qm9("valid", ("gap",))
    assert len(data) == 17_748
    lengths = data.hydrogens[data.parent >= 0].norm(dim=-1)
    assert lengths.min() > 0.9 and lengths.max() < 1.5


def test_it_learns(molecules, flow):
    flow = flow_in(flow, torch.float32)
    few = molecules.select(torch.arange(20, 28))
    optimiser = torch.optim.Adam(flow.network_parameters, 3e-3)
    losses = []
    for step in range(120):
        loss = flow.loss(few, generator(step))["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-20:]) < 0.5 * sum(losses[:5]) * 4


def test_files_hold_everything(flow, tmp_path):
    flow.save(tmp_path / "weights.safetensors")
    again = AtomFlow.from_file(tmp_path / "weights.safetensors")
    assert again.config == flow.config
    for name, value in flow.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    with pytest.raises(CheckpointError, match="atom_flow"):
        load_flow(tmp_path / "weights.safetensors")
