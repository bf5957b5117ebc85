"""Noise for latents: of the spread that the latents of a data set have, one stream a sample."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geomae.autoencoder import Autoencoder, home_source
from geomae.autoencoder.base import spread
from geomae.autoencoder.zoo import weights_of
from geomae.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from geomae.data.cache import cache_directory
from geomae.errors import GeomaeError

MEASURED = 2048
"""Structures whose latents tell the spread."""


def normal_noise(
    shape: tuple[int, ...], seed: int, numbers: Sequence[int]
) -> Float[Tensor, "n *shape"]:
    """Standard normal numbers, float64; those of a sample depend on the seed and its number alone.

    Args:
        shape: of one sample's.
        seed: of all.
        numbers: of the samples.
    """
    streams = [np.random.default_rng([seed, number]) for number in numbers]
    rows = [torch.from_numpy(stream.standard_normal(shape)) for stream in streams]
    return torch.stack(rows) if rows else torch.zeros(0, *shape, dtype=torch.float64)


def latent_spread(name: str, model: Autoencoder) -> Float[Tensor, "m c"]:
    """Root mean square of the latents of the data that a model was made for, of each degree and
    channel; of scalars about their mean.

    Measured once on 2,048 structures, then kept in the cache.

    Args:
        name: name or path of the model.
        model: it.

    Raises:
        GeomaeError: nothing says what data the model is for.
    """
    digest = sha256(weights_of(name).read_bytes()).hexdigest()[:16]
    path = cache_directory() / f"spread-{digest}.safetensors"
    if path.exists():
        return read_checkpoint(path, "spread").tensors["spread"]
    source = home_source(name)
    if source is None:
        raise GeomaeError(
            f"nothing says what data the model '{name}' is for, so the spread of its latents is "
            "not known: expected a config.yaml beside its weights"
        )
    from geomae.data import load_source

    measured = spread(model.encode(load_source(source, split="train", n=MEASURED)).array.double())
    write_checkpoint(path, Checkpoint("spread", {"source": source}, {"spread": measured}))
    return measured
