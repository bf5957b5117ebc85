"""The symmetry of crystals: found, made exact, and told."""

import logging
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from geomae.crystals.lattice import niggli
from geomae.data.structure import Structure
from geomae.errors import MissingExtraError, StructureError, UnsupportedStructureError

SYMPREC = 1e-3
"""Distance in Å within which symmetry is taken to be meant: what files' rounding leaves."""

PASSES = 4
"""Searches for symmetry at most; each sees what the one before has made exact."""

SETTLED = 1e-9
"""Distance in Å below which making symmetry exact changes nothing."""


QUIET = logging.NullHandler()
"""Takes moyo's remarks about supercells; loggers that a program sets up still get them."""


@dataclass(frozen=True)
class Operations:
    """Operations of a space group as they act on points in space: `x @ rotation.T + translation`.

    Attributes:
        rotations: orthogonal matrices, `[g, 3, 3]`.
        translations: `[g, 3]` in Å; lattice vectors may be added.
    """

    rotations: Float[np.ndarray, "g 3 3"]
    translations: Float[np.ndarray, "g 3"]

    def __len__(self) -> int:
        return len(self.rotations)


@dataclass(frozen=True)
class Symmetrised:
    """A primitive crystal whose symmetry is exact, and how it differs from what was given.

    Attributes:
        structure: the primitive cell, atoms and lattice moved to where the symmetry puts them;
            in the orientation and about the origin of what was given.
        number: of the space group, 1 to 230.
        wyckoffs: letter of each atom's Wyckoff position.
        site_symmetries: symbol of each atom's site symmetry.
        orbits: number of the first equivalent atom, `[n]`.
        operations: the space group's, modulo the lattice.
        moved: largest distance in Å between an atom that was given and where it stands now.
        strain: largest change of a lattice vector's length or direction, relative.
        repeats: primitive cells in the cell that was given.
        parents: an atom that was given for each of these atoms, `[n]`.
    """

    structure: Structure
    number: int
    wyckoffs: tuple[str, ...]
    site_symmetries: tuple[str, ...]
    orbits: Int[np.ndarray, " n"]
    operations: Operations
    moved: float
    strain: float
    repeats: int
    parents: Int[np.ndarray, " n"]

    @property
    def symbol(self) -> str:
        """International symbol of the space group, such as 'F d -3 m'."""
        from moyopy import SpaceGroupType

        return SpaceGroupType(self.number).hm_short

    def report(self) -> str:
        """Space group, Wyckoff positions and how far atoms moved, in words."""
        from geomae.data.elements import SYMBOLS

        first = [i for i in range(len(self.orbits)) if self.orbits[i] == i]
        numbers = self.structure.numbers.tolist()
        lines = [
            f"{SYMBOLS[numbers[i]]}: {int((self.orbits == i).sum())} a primitive cell, Wyckoff "
            f"position {self.wyckoffs[i]}, site symmetry {self.site_symmetries[i]}"
            for i in first
        ]
        head = f"space group {self.symbol} ({self.number}), {len(self.operations)} operations"
        tail = f"atoms moved by up to {self.moved:.2g} Å, the lattice by {self.strain:.2g}"
        return "\n".join([head, *lines, tail])


def symmetrise(structure: Structure, *, symprec: float = SYMPREC) -> Symmetrised:
    """Reduce a crystal to its primitive cell and make its symmetry exact.

    Args:
        structure: periodic along all three lattice vectors; the cell may be any of the lattice or
            of one of its superlattices, of either handedness.
        symprec: distance in Å within which atoms count as equivalent.

    Raises:
        UnsupportedStructureError: it is not periodic along all three vectors.
        StructureError: no symmetry can be found, not even the translations.
        MissingExtraError: moyopy is not installed.
    """
    require_crystal(structure)
    cell = structure.cell[0].double().numpy()
    positions = structure.positions.double().numpy()
    found = moyo_dataset(cell, positions, structure.numbers.numpy(), symprec)
    primitive, parents = _primitive(found, structure)
    for _ in range(PASSES):
        found = moyo_dataset(*columns(primitive), symprec)
        again, parent = _primitive(found, primitive)
        shift = _largest_shift(primitive, again, parent)
        primitive, parents = again, parents[parent]
        if shift < SETTLED:
            break
    found = moyo_dataset(*columns(primitive), symprec)
    moved, strain = _difference(structure, primitive)
    return Symmetrised(
        primitive,
        found.number,
        tuple(found.wyckoffs),
        tuple(found.site_symmetry_symbols),
        np.array(found.orbits),
        _operations(found, primitive),
        moved,
        strain,
        round(structure.n_atoms / primitive.n_atoms),
        parents,
    )


def require_crystal(structure: Structure) -> None:
    """See that a structure repeats along three directions.

    Raises:
        UnsupportedStructureError: it does not; says along how many.
    """
    pbc = structure.get("pbc")
    count = 0 if pbc is None else int(pbc.sum())
    if count == 3 and structure.get("cell") is not None:
        return
    words = {0: "is finite", 1: "is a chain, periodic along one vector",
             2: "is a slab, periodic along two vectors"}  # fmt: skip
    raise UnsupportedStructureError(
        f"{words.get(count, 'has no cell')}; expected a crystal, periodic along all three. (A slab "
        "or chain with vacuum around it becomes one with pbc = True.)",
        source=structure.get("source"),
    )


