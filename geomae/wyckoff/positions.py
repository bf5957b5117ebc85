"""Space groups as they act on a primitive cell, and the sites that their operations leave."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

from geomae.errors import MissingExtraError

GENERIC = np.array([0.13717, 0.37119, 0.71933])
"""A point on no symmetry element, for telling what fixes a site wherever it is."""

PARTS = 24
"""Translations of space groups in a primitive cell are multiples of one part of this many."""

FIXED = 1e-4
"""Distance in fractions of the cell below which an operation leaves a point where it is."""


@dataclass(frozen=True, eq=False)
class GroupAction:
    """Operations on coordinates in a primitive cell, `x -> rotations x + translations`.

    Attributes:
        number: of the space group, 1 to 230.
        rotations: whole numbers, `[g, 3, 3]`.
        translations: `[g, 3]`; whole numbers may be added.
    """

    number: int
    rotations: Int[np.ndarray, "g 3 3"]
    translations: Float[np.ndarray, "g 3"]

    def images(self, point: Float[np.ndarray, "3"]) -> Float[np.ndarray, "g 3"]:
        """What each operation makes of a point."""
        return self.rotations @ point + self.translations


@lru_cache(maxsize=256)
def group_action(number: int) -> GroupAction:
    """A space group in moyo's standard primitive cell, its translations exact.

    Args:
        number: 1 to 230.

    Raises:
        MissingExtraError: moyopy is not installed.
    """
    try:
        from moyopy import Setting, operations_from_number
    except ImportError as error:
        raise MissingExtraError("moyopy", "crystals") from error
    found = operations_from_number(number, setting=Setting.standard(), primitive=True)
    rotations = np.array(found.rotations, dtype=np.int64)
    shifts = np.array(found.translations, dtype=np.float64)
    return GroupAction(number, rotations, np.round(shifts * PARTS) / PARTS)


@dataclass(frozen=True, eq=False)
class Position:
    """Sites of one kind: points `free x + fixed`, for every x.

    Attributes:
        basis: lattice vectors that span the translations which leave the sites what they are, one a
            row, `[freedom, 3]`.
        free: projection on the coordinates that are free, `[3, 3]`.
        fixed: the others' values, `[3]`.
        cosets: an operation of the group for each point of the orbit, the identity first.
    """

    basis: Int[np.ndarray, "freedom 3"]
    free: Float[np.ndarray, "3 3"]
    fixed: Float[np.ndarray, "3"]
    cosets: Int[np.ndarray, " size"]

    @property
    def freedom(self) -> int:
        """Number of free coordinates."""
        return len(self.basis)

    @property
    def size(self) -> int:
        """Points of an orbit in a primitive cell."""
        return len(self.cosets)

    def generic(self) -> Float[np.ndarray, "3"]:
        """A point that is of this kind and of no other."""
        return self.free @ GENERIC + self.fixed


def position_of(action: GroupAction, point: Float[np.ndarray, "3"]) -> Position:
    """The sites that have the same operations as a point.

    Args:
        action: the group.
        point: coordinates in the primitive cell, good to 1e-4.
    """
    images = action.images(point)
    stays = np.abs(_wrapped(images - point)).max(1) < FIXED
    whole = np.round(images[stays] - point)
    rotations = action.rotations[stays]
    free = rotations.mean(0)
    # the mean of what the stabilizer makes of any point is fixed by it
    fixed = (action.translations[stays] - whole).mean(0)
    cosets: list[int] = [int(np.flatnonzero(_is_identity(action))[0])]
    for number, image in enumerate(images):
        if all(np.abs(_wrapped(image - images[other])).max() > FIXED for other in cosets):
            cosets.append(number)
    return Position(_translations(free), free, fixed, np.array(cosets))


SMALL = np.stack(np.meshgrid(*[range(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)


def _translations(free: Float[np.ndarray, "3 3"]) -> Int[np.ndarray, "freedom 3"]:
    """A basis of the lattice vectors that a projection leaves as they are."""
    freedom = round(float(np.trace(free)))
    if freedom == 3:
        return np.eye(3, dtype=np.int64)
    kept = SMALL[np.abs(SMALL @ free.T - SMALL).max(1) < FIXED]
    kept = kept[np.argsort(np.square(kept).sum(1), kind="stable")][1:]
    for chosen in combinations(kept, freedom):
        basis = np.array(chosen, dtype=np.int64).reshape(freedom, 3)
        if np.linalg.matrix_rank(basis) == freedom:
            parts = kept @ np.linalg.pinv(basis)
            if np.abs(parts - np.round(parts)).max(initial=0.0) < FIXED:
                return basis
    raise AssertionError("the lattice vectors in a rational subspace have a basis")


def _is_identity(action: GroupAction) -> np.ndarray:
    same = (action.rotations == np.eye(3, dtype=np.int64)).all((1, 2))
    return same & (np.abs(_wrapped(action.translations)).max(1) < FIXED)


def _wrapped(gaps: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    return gaps - np.round(gaps)
