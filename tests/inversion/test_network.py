"""The network that draws atoms from invariants and a frame."""

import pytest
import torch
from ase.build import molecule

from geomae.data import Structure
from geomae.errors import CheckpointError, GeomaeError
from geomae.inversion import Soap, invert
from geomae.inversion.invert import pose
from geomae.inversion.network import InversionConfig, Inverter, NetworkStarts, load_inverter
from geomae.inversion.network.environments import Environments, canonical_frames
from geomae.inversion.network.model import directions_near
from geomae.inversion.network.reduction import grams_of
from geomae.inversion.network.starts import surroundings
from geomae.training.config import read_config
from geomae.training.loop import Trainer

NAMES = ("CH3OH", "CH3CN", "H2CO", "CH3CHO", "C2H6", "H3CNH2")

CONFIG = InversionConfig(
    elements=(1, 6, 7, 8),
    soap={"r_cut": 5.0, "n_max": 6, "l_max": 4, "sigma": 0.5},
    directions=8,
    components=12,
    width=32,
    depth=2,
    lmax=4,
    channels=8,
    hidden=32,
    n_radial=8,
    radius=6.0,
    rivals=16,
)


def environments() -> Environments:
    """Around the first atoms of rattled molecules."""
    numbers, vectors = torch.zeros(len(NAMES), 8, dtype=torch.long), torch.zeros(len(NAMES), 8, 3)
    vectors = vectors.double()
    for row, name in enumerate(NAMES):
        atoms = molecule(name)
        atoms.rattle(0.05, seed=row)
        n = len(atoms) - 1
        numbers[row, :n] = torch.from_numpy(atoms.numbers[1:])
        vectors[row, :n] = torch.from_numpy(atoms.positions[1:] - atoms.positions[0])
    return Environments(numbers, vectors)


@pytest.fixture(scope="module")
def model() -> Inverter:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Inverter(CONFIG)
    around = environments()
    made.reduction.fit(grams_of(made.soap, around.numbers, around.vectors))
    return made.double().eval()


def turn(*, improper: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    matrix, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    wanted = -1.0 if improper else 1.0
    return matrix * wanted * torch.sign(torch.linalg.det(matrix))


@pytest.mark.parametrize("improper", [False, True])
def test_fields_turn_and_are_reflected_with_the_frame(model, improper):
    around, matrix = environments(), turn(improper=improper)
    grams = grams_of(model.soap, around.numbers, around.vectors)
    first = turn(improper=False).T
    points = torch.randn(len(NAMES), 20, 3, generator=torch.Generator().manual_seed(1)).double()
    plain = model.density(model.coefficients(grams, first), points)
    turned = model.density(model.coefficients(grams, first @ matrix.T), points @ matrix.T)
    assert (plain - turned).abs().max() < 1e-10 * plain.abs().max()
    still = model.density(model.coefficients(grams, first), points @ matrix.T)
    assert (plain - still).abs().max() > 1e-3


def test_no_frame_means_the_axes_of_space(model):
    grams = grams_of(model.soap, environments().numbers, environments().vectors)
    axes = torch.eye(3, dtype=torch.float64)
    plain, along = model.coefficients(grams), model.coefficients(grams, axes)
    assert torch.allclose(plain, along, rtol=0, atol=1e-12 * float(plain.detach().abs().max()))
    with pytest.raises(GeomaeError, match="orthonormal"):
        model.coefficients(grams, 2 * axes)


@pytest.mark.parametrize("improper", [False, True])
def test_what_it_sees_does_not_turn_and_its_frame_does(model, improper):
    around, matrix = environments(), turn(improper=improper)
    moved = Environments(around.numbers, around.vectors @ matrix.T)
    before, after = (grams_of(model.soap, e.numbers, e.vectors) for e in (around, moved))
    assert torch.allclose(model.reduction(before), model.reduction(after), atol=1e-9)
    frames, others = canonical_frames(around), canonical_frames(moved)
    # formaldehyde's and acetonitrile's neighbours are nearly in a plane or on a line
    assert torch.allclose(frames @ matrix.T, others, atol=1e-6)
    assert torch.allclose(frames @ frames.mT, torch.eye(3).double().expand_as(frames), atol=1e-9)
    same = around.turned(frames).vectors - moved.turned(others).vectors
    assert same.abs().max() < 1e-6


def test_random_directions_have_the_density_that_is_told():
    places = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, 4.0]]])
    drawn, share = directions_near(places, 40_000, torch.Generator().manual_seed(0))
    assert torch.equal(drawn[0, :, 0], torch.tensor([[0.0, 0.0, 1.0]] * 2))
    drawn, share = drawn[:, :, 1:], share[:, :, 1:]
    assert torch.allclose((1 / share).mean(2), torch.ones(1, 2), atol=0.02)
    assert torch.allclose((drawn[..., 2].square() / share).mean(2), torch.tensor(1 / 3), atol=0.02)


