"""Atoms of one element where its signal in space peaks, their radii unknown.

The signal is the element's coefficients, in the components that are known of each degree. The place
of a grid is taken that explains most of what is not yet explained, for one atom after the other;
then each is taken out and put back in turn (matching pursuit: Mallat and Zhang 1993).
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
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
"""How often each atom is put in place, the last time without chance."""


@dataclass(frozen=True)
class Signal:
    """Coefficients of an element's atoms together, where they are known.

    Attributes:
        density: whose coefficients they are.
        seen: projection on the components that are known, `[2l + 1, 2l + 1]` of each degree.
        parts: coefficients in these components, `[2l + 1, r]` of each degree.
    """

    density: RadialDensity
    seen: list[Tensor]
    parts: list[Tensor]

    @cached_property
    def softened(self) -> Float[Tensor, " a"]:
        """Softened lengths of the grid's radii."""
        least, reach = self.density.softening, self.density.reach
        steps = FINE * self.density.n_radial
        return least + (reach - least) * torch.arange(steps, dtype=torch.float64) / steps

    @cached_property
    def seats(self) -> Float[Tensor, "places 3"]:
        """Places of the grid, radii running fastest."""
        radii = self.density.harden(self.softened)
        return (sphere_points(DIRECTIONS)[:, None] * radii[:, None]).flatten(0, 1)

    @cached_property
    def angular(self) -> Float[Tensor, "d m"]:
        """Harmonics of the grid's directions, in the components that are known."""
        harmonics = spherical_harmonics(self.density.lmax, sphere_points(DIRECTIONS))
        return harmonics @ torch.block_diag(*self.seen)

    @cached_property
    def solid(self) -> Float[Tensor, "a m"]:
        """What turns harmonics into solid ones at the grid's radii."""
        degree = torch.arange(self.density.lmax + 1)
        relative = self.density.harden(self.softened) / self.softened
        return (relative[:, None] ** degree).repeat_interleave(2 * degree + 1, 1)

    @cached_property
    def radial(self) -> Float[Tensor, "a r"]:
        """Radial functions at the grid's radii."""
        return self.density.radial(self.softened)

    @cached_property
    def own(self) -> Float[Tensor, " places"]:
        """Square of an atom's signal in each place."""
        sizes = self.radial.square().sum(1)[:, None] * self.solid.square()
        return (self.angular.square() @ sizes.T).flatten()

    def read(self, rest: Float[Tensor, "k m r"]) -> Float[Tensor, "k places"]:
        """Products of signals with those of an atom in each place."""
        by_radius = torch.einsum("kmr,ar->kam", rest, self.radial) * self.solid
        return torch.einsum("dm,kam->kda", self.angular, by_radius).flatten(1)

    def of(self, places: Int[Tensor, " k"]) -> Float[Tensor, "k m r"]:
        """Signals of an atom in places of given numbers."""
        direction, radius = places // len(self.radial), places % len(self.radial)
        harmonics = self.angular[direction] * self.solid[radius]
        return harmonics[:, :, None] * self.radial[radius][:, None]


def peaks(
    signal: Signal,
    count: int,
    others: Float[Tensor, "p 3"],
    k: int,
    generator: torch.Generator,
) -> Float[Tensor, "k count 3"]:
    """Places about the centre that explain a signal together, to the grid's resolution.

    Args:
        signal: of all atoms of the element.
        count: of them.
        others: positions of atoms that stand already.
        k: how many structures; there is some chance in all but the first.
        generator: of the chance.
    """
    seats, own = signal.seats, signal.own
    rest = torch.cat(signal.parts).expand(k, -1, -1).clone()
    crowded = (torch.cdist(seats, others) < APART).any(1).long().expand(k, -1).clone()
    picked = torch.full((k, count), -1)
    for sweep in range(SWEEPS):
        for atom in range(count):
            if sweep:
                rest += signal.of(picked[:, atom])
                crowded -= _around(seats, picked[:, atom])
            gain = 2 * signal.read(rest) - own
            if sweep < SWEEPS - 1:
                spark = torch.randn(gain.shape, generator=generator, dtype=gain.dtype)
                spark[0] = 0
                gain += SPARK * 0.5**sweep * own.mean() * spark
            picked[:, atom] = gain.masked_fill(crowded > 0, -torch.inf).argmax(1)
            rest -= signal.of(picked[:, atom])
            crowded += _around(seats, picked[:, atom])
    return seats[picked]


def _around(seats: Float[Tensor, "places 3"], picked: Int[Tensor, " k"]) -> Int[Tensor, "k places"]:
    """1 where a place is too near to one that is taken."""
    return (torch.cdist(seats[picked], seats) < APART).long()
