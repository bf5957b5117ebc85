"""The commands, as a user calls them."""

import json
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import read, write
from typer.testing import CliRunner

from geomae.autoencoder import Latents
from geomae.cli import app

FIGURES = {"n", "n_failed", "composition_accuracy", "reconstructed", "exact", "rmsd", "max_error"}


@pytest.fixture
def run():
    def call(*arguments: object, status: int = 0) -> str:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == status, result.output + str(result.exception)
        return result.output

    return call


@pytest.fixture
def folder(tmp_path) -> Path:
    """Good molecules, and files that no one can use."""
    place = tmp_path / "given"
    place.mkdir()
    write(place / "ethanol.xyz", molecule("CH3CH2OH"))
    write(place / "benzene.xyz", molecule("C6H6"))
    (place / "broken.xyz").write_text("9\nnothing here\nC 0 0 0\n")
    write(place / "silane.xyz", molecule("SiH4"))
    return place


def test_every_command_has_an_example(run):
    for command in (
        "reconstruct",
        "encode",
        "decode",
        "evaluate",
        "train",
        "models",
        "data",
        "invert",
        "symmetry",
        "demo",
    ):
        assert f"Example: geomae {command}" in " ".join(run(command, "--help").split())


def test_encode_then_decode_gives_the_molecules_back(run, folder, tmp_path):
    latents, decoded = tmp_path / "z.safetensors", tmp_path / "out.xyz"
    run("encode", folder / "ethanol.xyz", folder / "benzene.xyz", "-o", latents)
    assert len(Latents.load(latents)) == 2
    (folder / "ethanol.xyz").unlink()
    run("decode", latents, "-o", decoded)
    frames = read(decoded, ":")
    assert [f.get_chemical_formula() for f in frames] == ["C2H6O", "C6H6"]
    assert all(frame.info["certified"] for frame in frames)


def test_reconstruct_shows_the_good_and_names_the_bad(run, folder, tmp_path):
    out = tmp_path / "out"
    text = run("reconstruct", folder, "-o", out)
    metrics = json.loads((out / "metrics.json").read_text())
    # the terminal breaks lines where it must
    printed = "".join(text.split())
    for line, words in zip(metrics["skipped"], ("broken.xyz", "silane.xyz"), strict=True):
        assert words in line and "".join(line.split()) in printed
    assert "truncated" in metrics["skipped"][0] and "has Si" in metrics["skipped"][1]
    assert metrics.keys() >= FIGURES
    assert metrics["n"] == 2 and metrics["n_failed"] == 0 and metrics["n_skipped"] == 2
    assert metrics["rmsd"] < 1e-6
    assert {p.name for p in out.iterdir()} == {"decoded.xyz", "metrics.json", "report.html"}
    page = (out / "report.html").read_text()
    assert "benzene" in page and "ethanol" in page


def test_one_bad_file_stops_everything_if_asked(run, folder, tmp_path):
    run("reconstruct", folder, "-o", tmp_path / "out", "--on-error", "raise", status=2)
    assert not (tmp_path / "out").exists()
    run("encode", folder, "-o", tmp_path / "z.safetensors", status=2)
    assert not (tmp_path / "z.safetensors").exists()


def test_evaluate_writes_its_figures(run, tmp_path):
    figures = tmp_path / "figures.json"
    run("evaluate", "--source", "g2", "--split", "all", "-n", "6", "--json", figures)
    content = json.loads(figures.read_text())
    assert content.keys() >= FIGURES | {"failures", "seconds_per_structure"}
    assert content["n"] == 6


def test_models_and_sources_are_listed(run):
    assert "qm9" in run("models")
    assert "aflow" in run("data")
    assert "zigzag" in run("data", "tetris")


def test_what_does_not_exist_is_told_in_a_line(run, tmp_path, capsys):
    run("encode", tmp_path / "none.xyz", status=2)
    run("encode", tmp_path, "--model", "qm8", status=2)
    run("data", "qm99", status=2)
    run("decode", tmp_path / "none.safetensors", status=2)
    run("train", tmp_path / "none.yaml", status=2)
