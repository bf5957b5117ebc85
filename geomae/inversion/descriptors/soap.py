"""SOAP power spectra as dscribe computes them, in PyTorch and differentiable.

Same vectors for the same options (Bartók, Kondor and Csányi 2013; Himanen et al. 2020 for dscribe):
Gaussians of width sigma on the atoms, radial functions `sum_k beta_nk r^l exp(-alpha_lk r^2)`, the
power spectrum `pi sqrt(8 / (2l + 1)) sum_m c_nlm c_n'lm`, averaged or not.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from math import log, pi, sqrt
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.data.structure import Structure
from geomae.equivariant import spherical_harmonics
from geomae.errors import GeomaeError
from geomae.inversion.descriptors.base import Descriptor, as_species
from geomae.inversion.descriptors.images import displacements

if TYPE_CHECKING:
    from dscribe.descriptors import SOAP

DECAY = 1e-3
"""Value to which dscribe's radial functions decay at their radii, and Gaussians beyond r_cut."""

AT_CENTRE = 1e-6
"""An atom closer than this to a centre, in Å, is the centre's own."""

KEYS = ("function", "w0", "r0", "c", "d", "m", "threshold")
"""Of a weighting."""


@dataclass(frozen=True)
class Weighting:
    """How much atoms count at their distance, as dscribe's option `weighting`.

    Attributes:
        function: 'poly', 'pow', 'exp', or None for 1.
        w0: of the atom at the centre, if it is not the function's.
        r0, c, d, m: parameters, as in dscribe.
    """

    function: str | None = None
    w0: float | None = None
    r0: float = 1.0
    c: float = 1.0
    d: float = 1.0
    m: float = 1.0

    def __call__(self, lengths: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        values = torch.ones_like(lengths)
        ratio = lengths / self.r0
        if self.function == "poly":
            inside = (1 + 2 * ratio**3 - 3 * ratio**2).clamp(min=0)
            values = torch.where(ratio <= 1, self.c * inside**self.m, 0.0)
        elif self.function == "pow":
            values = self.c / (self.d + ratio**self.m)
        elif self.function == "exp":
            values = self.c / (self.d + torch.exp(-ratio))
        if self.w0 is not None:
            values = torch.where(lengths < AT_CENTRE, self.w0, values)
        return values


class Soap(Descriptor):
    """SOAP power spectra of centres in a structure, radial basis 'gto', not compressed.

    Args:
        species: elements, as atomic numbers or symbols.
        r_cut: in Å.
        n_max: radial functions.
        l_max: highest degree.
        sigma: width of the Gaussians, in Å.
        centres: 'all' atoms, one row each; indices of some; or 'origin', for an environment
            given by displacements from its centre.
        average: 'off'; 'inner', of the coefficients; 'outer', of the power spectra.
        weighting: dscribe's option of that name.
        cell: lattice vectors as rows, in Å, of a periodic structure.
        periodic: the structure is periodic; without `cell`, its lattice is what is looked for, too.
        radial: exponents `[l, n]` and coefficients `[l, n, n]`, where they are known already.

    Raises:
        GeomaeError: an option is out of range.
    """

    def __init__(
        self,
        species: Sequence[int | str],
        r_cut: float,
        n_max: int,
        l_max: int,
        sigma: float = 1.0,
        *,
        centres: Literal["all", "origin"] | Sequence[int] = "all",
        average: Literal["off", "inner", "outer"] = "off",
        weighting: dict[str, Any] | None = None,
        cell: Any = None,
        periodic: bool = False,
        radial: tuple[Any, Any] | None = None,
    ):
        self.species = as_species(species)
        if not (r_cut > 1 and sigma > 0 and n_max >= 1 and 0 <= l_max <= 11):
            raise GeomaeError(
                "expected r_cut above 1 Å, sigma above 0, n_max of at least 1 and l_max within "
                f"0 ... 11; got {r_cut}, {sigma}, {n_max} and {l_max}"
            )
        if average not in ("off", "inner", "outer"):
            raise GeomaeError(f"average must be 'off', 'inner' or 'outer', not '{average}'")
        self.r_cut, self.n_max, self.l_max, self.sigma = r_cut, n_max, l_max, sigma
        self.average = average
        self.centres = centres if isinstance(centres, str) else tuple(int(i) for i in centres)
        if isinstance(self.centres, str) and self.centres not in ("all", "origin"):
            raise GeomaeError(f"centres must be 'all', 'origin' or indices, not '{centres}'")
        self.centre = "origin" if self.centres == "origin" else "centroid"
        self.weighting = _weighting(weighting)
        self.cell = None if cell is None else torch.as_tensor(np.array(cell), dtype=torch.float64)
        self.lattice = periodic and cell is None
        if self.lattice and (self.centres == "origin" or average == "inner"):
            raise GeomaeError(
                "an unknown lattice is looked for with centres on atoms, averaged 'off' or 'outer'"
            )
        alphas, betas = gto_basis(r_cut, n_max, l_max) if radial is None else radial
        self.alphas = torch.as_tensor(np.asarray(alphas), dtype=torch.float64)
        self.betas = torch.as_tensor(np.asarray(betas), dtype=torch.float64)

    @classmethod
    def from_dscribe(
        cls,
        soap: "SOAP",
        *,
        centres: Literal["all", "origin"] | Sequence[int] = "all",
        cell: Any = None,
    ) -> "Soap":
        """The same descriptor as a dscribe `SOAP`.

        Args:
            soap: with radial basis 'gto' and no compression.
            centres: for which it was created.
            cell: of the periodic structure, where `soap` is periodic and it is known.
        """
        # dscribe keeps its options in private attributes only
        if soap._rbf != "gto":
            raise GeomaeError(f"SOAP must have the radial basis 'gto', not '{soap._rbf}'")
        if soap.compression.get("mode", "off") != "off":
            raise GeomaeError(
                "SOAP must not be compressed; its mode is " + soap.compression["mode"]
            )
        if any(weight != 1 for weight in np.asarray(soap._species_weights)):
            raise GeomaeError("SOAP with weights of species can't be inverted")
        return cls(
            [int(z) for z in np.asarray(soap._atomic_numbers)],
            soap._r_cut,
            soap._n_max,
            soap._l_max,
            soap._sigma,
            centres=centres,
            average=soap.average,
            weighting=soap._weighting or None,
            cell=cell if soap.periodic else None,
            periodic=soap.periodic,
            radial=(soap._alphas, soap._betas),
        )

    def __repr__(self) -> str:
        return (
            f"Soap({self.species}, r_cut={self.r_cut}, n_max={self.n_max}, l_max={self.l_max}, "
            f"sigma={self.sigma}, centres={self.centres!r}, average={self.average!r}"
            + (", periodic=True)" if self.lattice or self.cell is not None else ")")
        )

    @property
    def padding(self) -> float:
        """How far beyond r_cut atoms still count, in Å."""
        return self.sigma * sqrt(-2 * log(DECAY))

    @cached_property
    def features(self) -> tuple[Tensor, Tensor, Tensor]:
        """Degree and two channels of each value of a centre, in dscribe's order.

        Channels are elements times radial functions, the latter running fastest.
        """
        n, k = self.n_max, len(self.species)
        rows = [
            (degree, i * n + first, j * n + second)
            for i in range(k)
            for j in range(i, k)
            for degree in range(self.l_max + 1)
            for first in range(n)
            for second in range(first if i == j else 0, n)
        ]
        degree, first, second = torch.tensor(rows).T
        return degree, first, second

    @property
    def n_features(self) -> int:
        """Values of a centre."""
        return len(self.features[0])

    def shape(self, n_atoms: int) -> tuple[int, ...]:
        if self.average != "off":
            return (self.n_features,)
        rows = n_atoms if self.centres == "all" else 1
        return (rows if isinstance(self.centres, str) else len(self.centres), self.n_features)

    def seen(self, positions: Float[Tensor, "p 3"]) -> Bool[Tensor, " p"]:
        if self.centres == "all" or self.cell is not None or self.lattice:
            return super().seen(positions)
        gaps = displacements(self, positions[None]).vectors[0, :, 0].norm(dim=-1)
        return gaps.amin(0) <= self.r_cut + self.padding

    def n_atoms_of(self, shape: tuple[int, ...]) -> int | None:
        told = self.average == "off" and self.centres == "all" and len(shape) == 2 and shape[0] > 0
        return shape[0] if told else None

    def expectation(self) -> str:
        if self.average == "off" and self.centres == "all":
            return f"an array of the shape [atoms, {self.n_features}]"
        return super().expectation()

    def check(self, values: Any) -> Float[Tensor, " values"]:
        """As of every descriptor; one row may come without its first axis."""
        if np.ndim(values) == 1 and len(self.shape(1)) == 2 and self.shape(1)[0] == 1:
            values = np.asarray(values)[None]
        return super().check(values)

    def part(
        self,
        values: Float[Tensor, " f"],
        numbers: Int[Tensor, " n"],
        kept: Bool[Tensor, " n"],
    ) -> tuple["Soap", Float[Tensor, " part"]]:
        """The SOAP of some of the elements' atoms alone, as though there were no others.

        Args:
            values: of all atoms, in a row.
            numbers: atomic number of each row.
            kept: atoms that are left: all or none of an element.
        """
        rows = values.reshape(-1, self.n_features)[kept]
        return self.only(rows.flatten(), numbers[kept])

    def only(
        self, values: Float[Tensor, " f"], numbers: Int[Tensor, " n"]
    ) -> tuple["Soap", Float[Tensor, " part"]]:
        """The SOAP of some elements' atoms alone, about the same centres.

        Pairs of channels of these elements know nothing of the rest.

        Args:
            values: of all elements, in a row.
            numbers: atomic numbers of the elements that are left.
        """
        species = tuple(z for z in self.species if bool((numbers == z).any()))
        part = copy(self)
        part.species = species
        part.__dict__.pop("features", None)
        column = torch.tensor([self.species.index(z) for z in species])
        channels = (column[:, None] * self.n_max + torch.arange(self.n_max)).flatten()
        place = torch.full((len(self.species) * self.n_max,), -1)
        place[channels] = torch.arange(len(channels))
        _, first, second = self.features
        wanted = (place[first] >= 0) & (place[second] >= 0)
        return part, values.reshape(-1, self.n_features)[:, wanted].flatten()

    def evaluate(
        self, weights: Float[Tensor, "n s"], positions: Float[Tensor, "p 3"]
    ) -> Float[Tensor, " values"]:
        vectors = displacements(self, positions[None]).vectors[0]
        harmonics, radial = self.local(vectors.flatten(1, 2))
        repeated = weights.expand(vectors.shape[1], -1, -1).flatten(0, 1)
        channels = torch.einsum("cjlr,js->cjlsr", radial, repeated).flatten(3)
        coefficients = self.contract(harmonics, channels)
        if self.average == "inner":
            coefficients = [c.mean(0, keepdim=True) for c in coefficients]
        grams = torch.stack([c.mT @ c for c in coefficients], 1)
        degree, first, second = self.features
        values = grams[:, degree, first, second] * self.prefactors[degree]
        return (values.mean(0) if self.average == "outer" else values).flatten()

    @cached_property
    def prefactors(self) -> Float[Tensor, " degrees"]:
        """By which dscribe multiplies each degree."""
        degree = torch.arange(self.l_max + 1, dtype=torch.float64)
        return pi * (8 / (2 * degree + 1)).sqrt()

    def contract(
        self, harmonics: Float[Tensor, "c j m"], channels: Float[Tensor, "c j l q"]
    ) -> list[Tensor]:
        """Coefficients `[c, 2l + 1, q]` of each degree: sums of harmonics times channels."""
        blocks = harmonics.split([2 * degree + 1 for degree in range(self.l_max + 1)], -1)
        return [block.mT @ channels[:, :, degree] for degree, block in enumerate(blocks)]

    def local(
        self, vectors: Float[Tensor, "*batch 3"]
    ) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch l r"]]:
        """Solid harmonics and radial functions of atoms at vectors from a centre."""
        harmonics = spherical_harmonics(self.l_max, vectors, normalize=False)
        return harmonics, self.radial(vectors.square().sum(-1))

    def radial(
        self,
        squares: Float[Tensor, "*batch"],
        *,
        degrees: int | None = None,
        slope: bool = False,
    ) -> Float[Tensor, "*batch l r"]:
        """Radial functions, without `r^l`, of squared distances in Å^2.

        Args:
            squares: of distances from a centre.
            degrees: how many, from 0 on; None for all.
            slope: their derivatives by the squared distance instead, the weighting held fixed.
        """
        alphas, betas = self.alphas[:degrees], self.betas[:degrees]
        eta = 1 / (2 * self.sigma**2)
        total = alphas + eta
        degree = torch.arange(len(alphas), dtype=squares.dtype)[:, None]
        scale = (pi / total) ** 1.5 * (eta / total) ** degree / sqrt(4 * pi)
        if slope:
            scale = -alphas * eta / total * scale
        gaussians = scale * torch.exp(-alphas * eta / total * squares[..., None, None])
        values = torch.einsum("...lk,lnk->...ln", gaussians, betas)
        # the root has no derivative at 0, where an atom is its own centre
        lengths = torch.where(squares > 0, squares, 1.0).sqrt() * (squares > 0)
        counted = self.weighting(lengths) * (lengths <= self.r_cut + self.padding)
        return values * counted[..., None, None]

    def of(self, structure: Structure) -> Float[Tensor, "*shape"]:
        """Values of a structure, with its own cell if the lattice is open."""
        if not self.lattice:
            if structure.periodic and self.cell is None:
                raise GeomaeError("the structure is periodic: the descriptor must be, too")
            return super().of(structure)
        if not structure.periodic:
            raise GeomaeError("the descriptor is periodic: expected a structure with a cell")
        cell = structure.cell[0].double()
        fractions = structure.positions.double() @ torch.linalg.inv(cell)
        rows = torch.cat([(fractions - fractions.floor()) @ cell, cell])
        values = self.evaluate(self.weights(structure.numbers), rows)
        return values.reshape(self.shape(structure.n_atoms))

    def __call__(
        self, numbers: Sequence[int] | np.ndarray | Tensor, positions: Tensor | np.ndarray
    ) -> Float[Tensor, "*shape"]:
        """As of every descriptor; where the lattice is open, `of` a structure is what to use."""
        if self.lattice:
            raise GeomaeError(
                "positions alone don't tell the lattice: use descriptor.of(structure)"
            )
        return super().__call__(numbers, positions)


def gto_basis(
    r_cut: float, n_max: int, l_max: int
) -> tuple[Float[Tensor, "l n"], Float[Tensor, "l n n"]]:
    """Exponents and coefficients of dscribe's radial functions, orthonormal by Löwdin's method.

    Exponents are such that `r^l exp(-alpha r^2)` falls to 1e-3 at radii evenly spaced from
    1 Å to r_cut.

    Raises:
        GeomaeError: the functions are too many to be told apart in float64.
    """
    from scipy.special import gamma

    radii = np.linspace(1, r_cut, n_max)
    alphas = np.stack([-np.log(DECAY / radii**degree) / radii**2 for degree in range(l_max + 1)])
    betas = []
    for degree, row in enumerate(alphas):
        overlap = 0.5 * gamma(degree + 1.5) * (row[:, None] + row) ** (-degree - 1.5)
        values, vectors = np.linalg.eigh(overlap)
        if values.min() <= 0:
            raise GeomaeError(
                f"n_max={n_max} radial functions within {r_cut} Å can't be told apart"
            )
        betas.append((vectors / np.sqrt(values)) @ vectors.T)
    return torch.as_tensor(alphas), torch.as_tensor(np.stack(betas))


def _weighting(options: dict[str, Any] | None) -> Weighting:
    given = dict(options or {})
    strange = sorted(set(given) - set(KEYS))
    if strange:
        raise GeomaeError(f"a weighting has the keys {', '.join(KEYS)}, not {', '.join(strange)}")
    given.pop("threshold", None)
    if given.get("function") not in (None, "poly", "pow", "exp"):
        raise GeomaeError(f"weighting is by 'poly', 'pow' or 'exp', not '{given['function']}'")
    return Weighting(**{key: value for key, value in given.items() if value is not None})
