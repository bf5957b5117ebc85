"""The autoencoder: structures to latents at one point, and back."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geomae.autoencoder.config import AutoencoderConfig
from geomae.autoencoder.decoder import Decoder
from geomae.autoencoder.encoder import Encoder
from geomae.pooling.tree import Tree

LOSS_WEIGHTS = {"field": 10.0, "count": 0.3, "formula": 0.1}
"""Weights of the kinds of losses; what a field misses is small in nats but decides positions."""


class Autoencoder(nn.Module):
    """Recursive encoder and decoder with one point between them.

    Args:
        config: sizes of everything, and the elements and sizes of the structures that it takes.
    """

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def loss(self, tree: Tree, generator: torch.Generator) -> dict[str, Tensor]:
        """Training losses of a batch: each by its name, and their weighted sum as `loss`."""
        losses = self.decoder.losses(self.encoder(tree), tree, generator)
        total = sum(
            LOSS_WEIGHTS[name.rsplit("_", 1)[0]] * value for name, value in losses.items()
        )
        return {"loss": total, **losses}
