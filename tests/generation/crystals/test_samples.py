"""Crystals by `geomae.generate` and its command: groups, formulas, and what is refused."""

import json

import numpy as np
import pytest
import torch
from ase.io import read
from typer.testing import CliRunner

import geomae
from geomae.cli import app
from geomae.crystals.symmetry import space_group
from geomae.errors import GeomaeError
from geomae.generation.crystals.request import read_space_group
from geomae.generation.generate import Sampler, generate
from geomae.generation.request import Asked
from geomae.symmetry import GroupError

SHARD = 4
"""Samples made together in these tests."""


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    for module in ("generate", "latent_samples", "folder", "crystals.samples"):
        monkeypatch.setattr(f"geomae.generation.{module}.SHARD", SHARD)


@pytest.fixture(scope="module")
def path(flow, tmp_path_factory):
    path = tmp_path_factory.mktemp("flow") / "flow.safetensors"
    flow.save(path)
    return str(path)


def same(one, other) -> bool:
    return one is other or (
        one.formula == other.formula
        and torch.equal(one.positions, other.positions)
        and torch.equal(one.cell, other.cell)
    )


def test_samples_depend_on_seed_and_number_alone(path):
    six = generate(path, 6, seed=3, steps=2)
    two = Sampler(path, Asked(), seed=3, steps=2)(4, 2)
    assert all(same(a, b) for a, b in zip(six.structures[4:], two.structures, strict=True))
    assert torch.equal(six.latents.array[4:], two.latents.array)
    other = generate(path, 6, seed=4, steps=2)
    assert not all(same(a, b) for a, b in zip(six.structures, other.structures, strict=True))


@pytest.mark.parametrize("symmetry", ["Fm-3m", "99", "P42/mnm"])
def test_the_group_asked_for_is_had(path, symmetry):
    group = read_space_group(symmetry)
    made = generate(path, 4, symmetry=symmetry, seed=1, steps=3)
    assert made.kept
    for structure in made.kept:
        assert structure.space_group == group.name
        assert space_group(structure, 0.01) == group.number


@pytest.mark.parametrize(
    "asked", [{"symmetry": "Ia-3d"}, {"symmetry": "P2_1/c", "formula": "NaCl7"}, {"n_atoms": 13}]
)
def test_skeletons_that_the_data_lacks_are_made(path, asked):
    made = generate(path, 6, **asked, seed=1, steps=2)
    assert made.kept
    for structure in made.kept:
        counts = np.bincount(structure.numbers.numpy(), minlength=18)
        if "n_atoms" in asked:
            assert structure.n_atoms == 13
        if "formula" in asked:
            assert counts[17] == 7 * counts[11] == 7 * structure.n_atoms / 8
        if "symmetry" in asked:
            assert structure.space_group == asked["symmetry"].replace("_", "")
    two = Sampler(path, Asked(**asked), seed=1, steps=2)(4, 2)
    assert all(same(a, b) for a, b in zip(made.structures[4:], two.structures, strict=True))


def test_samples_are_encoded(path):
    made = generate(path, 2, symmetry="225", seed=1, steps=2)
    model = geomae.load("crystals")
    for row, structure in enumerate(made.structures):
        again = model.encode([structure])
        torch.testing.assert_close(again.array[0], made.latents.array[row], atol=1e-4, rtol=1e-4)
        assert float(again.centres.abs().max()) < 1e-6
    assert bool(made.certified.all()) and float(made.residuals.abs().max()) == 0


def test_a_formula_is_kept(path):
    made = generate(path, 4, formula="SrTiO3", seed=1, steps=2)
    for structure in made.kept:
        units, rest = divmod(structure.n_atoms, 5)
        assert not rest
        counts = np.bincount(structure.numbers.numpy(), minlength=40)
        assert counts[38] == counts[22] == units and counts[8] == 3 * units


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"symmetry": "Fm3"}, GroupError, "did you mean 'Fm-3'"),
        ({"symmetry": "231"}, GroupError, "1 to 230"),
        ({"symmetry": "230", "n_atoms": 19}, GroupError, "19 atoms a primitive cell and Ia-3d"),
        ({"symmetry": "Pnma", "formula": "Na7Cl5"}, GroupError, "exclude each other"),
        ({"formula": "UO2"}, GeomaeError, "has U; the model knows"),
        ({"formula": "Na30"}, GeomaeError, "30 atoms"),
        ({"formula": "Xx"}, GeomaeError, "no element"),
        ({"n_atoms": 21}, GeomaeError, "21 atoms"),
        ({"n_atoms": 7, "formula": "NaCl"}, GeomaeError, "no whole number of formula units"),
        ({"properties": {"gap": 1.0}}, GeomaeError, "not trained on any property"),
        ({"fragment": "x.xyz"}, GeomaeError, "models of molecules"),
    ],
)
def test_what_can_not_be_had_is_refused(path, asked, error, words):
    with pytest.raises(error, match=words):
        generate(path, 1, **asked)


@pytest.mark.parametrize("text", ["Fm-3m", "F m -3 m", "225", "fm-3m"])
def test_groups_are_read(text):
    assert read_space_group(text).number == 225


def test_the_command_writes_crystals_and_goes_on(path, tmp_path):
    run = CliRunner().invoke
    arguments = ["generate", "--model", path, "--symmetry", "225", "--steps", "2", "--seed", "1"]
    first = run(app, [*arguments, "-n", "3", "-o", str(tmp_path)])
    assert first.exit_code == 0, first.output
    again = run(app, [*arguments, "-n", "5", "-o", str(tmp_path)])
    assert again.exit_code == 0, again.output
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["n"] == 5
    assert figures["symmetry_verified_of_returned"] == 1
    atoms = read(tmp_path / "samples.xyz", ":")
    whole = generate(path, 5, symmetry="225", seed=1, steps=2)
    assert len(atoms) == len(whole.kept)
    for own, structure in zip(atoms, whole.kept, strict=True):
        assert own.pbc.all()
        np.testing.assert_allclose(own.cell[:], structure.cell[0].numpy(), atol=1e-6)
    assert "Fm-3m" in (tmp_path / "report.html").read_text()
