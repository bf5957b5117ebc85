"""Training data of autoencoders of molecules."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from geomae.data.sources.organic import FILE, FORMAT
from geomae.errors import GeomaeError
from geomae.training.config import RunConfig, read_config
from geomae.training.molecules import displaced, training_data

CONFIG = Path(__file__).parents[2] / "models" / "organic" / "config.yaml"


def test_displacements_are_as_large_as_said_and_of_the_seed():
    positions = torch.zeros(4000, 3, dtype=torch.float64)
    offsets = torch.arange(0, 4001, 400)
    moved = displaced(positions, offsets, 0.3, seed=1)
    lengths = moved.square().sum(1).unflatten(0, (10, 400)).mean(1).sqrt()
    assert float(lengths.max()) < 0.32 and float(lengths.std()) > 0.03
    assert torch.equal(moved, displaced(positions, offsets, 0.3, seed=1))
    assert not torch.equal(moved, displaced(positions, offsets, 0.3, seed=2))


def test_organic_trains_on_every_structure_and_its_displaced_copy(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMAE_CACHE", str(tmp_path))
    chain = torch.arange(5)[:, None] * torch.tensor([[1.3, 0.6, 0.0]])
    columns = {
        "numbers": torch.tensor([6, 8, 1, 6, 7, 6, 17, 1], dtype=torch.uint8),
        "positions": torch.cat([chain[:3], chain]),
        "sizes": torch.tensor([3, 5], dtype=torch.int32),
        "conformer": torch.zeros(2, dtype=torch.uint8),
        "mmff": torch.ones(2, dtype=torch.uint8),
        "split": torch.zeros(2, dtype=torch.uint8),
        "smiles": torch.tensor(list(b"CO\nCNCCl"), dtype=torch.uint8),
    }
    save_file(columns, tmp_path / FILE, metadata={"format": FORMAT})
    config = read_config(CONFIG)
    assert isinstance(config, RunConfig)
    training = config.training.model_copy(update={"batch_size": 4})
    batch = training_data(config.model_copy(update={"training": training}))(0)
    assert sorted(torch.bincount(batch.batch[0]).tolist()) == [3, 3, 5, 5]
    assert set(batch.numbers.tolist()) == {1, 6, 7, 8, 17}


def test_other_sources_are_refused():
    config = read_config(CONFIG)
    assert isinstance(config, RunConfig)
    data = config.data.model_copy(update={"source": "g2"})
    with pytest.raises(GeomaeError, match="can train on: qm9, organic; not on 'g2'"):
        training_data(config.model_copy(update={"data": data}))
