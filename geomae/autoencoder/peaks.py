"""Where the children are: the peaks of a field, found around many parents at once."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.autoencoder.config import LevelConfig
from geomae.autoencoder.field import Field
from geomae.sphere.ascent import Maxima, climb, merge_maxima

SPARE_SEEDS = 2
"""Seeds beyond the expected number that are followed, for maxima that a coarse grid misjudges."""


HESSIAN = (4, 5, 6, 5, 7, 8, 6, 8, 9)
"""Components of a jet as a matrix."""

FINEST = 2
"""How much finer than a level's spacing the grid may become where peaks are missing."""

JET_ROWS = 128
"""Places whose derivatives are evaluated together: few enough to stay in a core's cache."""


@dataclass(frozen=True)
class Children:
    """Children found around parents.

    Attributes:
        positions: displacements from the parents, `[p, 3]` in Å.
        owner: parent of each, `[p]`.
        kind: kind of each, `[p]`.
        confidence: probability of the field there, `[p]`.
    """

    positions: Tensor
    owner: Tensor
    kind: Tensor
    confidence: Tensor


@torch.no_grad()
def propose(
    field: Field,
    features: Float[Tensor, "n m c"],
    counts: Int[Tensor, "n kinds"],
    level: LevelConfig,
    fineness: int = 1,
) -> Children:
    """The `counts` highest peaks of each kind in the field around each parent.

    Seeds are the local maxima on a grid; each climbs to its peak by Newton steps, so that the
    result does not depend on the grid's orientation as long as every peak has a seed. Parents
    that have fewer peaks than children are searched again on a grid twice as fine.

    Args:
        field, features, counts, level: of the parents.
        fineness: of the grid; 1 gives it the level's spacing.
    """
    children = _search(field, features, counts, level, fineness)
    found = torch.bincount(children.owner, minlength=len(counts))
    short = torch.nonzero(found < counts.sum(1))[:, 0]
    if not len(short) or fineness >= FINEST:
        return children
    again = propose(field, features[short], counts[short], level, 2 * fineness)
    kept = found[children.owner] >= counts.sum(1)[children.owner]
    parts = [
        torch.cat([old[kept], new])
        for old, new in (
            (children.positions, again.positions),
            (children.owner, short[again.owner]),
            (children.kind, again.kind),
            (children.confidence, again.confidence),
        )
    ]
    order = torch.argsort(parts[1], stable=True)
    return Children(*(part[order] for part in parts))


def _search(
    field: Field, features: Tensor, counts: Tensor, level: LevelConfig, fineness: int
) -> Children:
    """The peaks that one grid's seeds lead to."""
    coefficients = field.prepare(features)
    spacing = level.spacing / fineness
    seeds, owner, kind = _grid_maxima(field, coefficients, counts, level.radius, spacing)
    slot = owner * field.kinds + kind

    def derivatives(points: Tensor, slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        jets = field.jets_at(coefficients, points, slots // field.kinds)
        wanted = (slots % field.kinds)[:, None, None].expand(-1, 10, 1)
        jet = jets.gather(2, wanted)[..., 0]
        return jet[:, 0], jet[:, 1:4], jet[:, HESSIAN].unflatten(1, (3, 3))

    ends = climb(
        derivatives,
        seeds,
        slot,
        reach=level.spacing,
        radius=level.radius + level.spacing,
        chunk=JET_ROWS,
    )
    return _highest(merge_maxima(ends, tolerance=level.width / 4), counts, field.kinds)


def _grid_maxima(
    field: Field, coefficients: Tensor, counts: Tensor, radius: float, spacing: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Local maxima on the grid, `counts` and a few spare of each kind: places, owners, kinds."""
    grid, inside = ball_grid(radius, spacing, coefficients)
    values = coefficients.new_full((len(coefficients), field.kinds, *inside.shape), -torch.inf)
    values[:, :, inside] = field.on_grid(coefficients, grid[inside]).transpose(1, 2)
    around = nn.functional.max_pool3d(values, 3, stride=1, padding=1)
    peaked = torch.where(values == around, values, -torch.inf).flatten(2)
    most = int(counts.max()) + SPARE_SEEDS if counts.numel() else 0
    top = peaked.topk(most, dim=-1)
    rank = torch.arange(most, device=counts.device)
    wanted = (rank < counts[..., None] + SPARE_SEEDS) & (counts[..., None] > 0)
    wanted &= torch.isfinite(top.values)
    owner, kind, _ = wanted.nonzero(as_tuple=True)
    return grid.flatten(0, 2)[top.indices[wanted]], owner, kind


def ball_grid(radius: float, spacing: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """A cubic grid `[g, g, g, 3]` of places and which of them lie in the ball."""
    steps = int(radius / spacing) + 1
    axis = spacing * torch.arange(-steps, steps + 1, dtype=like.dtype, device=like.device)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    return grid, grid.norm(dim=-1) <= radius


def _highest(maxima: Maxima, counts: Tensor, kinds: int) -> Children:
    """The `counts` highest maxima of each parent and kind."""
    order = torch.argsort(maxima.values, descending=True, stable=True)
    order = order[torch.argsort(maxima.owner[order], stable=True)]
    slot = maxima.owner[order]
    size = torch.bincount(slot, minlength=counts.numel())
    rank = torch.arange(len(slot), device=slot.device) - (torch.cumsum(size, 0) - size)[slot]
    kept = order[rank < counts.flatten()[slot]]
    slot = maxima.owner[kept]
    return Children(
        maxima.positions[kept], slot // kinds, slot % kinds, torch.sigmoid(maxima.values[kept])
    )
