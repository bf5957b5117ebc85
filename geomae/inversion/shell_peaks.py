"""Shells whose angles are not known, placed where their signals peak.

Once some shells stand, the sums of Legendre polynomials between them and another shell are linear
in that shell's harmonics. So the shell is known as a signal on the sphere, in the components that the
others span. Its atoms are looked for at the peaks of the signal, one after the other (matching
pursuit: Mallat and Zhang 1993).
"""

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


def pursued(
    shells: "Shells",
    directions: Float[Tensor, "n 3"],
    placed: Bool[Tensor, " n"],
    n_starts: int,
    generator: torch.Generator,
) -> Float[Tensor, "starts n 3"]:
    """Directions of all atoms: those that stand, and others at peaks.

    Args:
        shells: with their moments.
        directions: of the atoms that stand.
        placed: which these are.
        n_starts: how many; there is some chance in all but the first.
        generator: of the chance.
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
        picked = _pursue(seen, grid, signal, int(shells.counts[shell]), n_starts, generator)
        made[:, owner == shell] = grid[picked]
    return made


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
