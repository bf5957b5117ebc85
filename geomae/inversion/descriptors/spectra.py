"""Power spectra and bispectra of a structure about its centre, or of an environment."""

from collections.abc import Sequence
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.errors import GeomaeError
from geomae.inversion.descriptors.base import Descriptor
from geomae.inversion.descriptors.density import RadialDensity
from geomae.sphere import bispectrum, bispectrum_triples


class PowerSpectrum(Descriptor):
    """Products of the density's channels in each degree, `sum_m c_lm,i c_lm,j`, i <= j.

    Channels are all pairs of an element and a radial function, so for each degree this is the
    Gram matrix of the coefficients. Mirror images have the same.

    Args:
        density: what is described: elements, radial functions, degrees, centre.
        pairs: 'all' of the channels, or only those of the 'same' element.
    """

    def __init__(self, density: RadialDensity, *, pairs: str = "all"):
        if pairs not in ("all", "same"):
            raise GeomaeError(f"pairs must be 'all' or 'same', not '{pairs}'")
        self.density, self.pairs = density, pairs
        self.species, self.centre = density._numbers, density.centre
        first, second = torch.triu_indices(density.channels, density.channels)
        if pairs == "same":
            alike = first // density.n_radial == second // density.n_radial
            first, second = first[alike], second[alike]
        self.first, self.second = first, second

    def __repr__(self) -> str:
        return f"PowerSpectrum({self.density}, pairs={self.pairs!r})"

    def shape(self, n_atoms: int) -> tuple[int, ...]:
        return (self.density.lmax + 1, len(self.first))

    def evaluate(
        self, weights: Float[Tensor, "n s"], positions: Float[Tensor, "n 3"]
    ) -> Float[Tensor, " values"]:
        grams = gram_matrices(self.density.coefficients(weights, positions), self.density.lmax)
        return grams[:, self.first, self.second].flatten()

    def reflected(
        self,
        weights: Float[Tensor, "n s"],
        positions: Float[Tensor, "n 3"],
        values: Float[Tensor, " values"],
    ) -> Float[Tensor, " values"]:
        return values

    def grams(self, values: Float[Tensor, " values"]) -> Float[Tensor, "degrees c c"]:
        """The Gram matrix of each degree, of values in a row; zero where a pair is not known."""
        table = values.reshape(self.shape(1))
        full = table.new_zeros(len(table), self.density.channels, self.density.channels)
        full[:, self.first, self.second] = table
        full[:, self.second, self.first] = table
        return full


class Bispectrum(Descriptor):
    """Triple products of degrees, of each element's density and of all elements' together.

    Together each element counts with a weight of its own, which ties the elements to each other;
    triples of odd sum tell mirror images apart.

    Args:
        density: what is described; every radial function is a signal of its own.
        odd: also the triples of odd sum.
        together: also the weighted sum of the elements.
    """

    def __init__(self, density: RadialDensity, *, odd: bool = True, together: bool = True):
        self.density, self.odd, self.together = density, odd, together
        self.species, self.centre = density._numbers, density.centre
        triples = bispectrum_triples(density.lmax, odd=odd)
        self.triples = len(triples)
        self.signs = torch.tensor([(-1.0) ** sum(triple) for triple in triples])
        self.handed = any(sum(triple) % 2 for triple in triples)
        n = len(self.species)
        self.mixing = torch.eye(n, dtype=torch.float64)
        if together and n > 1:
            own = 0.5 + torch.arange(1, n + 1, dtype=torch.float64) / n
            self.mixing = torch.cat([self.mixing, own[None]])

    def __repr__(self) -> str:
        return f"Bispectrum({self.density}, odd={self.odd}, together={self.together})"

    def shape(self, n_atoms: int) -> tuple[int, ...]:
        return (len(self.mixing) * self.density.n_radial, self.triples)

    def evaluate(
        self, weights: Float[Tensor, "n s"], positions: Float[Tensor, "n 3"]
    ) -> Float[Tensor, " values"]:
        coefficients = self.density.coefficients(weights, positions)
        by_element = coefficients.unflatten(1, (len(self.species), -1))
        mixed = torch.einsum("ke,mer->krm", self.mixing.to(coefficients), by_element)
        return bispectrum(mixed.flatten(0, 1), odd=self.odd).flatten()

    def reflected(
        self,
        weights: Float[Tensor, "n s"],
        positions: Float[Tensor, "n 3"],
        values: Float[Tensor, " values"],
    ) -> Float[Tensor, " values"]:
        return (values.unflatten(0, (-1, self.triples)) * self.signs.to(values)).flatten()


