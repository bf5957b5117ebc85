"""SOAP vectors of crystals that keep a space group, with derivatives by its few parameters.

One atom of each orbit is a centre; its vector stands for the orbit's. Only pairs within reach are
computed with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.equivariant import spherical_harmonics
from geomae.equivariant.harmonics import derivative_matrices
from geomae.inversion.crystal_orbits import OrbitBatch
from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.soap_fit import SoapFit
from geomae.inversion.soap_scalars import radial_slopes, scalars, smooth_channels

MOST_STEPS = 8
"""Lattice vectors along each axis at most."""

FLATTEST = 1.2
"""Least distance of lattice planes, in Å, of a cell that is computed with."""


@dataclass(frozen=True)
class Pairs:
    """Centres and the atoms within their reach, as many for each, filled up.

    Attributes:
        vectors: `[b, m, 3]` in Å, for crystals times orbits.
        slopes: by the parameters, `[b, m, q, 3]`.
        member: one-hot elements of the atoms, zero where nothing is, `[b, m, s]`.
    """

    vectors: Float[Tensor, "b m 3"]
    slopes: Float[Tensor, "b m q 3"]
    member: Float[Tensor, "b m s"]


def pairs_of(
    soap: Soap, batch: OrbitBatch, rows: Float[Tensor, "k p 3"], which: Int[Tensor, " k"]
) -> Pairs:
    """Pairs of crystals.

    Args:
        soap: tells the reach.
        batch: crystals.
        rows: parameters of some of them.
        which: of them these are.
    """
    cells, fractions = batch.cells(rows, which), batch.fractions(rows, which)
    reach, centres = soap.r_cut + soap.padding, batch.centres[which]
    k, o = centres.shape
    first = torch.gather(fractions, 1, centres[..., None].expand(-1, -1, 3))
    gaps = fractions[:, None] - first[:, :, None]
    gaps = gaps - gaps.round()
    inside = gaps @ cells[:, None]
    steps = _steps(cells, reach)
    shifts = steps @ cells
    # images whose whole cell is out of reach are left out first
    margin = inside.norm(dim=3).amax((1, 2)) + reach
    crystal, image = torch.nonzero(shifts.norm(dim=2) < margin[:, None], as_tuple=True)
    vectors = inside[crystal] + shifts[crystal, image][:, None, None]
    part, orbit, atom = torch.nonzero(vectors.square().sum(3) < reach**2, as_tuple=True)
    row = crystal[part] * o + orbit
    row, order = torch.sort(row, stable=True)
    part, orbit, atom = part[order], orbit[order], atom[order]
    counts = torch.bincount(row, minlength=k * o)
    place = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    crystal, image = crystal[part], image[part]
    whole = gaps[crystal, orbit, atom] + steps[image]
    size = (k * o, int(counts.max()))
    framed = torch.einsum("ta,tab->tb", whole, batch.frame[which][crystal])
    by_strain = torch.einsum("ta,tsab->tsb", framed, batch.strains[which][crystal])
    along = batch.along[which].transpose(1, 2)
    moves = along[crystal, atom] - along[crystal, centres[crystal, orbit]]
    slopes = torch.cat([moves @ cells[crystal], by_strain], 1)
    found = rows.new_zeros(*size, 3)
    found[row, place] = torch.einsum("ta,tab->tb", whole, cells[crystal])
    derivatives = rows.new_zeros(*size, slopes.shape[1], 3)
    derivatives[row, place] = slopes
    member = rows.new_zeros(*size, len(soap.species))
    member[row, place, batch.column[which][crystal, atom]] = 1.0
    return Pairs(found, derivatives, member)


def _steps(cells: Float[Tensor, "k 3 3"], reach: float) -> Float[Tensor, "i 3"]:
    """To images within reach of atoms that are less than half a cell away."""
    heights = 1 / torch.linalg.inv(cells).norm(dim=1)
    most = torch.floor(reach / heights.amin(0) + 0.5).clamp(max=MOST_STEPS).long().tolist()
    axes = [torch.arange(-s, s + 1, dtype=cells.dtype) for s in most]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


class OrbitScalars:
    """Scalar coefficients about an atom of each orbit, to fit crystals with a space group to.

    Args:
        soap: of all atoms, not averaged.
        values: target, in a row.
    """

    def __init__(self, soap: Soap, values: Float[Tensor, " f"]):
        self.soap, self.smooth = soap, smooth_channels(soap)[0]
        self.wanted = scalars(soap, values) @ self.smooth

    def target(self, batch: OrbitBatch, rows: Int[Tensor, "k o"]) -> Float[Tensor, "k f"]:
        """What each crystal's values shall be.

        Args:
            batch: crystals.
            rows: of the vectors that each orbit shall have.
        """
        return (batch.shares.sqrt()[..., None, None] * self.wanted[rows]).flatten(1)

    def of(
        self, batch: OrbitBatch, rows: Float[Tensor, "k p 3"], which: Int[Tensor, " k"]
    ) -> tuple[Float[Tensor, "k f"], Float[Tensor, "k f q"]]:
        """Values of some crystals of a batch, with derivatives by the parameters."""
        found, slopes = _scalar_coefficients(self.soap, self.smooth, batch, rows, which)
        weight = batch.shares[which].sqrt()
        found = found.unflatten(0, weight.shape) * weight[..., None, None]
        slopes = slopes.unflatten(0, weight.shape) * weight[..., None, None, None]
        return found.flatten(1), slopes.flatten(1, 3)


def _scalar_coefficients(
    soap: Soap,
    smooth: Float[Tensor, "r c"],
    batch: OrbitBatch,
    rows: Float[Tensor, "k p 3"],
    which: Int[Tensor, " k"],
) -> tuple[Float[Tensor, "b s c"], Float[Tensor, "b s c q"]]:
    """Coefficients of degree 0 about each centre, in the smooth combinations of functions."""
    pairs = pairs_of(soap, batch, rows, which)
    radial, slope = radial_slopes(soap, pairs.vectors.square().sum(2), degrees=1)
    found = pairs.member.mT @ (radial[:, :, 0] @ smooth)
    away = 2 * (pairs.slopes @ pairs.vectors[..., None])[..., 0]
    by = (pairs.member[..., None] * away[:, :, None]).flatten(2)
    slopes = by.mT @ (slope[:, :, 0] @ smooth)
    return found, slopes.unflatten(1, (pairs.member.shape[2], -1)).transpose(2, 3)


class OrbitGrams:
    """Power spectra about an atom of each orbit, in the directions in which they are largest.

    Args:
        fit: of whole structures to the same vectors; tells the directions.
        degrees: how many, from 0 on; None for all.
    """

    def __init__(self, fit: SoapFit, degrees: int | None = None):
        self.fit, self.soap = fit, fit.soap
        self.degrees = self.soap.l_max + 1 if degrees is None else degrees
        packed = fit.target.reshape(-1, self.soap.l_max + 1, len(fit.first))
        self.wanted = packed[:, : self.degrees].clone()
        self.averaged = self.soap.average == "outer"
        self.scale = self.fit.scale * fit.factors[: self.degrees, None]

    def target(self, batch: OrbitBatch, rows: Int[Tensor, "k o"]) -> Float[Tensor, "k f"]:
        """As of `OrbitScalars`; averaged vectors are the same for all."""
        if self.averaged:
            return self.wanted.flatten().expand(len(rows), -1)
        return (batch.shares.sqrt()[..., None, None] * self.wanted[rows]).flatten(1)

    def of(
        self, batch: OrbitBatch, rows: Float[Tensor, "k p 3"], which: Int[Tensor, " k"]
    ) -> tuple[Float[Tensor, "k f"], Float[Tensor, "k f q"]]:
        """Values of some crystals of a batch, with derivatives by the parameters."""
        pairs, shares = pairs_of(self.soap, batch, rows, which), batch.shares[which]
        weight = shares if self.averaged else shares.sqrt()
        found, slopes = [], []
        for degree, (own, by) in enumerate(self._coefficients(pairs)):
            grams = own.mT @ own
            half = torch.einsum("bmp,bmqr->bprq", own, by)
            whole = half + half.transpose(1, 2)
            for store, values in ((found, grams), (slopes, whole)):
                kept = values[:, self.fit.first, self.fit.second].unflatten(0, weight.shape)
                scale = self.scale[degree].reshape(-1, *[1] * (kept.ndim - 3))
                kept = kept * scale * weight.reshape(*weight.shape, *[1] * (kept.ndim - 2))
                store.append(kept.sum(1, keepdim=True) if self.averaged else kept)
        return torch.stack(found, 2).flatten(1), torch.stack(slopes, 2).flatten(1, 3)

    def _coefficients(
        self, pairs: Pairs
    ) -> Sequence[tuple[Float[Tensor, "b m p"], Float[Tensor, "b m q p"]]]:
        """Of each degree, with derivatives."""
        degrees, vectors = self.degrees, pairs.vectors
        harmonics = spherical_harmonics(max(degrees - 1, 1), vectors, normalize=False)
        radial, slope = radial_slopes(self.soap, vectors.square().sum(2), degrees=degrees)
        away = 2 * (pairs.slopes @ vectors[..., None])[..., 0]
        d_harmonics = torch.einsum(
            "aml,bnl->bnma", derivative_matrices(max(degrees - 1, 1)), harmonics
        )
        result = []
        for degree in range(degrees):
            own = slice(degree**2, (degree + 1) ** 2)
            span = self.fit.span[degree].flatten(0, 1)
            mixed, mixed_slope = (
                (pairs.member[..., None] * part[:, :, None, degree]).flatten(2) @ span
                for part in (radial, slope)
            )
            turned = (d_harmonics[:, :, own] @ pairs.slopes.mT).flatten(2)
            along = (harmonics[:, :, own, None] * away[:, :, None]).flatten(2)
            by = turned.mT @ mixed + along.mT @ mixed_slope
            coefficients = harmonics[:, :, own].mT @ mixed
            result.append((coefficients, by.unflatten(1, (2 * degree + 1, -1))))
        return result


OrbitFit = OrbitScalars | OrbitGrams
"""What crystals with a space group are fitted to."""
