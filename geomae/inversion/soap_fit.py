"""Fitting positions to SOAP vectors, in the few directions of channel space that matter most."""

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.equivariant import spherical_harmonics
from geomae.equivariant.harmonics import derivative_matrices
from geomae.inversion.descriptors.images import Displacements, by_row, displacements
from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.soap_scalars import radial_slopes, smooth_channels, soap_grams

KEPT = 12
"""Directions of channel space that are fitted, in each degree."""


class SoapFit:
    """SOAP vectors, seen in the directions of channel space in which they are largest.

    For each degree the channels (elements times radial functions) are projected on the leading
    eigenvectors of the Gram matrices of all centres. What is fitted is a linear image of the
    vectors, so the right structure fits exactly; whether another does must be seen from the whole
    vectors, afterwards. In crystals only smooth channels are fitted (`smooth_channels`).
    Derivatives are closed: an atom's share depends on its own vector alone. Where the lattice is
    open its vectors are fitted as well.

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
        smooth = smooth_channels(soap)
        smooth = torch.stack([torch.block_diag(*[one] * len(soap.species)) for one in smooth])
        _, vectors = torch.linalg.eigh(smooth.mT @ grams.sum(0) @ smooth)
        span = smooth @ vectors[:, :, -min(kept, vectors.shape[2]) :]
        self.span = span.unflatten(1, (len(soap.species), soap.n_max))
        self.first, self.second = torch.triu_indices(span.shape[2], span.shape[2])
        self.scale = torch.where(self.first == self.second, 1.0, 2.0**0.5).to(values)
        self.target = self._pack(span.mT @ grams @ span).flatten()

    def values(
        self, weights: Float[Tensor, "n s"], positions: Float[Tensor, "p 3"]
    ) -> Float[Tensor, " f"]:
        """What is fitted, of one structure."""
        return self.jacobian(weights[None], positions[None])[0][0]

    def jacobian(
        self, weights: Float[Tensor, "k n s"], positions: Float[Tensor, "k p 3"]
    ) -> tuple[Float[Tensor, "k f"], Float[Tensor, "k f p 3"]]:
        """Values of a batch, and their derivatives."""
        soap = self.soap
        seen = displacements(soap, positions)
        vectors = seen.vectors
        harmonics = spherical_harmonics(soap.l_max, vectors, normalize=False)
        matrices = derivative_matrices(soap.l_max)
        d_harmonics = torch.einsum("aml,kcinl->kcinma", matrices, harmonics)
        radial, slope = radial_slopes(soap, vectors.square().sum(-1))
        mixing = torch.einsum("kns,lsrq->knlrq", weights, self.span)
        grams, slopes = [], []
        for degree in range(soap.l_max + 1):
            own = slice(degree**2, (degree + 1) ** 2)
            mixed = mixing[:, None, :, degree]
            coefficients, by_place = self._of_degree(
                seen,
                harmonics[..., own],
                d_harmonics[..., own, :],
                radial[..., degree, :],
                slope[..., degree, :],
                mixed,
            )
            grams.append(coefficients.mT @ coefficients)
            pairs = torch.einsum("kcmp,kcnmaq->kcnpqa", coefficients, by_place)
            pairs = pairs + pairs.transpose(3, 4)
            slopes.append(pairs[..., self.first, self.second, :])
        packed = torch.stack(slopes, 2) * (self.factors[:, None, None, None] * self.scale[:, None])
        if soap.average == "outer":
            packed = packed.mean(1, keepdim=True)
        found = self._pack(torch.stack(grams, 2)).flatten(1)
        return found, packed.transpose(3, 4).flatten(1, 3)

    def _of_degree(
        self,
        seen: Displacements,
        harmonics: Float[Tensor, "k c i n m"],
        d_harmonics: Float[Tensor, "k c i n m 3"],
        radial: Float[Tensor, "k c i n r"],
        slope: Float[Tensor, "k c i n r"],
        mixing: Float[Tensor, "k 1 n r q"],
    ) -> tuple[Float[Tensor, "k c m q"], Float[Tensor, "k c p m 3 q"]]:
        """Coefficients of a degree, and their derivatives by positions and lattice vectors."""
        along = 2 * harmonics[..., None] * seen.vectors[..., None, :]
        left = torch.cat([d_harmonics, along], 2)
        right = torch.cat([radial, slope], 2)
        whole = torch.einsum("kcinm,kcinr->kcnmr", harmonics, radial) @ mixing
        by_atom = torch.einsum("kcinma,kcinr->kcnmar", left, right) @ mixing[:, :, :, None]
        by_shift = None
        if self.soap.lattice and seen.shifts is not None:
            twice = torch.cat([seen.shifts, seen.shifts])
            by_shift = torch.stack(
                [
                    (
                        torch.einsum("i,kcinma,kcinr->kcnmar", shift, left, right)
                        @ mixing[:, :, :, None]
                    ).sum(2)
                    for shift in twice.T
                ],
                2,
            )
        return whole.sum(2), by_row(self.soap, by_atom, by_shift)

    @property
    def factors(self) -> Tensor:
        return self.soap.prefactors / self.soap.prefactors[0]

    def _pack(self, grams: Float[Tensor, "*k c l p p"]) -> Tensor:
        packed = grams[..., self.first, self.second] * self.scale * self.factors[:, None]
        return packed.mean(-3, keepdim=True) if self.soap.average == "outer" else packed
