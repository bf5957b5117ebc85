"""Atoms of one element where its signal in space peaks, their radii unknown.

The signal is the element's coefficients in the components that are known of each degree. Of a grid
of places that place is taken that explains most of what is not yet explained, one atom after the other;
then each is taken out and put back in turn (matching pursuit: Mallat and Zhang 1993).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.equivariant import spherical_harmonics
from geomae.inversion.descriptors.density import RadialDensity
from geomae.inversion.spread import sphere_points

DIRECTIONS = 700
"""Of the grid."""

FINE = 4
"""Radii of the grid for each radial function."""

APART = 0.6
"""Å between atoms, at least."""

SPARK = 0.15
"""Noise on what a place explains, relative to an atom's whole signal."""

SWEEPS = 4
"""How often each atom is put in place."""


@dataclass(frozen=True)
class Signal:
    """Coefficients of an element's atoms together, where they are known.

    Attributes:
        density: whose coefficients they are.
        seen: projection on the components that are known, `[2l + 1, 2l + 1]` of each degree.
        parts: coefficients in these components, `[2l + 1, radial]` of each degree.
    """

    density: RadialDensity
    seen: list[Tensor]
    parts: list[Tensor]


def peaks(
    signal: Signal,
    count: int,
    others: Float[Tensor, "p 3"],
    k: int,
    generator: torch.Generator,
) -> Float[Tensor, "k count 3"]:
    """Places about the centre that explain a signal together.

    Args:
        signal: of all atoms of the element.
        count: of them.
        others: positions of atoms that stand already.
        k: how many structures; there is some chance in all but the first.
        generator: of the chance.
    """
    density = signal.density
    directions = sphere_points(DIRECTIONS)
    steps = FINE * density.n_radial
    softened = density.softening + (density.reach - density.softening) * torch.arange(
        steps, dtype=torch.float64
    ) / steps
    radii = density.harden(softened)
    degree = torch.arange(density.lmax + 1)
    sizes = 2 * degree + 1
    powers = (radii / softened)[:, None] ** degree  # [radii, degrees]
    radial = density.radial(softened)
    harmonics = spherical_harmonics(density.lmax, directions).split(sizes.tolist(), 1)
    angular = torch.cat([h @ p for h, p in zip(harmonics, signal.seen, strict=True)], 1)
    shrink = powers.repeat_interleave(sizes, 1)  # [radii, components]
    strength = torch.stack(
        [part.square().sum(1) for part in angular.split(sizes.tolist(), 1)], 1
    )
    own = torch.einsum("dl,al,a->da", strength, powers.square(), radial.square().sum(1))
    seats = (directions[:, None] * radii[:, None]).flatten(0, 1)
    rest = torch.cat(signal.parts).expand(k, -1, -1).clone()
    taken = (torch.cdist(seats, others) < APART).any(1).to(torch.int).expand(k, -1).clone()
    picked = torch.full((k, count), -1)
    rows = torch.arange(k)
    for sweep in range(SWEEPS):
        for atom in range(count):
            if sweep:
                _put(rest, taken, seats, picked[:, atom], angular, shrink, radial, -1)
            read = torch.einsum("kmr,ar->kam", rest, radial) * shrink
            gain = (2 * torch.einsum("dm,kam->kda", angular, read) - own).flatten(1)
            if sweep < SWEEPS - 1:
                spark = torch.randn(gain.shape, generator=generator, dtype=gain.dtype)
                spark[0] = 0
                gain = gain + SPARK * 0.5**sweep * own.mean() * spark
            picked[:, atom] = gain.masked_fill(taken > 0, -torch.inf).argmax(1)
            _put(rest, taken, seats, picked[:, atom], angular, shrink, radial, 1)
    return seats[picked]


def _put(
    rest: Tensor,
    taken: Tensor,
    seats: Tensor,
    picked: Tensor,
    angular: Tensor,
    shrink: Tensor,
    radial: Tensor,
    sign: int,
) -> None:
    """Take an atom's signal out of what is left to explain, or put it back; likewise its place."""
    ring = picked % len(radial)
    harmonics = angular[picked // len(radial)] * shrink[ring]
    rest -= sign * harmonics[:, :, None] * radial[ring][:, None]
    taken += sign * (torch.cdist(seats[picked][:, None], seats)[:, 0] < APART).to(torch.int)
