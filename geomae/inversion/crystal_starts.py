"""Starts for crystals whose lattice is unknown: SOAP vectors tell the density, chance the rest."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.refine import refine
from geomae.inversion.soap_scalars import ScalarFit, histograms

BATCH = 32
"""Random crystals that are refined together."""

CLOSE = 1e-6
"""Relative residual of the scalar coefficients of a crystal that is worth the whole vectors."""


def crystals_by_scalars(
    soap: Soap,
    values: Float[Tensor, " f"],
    numbers: Int[Tensor, " n"],
    n_starts: int,
    generator: torch.Generator,
) -> Iterator[Float[Tensor, "p 3"]]:
    """Atoms and lattice vectors that have the scalar coefficients of all rows, one at a time.

    If none has, the nearest comes at the end.

    Args:
        soap: of all atoms, with an open lattice.
        values: its vectors, in a row.
        numbers: atomic number of each row.
        n_starts: random crystals that are refined, about so many.
        generator: of these.
    """
    fit = ScalarFit(soap, values, numbers)
    volume = volume_of(soap, values) * len(numbers)
    best, nearest = float("inf"), None
    while n_starts > 0:
        starts = random_crystals(len(numbers), (volume, volume), BATCH, generator)
        weights = soap.weights(numbers).expand(BATCH, -1, -1)
        found = refine(fit.jacobian, fit.target, weights, starts, steps=60, patience=1e-2)
        yield from found.positions[found.residual < CLOSE]
        if float(found.residual.min()) < best:
            best, nearest = float(found.residual.min()), found.positions[found.residual.argmin()]
        n_starts -= BATCH
    if nearest is not None and best >= CLOSE:
        yield nearest


def volume_of(soap: Soap, values: Float[Tensor, " f"]) -> float:
    """Å^3 an atom, from the number of atoms within r_cut of each centre; rough where averaged."""
    grid, counts = histograms(soap, values)
    within = float(counts[:, :, grid <= soap.r_cut].sum((1, 2)).mean())
    return 4 / 3 * torch.pi * soap.r_cut**3 / max(within, 1.0)


def random_crystals(
    n: int, volumes: tuple[float, float], k: int, generator: torch.Generator
) -> Float[Tensor, "k p 3"]:
    """Atoms and lattice vectors behind them: cells not flat, atoms anywhere but not on others.

    Args:
        n: atoms.
        volumes: least and largest, of a cell, in Å^3.
        k: crystals.
        generator: of what is random.
    """
    options = {"generator": generator, "dtype": torch.float64}
    cells = torch.eye(3, dtype=torch.float64) + 0.2 * torch.randn(k, 3, 3, **options)
    stretch = torch.exp(0.15 * torch.randn(k, 3, 1, **options))
    cells = cells * stretch
    low, high = volumes
    wanted = low + (high - low) * torch.rand(k, **options)
    size = torch.linalg.det(cells).abs().clamp(min=0.1)
    cells = cells * (wanted / size)[:, None, None] ** (1 / 3)
    places = _apart(torch.rand(k, n, 3, **options), cells)
    return torch.cat([places @ cells, cells], 1)


def _apart(fractions: Float[Tensor, "k n 3"], cells: Tensor) -> Float[Tensor, "k n 3"]:
    """Fractional coordinates, pushed apart to about the spacing of such a density."""
    n = fractions.shape[1]
    spacing = 0.85 * (torch.linalg.det(cells).abs() / n)[:, None, None, None] ** (1 / 3)
    back = torch.linalg.inv(cells)
    for _ in range(15):
        gaps = fractions[:, :, None] - fractions[:, None]
        gaps = (gaps - gaps.round()) @ cells[:, None]
        lengths = gaps.norm(dim=3, keepdim=True).clamp(min=1e-6)
        push = ((spacing - lengths).clamp(min=0) * gaps / lengths / 2).sum(2)
        fractions = fractions + push @ back
    return fractions - fractions.floor()