def columns(structure: Structure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cell `[3, 3]` and positions `[n, 3]` in Å and atomic numbers `[n]` of a crystal."""
    return structure.cell[0].numpy(), structure.positions.numpy(), structure.numbers.numpy()


def moyo_dataset(cell: np.ndarray, positions: np.ndarray, numbers: np.ndarray, symprec: float):
    """What moyo finds, in its standard setting.

    Args:
        cell: lattice vectors as rows, `[3, 3]` in Å.
        positions: `[n, 3]` in Å.
        numbers: atomic numbers, `[n]`.
        symprec: distance in Å within which atoms count as equivalent.

    Raises:
        StructureError: no symmetry is found, not even the translations.
        MissingExtraError: moyopy is not installed.
    """
    try:
        from moyopy import Cell, MoyoDataset
    except ImportError as error:
        raise MissingExtraError("moyopy", "crystals") from error
    logging.getLogger("moyo").addHandler(QUIET)
    fractions = positions @ np.linalg.inv(cell)
    given = Cell(cell.tolist(), fractions.tolist(), numbers.tolist())
    try:
        return MoyoDataset(given, symprec=symprec, rotate_basis=False)
    except ValueError as error:
        raise StructureError(f"its symmetry can't be found at {symprec} Å: {error}") from error


def _primitive(found, structure: Structure) -> tuple[Structure, np.ndarray]:
    """moyo's refined primitive cell about the origin of the structure, and an atom of the
    structure for each of its atoms.
    """
    cell, refined = structure.cell[0].numpy(), found.prim_std_cell
    basis, fractions = np.array(refined.basis), np.array(refined.positions)
    linear, shift = np.array(found.prim_std_linear), np.array(found.prim_std_origin_shift)
    rough = (cell.T @ linear).T
    origin = np.linalg.solve(rough.T, shift @ cell) @ basis
    mapping = np.array(found.mapping_std_prim)
    _, parents = np.unique(mapping, return_index=True)
    made = Structure(refined.numbers, fractions @ basis + origin, cell=basis)
    return made, parents


def _operations(found, structure: Structure) -> Operations:
    """Operations on points in space, orthogonal to rounding."""
    cell = structure.cell[0].numpy()
    rotations = np.array(found.operations.rotations, dtype=np.float64)
    matrices = cell.T @ rotations @ np.linalg.inv(cell.T)
    u, _, v = np.linalg.svd(matrices)
    return Operations(u @ v, np.array(found.operations.translations) @ cell)


def space_group(structure: Structure, symprec: float) -> int:
    """Number of the space group at a tolerance, 1 to 230; 0 if moyo finds none.

    Args:
        structure: periodic along all three lattice vectors.
        symprec: in Å.
    """
    require_crystal(structure)
    try:
        return moyo_dataset(*columns(structure), symprec).number
    except StructureError:
        return 0


def _largest_shift(before: Structure, after: Structure, parents: np.ndarray) -> float:
    gaps = after.positions.numpy() - before.positions.numpy()[parents]
    return float(nearest(gaps, after.cell[0].numpy())[1].max())


def _difference(given: Structure, made: Structure) -> tuple[float, float]:
    """Largest move of an atom in Å, positions of the given crystal read in its own cell, and
    relative change of the lattice.
    """
    old, new = given.cell[0].numpy(), made.cell[0].numpy()
    whole = np.round(old @ np.linalg.inv(new))
    strained = np.linalg.solve(whole, old) if abs(np.linalg.det(whole)) > 0.5 else new
    strain = np.linalg.svd(np.linalg.solve(strained, new) - np.eye(3))[1].max()
    moved = given.positions.numpy() @ np.linalg.solve(strained, new)
    worst = 0.0
    for number in np.unique(given.numbers.numpy()):
        own = moved[given.numbers.numpy() == number]
        other = made.positions.numpy()[made.numbers.numpy() == number]
        _, lengths = nearest(other[None] - own[:, None], new)
        worst = max(worst, float(lengths.min(1).max()))
    return worst, float(strain)


STEPS = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)


def nearest(
    gaps: Float[np.ndarray, "*batch 3"], cell: Float[np.ndarray, "3 3"]
) -> tuple[Float[np.ndarray, "*batch 3"], Float[np.ndarray, "*batch"]]:
    """Vectors less the lattice vectors that make them shortest, and their lengths, in Å."""
    basis = _reduced(np.ascontiguousarray(cell, dtype=np.float64).tobytes())
    folded = gaps - np.round(gaps @ np.linalg.inv(basis)) @ basis
    images = folded[..., None, :] + STEPS @ basis
    squares = np.square(images).sum(-1)
    best = squares.argmin(-1)
    chosen = np.take_along_axis(images, best[..., None, None], -2)[..., 0, :]
    return chosen, np.sqrt(squares.min(-1))


@lru_cache(maxsize=32)
def _reduced(cell: bytes) -> Float[np.ndarray, "3 3"]:
    """The Niggli-reduced basis of a cell, given by the bytes of its array."""
    return niggli(np.frombuffer(cell).reshape(3, 3))
