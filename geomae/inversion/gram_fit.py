"""Fitting positions to Gram matrices, in the few directions of channel space that matter."""

from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.equivariant import spherical_harmonics
from geomae.equivariant.harmonics import derivative_matrices, soften
from geomae.inversion.descriptors.density import RadialDensity


class GramFit:
    """The power spectrum between all channels, seen in the span of the target's own channels.

    A structure whose power spectrum is the target's has coefficients in that span, which has at
    most one dimension an atom. So the fit has far fewer values than the descriptor; whether what
    it finds lies in the span must be seen from the descriptor itself, afterwards. Derivatives
    are closed: an atom's coefficients depend on its own position alone.

    Args:
        grams: target of each degree.
        density: whose coefficients they are of.
        floor: relative eigenvalue below which a direction doesn't matter.
        most: directions at most; the number of atoms, where known.
    """

    def __init__(
        self,
        grams: Float[Tensor, "degrees c c"],
        density: RadialDensity,
        *,
        floor: float = 1e-13,
        most: int | None = None,
    ):
        self.density, self.grams, self.floor, self.most = density, grams, floor, most
        degree = torch.arange(density.lmax + 1)
        self.owner = torch.nn.functional.one_hot(torch.repeat_interleave(degree, 2 * degree + 1))
        self.owner = self.owner.to(grams)  # [components, degrees]

    @cached_property
    def derivatives(self) -> Float[Tensor, "3 components components"]:
        """Matrices that differentiate harmonics."""
        return derivative_matrices(self.density.lmax).to(self.grams)

    @cached_property
    def span(self) -> Float[Tensor, "s r q"]:
        """Directions of channel space in which the target is."""
        values, vectors = torch.linalg.eigh(self.grams.sum(0))
        span = vectors[:, values > self.floor * values[-1]]
        span = span if self.most is None else span[:, -self.most :]
        return span.unflatten(0, (len(self.density._numbers), self.density.n_radial))

    @cached_property
    def pairs(self) -> Int[Tensor, "2 pairs"]:
        """Directions of the entries that are fitted."""
        return torch.triu_indices(self.span.shape[2], self.span.shape[2])

    @cached_property
    def scale(self) -> Float[Tensor, " pairs"]:
        """Weights of the entries: those off the diagonal stand for two."""
        return torch.where(self.pairs[0] == self.pairs[1], 1.0, 2.0**0.5).to(self.grams)

    @property
    def target(self) -> Float[Tensor, " f"]:
        """What the values shall be."""
        return self._target

    @cached_property
    def _target(self) -> Float[Tensor, " f"]:
        span = self.span.flatten(0, 1)
        return self._pack(span.T @ self.grams @ span)

    def values(
        self, weights: Float[Tensor, "n s"], positions: Float[Tensor, "n 3"]
    ) -> Float[Tensor, " f"]:
        """What is fitted, of one structure."""
        return self._grams(*self._atoms(weights[None], positions[None])[:2])[0].flatten()

    def jacobian(
        self, weights: Float[Tensor, "k n s"], positions: Float[Tensor, "k n 3"]
    ) -> tuple[Float[Tensor, "k f"], Float[Tensor, "k f n 3"]]:
        """Values of a batch, and their derivatives."""
        harmonics, radial, d_harmonics, d_radial = self._atoms(weights, positions)
        coefficients = torch.einsum("knm,knq->kmq", harmonics, radial)
        by_degree = (self.owner.T[:, :, None] * coefficients[:, None])[:, None]
        along = (harmonics[:, :, None, None] @ by_degree)[..., 0, :]
        d_along = d_harmonics.mT[:, :, None] @ by_degree
        half = torch.einsum("knp,knlaq->klpqna", radial, d_along)
        half = half + torch.einsum("knpa,knlq->klpqna", d_radial, along)
        first, second = self.pairs
        pairs = half[:, :, first, second] + half[:, :, second, first]
        slopes = (pairs * self.scale[:, None, None]).flatten(1, 2)
        if self.density.centre == "centroid":
            slopes = slopes - slopes.mean(2, keepdim=True)
        return self._grams(harmonics, radial).flatten(1), slopes

    def _atoms(self, weights: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Harmonics and channels of each atom, and their derivatives by its position."""
        centred = positions
        if self.density.centre == "centroid":
            centred = positions - positions.mean(1, keepdim=True)
        direction, softened = soften(centred, self.density.softening)
        harmonics = spherical_harmonics(self.density.lmax, direction, normalize=False)
        turning = (torch.eye(3).to(centred) - direction[..., :, None] * direction[..., None, :]) / (
            softened[..., None, None]
        )
        by_direction = torch.einsum("imp,knp->knmi", self.derivatives, harmonics)
        d_harmonics = by_direction @ turning
        radial, slopes = self.density.radial_slopes(softened)
        d_radial = slopes[..., None] * direction[..., None, :]
        mixing = torch.einsum("kns,srq->knrq", weights, self.span)
        return (
            harmonics,
            torch.einsum("knr,knrq->knq", radial, mixing),
            d_harmonics,
            torch.einsum("knra,knrq->knqa", d_radial, mixing),
        )

    def _grams(self, harmonics: Tensor, radial: Tensor) -> Tensor:
        coefficients = torch.einsum("knm,knq->kmq", harmonics, radial)
        blocks = coefficients.split([2 * d + 1 for d in range(self.density.lmax + 1)], 1)
        return self._pack(torch.stack([block.mT @ block for block in blocks], 1), flat=False)

    def _pack(self, grams: Tensor, *, flat: bool = True) -> Tensor:
        packed = grams[..., self.pairs[0], self.pairs[1]] * self.scale
        return packed.flatten() if flat else packed
