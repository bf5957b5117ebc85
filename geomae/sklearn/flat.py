"""Latents as the flat arrays that scikit-learn takes: e3nn's layout, one row a structure."""

import numpy as np
import torch
from e3nn import o3

from geomae.autoencoder.latents import Latents
from geomae.errors import GeomaeError


def from_rows(rows: np.ndarray, lmax: int) -> Latents:
    """Latents of flat rows, about the origin.

    Args:
        rows: `[n, (lmax + 1)^2 * channels]`, e3nn's layout: degree by degree, the components of
            each channel together.
        lmax: highest degree.

    Raises:
        GeomaeError: rows can't be split so.
    """
    components = (lmax + 1) ** 2
    channels, rest = divmod(rows.shape[1], components)
    if rest:
        raise GeomaeError(
            f"latents of degrees 0 to {lmax} have a multiple of {components} features, "
            f"but X has {rows.shape[1]} features"
        )
    irreps = o3.Irreps([(channels, (d, (-1) ** d)) for d in range(lmax + 1)])
    return Latents.from_e3nn(torch.from_numpy(np.require(rows, requirements="CW")), irreps)  # pyright: ignore


def to_rows(latents: Latents) -> np.ndarray:
    """Flat rows of latents; the positions of their points are left out."""
    return latents.to_e3nn()[0].cpu().numpy()


def row_names(lmax: int, channels: int) -> list[str]:
    """Names of the columns: degree, channel and component, which runs from -l to l."""
    return [
        f"latent_l{degree}_c{channel}_m{m}"
        for degree in range(lmax + 1)
        for channel in range(channels)
        for m in range(-degree, degree + 1)
    ]
