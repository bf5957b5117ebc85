"""Starts for crystals whose lattice is unknown: SOAP vectors tell the density, chance the rest."""

from collections.abc import Iterator
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.refine import refine
from geomae.inversion.soap_scalars import ScalarFit, histograms

BATCH = 32
"""Random crystals that are refined together."""

SHAPES = (
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((0, 1, 1), (1, 0, 1), (1, 1, 0)),
    ((-1, 1, 1), (1, -1, 1), (1, 1, -1)),
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((1, 0, 0), (-0.5, 0.75**0.5, 0), (0, 0, 1)),
    ((-1, 1, 1), (1, -1, 1), (1, 1, -1)),
)
"""Primitive cells of symmetric lattices."""

CUBIC = 3
"""How many of these, the first, are not stretched along their axes."""

GRIDS = ((2, 2, 2), (2, 2, 4), (3, 3, 2), (3, 3, 4), (4, 4, 4), (6, 6, 4))
"""Points along each lattice vector between which atoms of symmetric crystals are."""

FLATNESS = 0.5
"""Largest spread of the logarithm of the edges' lengths."""

WIDTHS = 3.0
"""Widths of the Gaussian by which atoms are counted, up to where they are seen."""

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
    """Å^3 an atom, from the number of atoms about each centre; rough where averaged.

    Atoms are weighted by a Gaussian of their distance, to which a lattice looks like a uniform
    density, all but for its longest periods.
    """
    grid, counts = histograms(soap, values)
    width = float(grid[-1]) / WIDTHS
    weight = torch.exp(-0.5 * (grid / width).square())
    seen = float((counts.sum(1).mean(0) * weight).sum())
    fine = torch.linspace(0, float(grid[-1]), 2000, dtype=torch.float64)
    shells = 4 * torch.pi * fine.square() * torch.exp(-0.5 * (fine / width).square())
    return float(torch.trapezoid(shells, fine)) / max(seen, 1.0)


def random_crystals(
    n: int, volumes: tuple[float, float], k: int, generator: torch.Generator
) -> Float[Tensor, "k p 3"]:
    """Atoms and lattice vectors behind them: cells not flat, atoms not on others.

    In one half atoms are anywhere; in the other they are near points of a grid in a cell that is
    near one of high symmetry, as atoms of most crystals are.

    Args:
        n: atoms.
        volumes: least and largest, of a cell, in Å^3.
        k: crystals.
        generator: of what is random.
    """
    options = {"generator": generator, "dtype": torch.float64}
    special = torch.arange(k) % 2 == 1
    cells = torch.eye(3, dtype=torch.float64) + 0.2 * torch.randn(k, 3, 3, **options)
    shapes = torch.tensor(SHAPES, dtype=torch.float64)
    chosen = torch.randint(len(shapes), (k,), generator=generator)
    near = shapes[chosen] + 0.02 * torch.randn(k, 3, 3, **options)
    spread = FLATNESS * torch.rand(k, 1, **options)
    stretch = torch.exp(spread * torch.randn(k, 3, **options))
    stretch = torch.where((special & (chosen < CUBIC))[:, None], 1.0, stretch)
    cells = torch.where(special[:, None, None], near, cells) * stretch[:, None]
    low, high = volumes
    wanted = low + (high - low) * torch.rand(k, **options)
    size = torch.linalg.det(cells).abs().clamp(min=0.1)
    cells = cells * (wanted / size)[:, None, None] ** (1 / 3)
    places = torch.rand(k, n, 3, **options)
    gridded = torch.stack([_on_grid(n, generator) for _ in range(k)])
    places = _apart(torch.where(special[:, None, None], gridded, places), cells)
    return torch.cat([places @ cells, cells], 1)


def _on_grid(n: int, generator: torch.Generator) -> Float[Tensor, "n 3"]:
    """Fractional coordinates beside different points of a grid."""
    able = [grid for grid in GRIDS if prod(grid) >= n]
    grid = torch.tensor(
        able[int(torch.randint(len(able), (), generator=generator))] if able else [n, n, n]
    )
    number = torch.randperm(int(grid.prod()), generator=generator)[:n]
    point = torch.stack(
        [number % grid[0], number // grid[0] % grid[1], number // (grid[0] * grid[1])], 1
    )
    shift = 0.03 * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return point / grid + shift


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
