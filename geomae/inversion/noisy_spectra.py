"""Power spectra with noise, and what they still tell.

Where no structure has the values, algebra that takes them at their word leads astray. Degree 0 is
a Gram matrix of rank one, so what goes beyond that tells the noise. Only what stands out of it
counts: radii come from fewer directions of channel space, and where some elements' atoms stand, the
others' coefficients D_l are told by the Gram matrices C_l^T D_l in the components in which C_l is
clear of noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.inversion.algebra import Shells, moments_of, softened_radii
from geomae.inversion.descriptors.density import RadialDensity
from geomae.inversion.gram_fit import GramFit
from geomae.inversion.refine import refine
from geomae.inversion.spatial_peaks import Signal, peaks

ROUNDING = 1e-10
"""Noise, relative to the largest entry of degree 0, up to which values are taken at their word."""

SINGLE = 1e-7
"""The same, up to which that is tried first: what rounding to single precision leaves."""

EDGE = 2.6
"""Largest eigenvalue of noise, relative to an entry's and to the root of the number of channels:
2 (Wigner 1958), and some more for what is rare.
"""

CHOICES = 8
"""Structures that are made of each part that was found."""

LEAST = 1e-3
"""Relative singular value of components of a signal that atoms in place determine."""

CLEAR = 5.0
"""The same, relative to noise."""


def noise_of(gram: Float[Tensor, "c c"]) -> float:
    """Standard deviation of noise on the entries of degree 0, by what goes beyond rank one.

    It comes out right to about `1 / c` of itself where noise is independent and of one size.
    """
    first = int(gram.diagonal().argmax())
    size = float(gram[first, first])
    if size <= 0:
        return 0.0
    rest = gram - torch.outer(gram[first], gram[first]) / size
    rough = float(rest.square().mean().sqrt())
    if rough <= ROUNDING * size:
        return rough
    return float(torch.linalg.eigvalsh(gram)[:-1].norm()) / len(gram)


@dataclass(frozen=True)
class NoisySpectrum:
    """A power spectrum between all channels, with noise of one size on all entries.

    Attributes:
        grams: of each degree.
        density: whose coefficients they are of.
        noise: standard deviation of an entry.
    """

    grams: Float[Tensor, "degrees c c"]
    density: RadialDensity
    noise: float

    @property
    def relative(self) -> float:
        """Noise in parts of the largest entry of degree 0."""
        size = float(self.grams[0].diagonal().max())
        return self.noise / size if size > 0 else 0.0

    @property
    def edge(self) -> float:
        """Eigenvalue of a Gram matrix up to which there may be noise alone."""
        return EDGE * self.noise * len(self.grams[0]) ** 0.5

    def only(self, species: Sequence[int]) -> "NoisySpectrum":
        """That of some elements' atoms alone, about the same centre."""
        density = self.density
        kept = torch.isin(torch.tensor(density._numbers), torch.tensor(species))
        columns = kept.repeat_interleave(density.n_radial)
        own = tuple(z for z, chosen in zip(density._numbers, kept.tolist(), strict=True) if chosen)
        grams = self.grams[:, columns][:, :, columns]
        return NoisySpectrum(grams, replace(density, species=own, centre="origin"), self.noise)

    @cached_property
    def rows(self) -> list[Float[Tensor, "m c"]]:
        """Coefficients of each degree up to a rotation, `[<= 2l + 1, c]`: those beyond noise."""
        found = []
        for degree, gram in enumerate(self.grams):
            values, vectors = torch.linalg.eigh(gram)
            values, vectors = values[-2 * degree - 1 :], vectors[:, -2 * degree - 1 :]
            clear = values > self.edge
            found.append((vectors[:, clear] * values[clear].sqrt()).T)
        return found

    @cached_property
    def counts(self) -> Int[Tensor, " s"]:
        """Atoms of each element, as degree 0 tells them."""
        found = [self._radii(e, None)[1].sum() for e in range(len(self.density._numbers))]
        return torch.stack(found).round().long().clamp(min=0)

    def shells(self, counts: Int[Tensor, " s"]) -> Shells:
        """Radii that are told apart, with atoms of each, for a given number of each element's; no
        shell of what does not stand out of the noise.
        """
        species, softened, inverses, whole = [], [], [], []
        for element, count in enumerate(counts.tolist()):
            radii, told, inverse = self._radii(element, count)
            species += [element] * len(radii)
            softened.append(radii)
            inverses.append(inverse)
            whole.append(_whole(told, count))
        inverse, length = torch.block_diag(*inverses), torch.cat(softened)
        radii = self.density.harden(length)
        relative = radii / length
        sums, moments = moments_of(self.rows, inverse, relative)
        return Shells(
            torch.tensor(species, dtype=torch.long),
            radii,
            torch.cat(whole),
            sums,
            moments,
            relative,
            merged=True,
        )

    def _radii(
        self, element: int, most: int | None
    ) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"], Float[Tensor, "r k"]]:
        """Softened radii of an element, atoms at each, and the inverse of the radial functions."""
        n = self.density.n_radial
        own = slice(element * n, (element + 1) * n)
        # in parts of noise, rows of large eigenvalues are the more exact ones
        rows = torch.cat([part.norm(dim=1, keepdim=True) * part[:, own] for part in self.rows])
        empty = rows.new_zeros(0)
        if most == 0 or not len(rows) or not len(self.rows[0]):
            return empty, empty, rows.new_zeros(n, 0)
        largest = float(torch.linalg.matrix_norm(rows, 2))
        noise = EDGE / 2 * self.noise * (len(rows) ** 0.5 + n**0.5)
        if largest < noise and most is None:
            return empty, empty, rows.new_zeros(n, 0)
        limit = min(n - 1, n if most is None else most)
        softened = softened_radii(rows, self.density, min(noise / largest, 0.9), most=limit)
        if softened is None:
            softened = softened_radii(rows, self.density, 0.9, most=limit)
            assert softened is not None
        inverse = torch.linalg.pinv(self.density.radial(softened), rtol=1e-6)
        scalars = self.rows[0][0]
        sign = scalars.unflatten(0, (-1, n))[:, 0].sum().sign()
        return softened, sign * scalars[own] @ inverse, inverse

    def refined(
        self, numbers: Int[Tensor, " n"], starts: Float[Tensor, "k n 3"]
    ) -> tuple[Float[Tensor, "k n 3"], Float[Tensor, " k"]]:
        """Where least squares take starts, and residuals relative to what noise leaves."""
        size = float(torch.linalg.eigvalsh(self.grams.sum(0))[-1])
        floor = len(self.grams) ** 0.5 * self.edge / size
        fit = GramFit(self.grams, self.density, floor=floor, most=len(numbers))
        weights = (numbers[:, None] == torch.tensor(self.density._numbers)).to(starts)
        found = refine(fit.jacobian, fit.target, weights.expand(len(starts), -1, -1), starts)
        # entries off the diagonal have twice the variance, as those on it do after rotation
        left = self.noise * (2.0 * len(fit.target)) ** 0.5
        return found.positions, found.residual * float(fit.target.norm()) / left

    def completed(
        self,
        place: Float[Tensor, "p 3"],
        first: Int[Tensor, " p"],
        others: Int[Tensor, " m"],
        generator: torch.Generator,
    ) -> Float[Tensor, "k m 3"]:
        """Atoms at peaks of their elements' signals, with the first ones in place.

        Args:
            place: of the first atoms, about the centre.
            first: their atomic numbers.
            others: those of the atoms to be placed, which are of other elements.
            generator: of the chance in all but the first structure.
        """
        density = self.density
        coefficients = replace(density, centre="origin").coefficients(
            (first[:, None] == torch.tensor(density._numbers)).to(place), place
        )
        known = coefficients.split([2 * degree + 1 for degree in range(density.lmax + 1)])
        made = place.new_zeros(CHOICES, len(others), 3)
        for z in others.unique().tolist():
            column = density._numbers.index(z) * density.n_radial
            own = slice(column, column + density.n_radial)
            seen, signal = [], []
            for part, gram in zip(known, self.grams, strict=True):
                size = float(torch.linalg.matrix_norm(part, 2))
                least = max(LEAST, CLEAR * self.noise / max(size, 1e-30))
                inverse = torch.linalg.pinv(part.T, rtol=least)
                seen.append(inverse @ part.T)
                signal.append(inverse @ gram[:, own])
            wanted = others == z
            made[:, wanted] = peaks(
                Signal(density, seen, signal), int(wanted.sum()), place, CHOICES, generator
            )
        return made


def _whole(told: Float[Tensor, " k"], count: int) -> Int[Tensor, " k"]:
    """Whole numbers near to others, at least 1, with a given sum where that leaves room."""
    found = told.round().long().clamp(min=1)
    while len(found) and int(found.sum()) != count:
        over = found.to(told) - told
        if int(found.sum()) < count:
            found[over.argmin()] += 1
        else:
            found[over.masked_fill(found == 1, -torch.inf).argmax()] -= 1
    return found
