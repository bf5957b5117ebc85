"""A lattice's field that reaches farther starts as the shorter one."""

import pytest
import torch

from geomae.checkpoint import Checkpoint
from geomae.crystals.batch import batch_of
from geomae.crystals.model import CrystalAutoencoder
from geomae.errors import GeomaeError
from tests.crystals.test_crystal_training import FORMS
from tests.crystals.test_encoder import SMALL


def longer(**changes) -> CrystalAutoencoder:
    lattice = SMALL.lattice.model_copy(update=changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return CrystalAutoencoder(SMALL.model_copy(update={"lattice": lattice}))


def content(model: CrystalAutoencoder) -> Checkpoint:
    tensors = {name: p.detach() for name, p in model.named_parameters()}
    return Checkpoint(model.kind, model.config.model_dump(mode="json"), tensors)


def test_field_and_encoding_go_on_from_the_shorter_reach():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        short = CrystalAutoencoder(SMALL)
    n, level = SMALL.lattice.n_radial, SMALL.lattice
    whole = level.radius + 2 * level.softening
    radius = whole * (n + 5) / (n - 1) - 2 * level.softening
    long = longer(n_radial=n + 6, radius=radius)
    tensors = long.adapted(content(short))
    with torch.no_grad():
        for name, parameter in long.named_parameters():
            parameter.copy_(tensors[name])
        features = torch.randn(
            2, *short.decoder.features(torch.zeros(1, *short.encoder.latent_shape)).shape[1:]
        )
        places = level.radius * 0.5 * torch.randn(2, 40, 3)
        fields = [
            m.decoder.lattice.on_points(m.decoder.lattice.prepare(features), places)
            for m in (short, long)
        ]
        crystals = batch_of(FORMS[:3], SMALL)
        latents = [m.exact_encoder()(crystals) for m in (short, long)]
    assert (fields[0] - fields[1]).abs().max() < 1e-4
    assert (latents[0] - latents[1]).norm() < 0.02 * latents[0].norm()


def test_other_differences_are_refused():
    model = longer(hidden=SMALL.lattice.hidden + 8)
    with pytest.raises(GeomaeError, match="only the lattice's radius"):
        longer().adapted(content(model))
    with pytest.raises(GeomaeError, match="can't start from autoencoder"):
        longer().adapted(Checkpoint("autoencoder", {}, {}))
