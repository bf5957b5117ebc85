"""Hydrogens on a skeleton: each row tells where its atom stands among the heavy ones.

The scalar coefficients of a hydrogen's SOAP vector that belong to other elements depend on its own
position alone, once those atoms are in place. So each hydrogen is a problem of three unknowns,
solved from all places around heavy atoms. Where the skeleton is symmetric, flat ones above all,
several places will do; the hydrogens' own distances, and those that heavy atoms see, choose.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.refine import refine
from geomae.inversion.soap_scalars import radial_scalars, radial_slopes, scalars
from geomae.inversion.spread import sphere_points

BOND = 1.05
"""Å from a heavy atom at which places are tried."""

DIRECTIONS = 72
"""Of places around each heavy atom."""

TRIED = 12
"""Places that are refined, of each hydrogen."""

SAME = 0.03
"""Places nearer than this, in Å, are one."""

EQUAL = 1e-8
"""Difference of misfits, relative to the values squared, that tells nothing."""

CLOSE = 1e-4
"""Relative residual of a place where a hydrogen may be; flat skeletons converge slowly."""


@dataclass(frozen=True)
class Places:
    """Where light atoms may be.

    Attributes:
        positions: `[m, 3]` in Å.
        owner: light atom of each, `[m]`, ascending.
    """

    positions: Float[Tensor, "m 3"]
    owner: Int[Tensor, " m"]


def places_of(
    soap: Soap,
    values: Float[Tensor, " f"],
    numbers: Int[Tensor, " n"],
    light: Bool[Tensor, " n"],
    skeleton: Float[Tensor, "h 3"],
) -> Places:
    """All places of each light atom that agree with its row; the nearest where none does.

    Args:
        soap: of all atoms.
        values: its vectors, in a row.
        numbers: atomic number of each row.
        light: which rows are of light atoms.
        skeleton: positions of the others, in the order of their rows.
    """
    heavy = numbers[~light]
    columns = [k for k, z in enumerate(soap.species) if bool((heavy == z).any())]
    member = torch.stack([heavy == soap.species[k] for k in columns]).to(torch.float64)

    def seen(weights: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        gaps = place - skeleton
        radial, slope = (
            part[..., 0, :] for part in radial_slopes(soap, gaps.square().sum(2), degrees=1)
        )
        along = 2 * slope[..., None] * gaps[:, :, None]
        slopes = torch.einsum("sh,thra->tsra", member, along)
        return (member @ radial).flatten(1), slopes.flatten(1, 2)[:, :, None]

    goals = scalars(soap, values)[light][:, columns].flatten(1)
    tries = _around(skeleton)
    rough = seen(tries, tries[:, None])[0]
    starts = _best_apart(torch.cdist(goals, rough), tries)
    count = starts.shape[1]
    owner = torch.repeat_interleave(torch.arange(len(goals)), count)
    found = refine(
        seen, goals[owner], starts.new_zeros(len(owner), 1, 0), starts.reshape(-1, 1, 3), steps=40
    )
    place = found.positions[:, 0]
    kept = [_different(place, found.residual, owner == k) for k in range(len(goals))]
    chosen = torch.cat(kept)
    return Places(place[chosen], owner[chosen])


def choices(
    soap: Soap,
    values: Float[Tensor, " f"],
    light: Bool[Tensor, " n"],
    skeleton: Float[Tensor, "h 3"],
    places: Places,
    generator: torch.Generator,
    *,
    n: int = 32,
    kept: int = 4,
) -> Float[Tensor, "k l 3"]:
    """Positions of the light atoms at places that suit all of them, best first.

    Each choice is improved atom by atom until no change of one helps.

    Args:
        soap, values: as above.
        light: which rows are of light atoms.
        skeleton: positions of the others.
        places: of each light atom.
        generator: of the choices that are improved.
        n: how many are.
        kept: different ones that are returned, at most.
    """
    column = soap.species.index(1)
    goals = scalars(soap, values)[:, column]
    between = _scalars_at(soap, places.positions[:, None] - places.positions)
    outside = _scalars_at(soap, places.positions[:, None] - skeleton)

    def misfit(chosen: Tensor) -> Tensor:
        inner = between[chosen[:, :, None], chosen[:, None]].sum(2) - goals[light]
        outer = outside[chosen].sum(1) - goals[~light]
        return inner.square().sum((1, 2)) + outer.square().sum((1, 2))

    counts = torch.bincount(places.owner)
    first = counts.cumsum(0) - counts
    shares = torch.rand(n, len(counts), generator=generator)
    chosen = first + (shares * counts).long()
    best = misfit(chosen)
    for _ in range(6):
        before = best.clone()
        for atom in torch.nonzero(counts > 1)[:, 0].tolist():
            for place in range(int(first[atom]), int(first[atom] + counts[atom])):
                other = chosen.clone()
                other[:, atom] = place
                worth = misfit(other)
                chosen = torch.where((worth < best)[:, None], other, chosen)
                best = torch.minimum(worth, best)
        if bool((best == before).all()):
            break
    order = torch.argsort(best)
    ordered = chosen[order[best[order] <= 4 * best[order[0]] + EQUAL * goals.square().sum()]]
    rows = list(dict.fromkeys(map(tuple, ordered.tolist())))[:kept]
    return places.positions[torch.tensor(rows)]


def _scalars_at(soap: Soap, vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch r"]:
    return radial_scalars(soap, vectors.square().sum(-1))


def _around(skeleton: Float[Tensor, "h 3"]) -> Float[Tensor, "t 3"]:
    """Places on spheres around heavy atoms, not within others."""
    tries = (skeleton[:, None] + BOND * sphere_points(DIRECTIONS)).flatten(0, 1)
    return tries[torch.cdist(tries, skeleton).amin(1) > 0.9 * BOND]


def _best_apart(
    misfit: Float[Tensor, "l t"], tries: Float[Tensor, "t 3"]
) -> Float[Tensor, "l k 3"]:
    """The best places for each light atom, none within 0.5 Å of a better one."""
    near = torch.cdist(tries, tries) < 0.5
    left, picked = misfit.clone(), []
    for _ in range(min(TRIED, len(tries))):
        best = left.argmin(1)
        picked.append(tries[best])
        left = left.masked_fill(near[best], torch.inf)
    return torch.stack(picked, 1)


def _different(place: Tensor, residual: Tensor, mine: Bool[Tensor, " t"]) -> Int[Tensor, " k"]:
    """Indices of an atom's places that fit about as well as its best, each once."""
    order = torch.nonzero(mine)[:, 0]
    order = order[torch.argsort(residual[order])]
    best = residual[order[0]]
    limit = torch.minimum(1e3 * best + 1e-9, (3 * best).clamp(min=CLOSE))
    good = order[residual[order] <= limit]
    kept: list[int] = []
    for index in good.tolist():
        if not kept or float((place[kept] - place[index]).norm(dim=1).min()) > SAME:
            kept.append(index)
    return torch.tensor(kept, dtype=torch.long)
