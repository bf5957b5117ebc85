"""Other elements on the sites of a drawn crystal, judged by what it then encodes to."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.crystals.batch import join, lists_of
from geomae.crystals.encoder import CrystalEncoder
from geomae.crystals.reading import Draft, Sketch
from geomae.crystals.refinement import RefinedCrystal

CANDIDATES = 20
"""Likeliest elements that are tried on a site."""

MOST = 120
"""Exchanges that are tried, the likeliest."""

CLOSER = 0.97
"""Part of the residual below which an exchange is worth refining."""

FAR = 0.6
"""Residual beyond which the geometry is too wrong to tell elements."""

TOGETHER = 32
"""Crystals that are encoded together."""


@torch.no_grad()
def substituted(
    encoder: CrystalEncoder, found: RefinedCrystal, sketch: Sketch, latent: Float[Tensor, "m c"]
) -> Draft | None:
    """The crystal with the exchange of elements that brings its encoding closest to a latent.

    One site gets another element, all sites of an element do, or two sites swap theirs.

    Args:
        encoder: in either precision.
        found: a crystal that is not certified.
        sketch: that it was read from; says which elements are likely at its places.
        latent: target.

    Returns:
        None if no exchange brings it closer.
    """
    draft = found.draft
    if found.residual > FAR or len(draft.numbers) > len(sketch.places):
        return None
    options = _exchanges(draft.numbers, sketch)
    if not len(options):
        return None
    residuals = _residuals(encoder, draft, options, latent)
    best = int(residuals.argmin())
    if residuals[best] > CLOSER * found.residual:
        return None
    return replace(draft, numbers=options[best])


def _exchanges(numbers: Int[np.ndarray, " n"], sketch: Sketch) -> Int[np.ndarray, "k n"]:
    """Other elements of the sites, each choice once, the likeliest."""
    n, elements = len(numbers), np.array(sketch.elements)
    likelihood, kinds = sketch.likelihood[:n], np.searchsorted(elements, numbers)
    choices = []
    groups = [np.array([i]) for i in range(n)]
    groups += [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    for sites in groups:
        for kind in np.argsort(-likelihood[sites].sum(0))[:CANDIDATES]:
            choices.append((sites, kind))
    pairs = zip(*np.nonzero(np.tril(kinds[:, None] != kinds)), strict=True)
    choices += [(np.array(pair), kinds[list(pair)[::-1]]) for pair in pairs]
    scored: dict[tuple[int, ...], float] = {}
    for sites, new in choices:
        other = kinds.copy()
        other[sites] = new
        scored[tuple(other.tolist())] = float(likelihood[np.arange(n), other].sum())
    scored.pop(tuple(kinds.tolist()), None)
    kept = sorted(scored, key=lambda other: -scored[other])[:MOST]
    return elements[np.array(kept, dtype=int).reshape(-1, n)]


def _residuals(
    encoder: CrystalEncoder, draft: Draft, options: Int[np.ndarray, "k n"], latent: Tensor
) -> Float[np.ndarray, " k"]:
    """|E(X) - z| / |z| of a crystal with other elements on its sites."""
    crystal = (
        torch.from_numpy(draft.numbers),
        torch.from_numpy(draft.positions),
        torch.from_numpy(draft.cell),
    )
    dtype = next(encoder.parameters()).dtype
    batch = join([crystal], [lists_of(*crystal, encoder.config)], dtype)
    target, found = latent.double(), []
    for start in range(0, len(options), TOGETHER):
        part = torch.from_numpy(options[start : start + TOGETHER])
        copies = replace(batch.repeated(torch.tensor([len(part)])), numbers=part.flatten())
        found.append((encoder(copies).double() - target).flatten(1).norm(dim=1) / target.norm())
    return torch.cat(found).numpy()
