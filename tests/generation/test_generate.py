"""`geomae.generate` and its command: samples by numbers, conditions, and what is refused."""

import json
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from ase.build import molecule
from ase.io import read, write
from typer.testing import CliRunner

import geomae
from geomae.autoencoder import Latents
from geomae.cli import app
from geomae.generation.compositions import symmetric_compositions
from geomae.generation.flow import LatentFlow
from geomae.generation.generate import Sampler
from geomae.generation.generate import generate as public
from geomae.generation.noise import normal_noise
from geomae.generation.request import Asked, parse_formula
from geomae.generation.verify import contains
from geomae.symmetry import GroupError, PointGroup

SHARD = 4
"""Samples made together in these tests."""

HYDROGEN_CYANIDE = molecule("HCN")
AMMONIA = molecule("NH3")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr("geomae.generation.generate.SHARD", SHARD)
    monkeypatch.setattr("geomae.generation.latent_samples.SHARD", SHARD)
    monkeypatch.setattr("geomae.generation.folder.SHARD", SHARD)


class Flow(LatentFlow):
    """Stands in for a flow: the latent of one molecule and noise that depends on seed and row."""

    config = SimpleNamespace(
        autoencoder="qm9", elements=(1, 6, 7, 8, 9), properties=("gap", "mu"), max_atoms=29
    )
    statistics: ClassVar = {"shares": torch.tensor([0.2, 0.3, 0.5])}

    def inventories(self):
        """HCN, ethane, benzene: kinds are C of each and N."""
        return torch.tensor([[1, 0, 0, 1], [0, 2, 0, 0], [0, 0, 6, 0]])

    def formulas(self):
        return torch.tensor([[1, 1, 1, 0, 0], [6, 2, 0, 0, 0], [6, 6, 0, 0, 0]])

    def __init__(self, latent):
        torch.nn.Module.__init__(self)
        self.latent, self.asked = latent, []

    def sample(self, n, *, conditions, project, steps, seed, start=None, time=0.0, settings=None):
        self.asked.append((n, conditions, steps, seed))
        noise = 0.5 * normal_noise(tuple(self.latent.shape), seed, range(n))
        array = self.latent + (noise if project is None else project(noise))
        return Latents(array, torch.zeros(n, 3, dtype=torch.float64))


@pytest.fixture
def flow(model, monkeypatch):
    latent = model.encode(geomae.as_structures(HYDROGEN_CYANIDE)).array[0].double()
    made = Flow(latent)
    monkeypatch.setattr(
        "geomae.generation.generate.find_models", lambda name, near: (name, model, made)
    )
    return made


def test_a_sample_depends_on_the_seed_and_its_number_alone(flow):
    more = public("qm9", SHARD + 2, seed=7)
    few = public("qm9", 3, seed=7)
    other = public("qm9", 3, seed=8)
    assert len(more) == SHARD + 2 and len(few) == 3
    for i in range(3):
        assert torch.equal(more.latents.array[i], few.latents.array[i])
        assert torch.equal(more.structures[i].positions, few.structures[i].positions)
        assert not torch.equal(other.latents.array[i], few.latents.array[i])
    assert not torch.equal(more.latents.array[0], more.latents.array[SHARD])


def test_conditions_reach_the_flow(flow):
    public("qm9", 2, formula="CHN", properties={"gap": 0.2}, steps=11)
    n, conditions, steps, _ = flow.asked[-1]
    assert steps == 11 and conditions.properties == {"gap": 0.2}
    assert conditions.counts.shape == (n, 5)
    assert conditions.counts[0].tolist() == [1, 1, 1, 0, 0]
    assert conditions.n_atoms is None
    public("qm9", 1, n_atoms=3)
    assert flow.asked[-1][1].n_atoms.tolist() == [3] * SHARD


@pytest.mark.parametrize(
    ("group", "possible"),
    [
        ("D6h", {(6, 2, 0, 0, 0), (6, 6, 0, 0, 0)}),
        ("C∞v", {(1, 1, 1, 0, 0), (6, 2, 0, 0, 0), (6, 6, 0, 0, 0)}),
        ("Td", {(6, 6, 0, 0, 0)}),
        ("I", None),
    ],
)
def test_compositions_are_those_that_fill_orbits(flow, group, possible):
    numbers = range(40)
    made = symmetric_compositions(flow, PointGroup.named(group), 0, numbers)
    if possible is None:
        assert made is None
    else:
        assert set(map(tuple, made.tolist())) == possible
    some = symmetric_compositions(flow, PointGroup.named("C1"), 0, numbers, n_atoms=8)
    assert set(map(tuple, some.tolist())) == {(6, 2, 0, 0, 0)}


def test_noise_of_a_flow_is_projected_and_samples_have_the_group(flow):
    made = public("qm9", 3, symmetry="C∞v")
    assert all(group == "C∞v" for group in made.groups)
    assert [s.point_group for s in made.kept] == list(made.groups)


def test_doubtful_samples_are_told_and_can_be_rejected(flow, monkeypatch):
    monkeypatch.setattr("geomae.generation.reading.DOUBTFUL", 0.0)
    kept = public("qm9", 2)
    assert kept.doubtful == [0, 1] and len(kept.kept) == 2
    rejected = public("qm9", 2, reject_doubtful=True)
    assert not rejected.kept and all("rejected" in fault for fault in rejected.faults)


