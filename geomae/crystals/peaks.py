"""The peaks of the probability that a field gives, around many anchors at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.autoencoder.field import Field
from geomae.autoencoder.jets import chain
from geomae.crystals.config import PeaksConfig
from geomae.sphere.ascent import climb, merge_maxima

HESSIAN = (4, 5, 6, 5, 7, 8, 6, 8, 9)
"""Components of a jet as a matrix."""

FAINTEST = 0.03
"""Least probability of a place on the grid from which the climb starts."""

MARGIN = 0.8
"""Distance in Å beyond the Wigner-Seitz cell up to which seeds are looked for."""

ROWS = 128
"""Places whose derivatives are evaluated together: few enough to stay in a core's cache."""


@dataclass(frozen=True)
class FieldPeaks:
    """Peaks, sorted by owner, then by falling probability.

    Attributes:
        positions: displacements from the anchors, `[p, 3]` in Å.
        owner: anchor of each, `[p]`.
        confidence: probability there, `[p]`.
    """

    positions: Float[Tensor, "p 3"]
    owner: Int[Tensor, " p"]
    confidence: Float[Tensor, " p"]


@torch.no_grad()
def field_peaks(
    field: Field,
    features: Float[Tensor, "n m c"],
    level: PeaksConfig,
    most: int,
    fineness: int = 1,
    *,
    even: bool = False,
    share: float = 1.0,
    walls: Sequence[Float[Tensor, "_ 3"] | None] | None = None,
) -> FieldPeaks:
    """Local maxima of the probability in the ball around each anchor.

    Seeds are the local maxima on a cubic grid; each climbs the logarithm of the probability, which
    is trained to be a parabola around every peak, by Newton steps.

    Args:
        field: of one kind.
        features: of the anchors.
        level: gives the ball and the grid.
        most: seeds that are followed for each anchor, the highest.
        fineness: of the grid; 1 gives it the level's spacing.
        even: the field is its own inversion image, so that half of it is enough.
        share: of the radius within which seeds are looked for.
        walls: seeds of each anchor are looked for only on the near side of the planes that halve
            these vectors, and `MARGIN` beyond them; None for the whole ball.
    """
    coefficients = field.prepare(features)
    spacing = level.spacing / fineness
    grid = _grid(level.radius * share, spacing).to(coefficients)
    values = _on_grid(field, coefficients, grid, level.radius * share, even, walls)
    seeds, owner = _seeds(values, grid, most, even)

    def derivatives(points: Tensor, owners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        jets = field.jets_at(coefficients, points, owners)[..., 0]
        likely = torch.sigmoid(jets[:, 0])
        jet = chain(jets, nn.functional.logsigmoid(jets[:, 0]), 1 - likely, likely * (likely - 1))
        return jet[:, 0], jet[:, 1:4], jet[:, HESSIAN].unflatten(1, (3, 3))

    if not len(seeds):
        return FieldPeaks(seeds, owner, seeds.new_zeros(0))
    reach = level.radius + level.spacing
    ends = climb(derivatives, seeds, owner, reach=level.spacing, radius=reach, chunk=ROWS)
    found = merge_maxima(ends, tolerance=level.width / 4)
    peaks = FieldPeaks(found.positions, found.owner, found.values.exp())
    return _with_images(peaks, level.width / 4) if even else peaks


def _grid(radius: float, spacing: float) -> Float[Tensor, "k k k 3"]:
    """A cubic grid that holds a ball."""
    steps = int(radius / spacing) + 1
    axis = spacing * torch.arange(-steps, steps + 1)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)


def _on_grid(
    field: Field,
    coefficients: Float[Tensor, "n m h"],
    grid: Float[Tensor, "k k k 3"],
    radius: float,
    even: bool,
    walls: Sequence[Float[Tensor, "_ 3"] | None] | None,
) -> Float[Tensor, "n k k k"]:
    """The field at the places that are asked for, and minus infinity elsewhere."""
    asked = grid.norm(dim=-1) <= radius
    if even:
        asked.view(-1)[asked.numel() // 2 + 1 :] = False
    values = coefficients.new_full((len(coefficients), *asked.shape), -torch.inf)
    if walls is None:
        values[:, asked] = field.on_grid(coefficients, grid[asked])[..., 0]
    else:
        places = grid[asked]
        for own, vectors, row in zip(coefficients, walls, values, strict=True):
            near = torch.ones(len(places), dtype=torch.bool, device=places.device)
            if vectors is not None:
                lengths = vectors.norm(dim=1).to(places)
                depth = places @ (vectors.to(places) / lengths[:, None]).T
                near = (depth <= lengths / 2 + MARGIN).all(1)
            column = row.new_full((len(places),), -torch.inf)
            column[near] = field.on_grid(own[None], places[near])[0, :, 0]
            row[asked] = column
    return torch.maximum(values, values.flip(1, 2, 3)) if even else values


def _seeds(
    values: Float[Tensor, "n k k k"], grid: Float[Tensor, "k k k 3"], most: int, even: bool
) -> tuple[Tensor, Tensor]:
    """Places of a cubic grid as high as the 26 around them, and their owners; one of the two that
    are each other's inversion image.
    """
    around = nn.functional.max_pool3d(values[:, None], 3, stride=1, padding=1)[:, 0]
    peaked = (values == around) & (torch.sigmoid(values) > FAINTEST)
    ranked = torch.where(peaked, values, -torch.inf).flatten(1)
    if even:
        ranked = ranked[:, : ranked.shape[1] // 2 + 1]
        most = most // 2
    top = ranked.topk(min(most, ranked.shape[1]), dim=1)
    owner, rank = torch.isfinite(top.values).nonzero(as_tuple=True)
    return grid.flatten(0, 2)[top.indices[owner, rank]], owner


def _with_images(peaks: FieldPeaks, tolerance: float) -> FieldPeaks:
    """Peaks and their inversion images, those that are both once; in the order of peaks."""
    gaps = torch.cdist(peaks.positions, -peaks.positions)
    gaps = gaps.masked_fill(peaks.owner[:, None] != peaks.owner, torch.inf)
    lone = ~(gaps < tolerance).any(1)
    positions = torch.cat([peaks.positions, -peaks.positions[lone]])
    owner = torch.cat([peaks.owner, peaks.owner[lone]])
    confidence = torch.cat([peaks.confidence, peaks.confidence[lone]])
    order = torch.argsort(confidence, descending=True, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]
    return FieldPeaks(positions[order], owner[order], confidence[order])
