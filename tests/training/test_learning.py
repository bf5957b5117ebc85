"""A small autoencoder learns."""

import math

import pytest
import torch
from ase.build import molecule

from geomae.autoencoder import Autoencoder
from geomae.autoencoder.config import LatentConfig
from geomae.checkpoint import Checkpoint
from geomae.errors import GeomaeError
from geomae.pooling import grow_tree
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


@pytest.mark.parametrize("handed", [0.0, 1.0])
def test_lower_levels_learn_from_the_encoder_where_its_features_are_handed_over(forest, handed):
    config = small_config()
    levels = [level.model_copy(update={"handed": handed}) for level in config.levels]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Autoencoder(config.model_copy(update={"levels": tuple(levels)}))
    batch = forest.batch(torch.arange(len(NAMES)))
    encoded = model.encoder.levels(batch)
    made = [
        model.decoder.losses(size * encoded[-1], batch, torch.Generator().manual_seed(0), encoded)
        for size in (1.0, 2.0)
    ]
    top = len(encoded) - 2
    assert float(made[0][f"field_{top}"]) != float(made[1][f"field_{top}"])
    same = float(made[0]["field_0"]) == float(made[1]["field_0"])
    assert same == bool(handed)
    assert {name for name in made[0] if "match" in name} == (
        {"match_1", "match_2"} if handed else set()
    )


def test_training_starts_from_a_smaller_model(forest):
    small = small_config()
    last = small.levels[-1]
    levels = (
        *small.levels[:-1],
        last.model_copy(update={"scale": 1.2, "max_children": 12, "encoder_blocks": 0, "code": 4}),
        last,
    )
    latent = LatentConfig(lmax=3, channels=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        old = Autoencoder(small.model_copy(update={"latent": latent}))
        new = Autoencoder(
            small.model_copy(update={"elements": (1, 5, 6, 7, 8, 9, 17), "levels": levels})
        )
    content = Checkpoint("autoencoder", old.config.model_dump(), dict(old.named_parameters()))
    made = new.adapted(content)
    assert {k: v.shape for k, v in made.items()} == {k: v.shape for k, v in new.named_parameters()}
    new.load_state_dict(made)
    batch = forest.batch(torch.arange(len(NAMES)))
    with torch.no_grad():
        expected = old.decoder.unpoolings[0].states(old.decoder.root(old.encoder(batch)))
        tree = grow_tree(
            batch.numbers, batch.positions[0], batch.batch[0], scales=[0.5, 0.9, 50.0, math.inf]
        )
        code = new.encoder.levels(tree)[3]
        assert torch.allclose(new.decoder.unpoolings[1].states(code), expected, atol=1e-4)
        assert float(code[:, 0].mean(0).abs().max()) < 5
    with pytest.raises(GeomaeError, match="can't start from flow"):
        new.adapted(Checkpoint("flow", {}, {}))
    with pytest.raises(GeomaeError, match="elements"):
        old.adapted(Checkpoint("autoencoder", new.config.model_dump(), made))
