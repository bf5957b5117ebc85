"""Lattices as sets of vectors that don't depend on the choice of a basis."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float, Int

from geomae.errors import GeomaeError, MissingExtraError

REACH = 3
"""Coefficients of a reduced basis that are searched for short vectors, up and down."""

TIED = 1e-4
"""Relative difference of lengths below which vectors count as equally long."""

FLAT = 0.1
"""Least sine of the angle of a vector with the line or plane of shorter ones."""

FLAT_CELL = 1e-9
"""Volume of a cell over the product of its edges below which it spans no lattice."""

COEFFICIENTS = np.array(list(product(range(-REACH, REACH + 1), repeat=3)))
COSET = (COEFFICIENTS % 2) @ np.array([1, 2, 4])


@dataclass(frozen=True)
class LatticeVectors:
    """Some vectors of a lattice.

    Attributes:
        vectors: `[k, 3]` in Å, from short to long.
        coefficients: in the rows of `basis`, `[k, 3]`.
        basis: a reduced basis as rows, `[3, 3]` in Å.
    """

    vectors: Float[np.ndarray, "k 3"]
    coefficients: Int[np.ndarray, "k 3"]
    basis: Float[np.ndarray, "3 3"]

    def __len__(self) -> int:
        return len(self.vectors)


def niggli(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """The Niggli-reduced basis of a lattice, right-handed, in the lattice's orientation.

    Where vectors are tied but for rounding, moyo's reduction may find no end; the basis is then
    one of three shortest vectors (Minkowski's).

    Args:
        cell: lattice vectors as rows, in Å, of either handedness.

    Raises:
        GeomaeError: the vectors span no volume.
        MissingExtraError: moyopy is not installed.
    """
    try:
        from moyopy import minkowski_reduce, niggli_reduce
    except ImportError as error:
        raise MissingExtraError("moyopy", "crystals") from error
    rows = np.asarray(cell, dtype=np.float64)
    if not abs(np.linalg.det(rows)) > FLAT_CELL * np.prod(np.linalg.norm(rows, axis=1)):
        raise GeomaeError(f"the cell {rows.tolist()} spans no lattice")
    try:
        reduced = np.array(niggli_reduce(rows.tolist())[0])
    except ValueError:
        reduced = np.array(minkowski_reduce(rows.tolist())[0])
    return reduced if np.linalg.det(reduced) > 0 else -reduced


def change_of_basis(
    cell: Float[np.ndarray, "3 3"], other: Float[np.ndarray, "3 3"], tolerance: float
) -> Float[np.ndarray, "3 3"] | None:
    """Whole numbers, of determinant 1 or -1, that nearly make one basis of another; None if the
    two span different lattices.

    Args:
        cell, other: lattice vectors as rows, in Å; `cell` is about `result @ other`.
        tolerance: largest deviation from whole numbers.
    """
    coefficients = cell @ np.linalg.inv(other)
    whole = np.round(coefficients)
    near = np.abs(coefficients - whole).max() <= tolerance
    return whole if near and round(abs(np.linalg.det(whole))) == 1 else None


def voronoi_vectors(cell: Float[np.ndarray, "3 3"], *, tolerance: float = TIED) -> LatticeVectors:
    """The vectors to lattice points that share a face, edge or corner of the Wigner-Seitz cell.

    They are the shortest vectors of each of the seven classes of the lattice modulo twice
    itself (Voronoi 1908; Conway and Sloane 1992), ties included: 14 in general, 26 for a primitive
    cubic lattice. The set depends on the lattice alone, has all its symmetry and spans it.

    Args:
        cell: lattice vectors as rows, in Å.
        tolerance: relative difference of lengths below which vectors are tied.
    """
    basis = niggli(cell)
    vectors = COEFFICIENTS @ basis
    lengths = np.linalg.norm(vectors, axis=1)
    least = np.full(8, np.inf)
    np.minimum.at(least, COSET, lengths)
    kept = np.flatnonzero((COSET > 0) & (lengths <= least[COSET] * (1 + tolerance)))
    kept = kept[np.argsort(lengths[kept], kind="stable")]
    return LatticeVectors(vectors[kept], COEFFICIENTS[kept], basis)


def lattice_of(vectors: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "3 3"]:
    """The lattice that vectors span, as a Niggli-reduced basis.

    Three shortest independent vectors of a lattice in space generate it; here they give every
    vector its whole coefficients, and the basis is the least-squares fit to all of them. The
    vectors may thus be inexact, as long as the coefficients are right.

    Args:
        vectors: in Å; the shortest of the lattice among them.

    Raises:
        GeomaeError: they lie in a plane.
    """
    vectors = np.asarray(vectors, dtype=np.float64).reshape(-1, 3)
    basis = shortest_independent(vectors)
    coefficients = np.round(vectors @ np.linalg.inv(basis))
    fitted, *_ = np.linalg.lstsq(coefficients, vectors, rcond=None)
    return niggli(fitted)


def shortest_independent(vectors: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "3 3"]:
    """Three shortest of some vectors that span a volume.

    Raises:
        GeomaeError: there are no such three.
    """
    chosen: list[np.ndarray] = []
    for vector in vectors[np.argsort(np.linalg.norm(vectors, axis=1), kind="stable")]:
        length = np.linalg.norm(vector)
        if length == 0:
            continue
        rest = vector / length
        if chosen:
            span = np.linalg.qr(np.array(chosen).T)[0]
            rest = rest - span @ (span.T @ rest)
        if np.linalg.norm(rest) > FLAT:
            chosen.append(vector)
        if len(chosen) == 3:
            return np.array(chosen)
    raise GeomaeError(f"{len(vectors)} vectors span no volume, so no lattice")
