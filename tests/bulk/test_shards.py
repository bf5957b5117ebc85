"""Reading shards by number."""

import json
import pickle
import sys

import numpy as np
import pytest
import torch

from geomae.autoencoder import Latents
from geomae.bulk import RayEncoder, encode_shards, open_shards
from geomae.data import as_structures
from geomae.errors import CheckpointError, GeomaeError, MissingExtraError

FORMS = ("safetensors", "parquet")


@pytest.fixture(params=FORMS)
def folder(request, given, model, tmp_path):
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    place = tmp_path / request.param
    encode_shards(given, place, model=model, shard_size=5, batch_size=5, form=request.param)
    return place


def equal(ours: Latents, theirs: Latents) -> bool:
    return torch.equal(ours.array, theirs.array) and torch.equal(ours.centres, theirs.centres)


def test_any_rows(folder):
    shards = open_shards(folder)
    whole = shards.load()
    assert len(whole) == len(shards) == 12 and whole.lmax == shards.lmax
    for index in (0, 7, -1, slice(3, 8), slice(None), slice(10, 2), slice(11, 0, -3)):
        rows = whole[list(range(12))[index]] if isinstance(index, slice) else whole[index]
        assert equal(shards[index], rows)
    picked = [11, 0, 7, 7, -5]
    assert equal(shards[picked], whole[torch.tensor(picked)])
    assert equal(shards[torch.tensor([2])], whole[2])
    assert equal(Latents.join(list(shards)), whole)
    assert [len(batch) for batch in shards.batches(2)] == [2, 2, 1, 2, 2, 1, 2]
    with pytest.raises(IndexError, match="12 latents, no number 12"):
        shards[12]
    assert equal(pickle.loads(pickle.dumps(shards))[4], whole[4])
    assert "12 of" in repr(shards)


def test_forms_hold_the_same(given, model, tmp_path):
    pytest.importorskip("pyarrow")
    for form in FORMS:
        encode_shards(given, tmp_path / form, model=model, shard_size=5, form=form)
    ours, theirs = (open_shards(tmp_path / form) for form in FORMS)
    assert equal(ours.load(), theirs.load())
    assert ours.names == theirs.names and ours.entries == theirs.entries


def test_shards_without_any_structure(model, tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "bad.xyz").write_text("1\n\nSi 0 0 0\n" * 3 + "3\n\nO 0 0 0\nH 0 0 1\nH 0 1 0\n")
    for form in FORMS:
        options = {"shard_size": 2, "on_error": "skip", "form": form}
        encode_shards(tmp_path / "bad.xyz", tmp_path / form, model=model, **options)
        shards = open_shards(tmp_path / form)
        assert len(shards) == 1 and len(shards.skipped) == 3 and len(shards.load()) == 1
        assert len(shards[0:0]) == 0


def test_parquet_is_readable_by_others(given, model, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    encode_shards(given, tmp_path / "p", model=model, form="parquet")
    table = parquet.read_table(tmp_path / "p" / "shard-000000.parquet")
    assert table.column_names == ["entry", "name", "centre", "latent"]
    first = np.array(table["latent"][0].as_py())
    assert np.array_equal(first, open_shards(tmp_path / "p")[0].array.flatten().numpy())


def test_what_is_no_folder_of_shards_is_told(folder, tmp_path):
    with pytest.raises(GeomaeError, match="holds no shards"):
        open_shards(tmp_path)
    file = sorted(folder.glob("shard-*"))[0]
    file.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="not a readable shard"):
        open_shards(folder)
    file.unlink()
    with pytest.raises(GeomaeError, match="not finished"):
        open_shards(folder)
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(plan | {"shard_size": 4}))
    with pytest.raises(GeomaeError, match="another encoding"):
        open_shards(folder, partial=True)
    (folder / "plan.json").write_text(json.dumps(plan | {"format_version": 99}))
    with pytest.raises(GeomaeError, match="format version 99"):
        open_shards(folder)


def test_without_pyarrow_the_extra_is_named(monkeypatch, given, model, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"geomae\[parquet\]"):
        encode_shards(given, tmp_path / "p", model=model, form="parquet")
    assert not (tmp_path / "p").exists()


def test_batches_of_columns(given, network):
    structures = as_structures(given)[:4]
    columns = {
        "numbers": np.array([s.numbers.numpy() for s in structures], dtype=object),
        "positions": np.array([s.positions.numpy() for s in structures], dtype=object),
        "name": np.array([s.name for s in structures]),
    }
    batch = RayEncoder(network)(columns)
    expected = network.encode(structures)
    assert np.array_equal(batch["latent"], expected.array.flatten(1).numpy())
    assert np.array_equal(batch["centre"], expected.centres.numpy())
    assert list(batch["name"]) == [s.name for s in structures]
    flat = [s.positions.flatten().tolist() for s in structures]
    again = RayEncoder(network)({**columns, "positions": flat})
    assert np.array_equal(again["latent"], batch["latent"])
    with pytest.raises(GeomaeError, match="positions"):
        RayEncoder(network)({"numbers": columns["numbers"]})


@pytest.mark.slow
def test_ray_data(given, model, network):
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    structures = as_structures(given)
    rows = [
        {"entry": k, "numbers": s.numbers.tolist(), "positions": s.positions.tolist()}
        for k, s in enumerate(structures)
    ]
    ray.init(num_cpus=1, include_dashboard=False, ignore_reinit_error=True)
    try:
        data = ray.data.from_items(rows).map_batches(
            RayEncoder, fn_constructor_args=(str(model),), concurrency=1, batch_size=4
        )
        found = sorted(data.take_all(), key=lambda row: row["entry"])
    finally:
        ray.shutdown()
    expected = network.encode(structures).array.flatten(1).numpy()
    assert np.allclose([row["latent"] for row in found], expected, atol=1e-12)
