"""Where the children are: the peaks of a field, found around many parents at once."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.autoencoder.config import LevelConfig
from geomae.autoencoder.field import Field
from geomae.autoencoder.jets import log_sigmoid
from geomae.equivariant import Constant
from geomae.sphere.ascent import Maxima, climb, highest_around, merge_maxima

SPARE_SEEDS = 2
"""Seeds beyond the expected number that a search with more care follows, for maxima that the grid
misjudges."""


HESSIAN = (4, 5, 6, 5, 7, 8, 6, 8, 9)
"""Components of a jet as a matrix."""

CLEAR = 0.6
"""Probability of a peak that a child surely has; on QM9 those of 999 in 1,000 are above 0.85."""

FINEST = 4
"""How much finer than a level's spacing the grid may become where clear peaks are missing."""

LOOK = 0.1
"""How far from a peak, in widths of a bump, it is looked for higher ones."""

JET_ROWS = 512
"""Places whose derivatives are evaluated together; with more, nothing is gained."""


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
    *,
    to_top: bool = False,
) -> Children:
    """The `counts` highest peaks of each kind in the field around each parent.

    Seeds are the local maxima on a grid; each climbs to its peak by Newton steps, so that the
    result does not depend on the grid's orientation as long as every peak has a seed, or, with
    `to_top`, every bump. What is
    climbed is the logarithm of the probability: it is trained to be a parabola around every
    child, where the logit has a cusp. Parents
    that have fewer clear peaks than children are searched again on a grid twice as fine.

    Args:
        field, features, counts, level: of the parents.
        fineness: of the grid; 1 gives it the level's spacing.
        to_top: take the highest of several maxima on top of one bump; see `highest_around`.
    """
    children = _search(field, features, counts, level, fineness, to_top)
    clear = children.confidence >= CLEAR
    found = torch.bincount(children.owner[clear], minlength=len(counts))
    missing = found < counts.sum(1)
    short = torch.nonzero(missing)[:, 0]
    if not len(short) or fineness >= FINEST:
        return children
    again = propose(field, features[short], counts[short], level, 2 * fineness, to_top=to_top)
    kept = ~missing[children.owner]
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
    field: Field,
    features: Tensor,
    counts: Tensor,
    level: LevelConfig,
    fineness: int,
    to_top: bool,
) -> Children:
    """The peaks that one grid's seeds lead to."""
    coefficients = field.prepare(features)
    spacing = level.spacing / fineness
    spare = 0 if fineness == 1 else SPARE_SEEDS
    seeds = grid_maxima(field, coefficients, counts, level.radius, spacing, spare)
    maxima = climb_field(field, coefficients, *seeds, level, to_top=to_top)
    return _highest(maxima, counts, field.kinds)


def climb_field(
    field: Field,
    coefficients: Float[Tensor, "n m h"],
    seeds: Float[Tensor, "p 3"],
    owner: Int[Tensor, " p"],
    kind: Int[Tensor, " p"],
    level: LevelConfig,
    *,
    to_top: bool = False,
) -> Maxima:
    """The peaks of log p to which seeds climb, merged; their owner is `owner * kinds + kind`.

    Args:
        field, coefficients: of the parents, prepared.
        seeds: displacements from the parents.
        owner, kind: parent and kind of child of each seed.
        level: of the parents.
        to_top: take the highest of several maxima on top of one bump.
    """
    slot = owner * field.kinds + kind

    def derivatives(points: Tensor, slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        jets = field.jets_at(coefficients, points, slots // field.kinds)
        wanted = (slots % field.kinds)[:, None, None].expand(-1, 10, 1)
        jet = log_sigmoid(jets.gather(2, wanted)[..., 0])
        return jet[:, 0], jet[:, 1:4], jet[:, HESSIAN].unflatten(1, (3, 3))

    def function(points: Tensor, slots: Tensor) -> Tensor:
        logits = field.at(coefficients, points, slots // field.kinds)
        return nn.functional.logsigmoid(logits.gather(1, (slots % field.kinds)[:, None])[:, 0])

    ends = climb(
        derivatives,
        seeds,
        slot,
        reach=level.spacing,
        radius=level.radius + level.spacing,
        chunk=JET_ROWS,
    )
    maxima = merge_maxima(ends, tolerance=level.width / 4)
    if not to_top:
        return maxima
    return highest_around(
        function,
        derivatives,
        maxima,
        distance=LOOK * level.width,
        tolerance=level.width / 4,
        reach=level.spacing,
        chunk=JET_ROWS,
    )


def grid_maxima(
    field: Field, coefficients: Tensor, counts: Tensor, radius: float, spacing: float, spare: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Local maxima on the grid, `counts` and some spare of each kind: places, owners, kinds."""
    grid = ball_grid(radius, spacing)
    places, neighbours = grid.places(coefficients), grid.neighbours(coefficients)
    values = field.on_grid(coefficients, places).transpose(1, 2)
    bounded = nn.functional.pad(values, (0, 1), value=-torch.inf)
    peaked = torch.ones_like(values, dtype=torch.bool)
    for neighbour in neighbours.T:
        peaked &= values >= bounded[..., neighbour]
    most = int(counts.max()) + spare if counts.numel() else 0
    top = torch.where(peaked, values, -torch.inf).topk(min(most, len(places)), dim=-1)
    rank = torch.arange(top.values.shape[-1], device=counts.device)
    wanted = (rank < counts[..., None] + spare) & (counts[..., None] > 0)
    wanted &= torch.isfinite(top.values)
    owner, kind, _ = wanted.nonzero(as_tuple=True)
    return places[top.indices[wanted]], owner, kind


@dataclass(frozen=True)
class BallGrid:
    """Places in a ball, and the twelve nearest of each.

    Attributes:
        places: `[g, 3]`.
        neighbours: `[g, 12]`, g where there is none.
    """

    places: Constant
    neighbours: Constant


@lru_cache
def ball_grid(radius: float, spacing: float) -> BallGrid:
    """A face-centred cubic grid, the densest packing: maxima farther apart than its nearest
    neighbours have a grid maximum each, as on a cubic grid of that spacing with 3.7 times as many
    places, whose neighbours along the diagonals are as far.
    """
    edge = spacing * (3 / 2) ** 0.5
    steps = int(radius / edge) + 1
    axis = torch.arange(-steps, steps + 1)
    sites = torch.cartesian_prod(axis, axis, axis)
    places = edge * sites.double()
    sites = sites[(sites.sum(1) % 2 == 0) & (places.norm(dim=1) <= radius)]
    width = 2 * steps + 3
    number = torch.full((width,) * 3, len(sites))
    number[tuple((sites + steps + 1).T)] = torch.arange(len(sites))
    shifts = [s for s in product((-1, 0, 1), repeat=3) if sum(map(abs, s)) == 2]
    around = sites[:, None] + steps + 1 + torch.tensor(shifts)
    return BallGrid(Constant(edge * sites.double()), Constant(number[tuple(around.movedim(2, 0))]))


def _highest(maxima: Maxima, counts: Tensor, kinds: int) -> Children:
    """The `counts` highest maxima of each parent and kind."""
    order = torch.argsort(maxima.values, descending=True, stable=True)
    order = order[torch.argsort(maxima.owner[order], stable=True)]
    slot = maxima.owner[order]
    size = torch.bincount(slot, minlength=counts.numel())
    rank = torch.arange(len(slot), device=slot.device) - (torch.cumsum(size, 0) - size)[slot]
    kept = order[rank < counts.flatten()[slot]]
    slot = maxima.owner[kept]
    return Children(maxima.positions[kept], slot // kinds, slot % kinds, maxima.values[kept].exp())
