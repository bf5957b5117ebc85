"""Atoms that the fields did not show, put where a crystal then encodes closest to its latent."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.crystals.batch import join, lists_of
from geomae.crystals.decoder import CrystalDecoder
from geomae.crystals.encoder import CrystalEncoder
from geomae.crystals.reading import Draft, Sketch
from geomae.crystals.symmetry import nearest

SPACING = 0.45
"""Distance in Å of the places of a cell that are looked at."""

APART = 0.7
"""Least distance in Å of an atom that is put in from those that are there."""

PLACES = 64
"""Places with the highest field that are tried."""

KEPT = 3
"""Crystals that are worth refining, the closest."""

TOGETHER = 32
"""Crystals that are encoded together."""


def missing(draft: Draft, sketch: Sketch) -> Int[np.ndarray, " k"]:
    """Atomic numbers, each once, of which a draft has fewer atoms than its latent tells; none if
    it does not lack atoms in all.
    """
    told, elements = sketch.formula.argmax(1), np.array(sketch.elements)
    own = (draft.numbers[:, None] == elements).sum(0)
    return elements[told > own] if told.sum() > own.sum() else elements[:0]


@torch.no_grad()
def inserted(
    decoder: CrystalDecoder,
    encoder: CrystalEncoder,
    drafts: Sequence[Draft],
    sketch: Sketch,
    latent: Float[Tensor, "m c"],
) -> list[Draft]:
    """Drafts with one more atom of an element that is missing, the closest to the latent first.

    Where two peaks of a field run together, or one is too faint, an atom is not drawn. The field
    still says roughly where it may be, and the encoder which of these places is the best.

    Args:
        decoder: gives the field.
        encoder: in either precision.
        drafts: of one latent, each with atoms missing.
        sketch: that they were read from; tells the formula.
        latent: target.
    """
    dtype = next(decoder.parameters()).dtype
    prepared = decoder.atoms.prepare(decoder.features(latent[None].to(dtype)))
    options: list[Draft] = []
    for draft in drafts:
        kinds = missing(draft, sketch)
        if len(kinds):
            places = _free_places(draft)
            logits = decoder.atoms.on_points(prepared, torch.from_numpy(places)[None].to(dtype))
            order = np.argsort(-logits[0, :, 0].numpy(), kind="stable")[:PLACES]
            options += [_with_atom(draft, int(kind), places[k]) for kind in kinds for k in order]
    residuals = _residuals(encoder, options, latent)
    return [options[k] for k in np.argsort(residuals, kind="stable")[:KEPT]]


def _free_places(draft: Draft) -> Float[np.ndarray, "k 3"]:
    """Places of a cell, the images nearest to the anchor, that are apart from its atoms."""
    counts = np.ceil(np.linalg.norm(draft.cell, axis=1) / SPACING).astype(int)
    axes = [np.arange(count) / count for count in counts]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) @ draft.cell
    places, _ = nearest(grid, draft.cell)
    _, lengths = nearest(places[:, None] - draft.positions, draft.cell)
    return places[lengths.min(1) > APART]


def _with_atom(draft: Draft, number: int, place: Float[np.ndarray, " 3"]) -> Draft:
    return Draft(
        np.append(draft.numbers, number),
        np.concatenate([draft.positions, place[None]]),
        draft.cell,
        np.append(draft.confidence, 0.0),
    )


def _residuals(
    encoder: CrystalEncoder, options: Sequence[Draft], latent: Tensor
) -> Float[np.ndarray, " k"]:
    """|E(X) - z| / |z| of crystals."""
    dtype, target = next(encoder.parameters()).dtype, latent.double()
    found = [torch.zeros(0, dtype=torch.float64)]
    for start in range(0, len(options), TOGETHER):
        crystals = [
            (torch.from_numpy(d.numbers), torch.from_numpy(d.positions), torch.from_numpy(d.cell))
            for d in options[start : start + TOGETHER]
        ]
        lists = [lists_of(*crystal, encoder.config) for crystal in crystals]
        error = encoder(join(crystals, lists, dtype)).double() - target
        found.append(error.flatten(1).norm(dim=1) / target.norm())
    return torch.cat(found).numpy()