class Together(Descriptor):
    """Several descriptors in a row, as one.

    Args:
        *parts: descriptors of the same species about the same centre.
    """

    def __init__(self, *parts: Descriptor):
        if not parts:
            raise GeomaeError("expected at least one descriptor")
        kinds = {(part.species, part.centre) for part in parts}
        if len(kinds) > 1:
            raise GeomaeError("descriptors of different species or centres can't be joined")
        self.parts = parts
        self.species, self.centre = parts[0].species, parts[0].centre
        self.handed = any(part.handed for part in parts)

    def __repr__(self) -> str:
        return f"Together({', '.join(map(repr, self.parts))})"

    def sizes(self, n_atoms: int) -> list[int]:
        """Number of values of each part."""
        return [prod(part.shape(n_atoms)) for part in self.parts]

    def shape(self, n_atoms: int) -> tuple[int, ...]:
        return (sum(self.sizes(n_atoms)),)

    def n_atoms_of(self, shape: tuple[int, ...]) -> int | None:
        """Number of atoms, where the length depends on it."""
        if self.shape(1) == self.shape(2):
            return None
        return next((n for n in range(1, 500) if self.shape(n) == shape), None)

    def evaluate(
        self, weights: Float[Tensor, "n s"], positions: Float[Tensor, "n 3"]
    ) -> Float[Tensor, " values"]:
        return torch.cat([part.evaluate(weights, positions) for part in self.parts])

    def reflected(
        self,
        weights: Float[Tensor, "n s"],
        positions: Float[Tensor, "p 3"],
        values: Float[Tensor, " values"],
    ) -> Float[Tensor, " values"]:
        parts = zip(self.parts, self.split(values, len(weights)), strict=True)
        return torch.cat([part.reflected(weights, positions, own) for part, own in parts])

    def split(self, values: Float[Tensor, " values"], n_atoms: int) -> list[Tensor]:
        """Values of each part, in a row."""
        return list(values.split(self.sizes(n_atoms)))


def gram_matrices(coefficients: Float[Tensor, "m c"], lmax: int) -> Float[Tensor, "degrees c c"]:
    """`C_l^T C_l` of each degree."""
    blocks = coefficients.split([2 * degree + 1 for degree in range(lmax + 1)])
    return torch.stack([block.T @ block for block in blocks])


def structure_spectra(
    species: Sequence[int | str],
    *,
    n_radial: int = 32,
    lmax: int = 4,
    cutoff: float = 8.0,
    centre: str = "centroid",
) -> Together:
    """Power spectrum and bispectrum of a structure about its centre: determines it, handedness too.

    Args:
        species: elements, as atomic numbers or symbols.
        n_radial: radial functions of the power spectrum; more than an element has atoms.
        lmax: highest degree; (lmax + 1)^2 should exceed the number of an element's atoms.
        cutoff: in Å.
        centre: 'centroid' of the atoms, or 'origin' for an environment.
    """
    fine = RadialDensity(species, n_radial, lmax, cutoff, centre=centre)
    coarse = RadialDensity(species, 4, max(lmax, 4), cutoff, centre=centre)
    return Together(PowerSpectrum(fine), Bispectrum(coarse))
