"""Latents narrower than the features of the last level, and noise on them."""

import pytest
import torch
from pydantic import ValidationError

from geomae.autoencoder import Autoencoder
from geomae.autoencoder.base import spread
from geomae.autoencoder.config import AutoencoderConfig, LatentConfig
from geomae.testing import random_orthogonal
from tests.autoencoder.conftest import small_config
from tests.autoencoder.test_encoder import moved


def narrow_model(**latent) -> Autoencoder:
    config = small_config().model_copy(update={"latent": LatentConfig(**latent)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Autoencoder(config).double().eval()


@pytest.fixture(scope="module")
def narrow() -> Autoencoder:
    return narrow_model(lmax=2, channels=4)


def test_latents_have_the_size_asked_for_and_rotate(narrow, molecules):
    latents = narrow.encode(molecules)
    assert latents.array.shape == (len(molecules), 9, 4)
    matrix = random_orthogonal(improper=True)
    turned = narrow.encode([moved(m, matrix, torch.zeros(3)) for m in molecules])
    error = (latents.rotate(matrix).array - turned.array).abs().max()
    assert error < 1e-10 * latents.array.abs().max()


def test_decoder_takes_latents_of_that_size(narrow, molecules):
    latents = narrow.encode(molecules)
    drawing = narrow.decode_levels(latents)
    assert drawing.tree.n_structures == len(molecules)
    tree = narrow.tree_of(molecules)
    losses = narrow.loss(tree, torch.Generator().manual_seed(0))
    assert all(bool(torch.isfinite(value)) for value in losses.values())


def test_saving_keeps_the_size(narrow, molecules, tmp_path):
    narrow.save(tmp_path / "weights.safetensors")
    again = Autoencoder.from_file(tmp_path / "weights.safetensors").double()
    assert again.config == narrow.config
    assert torch.equal(again.encode(molecules).array, narrow.encode(molecules).array)


def test_noise_is_a_part_of_the_spread_of_each_degree():
    noisy = narrow_model(lmax=2, channels=4, noise=0.5)
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([1.0, *[2.0] * 3, *[0.1] * 5], dtype=torch.float64)[:, None]
    latents = scale * torch.randn(2000, 9, 4, generator=generator, dtype=torch.float64)
    latents[:, 0] += 7.0
    torch.testing.assert_close(spread(latents), scale.expand(9, 4), rtol=0.1, atol=0)
    added = noisy._with_noise(latents, generator) - latents
    torch.testing.assert_close(added.std(0), 0.5 * scale.expand(9, 4), rtol=0.1, atol=0)


def test_latent_of_higher_degree_than_its_level_is_refused():
    content = small_config().model_dump() | {"latent": {"lmax": 5, "channels": 4}}
    with pytest.raises(ValidationError, match="latent's lmax \\(5\\) can't exceed"):
        AutoencoderConfig.model_validate(content)
