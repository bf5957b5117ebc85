"""Fitting positions to SOAP vectors, in the few directions of channel space that matter most."""

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.equivariant import spherical_harmonics
from geomae.equivariant.harmonics import derivative_matrices
from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.soap_scalars import radial_slopes, soap_grams

KEPT = 12
"""Directions of channel space that are fitted, in each degree."""


class SoapFit:
    """SOAP vectors, seen in the directions of channel space in which they are largest.

    For each degree the channels (elements times radial functions) are projected on the leading
    eigenvectors of the Gram matrices of all centres. What is fitted is a linear image of the
    vectors, so the right structure fits exactly; whether another does must be seen from the whole
    vectors, afterwards. Derivatives are closed: an atom's share depends on its own vector alone.

    Args:
        soap: with `average` 'off' or 'outer'.
        values: target, in a row.
        kept: directions a degree.
    """

    def __init__(self, soap: Soap, values: Float[Tensor, " f"], *, kept: int = KEPT):
        if soap.average == "inner":
            raise ValueError("coefficients averaged over centres are not fitted here")
        self.soap = soap
        grams = soap_grams(soap, values)
        _, vectors = torch.linalg.eigh(grams.sum(0))
        span = vectors[:, :, -min(kept, vectors.shape[2]) :]
        self.span = span.unflatten(1, (len(soap.species), soap.n_max))
        self.first, self.second = torch.triu_indices(span.shape[2], span.shape[2])
        self.scale = torch.where(self.first == self.second, 1.0, 2.0**0.5).to(values)
        degree = torch.arange(soap.l_max + 1)
        self.owner = torch.nn.functional.one_hot(torch.repeat_interleave(degree, 2 * degree + 1))
        self.owner = self.owner.to(values)
        self.target = self._pack(span.mT @ grams @ span).flatten()

    def values(
        self, weights: Float[Tensor, "n s"], positions: Float[Tensor, "n 3"]
    ) -> Float[Tensor, " f"]:
        """What is fitted, of one structure."""
        return self.jacobian(weights[None], positions[None])[0][0]

    def jacobian(
        self, weights: Float[Tensor, "k n s"], positions: Float[Tensor, "k n 3"]
    ) -> tuple[Float[Tensor, "k f"], Float[Tensor, "k f n 3"]]:
        """Values of a batch, and their derivatives."""
        soap = self.soap
        vectors = torch.stack([soap.vectors(place) for place in positions])
        harmonics = spherical_harmonics(soap.l_max, vectors, normalize=False)
        d_harmonics = torch.einsum("aml,kcjl->kcjma", derivative_matrices(soap.l_max), harmonics)
        radial, slope = radial_slopes(soap, vectors.square().sum(-1))
        d_radial = 2 * slope[..., None] * vectors[..., None, None, :]
        images = vectors.shape[2] // weights.shape[1]
        mixing = torch.einsum("kns,lsrq->knlrq", weights, self.span).repeat(1, images, 1, 1, 1)
        channels = torch.einsum("kcjlr,kjlrq->kcjlq", radial, mixing)
        d_channels = torch.einsum("kcjlra,kjlrq->kcjlqa", d_radial, mixing)
        coefficients = torch.einsum(
            "kcjm,kcjmq->kcmq", harmonics, channels.repeat_interleave(self._widths, 3)
        )
        grams = torch.einsum("kcmp,kcmq,ml->kclpq", coefficients, coefficients, self.owner)
        along = torch.einsum("kcjm,kcmq,ml->kcjlq", harmonics, coefficients, self.owner)
        d_along = torch.einsum("kcjma,kcmq,ml->kcjlqa", d_harmonics, coefficients, self.owner)
        half = channels[..., :, None, None] * d_along[..., None, :, :]
        half = half + d_channels[..., :, None, :] * along[..., None, :, None]
        pairs = half[..., self.first, self.second, :] + half[..., self.second, self.first, :]
        pairs = pairs * (self._factors[:, None, None] * self.scale[:, None])
        return self._pack(grams).flatten(1), self._by_atom(pairs, weights.shape[1])

    @property
    def _widths(self) -> Tensor:
        return 2 * torch.arange(self.soap.l_max + 1) + 1

    @property
    def _factors(self) -> Tensor:
        return self.soap.prefactors / self.soap.prefactors[0]

    def _by_atom(self, pairs: Float[Tensor, "k c j l f 3"], n: int) -> Tensor:
        """Derivatives by positions, `[k, f, n, 3]`, of those by vectors from the centres."""
        slopes = pairs.unflatten(2, (-1, n)).sum(2).permute(0, 1, 3, 4, 2, 5).clone()
        if self.soap.centres != "origin":
            own = range(n) if self.soap.centres == "all" else self.soap.centres
            for row, atom in enumerate(own):
                slopes[:, row, :, :, atom] -= slopes[:, row].sum(3)
        if self.soap.average == "outer":
            slopes = slopes.mean(1, keepdim=True)
        return slopes.flatten(1, 3)

    def _pack(self, grams: Float[Tensor, "*k c l p p"]) -> Tensor:
        packed = grams[..., self.first, self.second] * self.scale * self._factors[:, None]
        return packed.mean(-3, keepdim=True) if self.soap.average == "outer" else packed
