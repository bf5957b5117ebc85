"""The commands on crystals, as a user calls them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read, write
from typer.testing import CliRunner

from geomae.autoencoder import Codec, Latents, home_source, load
from geomae.cli import app
from geomae.crystals.model import CrystalAutoencoder
from geomae.crystals.reader import Reader
from geomae.data import as_structures
from geomae.metrics.crystals import lay_over

WEIGHTS = Path(__file__).parents[2] / "models" / "perov5" / "weights.safetensors"
SITES = [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]

pytestmark = pytest.mark.skipif(not WEIGHTS.exists(), reason="weights are not here")


@pytest.fixture
def run():
    def call(*arguments: object, status: int = 0) -> str:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == status, result.output + str(result.exception)
        return result.output + result.stderr

    return call


def perovskite(symbols: str, constant: float) -> Atoms:
    return Atoms(symbols, scaled_positions=SITES, cell=constant * np.eye(3), pbc=True)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two perovskites, one of them as a supercell, and what no model of perovskites takes."""
    place = tmp_path / "given"
    place.mkdir()
    write(place / "a.cif", perovskite("CaTiO3", 3.9))
    write(place / "b.cif", perovskite("BaTiO3", 4.01).repeat((1, 1, 2)))
    (place / "broken.cif").write_text("data_x\n_cell_length_a 1\n")
    write(place / "large.cif", Atoms("C8", scaled_positions=LARGE, cell=[6, 7, 8], pbc=True))
    write(place / "water.xyz", molecule("H2O"))
    return place


LARGE = np.random.default_rng(0).permutation(np.stack(np.unravel_index(range(8), (2, 2, 2)), 1))
LARGE = 0.5 * LARGE + np.random.default_rng(1).uniform(0, 0.1, (8, 3))


def test_load_reads_what_kind_a_model_is():
    model = load("perov5")
    assert isinstance(model, CrystalAutoencoder) and isinstance(model, Codec)
    assert isinstance(load("qm9"), Codec)
    assert home_source("perov5") == "perov5" and home_source("qm9") == "qm9"
    assert home_source(WEIGHTS) == "perov5"


