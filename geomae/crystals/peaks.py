"""The peaks of the probability that a field gives, around many anchors at once."""

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
    """
    coefficients = field.prepare(features)
    spacing = level.spacing / fineness
    seeds, owner = _seeds(field, coefficients, level.radius, spacing, most, even)

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
    return FieldPeaks(found.positions, found.owner, found.values.exp())


def _seeds(
    field: Field, coefficients: Tensor, radius: float, spacing: float, most: int, even: bool
) -> tuple[Tensor, Tensor]:
    """Places of a cubic grid as high as the 26 around them, and their owners."""
    steps = int(radius / spacing) + 1
    axis = spacing * torch.arange(-steps, steps + 1).to(coefficients)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    inside = grid.norm(dim=-1) <= radius
    asked = inside.clone()
    if even:
        asked.view(-1)[asked.numel() // 2 + 1 :] = False
    values = coefficients.new_full((len(coefficients), *inside.shape), -torch.inf)
    values[:, asked] = field.on_grid(coefficients, grid[asked])[..., 0]
    if even:
        values = torch.maximum(values, values.flip(1, 2, 3))
    around = nn.functional.max_pool3d(values[:, None], 3, stride=1, padding=1)[:, 0]
    peaked = (values == around) & (torch.sigmoid(values) > FAINTEST)
    ranked = torch.where(peaked, values, -torch.inf).flatten(1)
    top = ranked.topk(min(most, ranked.shape[1]), dim=1)
    owner, rank = torch.isfinite(top.values).nonzero(as_tuple=True)
    return grid.flatten(0, 2)[top.indices[owner, rank]], owner
