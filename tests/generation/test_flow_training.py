"""What a flow is trained on, and its configuration."""

from pathlib import Path

import pytest
import torch
from ase.build import molecule

from geomae.errors import GeomaeError
from geomae.generation.config import FlowRun
from geomae.generation.inventory import compositions_of, inventories
from geomae.generation.training import ShuffledLatents, check_fit
from geomae.training.config import read_config
from tests.generation.test_flow import latent_set

CONFIG = Path(__file__).parents[2] / "models/qm9-flow/config.yaml"


def test_inventories_count_heavy_atoms_with_their_hydrogens_and_neighbours():
    parts = [molecule(name) for name in ("CH3CH2OH", "CH4", "C6H6")]
    sizes = torch.tensor([0, *map(len, parts)])
    kinds, table = inventories(
        torch.cat([torch.from_numpy(part.numbers) for part in parts]),
        torch.cat([torch.from_numpy(part.positions) for part in parts]),
        torch.cumsum(sizes, 0),
        torch.tensor([2, 0, 1]),
    )
    told = [
        {tuple(kinds[k].tolist()): int(row[k]) for k in torch.nonzero(row)[:, 0]} for row in table
    ]
    assert told == [{(6, 1, 2): 6}, {(6, 3, 1): 1, (6, 2, 2): 1, (8, 1, 1): 1}, {(6, 4, 0): 1}]
    formulas = compositions_of(kinds, table, (1, 6, 8))
    assert formulas.tolist() == [[6, 6, 0], [6, 2, 1], [4, 1, 0]]


def test_batches_depend_on_the_seed_and_the_step():
    data = latent_set(50)
    batches, again = ShuffledLatents(data, 16, 0), ShuffledLatents(data, 16, 0)
    later = again(4)
    assert torch.equal(batches(4).latents, later.latents)
    assert not torch.equal(batches(5).latents, later.latents)
    with pytest.raises(GeomaeError, match="one batch"):
        ShuffledLatents(data, 51, 0)


def test_the_released_configuration_fits_its_autoencoder():
    run = read_config(CONFIG)
    assert isinstance(run, FlowRun)
    check_fit(run.model)
    with pytest.raises(GeomaeError, match="max_atoms 28"):
        check_fit(run.model.model_copy(update={"max_atoms": 28}))


def test_a_misspelt_key_is_named(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.read_text().replace("whitening:", "whitenin:"))
    with pytest.raises(GeomaeError, match="did you mean 'whitening'"):
        read_config(path)
