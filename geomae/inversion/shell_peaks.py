"""Shells that angles alone do not put in place, placed where their signals peak.

Once some shells stand, the sums of Legendre polynomials between them and another shell are linear
in that shell's harmonics. So the shell is known as a signal on the sphere, in the components that
the others span. Its atoms are looked for at the peaks of the signal, one after the other (matching
pursuit: Mallat and Zhang 1993); a shell whose own angles are known is turned as a whole.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geomae.equivariant import spherical_harmonics
from geomae.inversion.spread import sphere_points

if TYPE_CHECKING:
    from geomae.inversion.algebra import Shells

DIRECTIONS = 800
"""Of the grid on which signals are read."""

SEEN = 1e-3
"""Relative singular value of components that the shells that stand span."""

SPARK = 0.1
"""Noise on what a direction explains, relative to an atom's whole signal."""

CROWDED = 0.97
"""Cosine of directions of one shell that are too near to each other."""

SWEEPS = 3
"""How often each atom is taken out and put back."""


TURNS = 1000
"""Rotations that are tried for a shell of known angles."""

FOLLOWED = 64
"""Of these that are followed downhill."""

STEPS = 20
"""Of Levenberg and Marquardt from each of them."""

NUDGE = 1e-4
"""Rotation, in radians, for differences."""


def pursued(
    shells: "Shells",
    directions: Float[Tensor, "n 3"],
    placed: Bool[Tensor, " n"],
    n_starts: int,
    generator: torch.Generator,
    *,
    shapes: Mapping[int, Float[Tensor, "m 3"]] | None = None,
) -> Float[Tensor, "starts n 3"]:
    """Directions of all atoms: those that stand, and others at peaks.

    Args:
        shells: with their moments.
        directions: of the atoms that stand.
        placed: which these are.
        n_starts: how many; there is some chance in all but the first.
        generator: of the chance.
        shapes: directions of some shells' atoms, turned anyhow.
    """
    made = directions.expand(n_starts, -1, -1).clone()
    owner, known = shells.owner, placed.clone()
    known &= ~shells.central[owner]
    standing = owner[known].unique()
    lmax = len(shells.moments) - 1
    member = (owner[known] == standing[:, None]).to(directions)
    sums = member @ spherical_harmonics(lmax, directions[known])
    grid = sphere_points(DIRECTIONS)
    harmonics = spherical_harmonics(lmax, grid)
    parts, inverses = [], []
    for degree in range(lmax + 1):
        own = slice(degree**2, (degree + 1) ** 2)
        inverse = torch.linalg.pinv(sums[:, own], rtol=SEEN)
        parts.append(harmonics[:, own] @ inverse @ sums[:, own])
        inverses.append((2 * degree + 1) * inverse)
    seen = torch.cat(parts, 1)
    for shell in owner[~placed].unique().tolist():
        signal = torch.cat(
            [
                inverse @ gram[standing, shell]
                for inverse, gram in zip(inverses, shells.moments, strict=True)
            ]
        )
        if shapes and shell in shapes:
            made[:, owner == shell] = _turned(shapes[shell], sums, signal, n_starts, generator)
        else:
            picked = _pursue(seen, grid, signal, int(shells.counts[shell]), n_starts, generator)
            made[:, owner == shell] = grid[picked]
    # what stands may be turned freely as long as no sum of directions is among it
    whole = (owner == torch.arange(len(shells.counts))[:, None]).to(made) * ~shells.central[:, None]
    left, _, right = torch.linalg.svd((whole @ made).mT @ shells.sums)
    return made @ (left @ right)


def _turned(
    shape: Float[Tensor, "m 3"],
    sums: Float[Tensor, "k components"],
    signal: Float[Tensor, " components"],
    n_starts: int,
    generator: torch.Generator,
) -> Float[Tensor, "starts m 3"]:
    """A shape in the orientations that explain its signal best, the best first."""
    lmax = round(sums.shape[1] ** 0.5) - 1
    blocks = [sums[:, degree**2 : (degree + 1) ** 2] for degree in range(lmax + 1)]
    spans = [torch.linalg.pinv(block, rtol=SEEN) @ block for block in blocks]
    scale = [span / (2 * degree + 1) ** 0.5 for degree, span in enumerate(spans)]
    seen = torch.block_diag(*scale)
    goal = signal @ seen

    def error(turns: Float[Tensor, "*t 3 3"]) -> Float[Tensor, "*t m"]:
        return spherical_harmonics(lmax, shape @ turns).sum(-2) @ seen - goal

    noise = torch.randn(TURNS, 3, 3, generator=generator, dtype=shape.dtype)
    turns, triangle = torch.linalg.qr(noise)
    turns = turns * triangle.diagonal(dim1=1, dim2=2).sign()[:, None]
    turns = turns[torch.argsort(error(turns).square().sum(1))[: max(FOLLOWED, n_starts)]]
    # each goes downhill by itself: different orientations may explain as much
    generators = torch.linalg.cross(
        torch.eye(3, dtype=shape.dtype)[:, None].expand(3, 3, 3),
        torch.eye(3, dtype=shape.dtype).expand(3, 3, 3),
        dim=2,
    )
    nudges = torch.linalg.matrix_exp(NUDGE * torch.cat([generators, -generators]))
    damping = torch.full((len(turns), 1, 1), 0.1, dtype=shape.dtype)
    old = error(turns)
    for _ in range(STEPS):
        there = error(turns[:, None] @ nudges)
        slopes = (there[:, :3] - there[:, 3:]) / (2 * NUDGE)
        normal = slopes @ slopes.mT
        ridge = damping * normal.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + 1e-14
        step = torch.linalg.solve(normal + ridge * torch.eye(3), -slopes @ old[:, :, None])
        turn = torch.linalg.matrix_exp((step[..., None] * generators).sum(1))
        new = error(turns @ turn)
        better = new.square().sum(1) < old.square().sum(1)
        turns = torch.where(better[:, None, None], turns @ turn, turns)
        old = torch.where(better[:, None], new, old)
        damping *= torch.where(better, 0.2, 4.0)[:, None, None]
    return shape @ turns[torch.argsort(old.square().sum(1))[:n_starts]]


def _pursue(
    seen: Float[Tensor, "d m"],
    grid: Float[Tensor, "d 3"],
    signal: Float[Tensor, " m"],
    count: int,
    n_starts: int,
    generator: torch.Generator,
) -> Tensor:
    """Numbers of the directions that explain a signal together, `[starts, count]`."""
    size = seen.square().sum(1)
    crowd = (grid @ grid.T) > CROWDED
    spark = torch.randn(n_starts, count, len(grid), generator=generator, dtype=seen.dtype)
    spark = SPARK * size.mean() * spark
    spark[0] = 0
    rest = signal.expand(n_starts, -1).clone()
    picked = torch.full((n_starts, count), -1)
    for sweep in range(SWEEPS):
        for atom in range(count):
            others = [k for k in range(count) if k != atom and (sweep or k < atom)]
            if sweep:
                rest += seen[picked[:, atom]]
            gain = 2 * rest @ seen.T - size + 0.5**sweep * spark[:, atom]
            if others:
                gain = gain.masked_fill(crowd[picked[:, others]].any(1), -torch.inf)
            picked[:, atom] = gain.argmax(1)
            rest -= seen[picked[:, atom]]
    return picked
