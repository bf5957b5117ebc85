"""Undoing the sum that the encoder makes of the features of its last level's children."""

import pytest
import torch

from geomae.autoencoder import AutoencoderConfig
from geomae.autoencoder.blocks import Resize
from geomae.autoencoder.solving import Superposition
from geomae.equivariant import Transport
from tests.autoencoder.conftest import small_config


@pytest.fixture
def parts():
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        combine = Transport(3, 32, 2, 5, lmax_filter=5, groups=4, reach=8.0, softening=0.5).double()
        narrow = Resize(32, 16, 5, 4).double()
        combine.after.bias.data += 1
    vectors = 3 * torch.randn(5, 3, generator=generator, dtype=torch.float64)
    edges = torch.tensor([[0, 1, 2, 3, 4], [0, 0, 1, 1, 1]])
    features = torch.randn(5, 9, 3, generator=generator, dtype=torch.float64)
    return combine, narrow, vectors, edges, features


@pytest.mark.parametrize("narrowed", [True, False])
def test_the_sum_is_the_encoder_s_and_its_adjoint_is_one(parts, narrowed):
    combine, narrow, vectors, edges, features = parts
    with torch.no_grad():
        sums = Superposition(combine, narrow if narrowed else None, vectors, edges, 2)
        expected = combine(features, vectors, edges, 2)
        expected = narrow(expected) if narrowed else expected
        made = sums(features)
        shifted = made.clone()
        shifted[:, 0] += sums.shift
        assert torch.allclose(shifted, expected, atol=1e-10)
        values = torch.randn(made.shape, generator=torch.Generator().manual_seed(2)).double()
        assert torch.allclose((made * values).sum(), (features * sums.adjoint(values)).sum())


def test_features_come_back_from_their_sum(parts):
    combine, narrow, vectors, edges, features = parts
    with torch.no_grad():
        latents = narrow(combine(features, vectors, edges, 2))
        sums = Superposition(combine, narrow, vectors, edges, 2)
        errors = [
            float((sums.solve(latents, torch.zeros_like(features), steps) - features).norm())
            for steps in (0, 5, 400)
        ]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-4 * errors[0]


def test_levels_that_can_not_solve_or_code_are_refused():
    levels = [level.model_dump() for level in small_config().levels]
    base = {"elements": (1, 6), "max_atoms": 9}
    with pytest.raises(ValueError, match="only the last of several levels can solve"):
        AutoencoderConfig(**base, levels=[levels[0] | {"solve": 3}, *levels[1:]])
    with pytest.raises(ValueError, match="no encoder_blocks"):
        AutoencoderConfig(**base, levels=[*levels[:-1], levels[-1] | {"code": 3}])
