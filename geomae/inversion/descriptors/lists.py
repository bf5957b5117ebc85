"""Simple descriptors: sorted distances, Coulomb matrices, and functions of the user's own."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.errors import GeomaeError
from geomae.inversion.descriptors.base import Descriptor, as_species

BOHR = 0.529177210903
"""Å."""


class SortedDistances(Descriptor):
    """All distances between atoms in Å, ascending; elements don't count, mirror images are alike.

    Args:
        species: elements that atoms may be of, as atomic numbers or symbols.
    """

    def __init__(self, species: Sequence[int | str]):
        self.species = as_species(species)

    def shape(self, n_atoms: int) -> tuple[int, ...]:
        return (n_atoms * (n_atoms - 1) // 2,)

    def n_atoms_of(self, shape: tuple[int, ...]) -> int | None:
        n = round((1 + (1 + 8 * (shape[0] if shape else 0)) ** 0.5) / 2)
        return max(n, 1)

    def expectation(self) -> str:
        return "n (n - 1) / 2 distances of n atoms: 1, 3, 6, 10, 15, ..."

    def evaluate(
        self, weights: Float[Tensor, "n s"], positions: Float[Tensor, "n 3"]
    ) -> Float[Tensor, " values"]:
        first, second = torch.triu_indices(len(positions), len(positions), 1)
        gaps = positions[first] - positions[second]
        return torch.sort((gaps.square().sum(1) + 1e-30).sqrt()).values


class CoulombMatrix(Descriptor):
    """The Coulomb matrix (Rupp et al. 2012), in an order that does not depend on that of the atoms.

    Off the diagonal `Z_i Z_j / r_ij`, on it `0.5 Z_i^2.4`, in hartree with distances in bohr.

    Args:
        species: elements that atoms may be of, as atomic numbers or symbols.
        form: its 'eigenvalues' by falling size, or the upper triangle of the matrix with rows
            'sorted' by falling norm.
    """

    def __init__(
        self, species: Sequence[int | str], *, form: Literal["eigenvalues", "sorted"] = "sorted"
    ):
        if form not in ("eigenvalues", "sorted"):
            raise GeomaeError(f"form must be 'eigenvalues' or 'sorted', not '{form}'")
        self.species, self.form = as_species(species), form

    def shape(self, n_atoms: int) -> tuple[int, ...]:
        return (n_atoms,) if self.form == "eigenvalues" else (n_atoms * (n_atoms + 1) // 2,)

    def n_atoms_of(self, shape: tuple[int, ...]) -> int | None:
        length = shape[0] if shape else 0
        if self.form == "eigenvalues":
            return max(length, 1)
        return max(round((-1 + (1 + 8 * length) ** 0.5) / 2), 1)

    def expectation(self) -> str:
        if self.form == "eigenvalues":
            return "one eigenvalue an atom"
        return "n (n + 1) / 2 entries of n atoms: 1, 3, 6, 10, 15, ..."

    def evaluate(
        self, weights: Float[Tensor, "n s"], positions: Float[Tensor, "n 3"]
    ) -> Float[Tensor, " values"]:
        known = torch.tensor(self.species, dtype=weights.dtype)
        charges, own = weights @ known, weights @ (0.5 * known**2.4)
        gaps = positions[:, None] - positions
        inside = torch.eye(len(positions), dtype=positions.dtype)
        lengths = (gaps.square().sum(2) + inside).sqrt() / BOHR
        matrix = charges[:, None] * charges / lengths * (1 - inside) + torch.diag(own)
        if self.form == "eigenvalues":
            values = torch.linalg.eigvalsh(matrix)
            order = torch.argsort(values.abs(), descending=True)
            return values[order]
        order = torch.argsort(matrix.norm(dim=1), descending=True, stable=True)
        first, second = torch.triu_indices(len(positions), len(positions))
        return matrix[order][:, order][first, second]


class Function(Descriptor):
    """Any differentiable function of elements and positions.

    Args:
        function: of atomic numbers `[n]` and positions `[n, 3]` in Å, values in a row; in PyTorch,
            without regard to the order of the atoms and to rotations. Atomic numbers are floats.
        species: elements that atoms may be of.
        n_values: how many there are; or a function of the number of atoms.
        handed: whether mirror images have different values.
        centre: 'centroid' if translations don't matter either, else 'origin'.
    """

    def __init__(
        self,
        function: Callable[[Tensor, Tensor], Tensor],
        species: Sequence[int | str],
        n_values: int | Callable[[int], int],
        *,
        handed: bool = False,
        centre: str = "centroid",
    ):
        self.function, self.n_values = function, n_values
        self.species, self.handed, self.centre = as_species(species), handed, centre

    def shape(self, n_atoms: int) -> tuple[int, ...]:
        return (self.n_values(n_atoms) if callable(self.n_values) else self.n_values,)

    def n_atoms_of(self, shape: tuple[int, ...]) -> int | None:
        if not callable(self.n_values):
            return None
        return next((n for n in range(1, 500) if self.shape(n) == shape), None)

    def expectation(self) -> str:
        if callable(self.n_values):
            lengths = ", ".join(str(self.n_values(n)) for n in range(1, 6))
            return f"as many values as 1, 2, 3 ... atoms have: {lengths}, ..."
        return super().expectation()

    def evaluate(
        self, weights: Float[Tensor, "n s"], positions: Float[Tensor, "n 3"]
    ) -> Float[Tensor, " values"]:
        known = torch.tensor(self.species, dtype=weights.dtype)
        return self.function(weights @ known, positions).reshape(-1)
