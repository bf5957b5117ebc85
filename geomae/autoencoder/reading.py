"""Reading latents: draw, refine, certify, and try again where the certificate is missing."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.autoencoder.decoder import Decoder, Drawing
from geomae.autoencoder.encoder import Encoder
from geomae.autoencoder.refinement import refine as refine_positions
from geomae.pooling import Tree, grow_tree

CERTIFIED = {torch.float32: 1e-5, torch.float64: 1e-8}
"""Residuals below which a refined structure encodes to the latent, by the latent's precision."""

CERTIFIED_UNREFINED = 0.1
"""The same for a structure straight from the peaks."""

RETRIES = 12
"""Second-best readings that are tried where the best has no certificate."""


@dataclass(frozen=True)
class Reading:
    """One decoded structure.

    Attributes:
        numbers: atomic numbers `[n]`.
        positions: about the latent's point, `[n, 3]` in Å.
        confidence: the field's probability of each atom, `[n]`.
        residual: |E(X) - z| / |z|.
        certified: the residual vanishes within the precision.
    """

    numbers: Tensor
    positions: Tensor
    confidence: Tensor
    residual: float
    certified: bool


@torch.no_grad()
def read(
    decoder: Decoder,
    encoder: Encoder,
    latents: Float[Tensor, "n m c"],
    *,
    refine: bool = True,
    retries: int = RETRIES,
) -> list[Reading]:
    """The structure of each latent.

    Args:
        decoder: in the precision of the drawing.
        encoder: in float64; it certifies, and refines.
        latents: about their points.
        refine: sharpen each drawing against the encoder.
        retries: other readings of the counts, the most doubtful first, that are tried where the
            first is not certified.
    """
    precision = next(decoder.parameters()).dtype
    rough = deepcopy(encoder).to(precision)
    drawing = decoder(latents.to(precision))
    best = _settle(drawing, encoder, rough, latents, refine)
    others = {
        i: drawing.doubts.of(i, retries) for i, first in enumerate(best) if not first.certified
    }
    for attempt in range(retries):
        doubtful = [i for i, choices in others.items() if attempt < len(choices)]
        doubtful = [i for i in doubtful if not best[i].certified]
        if not doubtful:
            break
        choices = [others[i][attempt] for i in doubtful]
        other = decoder(latents[doubtful].to(precision), choices)
        for i, reading in zip(
            doubtful, _settle(other, encoder, rough, latents[doubtful], refine), strict=True
        ):
            if reading.residual < best[i].residual:
                best[i] = reading
    return best


def _settle(
    drawing: Drawing, encoder: Encoder, rough: Encoder, latents: Tensor, refine: bool
) -> list[Reading]:
    """Refine drawings and certify them, by encoding the atoms without what was drawn above them."""
    tree = drawing.tree.to(torch.float64)
    target = latents.double()
    positions = tree.positions[0]
    if refine:
        positions = refine_positions(encoder, rough, tree, target).positions
    bound = CERTIFIED[latents.dtype] if refine else CERTIFIED_UNREFINED
    whole = torch.bincount(tree.batch[0], minlength=len(latents)) > 0
    residual = torch.ones(len(latents), dtype=torch.float64, device=latents.device)
    if bool(whole.any()):
        residual[whole] = _residuals(encoder, tree, positions, whole, target)
    readings = []
    for i in range(len(latents)):
        own = tree.batch[0] == i
        readings.append(
            Reading(
                tree.numbers[own],
                positions[own],
                drawing.confidence[own],
                float(residual[i]),
                bool(residual[i] < bound),
            )
        )
    return readings


def _residuals(
    encoder: Encoder, tree: Tree, positions: Tensor, whole: Tensor, target: Tensor
) -> Tensor:
    """Relative distance of the structures that have atoms from their latents."""
    config = encoder.config
    number = torch.cumsum(whole, 0) - 1
    fresh = grow_tree(
        tree.numbers,
        positions,
        number[tree.batch[0]],
        scales=[level.scale for level in config.levels],
        heavy_weight=config.heavy_weight,
    )
    error = (encoder(fresh) - target[whole]).flatten(1).norm(dim=1)
    residual = error / target[whole].flatten(1).norm(dim=1).clamp(min=1e-30)
    return residual.nan_to_num(nan=torch.inf)