def test_a_model_elsewhere_has_no_source_of_its_own(run, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(WEIGHTS.read_bytes())
    assert home_source(path) is None
    assert "--source" in run("evaluate", "--model", path, status=2)


def test_encode_then_decode_gives_the_crystals_back(run, folder, tmp_path):
    latents, decoded = tmp_path / "z.safetensors", tmp_path / "out.xyz"
    given = [folder / "a.cif", folder / "b.cif"]
    run("encode", *given, "--model", "perov5", "-o", latents)
    assert len(Latents.load(latents)) == 2
    run("decode", latents, "--model", "perov5", "-o", decoded)
    frames = read(decoded, ":")
    assert [f.get_chemical_formula() for f in frames] == ["CaO3Ti", "BaO3Ti"]
    assert all(frame.info["certified"] and frame.pbc.all() for frame in frames)
    assert [frame.info["latent"] for frame in frames] == [0, 1]
    for before, after in zip(as_structures(given), as_structures(frames), strict=True):
        overlay = lay_over(before, after)
        assert overlay.max_error < 1e-5 and overlay.strain < 1e-6


def test_reconstruct_shows_the_good_and_names_the_bad(run, folder, tmp_path):
    out = tmp_path / "out"
    run("reconstruct", folder, "--model", "perov5", "-o", out)
    assert {p.name for p in out.iterdir()} == {"decoded.xyz", "metrics.json", "report.html"}
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["n_skipped"] == 3 and metrics["match (default)"] == 1
    assert metrics["space group kept at 0.01"] == 1 and metrics["certified"] == 1
    skipped = "\n".join(metrics["skipped"])
    assert "broken.cif" in skipped and "has C;" in skipped and "such as 'qm9'" in skipped
    assert "crystal" in (out / "report.html").read_text()
    assert len(read(out / "decoded.xyz", ":")) == 2


def test_what_was_not_drawn_is_named(run, folder, tmp_path, monkeypatch):
    # tables are as wide as the terminal
    monkeypatch.setenv("COLUMNS", "200")
    latents, decoded = tmp_path / "z.safetensors", tmp_path / "out.xyz"
    run("encode", folder / "a.cif", folder / "b.cif", "--model", "perov5", "-o", latents)
    whole = Reader.read
    monkeypatch.setattr(Reader, "read", lambda *args: [None, *whole(*args)[1:]])
    text = run("decode", latents, "--model", "perov5", "-o", decoded, "--no-refine")
    assert "nothing could be drawn of latent 0" in text
    (frame,) = read(decoded, ":")
    assert frame.info["latent"] == 1
    text = run("reconstruct", folder / "a.cif", "--model", "perov5", "-o", tmp_path / "out")
    assert "nothingdrawn" in "".join(text.split())
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["n"] == 1 and metrics["match (usual)"] == 0 and metrics["rmsd"] is None


def test_evaluate_a_folder(run, folder, tmp_path):
    for name in ("broken.cif", "water.xyz"):
        (folder / name).unlink()
    (folder.parent / "data" / "test").mkdir(parents=True)
    place = folder.rename(folder.parent / "data" / "test")
    figures, page = tmp_path / "figures.json", tmp_path / "wrong.html"
    text = run(
        "evaluate", "--model", "perov5", "--source", place.parent, "--no-refine",
        "--json", figures, "--failures", page,
    )  # fmt: skip
    content = json.loads(figures.read_text())
    assert content["n"] == 3 and content["n_refused"] == 1 and content["refined"] is False
    for protocol in ("usual", "default", "usual, unreduced", "default, unreduced"):
        assert content[f"match ({protocol})"] == pytest.approx(2 / 3)
    assert content["n_certified_wrong"] == 0 and content["certified"] <= 2 / 3
    assert [failure["status"] for failure in content["failures"]] == ["refused"]
    assert "66.667 %" in text and page.exists()


def test_each_model_names_the_other(run, folder, tmp_path):
    out = tmp_path / "z.safetensors"
    text = run("encode", folder / "a.cif", "-o", out, status=2)
    assert "is periodic" in text and "'perov5'" in text
    text = run("encode", folder / "water.xyz", "--model", "perov5", "-o", out, status=2)
    assert "is finite" in text and "'qm9'" in text
    write(tmp_path / "slab.xyz", Atoms("Au", cell=[3, 3, 9], pbc=(True, True, False)))
    text = run("encode", tmp_path / "slab.xyz", "--model", "perov5", "-o", out, status=2)
    assert "is a slab" in text


def test_models_are_listed(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    text = run("models")
    assert "perov5" in text and "crystals" in text and "1 to 5" in text and "49 x 32" in text


def test_train(run, tmp_path, monkeypatch):
    """Two steps on a small folder of files, then the weights are loaded again."""
    monkeypatch.setenv("GEOMAE_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "salts.xyz", [bulk("NaCl", "rocksalt", a=a) for a in (5.4, 5.6, 5.8)])
    config = yaml.safe_load((WEIGHTS.parent / "config.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    config["data"] = {"sources": ["salts.xyz"], "test": "none"}
    config["model"] |= {"elements": [11, 17], "max_atoms": 2}
    config["training"] |= {"steps": 2, "batch_size": 2, "log_every": 1}
    path, released = tmp_path / "config.yaml", tmp_path / "weights.safetensors"
    path.write_text(yaml.safe_dump(config))
    text = run("train", path, "-o", tmp_path / "run", "--release", released)
    assert "step 2 of 2" in text
    model = load(released)
    assert model.elements == (11, 17) and model.config.kind == "crystals"
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    config["model"]["kind"] = "crystal"
    path.write_text(yaml.safe_dump(config))
    assert "kind" in run("train", path, "-o", tmp_path / "other", status=2)


def test_symmetrised_on_request_and_said(run, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "out"
    off = perovskite("BaTiO3", 4.01)
    off.positions[1, 2] += 0.03
    write(tmp_path / "off.cif", off)
    text = run("reconstruct", tmp_path / "off.cif", "--model", "perov5", "-o", out)
    assert "Wyckoff" not in text
    text = run(
        "reconstruct", tmp_path / "off.cif", "--model", "perov5", "--symmetrise", 0.1, "-o", out
    )
    assert (
        "P m -3 m (221)" in text and "Wyckoff position" in text and "atoms moved by up to" in text
    )
    (frame,) = read(out / "decoded.xyz", ":")
    assert frame.info["space_group"] == 221 and 0.01 < frame.info["moved"] < 0.05
    latents = tmp_path / "z.safetensors"
    run("encode", tmp_path / "off.cif", "--model", "perov5", "-o", latents)
    text = run(
        "decode", latents, "--model", "perov5", "--symmetrise", 1e-3, "-o", tmp_path / "d.xyz"
    )
    assert "P 4 m m (99)" in text
    run("reconstruct", folder / "water.xyz", "--symmetrise", 0.1, "-o", out, status=2)


def test_a_folder_with_bad_files_loses_none_of_the_good_ones(run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    folder, out = tmp_path / "given", tmp_path / "out"
    folder.mkdir()
    good = perovskite("CaTiO3", 3.9)
    write(folder / "good.cif", good)
    write(folder / "left.vasp", Atoms(good, cell=good.cell[[1, 0, 2]]), format="vasp")
    text = (folder / "good.cif").read_text()
    (folder / "partial.cif").write_text(text.replace("1.0000", "0.5000"))
    (folder / "unknown.cif").write_text(text.replace("Ca", "Xx"))
    write(folder / "overlap.cif", Atoms("CaO", [[0, 0, 0], [0, 0, 0.05]], cell=[4] * 3, pbc=True))
    write(folder / "uranium.cif", perovskite("UTiO3", 4.1))
    slab = perovskite("CaTiO3", 3.9)
    slab.pbc = [True, True, False]
    write(folder / "slab.extxyz", slab)
    text = run("reconstruct", folder, "--model", "perov5", "-o", out)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["n"] == 2 and metrics["match (default)"] == 1
    words = {"partial": "disordered", "unknown": "not an element", "overlap": "closer than",
             "uranium": "has U;", "slab": "is a slab"}  # fmt: skip
    assert metrics["n_skipped"] == len(words)
    for name, word in words.items():
        assert any(name in line and word in line for line in metrics["skipped"]), name
    run(
        "encode",
        folder,
        "--model",
        "perov5",
        "--on-error",
        "skip",
        "-o",
        tmp_path / "z.safetensors",
    )
    assert len(Latents.load(tmp_path / "z.safetensors")) == 2
    text = run("encode", folder, "--model", "perov5", "-o", tmp_path / "z.safetensors", status=2)
    assert "overlap.cif" in text