def test_nothing_can_be_asked_for(flow):
    made = public("qm9", 0)
    assert len(made) == 0 and made.latents.array.shape == (0, 49, 16)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"symmetry": "D6hh"}, "did you mean 'D6h'"),
        ({"symmetry": "Oh", "formula": "CH2O"}, "CH2O and Oh exclude each other"),
        ({"symmetry": "Td", "n_atoms": 3}, "3 atoms and Td exclude each other"),
        ({"formula": "c6h6"}, "is no formula"),
        ({"formula": "CXq2"}, "no element 'Xq'"),
        ({"formula": "CH0"}, "leave it out"),
        ({"formula": "SiH4"}, "has Si; the model knows H, C, N, O, F"),
        ({"formula": "C12H20"}, "32 atoms; the model makes 1 to 29"),
        ({"formula": "CH4", "n_atoms": 4}, "has 5 atoms, not 4"),
        ({"n_atoms": 40}, "the model makes 1 to 29"),
        ({"n_atoms": 5}, "no composition of 5 atoms"),
        ({"properties": {"gapp": 0.2}}, "not trained on 'gapp'; did you mean 'gap'"),
        ({"seed": -1}, "seed"),
        ({"steps": 0}, "1 step or more"),
        ({"n": -1}, "must not be negative"),
        ({"noise": 0.3}, "noise goes with a structure"),
        ({"near": HYDROGEN_CYANIDE, "symmetry": "D3h"}, "the structure has C∞v"),
        ({"near": HYDROGEN_CYANIDE, "noise": -0.1}, "noise must be"),
        ({"near": HYDROGEN_CYANIDE, "properties": {"gap": 0.2}}, "around a structure"),
        ({"near": HYDROGEN_CYANIDE, "formula": "CHN"}, "with a symmetry only"),
        ({"near": molecule("SiH4")}, "has Si"),
    ],
)
def test_bad_input_is_answered_before_sampling(flow, asked, said):
    with pytest.raises(geomae.GeomaeError, match=said):
        public("qm9", **asked)
    assert not flow.asked


def test_a_model_without_a_flow_is_told(monkeypatch):
    monkeypatch.setattr("geomae.generation.request.released_models", dict)
    with pytest.raises(geomae.GeomaeError, match="no flow 'qm9-atoms' or 'qm9-flow'"):
        public("qm9", 1)
    with pytest.raises(geomae.GeomaeError, match="there is no model 'qm8'"):
        public("qm8", 1)


def test_without_noise_the_structure_itself_comes_back():
    made = public("qm9", 1, near=HYDROGEN_CYANIDE, noise=0.0)
    assert bool(made.certified[0]) and made.kept[0].formula == "CHN"


def test_more_noise_goes_farther_from_the_structure():
    gaps = []
    for noise in (0.05, 0.3):
        made = public("qm9", 4, near=HYDROGEN_CYANIDE, noise=noise)
        gaps.append(float(made.residuals.mean()))
    assert gaps[0] < gaps[1]


def test_around_a_structure_a_subgroup_of_its_group_is_kept():
    made = public("qm9", 3, near=AMMONIA, noise=0.2, symmetry="Cs", seed=2)
    assert len(made.kept) == 3 and all(contains(group, "Cs") for group in made.groups)
    with pytest.raises(GroupError, match="the structure has C3v"):
        public("qm9", 3, near=AMMONIA, symmetry="C2v")


@pytest.mark.parametrize(
    ("text", "counts"),
    [("C6H6", {"C": 6, "H": 6}), ("CH3OH", {"C": 1, "H": 4, "O": 1}), ("F2", {"F": 2})],
)
def test_formulas_are_read(text, counts):
    assert parse_formula(text) == counts


def test_command_writes_everything_and_goes_on(tmp_path, monkeypatch):
    structure, folder = tmp_path / "hcn.xyz", tmp_path / "out"
    write(structure, HYDROGEN_CYANIDE)
    command = ["generate", "--near", str(structure), "--noise", "0.1", "--seed", "3"]
    command += ["--symmetry", "Cs", "-o", str(folder)]
    made = CliRunner().invoke(app, [*command, "-n", "3"])
    assert made.exit_code == 0, made.output
    names = ("samples.xyz", "latents.safetensors", "metrics.json", "report.html")
    first = {name: (folder / name).read_bytes() for name in names}
    figures = json.loads(first["metrics.json"])
    assert figures["n"] == 3 and figures["symmetry_verified_of_returned"] == 1
    assert len(read(folder / "samples.xyz", ":")) == round(3 * figures["returned"])
    assert len(Latents.load(folder / "latents.safetensors")) == 3
    assert b"sample 0" in first["report.html"]

    calls = []
    whole = Sampler.__call__
    monkeypatch.setattr(Sampler, "__call__", lambda self, *a: calls.append(a) or whole(self, *a))
    again = CliRunner().invoke(app, [*command, "-n", "3"])
    assert again.exit_code == 0 and not calls
    assert (folder / "samples.xyz").read_bytes() == first["samples.xyz"]
    (folder / "parts" / "000000.safetensors").unlink()
    CliRunner().invoke(app, [*command, "-n", "3"])
    assert calls and (folder / "samples.xyz").read_bytes() == first["samples.xyz"]

    command[command.index("0.1")] = "0.2"
    other = CliRunner().invoke(app, [*command, "-n", "3"])
    assert other.exit_code == 2 and "other settings (noise)" in other.output + other.stderr


def test_sampler_refuses_what_is_no_shard(flow):
    sampler = Sampler("qm9", Asked())
    with pytest.raises(geomae.GeomaeError, match="a shard is"):
        sampler(5, 3)
