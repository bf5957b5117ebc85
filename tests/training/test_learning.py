"""A small autoencoder learns."""

import pytest
import torch
from ase.build import molecule

from geomae.autoencoder import Autoencoder
from geomae.training.forest import plant
from tests.autoencoder.conftest import small_config

NAMES = ("CH4", "NH3", "H2O", "C2H6", "C2H4", "CH3OH", "CH3CN", "H2CO")


@pytest.fixture
def forest(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMAE_CACHE", str(tmp_path))
    atoms = [molecule(name) for name in NAMES]
    numbers = torch.cat([torch.from_numpy(a.numbers) for a in atoms])
    positions = torch.cat([torch.from_numpy(a.positions) for a in atoms])
    offsets = torch.cumsum(torch.tensor([0, *map(len, atoms)]), 0)
    return plant("few", numbers, positions, offsets, small_config())


def test_trees_from_the_cache_are_those_that_grow(forest):
    from tests.autoencoder.conftest import from_ase

    with torch.random.fork_rng(devices=[]):
        model = Autoencoder(small_config())
    fresh = model.tree_of([from_ase(name) for name in NAMES])
    kept = forest.batch(torch.arange(len(NAMES)), torch.float64)
    for a, b in zip(fresh.positions, kept.positions, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    for a, b in zip(fresh.memberships, kept.memberships, strict=True):
        assert torch.equal(a, b)


def test_the_loss_falls(forest):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Autoencoder(small_config())
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    batch, losses = forest.batch(torch.arange(len(NAMES))), []
    for step in range(60):
        loss = model.loss(batch, torch.Generator().manual_seed(step))["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.4 * sum(losses[:5])


def test_mixed_precision_is_close(forest):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Autoencoder(small_config())
    batch = forest.batch(torch.arange(len(NAMES)))
    exact = model.loss(batch, torch.Generator().manual_seed(0))["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model.loss(batch, torch.Generator().manual_seed(0))["loss"]
    mixed.backward()
    assert abs(float(mixed.detach() - exact.detach())) < 0.02 * float(exact.detach())
    assert float(mixed.detach()) != float(exact.detach())
