"""What a descriptor is: numbers that a structure has whichever way it is turned."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geomae.data.elements import SYMBOLS
from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.inversion.refine import exact_jacobian


class Descriptor(ABC):
    """An invariant description of structures, differentiable in PyTorch.

    A subclass says how values follow from positions and from the weight of each species on each
    atom (one-hot rows for plain atoms; anything between while species are being searched), and
    which shapes its values can have.

    Attributes:
        species: atomic numbers that it knows, ascending; their order is that of the weights.
        handed: whether it tells mirror images apart.
        centre: what stays where it is when a structure is turned: 'centroid' of the atoms, or
            'origin'.
        lattice: the structure is periodic and its lattice unknown: in `evaluate` three lattice
            vectors follow the positions, as rows.
    """

    species: tuple[int, ...]
    handed: bool = False
    centre: str = "centroid"
    lattice: bool = False

    @abstractmethod
    def evaluate(
        self, weights: Float[Tensor, "n s"], positions: Float[Tensor, "p 3"]
    ) -> Float[Tensor, " values"]:
        """Values of a structure, in a row. Positions are in Å, lattice vectors behind them."""

    def reflected(
        self,
        weights: Float[Tensor, "n s"],
        positions: Float[Tensor, "p 3"],
        values: Float[Tensor, " values"],
    ) -> Float[Tensor, " values"]:
        """Values of a structure's mirror image, whose own values are known."""
        return self.evaluate(weights, -positions)

    def jacobian(
        self, weights: Float[Tensor, "k n s"], positions: Float[Tensor, "k p 3"]
    ) -> tuple[Float[Tensor, "k f"], Float[Tensor, "k f p 3"]]:
        """Values of a batch of structures, and their derivatives by positions."""
        return exact_jacobian(self.evaluate)(weights, positions)

    @abstractmethod
    def shape(self, n_atoms: int) -> tuple[int, ...]:
        """Shape of the values of a structure of so many atoms."""

    def seen(self, positions: Float[Tensor, "p 3"]) -> Bool[Tensor, " p"]:
        """Which atoms count; one that doesn't could as well be missing."""
        return torch.ones(len(positions), dtype=torch.bool)

    def sees(self, positions: Float[Tensor, "p 3"]) -> bool:
        """Whether every atom counts."""
        return bool(self.seen(positions).all())

    def n_atoms_of(self, shape: tuple[int, ...]) -> int | None:
        """Number of atoms that the shape of the values tells; None if it doesn't."""
        return None

    def __call__(
        self, numbers: Sequence[int] | np.ndarray | Tensor, positions: Tensor | np.ndarray
    ) -> Float[Tensor, "*shape"]:
        """Values of a structure, float64.

        Args:
            numbers: atomic numbers `[n]`.
            positions: `[n, 3]` in Å.

        Raises:
            GeomaeError: an element that the descriptor doesn't know.
        """
        place = torch.as_tensor(np.asarray(positions), dtype=torch.float64)
        if place.ndim != 2 or place.shape[1] != 3 or len(place) != len(numbers):
            raise GeomaeError(
                f"expected positions of the shape [{len(numbers)}, 3], one row an atom, "
                f"not {list(place.shape)}"
            )
        values = self.evaluate(self.weights(numbers), place)
        return values.reshape(self.shape(len(numbers)))

    def of(self, structure: Structure) -> Float[Tensor, "*shape"]:
        """Values of a structure."""
        return self(structure.numbers, structure.positions)

    def weights(self, numbers: Sequence[int] | np.ndarray | Tensor) -> Float[Tensor, "n s"]:
        """One-hot rows of atomic numbers, in the order of `species`.

        Raises:
            GeomaeError: an element that the descriptor doesn't know.
        """
        given = torch.as_tensor(np.asarray(numbers), dtype=torch.long).reshape(-1)
        known = torch.tensor(self.species)
        match = given[:, None] == known
        if not bool(match.any(1).all()):
            strange = sorted({int(z) for z in given[~match.any(1)]})
            raise GeomaeError(
                f"the descriptor knows the species {names(self.species)}, not {names(strange)}"
            )
        return match.to(torch.float64)

    def check(self, values: Tensor | np.ndarray | Sequence) -> Float[Tensor, " values"]:
        """Values in a row, float64, after seeing that a structure could have them.

        Raises:
            GeomaeError: the shape can't be right, or a value isn't a finite number.
        """
        try:
            array = torch.as_tensor(np.asarray(values, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise GeomaeError(f"values must be an array of numbers: {error}") from error
        shape = tuple(array.shape)
        n = self.n_atoms_of(shape)
        if shape != self.shape(n if n is not None else 1):
            raise GeomaeError(f"expected {self.expectation()}, not an array of {list(shape)}")
        if not bool(torch.isfinite(array).all()):
            wrong = int((~torch.isfinite(array)).sum())
            raise GeomaeError(f"values must be finite numbers; {wrong} of {array.numel()} are not")
        return array.reshape(-1)

    def expectation(self) -> str:
        """What shape values must have, in words."""
        return f"an array of the shape {list(self.shape(1))}"


def names(numbers: Sequence[int]) -> str:
    """Symbols of atomic numbers, as a list for people."""
    return ", ".join(SYMBOLS[z] if 0 < z < len(SYMBOLS) else f"'{z}'" for z in numbers) or "none"


def as_species(species: Sequence[int | str]) -> tuple[int, ...]:
    """Atomic numbers, ascending, of numbers or symbols.

    Raises:
        GeomaeError: an unknown symbol, a number that is none, a repetition, or nothing at all.
    """
    from geomae.data.elements import NUMBERS

    found = []
    for item in species:
        number = NUMBERS.get(item) if isinstance(item, str) else int(item)
        if number is None or not 0 < number < len(SYMBOLS):
            raise GeomaeError(f"there is no element '{item}'")
        found.append(number)
    if not found or len(set(found)) < len(found):
        raise GeomaeError(f"species must be different elements, at least one; got {list(species)}")
    return tuple(sorted(found))
