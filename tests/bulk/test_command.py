"""`geomae encode` into folders of shards."""

import json

import pytest
import torch
from typer.testing import CliRunner

from geomae.autoencoder import Latents
from geomae.bulk import open_shards
from geomae.cli import app


@pytest.fixture
def run():
    def call(*arguments: object, status: int = 0) -> str:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == status, result.output + str(result.exception)
        return " ".join(result.output.split())

    return call


def test_a_name_without_ending_is_a_folder_of_shards(run, given, model, tmp_path):
    options = ("-m", model, "--shard-size", 4)
    text = run("encode", given, "-o", tmp_path / "z", *options, "--shard", "0/2")
    assert "8 latents encoded" in text and "not complete yet: 1 shards" in text
    text = run("encode", given, "-o", tmp_path / "z", *options)
    assert "4 latents encoded" in text and "8 were there" in text and "not complete" not in text
    assert len(open_shards(tmp_path / "z")) == 12
    run("encode", given, "-o", tmp_path / "z.safetensors", "-m", model)
    # batches of other sizes: equal up to rounding
    whole = Latents.load(tmp_path / "z.safetensors").array
    assert torch.allclose(open_shards(tmp_path / "z").load().array, whole, atol=1e-12)


def test_what_was_left_out_is_told(run, given, model, tmp_path):
    (given / "silane.xyz").write_text("1\n\nSi 0 0 0\n")
    run("encode", given, "-o", tmp_path / "z", "-m", model, status=2)
    text = run("encode", given, "-o", tmp_path / "z", "-m", model, "--on-error", "skip")
    assert "1 skipped" in text and "has Si" in text
    index = json.loads((tmp_path / "z" / "index.json").read_text())
    assert index["structures"] == 12 and index["skipped"] == 1 and index["entries"] == 13


def test_ranks_share_the_work(run, given, model, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in (1, 0):
        monkeypatch.setenv("RANK", str(rank))
        run("encode", given, "-o", tmp_path / "z", "-m", model, "--shard-size", 3)
    assert len(open_shards(tmp_path / "z")) == 12


def test_options_of_shards_need_a_folder(run, given, model, tmp_path):
    file = tmp_path / "z.safetensors"
    for option in (("-n", 3), ("--shard", "0/2"), ("--format", "parquet"), ("--workers", 2)):
        run("encode", given, "-o", file, "-m", model, *option, status=2)
    run("encode", given, "-o", tmp_path / "z", "-m", model, "--shard", "2/2", status=2)
    run("encode", tmp_path / "gone", "-o", tmp_path / "z", "-m", model, status=2)
    assert not file.exists() and not (tmp_path / "z").exists()
