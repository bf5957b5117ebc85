"""Shards: the same however they came about, and nothing lost or twice."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from geomae.autoencoder import Autoencoder, Latents
from geomae.bulk import Inputs, Part, encode_shards, open_shards
from geomae.bulk.workers import encode_with_workers
from geomae.data import as_structures
from geomae.errors import GeomaeError, StructureError, UnsupportedStructureError

SMALL = {"shard_size": 3, "batch_size": 2}


def content(folder: Path) -> dict[str, object]:
    """What every file of a folder holds, hidden ones too.

    The order of a safetensors file's header is not fixed, so its parts are taken.
    """
    return {path.name: parts(path) for path in sorted(folder.iterdir())}


def parts(path: Path) -> object:
    if path.suffix != ".safetensors":
        return path.read_bytes()
    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
        return file.metadata(), tensors


@pytest.fixture
def whole(given, model, tmp_path) -> Path:
    """What one process makes of the folder without interruption."""
    outcome = encode_shards(given, tmp_path / "whole", model=model, **SMALL)
    assert outcome.complete and outcome.encoded == 12 and outcome.kept == 0
    return tmp_path / "whole"


def test_shards_hold_what_the_model_encodes(given, network, whole):
    shards = open_shards(whole)
    structures = as_structures(given)
    expected = network.encode(structures)
    assert len(shards) == 12 and shards.entries == list(range(12)) and not shards.skipped
    assert torch.allclose(shards.load().array, expected.array, atol=1e-12)
    assert torch.allclose(shards.load().centres, expected.centres, atol=1e-12)
    assert shards.names[:2] == [f"{given}/many.xyz#1", f"{given}/many.xyz#2"]
    assert shards.names[-1] == "one"
    index = json.loads((whole / "index.json").read_text())
    assert index["complete"] and index["structures"] == 12 and len(index["shards"]) == 4


def test_a_shard_is_a_file_of_latents(whole):
    first = Latents.load(whole / "shard-000000.safetensors")
    assert torch.equal(first.array, open_shards(whole)[:3].array)


def test_two_parts_make_what_one_makes(given, model, whole, tmp_path):
    folder = tmp_path / "parts"
    first = encode_shards(given, folder, model=model, part=Part(1, 2), **SMALL)
    assert not first.complete and first.missing == (0, 2)
    with pytest.raises(GeomaeError, match="not finished"):
        open_shards(folder)
    assert len(open_shards(folder, partial=True)) == 6
    second = encode_shards(given, folder, model=model, part=Part(0, 2), **SMALL)
    assert second.complete and first.encoded + second.encoded == 12
    assert content(folder) == content(whole)


@pytest.mark.slow
def test_worker_processes_make_what_one_makes(given, model, whole, tmp_path):
    done: list[int] = []
    outcome = encode_with_workers(
        Inputs(given), tmp_path / "w", workers=2, progress=done.append, model=model, **SMALL
    )
    assert outcome.complete and outcome.encoded == sum(done) == 12
    assert content(tmp_path / "w") == content(whole)


class Killed(BaseException):
    """As from outside: nothing in between catches it."""


@pytest.mark.parametrize("batches", [1, 2, 5])
def test_an_interrupted_encoding_goes_on(given, model, whole, tmp_path, monkeypatch, batches):
    """Killed in the middle of a shard, then the same call again."""
    folder, encode, calls = tmp_path / "again", Autoencoder.tree_of, []

    def dying(self, structures):
        calls.append(len(structures))
        if len(calls) > batches:
            raise Killed
        return encode(self, structures)

    with monkeypatch.context() as patch:
        patch.setattr(Autoencoder, "tree_of", dying)
        with pytest.raises(Killed):
            encode_shards(given, folder, model=model, **SMALL)
    there = len(list(folder.glob("shard-*")))
    assert there == batches // 2
    outcome = encode_shards(given, folder, model=model, **SMALL)
    assert outcome.complete and outcome.kept == 3 * there and outcome.encoded == 12 - 3 * there
    assert content(folder) == content(whole)


@pytest.mark.slow
def test_a_killed_process_leaves_no_half_shard(given, model, whole, tmp_path):
    """Killed by the system while it writes; what it left is written again."""
    folder = tmp_path / "killed"
    script = f"""
        import os, signal
        import safetensors.torch
        from geomae import checkpoint
        from geomae.bulk import encode_shards
        save, written = checkpoint.save_file, []
        def dying(tensors, path, metadata):
            save(tensors, path, metadata)
            written.append(path)
            if len(written) == 2:
                with open(path, "r+b") as file:
                    file.truncate(100)
                os.kill(os.getpid(), signal.SIGKILL)
        checkpoint.save_file = dying
        encode_shards({str(given)!r}, {str(folder)!r}, model={str(model)!r}, **{SMALL!r})
    """
    status = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False).returncode
    assert status == -9
    assert [p.name for p in folder.glob("shard-*")] == ["shard-000000.safetensors"]
    assert len(list(folder.glob(".shard-*.tmp"))) == 1
    assert encode_shards(given, folder, model=model, **SMALL).complete
    assert content(folder) == content(whole)


def test_a_damaged_shard_is_made_again(given, model, whole):
    before = content(whole)
    (whole / "shard-000001.safetensors").write_bytes(b"nothing")
    outcome = encode_shards(given, whole, model=model, **SMALL)
    assert outcome.encoded == 3 and outcome.kept == 9
    assert content(whole) == before


def test_other_work_does_not_go_into_a_begun_folder(given, model, whole):
    with pytest.raises(GeomaeError, match="begun with other batch size"):
        encode_shards(given, whole, model=model, shard_size=3, batch_size=3)
    with pytest.raises(GeomaeError, match="begun with other weights"):
        encode_shards(given, whole, model="qm9", **SMALL)
    with open(given / "one.xyz", "a") as file:
        file.write("1\n\nH 0 0 0\n")
    with pytest.raises(GeomaeError, match="begun with other inputs"):
        encode_shards(given, whole, model=model, **SMALL)


def test_what_can_not_be_used_is_named_or_noted(given, model, tmp_path):
    text = (given / "many.xyz").read_text().splitlines()
    place = next(k for k, line in enumerate(text) if line.startswith("N "))
    text[place] = text[place].replace("N ", "Qq")
    (given / "many.xyz").write_text("\n".join(text) + "\n1\n\nSi 0 0 0\n")
    with pytest.raises(StructureError, match=rf"structure 2 .*many\.xyz:{place + 1}\).*'Qq'"):
        encode_shards(given, tmp_path / "bad", model=model, **SMALL)
    outcome = encode_shards(given, tmp_path / "bad", model=model, on_error="skip", **SMALL)
    assert [(entry, fault[:6]) for entry, _, fault in outcome.skipped] == [
        (2, "expect"),
        (11, "has Si"),
    ]
    shards = open_shards(tmp_path / "bad")
    assert len(shards) == 11 and shards.entries == [0, 1, *range(3, 11), 12]
    assert [item[0] for item in shards.skipped] == [2, 11]
    with pytest.raises(UnsupportedStructureError, match="structure 11"):
        encode_shards(given, tmp_path / "si", model=model, shard_size=1, part=Part(11, 13))


def test_structures_in_memory(given, network, whole, tmp_path):
    encode_shards(as_structures(given), tmp_path / "list", model=network, **SMALL)
    shards = open_shards(tmp_path / "list")
    assert torch.equal(shards.load().array, open_shards(whole).load().array)
    assert shards.names[0] == "many-1"


def test_nothing_to_encode_is_an_error(model, tmp_path):
    with pytest.raises(GeomaeError, match="no structure to encode"):
        encode_shards([], tmp_path / "none", model=model)
    with pytest.raises(GeomaeError, match=r"no data source, folder or file 'gone\.xyz'"):
        encode_shards("gone.xyz", tmp_path / "none", model=model)
    with pytest.raises(GeomaeError, match="safetensors or parquet, not 'csv'"):
        encode_shards("tetris", tmp_path / "none", model=model, form="csv")
    with pytest.raises(GeomaeError, match="at least 1, not 0 and 256"):
        encode_shards("tetris", tmp_path / "none", model=model, shard_size=0)


def test_sources_are_split(model, tmp_path):
    outcome = encode_shards(
        Inputs("g2", n=20), tmp_path / "g2", model=model, on_error="skip", shard_size=8
    )
    shards = open_shards(tmp_path / "g2")
    assert len(shards) + len(outcome.skipped) == 20 and len(shards.files) == 3


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Part(0, 1)),
        ({"RANK": "2", "WORLD_SIZE": "4"}, Part(2, 4)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "3"}, Part(1, 3)),
        ({"RANK": "0", "WORLD_SIZE": "2", "SLURM_PROCID": "1", "SLURM_NTASKS": "3"}, Part(0, 2)),
        ({"SLURM_NTASKS": "3"}, Part(0, 1)),
    ],
)
def test_parts_come_from_the_environment(monkeypatch, variables, expected):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Part.from_environment() == expected


def test_parts_of_parts_are_all_the_work():
    parts = [own for index in range(3) for own in Part(index, 3).split(2)]
    assert all(sum(part.has(number) for part in parts) == 1 for number in range(20))
    for text in ("4/4", "-1/2", "1", "a/b", "0/0"):
        with pytest.raises(GeomaeError, match="i/n with 0 <= i < n"):
            Part.parse(text)
