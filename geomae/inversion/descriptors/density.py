"""The density of each element around a centre, in radial functions and harmonics."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import pi
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.equivariant import spherical_harmonics
from geomae.equivariant.radial import polynomial_envelope, polynomial_envelope_slope
from geomae.errors import GeomaeError
from geomae.inversion.descriptors.base import as_species

Centre = Literal["centroid", "origin"]


@dataclass(frozen=True)
class RadialDensity:
    """Coefficients `c_lm,en = sum_i [e_i = e] R_n(s_i) S_lm(r_i / s_i)` of the atoms' density.

    S are solid harmonics, 'component' normalised, and `s_i = sqrt(r_i^2 + softening^2)`, so that
    everything is smooth at the centre, too. Radial functions are `sin(pi n s / reach)`,
    n = 1 ... n_radial, which have two merits: together they resolve radii down to
    `reach / n_radial`, and sums of them have radii that can be read off by algebra, however close
    (see `geomae.inversion.algebra`).

    Args:
        species: elements, as atomic numbers or symbols.
        n_radial: radial functions of each element.
        lmax: highest degree.
        cutoff: in Å; atoms beyond are not seen.
        softening: length in Å below which directions fade.
        centre: 'centroid' of the atoms, or 'origin', for an environment given by
            displacements from its centre.
        envelope: let atoms fade smoothly towards the cutoff; else all within count alike and the
            radial functions are orthogonal.
    """

    species: Sequence[int | str]
    n_radial: int = 32
    lmax: int = 4
    cutoff: float = 8.0
    softening: float = 0.5
    centre: Centre = "centroid"
    envelope: bool = False
    _numbers: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", as_species(self.species))
        object.__setattr__(self, "species", self._numbers)
        if self.n_radial < 1 or not 0 <= self.lmax <= 11:
            raise GeomaeError(
                "n_radial must be at least 1 and lmax within 0 ... 11, not "
                f"{self.n_radial} and {self.lmax}"
            )
        if not (self.cutoff > 0 and self.softening > 0):
            raise GeomaeError(
                f"cutoff and softening must be above 0 Å, not {self.cutoff} and {self.softening}"
            )
        if self.centre not in ("centroid", "origin"):
            raise GeomaeError(f"centre must be 'centroid' or 'origin', not '{self.centre}'")

    @property
    def channels(self) -> int:
        """Elements times radial functions, the latter running fastest."""
        return len(self._numbers) * self.n_radial

    @cached_property
    def reach(self) -> float:
        """Softened length at the cutoff, in Å."""
        return (self.cutoff**2 + self.softening**2) ** 0.5

    def soften(self, radii: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Softened lengths of radii."""
        return (radii.square() + self.softening**2).sqrt()

    def harden(self, softened: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Radii of softened lengths; 0 for those that are too short to be one."""
        return (softened.square() - self.softening**2).clamp(min=0).sqrt()

    def radial(self, softened: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch r"]:
        """Radial functions of softened lengths."""
        fraction = (softened / self.reach)[..., None]
        steps = torch.arange(1, self.n_radial + 1, dtype=softened.dtype, device=softened.device)
        values = torch.sin(pi * steps * fraction) * (2 / self.n_radial) ** 0.5
        if self.envelope:
            return values * polynomial_envelope(fraction)
        return values * (fraction < 1)

    def radial_slopes(
        self, softened: Float[Tensor, "*batch"]
    ) -> tuple[Float[Tensor, "*batch r"], Float[Tensor, "*batch r"]]:
        """Radial functions of softened lengths, and their derivatives."""
        fraction = (softened / self.reach)[..., None]
        steps = pi * torch.arange(1, self.n_radial + 1).to(softened)
        scale = (2 / self.n_radial) ** 0.5
        waves = scale * torch.sin(steps * fraction)
        slopes = scale * steps * torch.cos(steps * fraction)
        if self.envelope:
            envelope, falling = polynomial_envelope(fraction), polynomial_envelope_slope(fraction)
            waves, slopes = waves * envelope, slopes * envelope + waves * falling
        else:
            within = fraction < 1
            waves, slopes = waves * within, slopes * within
        return waves, slopes / self.reach

    def centred(self, positions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Positions relative to the centre."""
        return positions - positions.mean(0) if self.centre == "centroid" else positions

    def coefficients(
        self, weights: Float[Tensor, "n s"], positions: Float[Tensor, "n 3"]
    ) -> Float[Tensor, "m c"]:
        """Coefficients `[(lmax + 1)^2, channels]`."""
        vectors = self.centred(positions)
        softened = (vectors.square().sum(-1) + self.softening**2).sqrt()
        harmonics = spherical_harmonics(self.lmax, vectors / softened[:, None], normalize=False)
        radial = self.radial(softened)
        labelled = (weights[:, :, None] * radial[:, None]).flatten(1)
        return harmonics.T @ labelled