def test_it_learns(model, tmp_path):
    path = tmp_path / "config.yaml"
    lines = ["model:", *(f"  {k}: {v}" for k, v in CONFIG.model_dump(mode="json").items())]
    path.write_text("\n".join([*lines, "training: {steps: 40, warmup: 5, learning_rate: 3.0e-3}"]))
    run = read_config(path)
    assert run.model == CONFIG
    around = environments()
    learner = Inverter.from_file(saved(model, tmp_path)).train()
    losses = []
    trainer = Trainer(learner, lambda *_: around.turned(canonical_frames(around)), run, tmp_path)
    fixed = learner.reduction.basis.clone()
    for _ in range(40):
        losses.append(trainer.train_step()["loss"])
    assert sum(losses[-5:]) < sum(losses[:5]) - 2.5
    assert torch.equal(fixed, learner.reduction.basis)


def saved(model: Inverter, folder) -> str:
    path = folder / "weights.safetensors"
    Inverter.save(model.float(), path)
    model.double()
    return str(path)


def test_weights_come_back(model, tmp_path):
    again = load_inverter(saved(model, tmp_path))
    assert again.config == CONFIG
    grams = grams_of(model.soap, environments().numbers, environments().vectors).float()
    own = model.float().coefficients(grams)
    model.double()
    assert torch.equal(again.coefficients(grams), own)
    with pytest.raises(CheckpointError, match="load_inverter"):
        import geomae

        geomae.load(saved(model, tmp_path))


def test_proposals_are_at_the_distances_told_and_not_upon_each_other(model):
    atoms = molecule("CH3CHO")
    atoms.rattle(0.05, seed=0)
    known = Structure(atoms.numbers, atoms.positions)
    soap = Soap(["H", "C", "O"], 5.0, 6, 4, 0.5, centres=(0,))
    problem = pose(soap, soap.of(known), species=atoms.numbers.tolist())
    network = NetworkStarts(model)
    batches = list(network(problem, 20, torch.Generator().manual_seed(0)))
    places = torch.cat([batch.positions for batch in batches])
    assert places.shape == (15, 7, 3) and batches[0].route == "network"
    radii = (known.positions - known.positions[0]).norm(dim=1).sort().values
    assert (places.norm(dim=2).sort(dim=1).values - radii).abs().max() < 0.3
    apart = torch.cdist(places, places) + 9 * torch.eye(7).double()
    assert apart.min() > 0.8
    again = list(network(problem, 20, torch.Generator().manual_seed(0)))
    assert torch.equal(again[0].positions, batches[0].positions)
    matrix = turn(improper=False)
    turned = NetworkStarts(model, matrix.T).told(problem)[0]
    seats = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    seats = torch.nn.functional.normalize(seats, dim=1)
    still = network.densities(turned, seats)
    moved = NetworkStarts(model, matrix.T).densities(turned, seats @ matrix.T)
    assert torch.allclose(still, moved, atol=1e-9)


def test_a_centres_own_atom_and_unknown_elements_are_left_out(model):
    around = environments()
    numbers, vectors = around.numbers[3], around.vectors[3]
    kept = numbers > 0
    whole = Structure(
        torch.cat([torch.tensor([6]), numbers[kept]]),
        torch.cat([torch.zeros(1, 3).double(), vectors[kept]]),
    )
    soap = Soap(["H", "C", "O"], 5.0, 6, 4, 0.5, centres=(0,))
    read = surroundings(model, soap, soap.of(whole).flatten(), whole.numbers)[0]
    wanted = grams_of(model.soap, numbers[None], vectors[None])
    assert torch.allclose(read.grams, wanted, atol=1e-9 * float(wanted.abs().max()))


def test_other_descriptors_get_none(model, water):
    for soap in (
        Soap(["H", "O"], 5.0, 6, 4, 0.5),
        Soap(["H", "O"], 5.0, 7, 4, 0.5, centres=(0,)),
        Soap(["H", "O", "F"], 5.0, 6, 4, 0.5, centres=(0,)),
    ):
        problem = pose(soap, soap.of(water), n_atoms=3)
        assert not list(NetworkStarts(model)(problem, 8, torch.Generator()))


def test_inversion_takes_its_starts(model, water):
    soap = Soap(["H", "O"], 5.0, 6, 4, 0.5, centres=(0,))
    result = invert(soap, soap.of(water), n_solutions=1, starts=NetworkStarts(model))
    assert result.outcome == "unique" and result.route == "network"
