"""Invariants of latents: numbers for regression, search and clustering, by kind."""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.autoencoder.latents import Latents
from geomae.errors import GeomaeError
from geomae.sphere.spectra import bispectrum, bispectrum_triples, cross_spectrum

Kind = Literal["basic", "power", "cross", "bispectrum"]
"""What is computed of a latent, beside its scalars.

- 'basic': of every degree the root mean square of each channel and of its product with the next;
  `Latents.invariants`
- 'power': of every degree the root mean square of each channel
- 'cross': of every degree the mean products of all pairs of channels: the power spectrum between
  channels, which knows how they are turned against each other
- 'bispectrum': these, and the triple products of three degrees within each channel, which know how
  degrees are turned against each other
"""


def invariants(latents: Latents, kind: Kind = "cross") -> Float[Tensor, "n f"]:
    """Numbers that don't change when structures turn or are reflected.

    All are of about the size of the latents (or its square or cube). Mirror images have the same.

    Args:
        latents: of n structures.
        kind: which; see `Kind`.

    Raises:
        GeomaeError: there is no such kind.
    """
    check_kind(kind)
    array, lmax = latents.array, latents.lmax
    if kind == "basic":
        return latents.invariants()
    parts = [array[:, 0]]
    if kind == "power":
        for block in array.split([2 * degree + 1 for degree in range(lmax + 1)], 1)[1:]:
            parts.append(block.square().mean(1).sqrt())
        return torch.cat(parts, 1)
    rows, columns = torch.triu_indices(latents.channels, latents.channels, device=array.device)
    products = cross_spectrum(array)[:, 1:, rows, columns]
    size = 2 * torch.arange(1, lmax + 1, device=array.device) + 1
    parts.append((products / size[:, None]).flatten(1))
    if kind == "bispectrum":
        triples = bispectrum(array.transpose(1, 2))[..., _proper_triples(lmax)]
        parts.append(triples.transpose(1, 2).flatten(1))
    return torch.cat(parts, 1)


def invariant_names(kind: Kind, lmax: int, channels: int) -> list[str]:
    """Names of the columns of `invariants`.

    Args:
        kind: of the invariants.
        lmax, channels: of the latents.
    """
    check_kind(kind)
    own, degrees = range(channels), range(1, lmax + 1)
    names = [f"scalar_c{c}" for c in own]
    if kind in ("basic", "power"):
        for degree in degrees:
            names += [f"l{degree}_rms_c{c}" for c in own]
            if kind == "basic":
                names += [f"l{degree}_c{c}_c{(c - 1) % channels}" for c in own]
        return names
    names += [f"l{d}_c{a}_c{b}" for d in degrees for a in own for b in range(a, channels)]
    if kind == "bispectrum":
        triples = [bispectrum_triples(lmax)[k] for k in _proper_triples(lmax)]
        names += ["l{}_l{}_l{}".format(*triple) + f"_c{c}" for triple in triples for c in own]
    return names


def check_kind(kind: str) -> None:
    """See that there is such a kind of invariants."""
    if kind not in get_args(Kind):
        raise GeomaeError(f"invariants must be one of {', '.join(get_args(Kind))}, not '{kind}'")


def _proper_triples(lmax: int) -> list[int]:
    """Places of the triples without degree 0, which are products of other invariants."""
    return [k for k, triple in enumerate(bispectrum_triples(lmax)) if triple[0]]
