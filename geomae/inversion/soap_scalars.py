"""What SOAP vectors tell by their degree 0: sums of known functions of distances.

The Gram matrix of degree 0 has rank one, so the scalar coefficients themselves follow from it.
They are linear in the atoms, and labelled: each row is one atom's.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import nnls
from torch import Tensor
from torch.func import jvp

from geomae.inversion.descriptors.images import by_row, displacements
from geomae.inversion.descriptors.soap import Soap

LEAST_FUNCTIONS = 4
"""Radial functions that leave something if two combinations are taken away."""


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
    whole = radial_scalars(soap, outward.square()).sum(0)
    return by_element * torch.sign(by_element.sum(1) @ whole)[:, None, None]


def radial_scalars(soap: Soap, squares: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch r"]:
    """What an atom at a distance, squared, adds to the coefficients of degree 0."""
    return soap.radial(squares, degrees=1)[..., 0, :]


def radial_slopes(
    soap: Soap, squares: Float[Tensor, "*batch"], *, degrees: int | None = None
) -> tuple[Float[Tensor, "*batch l r"], Float[Tensor, "*batch l r"]]:
    """Radial functions of squared distances, and their derivatives by these."""
    if soap.weighting.function is not None:
        ones = torch.ones_like(squares)
        values, slopes, *_ = jvp(lambda s: soap.radial(s, degrees=degrees), (squares,), (ones,))
        return values, slopes
    return soap.radial(squares, degrees=degrees), soap.radial(squares, degrees=degrees, slope=True)


def smooth_channels(soap: Soap) -> Float[Tensor, "l r q"]:
    """Combinations of radial functions, for each degree, that atoms enter and leave smoothly.

    dscribe's density ends abruptly where atoms are out of reach, so the vectors of crystals jump as
    atoms move, and least squares get caught between the jumps. In these combinations, orthonormal,
    an atom at the edge counts for nothing, to first order.

    Returns:
        All combinations where there is no lattice, or too few functions.
    """
    count = soap.n_max
    edge = torch.tensor((soap.r_cut + soap.padding) ** 2, dtype=torch.float64)
    if not (soap.lattice or soap.cell is not None) or count < LEAST_FUNCTIONS:
        return torch.eye(count, dtype=torch.float64).expand(soap.l_max + 1, -1, -1)
    jumps = torch.stack(radial_slopes(soap, edge * (1 - 1e-12)), 2)
    return torch.linalg.qr(jumps, mode="complete").Q[:, :, jumps.shape[2] :]


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
    columns = radial_scalars(soap, grid.square()).T.numpy()
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


class ScalarFit:
    """Scalar coefficients about all atoms, to fit positions to.

    They determine nearly every structure by themselves, and cost a hundredth of the whole vectors.

    Args:
        soap: of all atoms, not averaged.
        values: target, in a row.
        numbers: atomic number of each row.
    """

    def __init__(self, soap: Soap, values: Float[Tensor, " f"], numbers: Int[Tensor, " n"]):
        self.soap, self.member = soap, soap.weights(numbers)
        self.smooth = smooth_channels(soap)[0]
        self.target = (scalars(soap, values) @ self.smooth).flatten()

    def values(
        self, weights: Float[Tensor, "n s"], positions: Float[Tensor, "p 3"]
    ) -> Float[Tensor, " f"]:
        """What is fitted, of one structure."""
        return self.jacobian(weights[None], positions[None])[0][0]

    def jacobian(
        self, weights: Float[Tensor, "k n s"], positions: Float[Tensor, "k p 3"]
    ) -> tuple[Float[Tensor, "k f"], Float[Tensor, "k f p 3"]]:
        """Values of a batch, and their derivatives."""
        seen = displacements(self.soap, positions)
        radial, slope = radial_slopes(self.soap, seen.vectors.square().sum(-1), degrees=1)
        found = torch.einsum("kcinr,ns->kcsr", radial[..., 0, :] @ self.smooth, self.member)
        slope = 2 * slope[..., 0, :] @ self.smooth
        by_atom = torch.einsum("kcinr,kcina,ns->kcnsra", slope, seen.vectors, self.member)
        by_shift = None
        if self.soap.lattice and seen.shifts is not None:
            by_shift = torch.einsum(
                "ib,kcinr,kcina,ns->kcbsra", seen.shifts, slope, seen.vectors, self.member
            )
        slopes = by_row(self.soap, by_atom, by_shift)
        return found.flatten(1), slopes.permute(0, 1, 3, 4, 2, 5).flatten(1, 3)
