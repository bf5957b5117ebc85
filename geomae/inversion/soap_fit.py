"""Fitting positions to SOAP vectors, in the few directions of channel space that matter most."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import nnls
from torch import Tensor
from torch.func import jacfwd, vmap

from geomae.inversion.descriptors.soap import Soap

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
        shape = vectors.shape[:3]
        slopes, found = vmap(jacfwd(self._both, has_aux=True))(vectors.flatten(0, 2))
        harmonics, radial = (part.unflatten(0, shape) for part in found)
        d_harmonics, d_radial = (part.unflatten(0, shape) for part in slopes)
        images = shape[2] // weights.shape[1]
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

    def _both(self, vector: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        found = self.soap.local(vector)
        return found, found

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


def soap_grams(soap: Soap, values: Float[Tensor, " f"]) -> Float[Tensor, "c l p p"]:
    """Gram matrices of the coefficients about each centre, of SOAP vectors in a row."""
    degree, first, second = soap.features
    table = values.reshape(-1, soap.n_features) / soap.prefactors[degree]
    channels = len(soap.species) * soap.n_max
    grams = table.new_zeros(len(table), soap.l_max + 1, channels, channels)
    grams[:, degree, first, second] = table
    grams[:, degree, second, first] = table
    return grams


def scalars(soap: Soap, values: Float[Tensor, " f"]) -> Float[Tensor, "c s r"]:
    """Coefficients of degree 0 about each centre: sums of radial functions of the distances.

    The sign that all of a centre share is free in its vector; counts of atoms are positive.
    """
    grams = soap_grams(soap, values)[:, 0]
    strongest = grams.diagonal(dim1=1, dim2=2).argmax(1)
    rows = torch.arange(len(grams))
    found = grams[rows, strongest] / grams[rows, strongest, strongest].sqrt()[:, None]
    by_element = found.unflatten(1, (len(soap.species), soap.n_max))
    outward = torch.linspace(0, soap.r_cut, 50, dtype=torch.float64)
    whole = radial_scalars(soap, outward).sum(0)
    return by_element * torch.sign(by_element.sum(1) @ whole)[:, None, None]


def radial_scalars(soap: Soap, lengths: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch r"]:
    """What an atom at a distance adds to the coefficients of degree 0."""
    nothing = torch.zeros_like(lengths)
    return soap.local(torch.stack([lengths, nothing, nothing], -1))[1][..., 0, :]


def histograms(
    soap: Soap, values: Float[Tensor, " f"], *, spacing: float = 0.02
) -> tuple[Float[Tensor, " g"], Float[Tensor, "c s g"]]:
    """Numbers of atoms of each element at distances from each centre, as degree 0 tells them.

    The scalar coefficients are sums of known functions of the distances, and counts can't be
    negative: that leaves few ways (non-negative least squares). What is close runs together.

    Returns:
        Distances in Å, the first 0, and counts at each.
    """
    far = soap.r_cut + soap.padding
    grid = torch.cat([torch.zeros(1), torch.arange(0.5, far, spacing)]).to(torch.float64)
    columns = radial_scalars(soap, grid).T.numpy()
    scale = np.linalg.norm(columns)
    by_element = scalars(soap, values)
    counts = [
        [nnls(columns / scale, part.numpy() / scale)[0] for part in row] for row in by_element
    ]
    return grid, torch.as_tensor(np.array(counts))


def species_of_rows(soap: Soap, values: Float[Tensor, " f"]) -> Int[Tensor, " c"] | None:
    """Atomic number of each centre, told by the density at the centre itself.

    Returns:
        None where it can't be told: the centre's own atom doesn't count, or is hidden.
    """
    if soap.average != "off" or soap.weighting.w0 == 0 or soap.centres == "origin":
        return None
    grid, counts = histograms(soap, values)
    inner = counts[:, :, grid < 0.55].sum(2)
    best = inner.argmax(1)
    others = inner.sum(1) - inner.amax(1)
    if not bool(((inner.amax(1) - 1).abs() < 0.3).all() and (others < 0.3).all()):
        return None
    return torch.tensor(soap.species)[best]
