"""One form of a crystal, whatever cell, origin, orientation and order it was given in."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from geomae.crystals.lattice import niggli
from geomae.crystals.symmetry import SYMPREC, Operations, Symmetrised, nearest, symmetrise
from geomae.data.neighbours import neighbours
from geomae.data.structure import Structure
from geomae.data.validate import check_structure
from geomae.equivariant.harmonics import degrees, spherical_harmonics

RADII = (4.0, 7.0, 11.0)
"""Neighbourhoods in Å whose invariants decide between anchors, one after the other."""

SHELLS, LMAX = 8, 4
"""Radial functions and highest degree of those invariants."""

DECIDED = 1e-5
"""Relative difference of two invariants that decides."""


@dataclass(frozen=True)
class Canonical:
    """A crystal about its anchor.

    Attributes:
        structure: the primitive crystal with exact symmetry, a Niggli-reduced cell, the anchor
            first and at the origin, the other atoms at the images nearest to it; in the
            orientation that was given.
        symmetrised: what its symmetry is and what was changed to make it exact; its operations
            are about the origin that was given.
        operations: the space group's about the anchor, modulo the lattice.
        anchor: the atom that was given that is the anchor.
        centre: its position in Å, as symmetrised.
        tied: inequivalent sites that nothing told from the anchor; 0 but for constructed cases.
    """

    structure: Structure
    symmetrised: Symmetrised
    operations: Operations
    anchor: int
    centre: Float[np.ndarray, " 3"]
    tied: int

    @property
    def site_symmetry(self) -> Float[np.ndarray, "k 3 3"]:
        """The operations that leave the anchor where it is: a point group."""
        cell = self.structure.cell[0].numpy()
        _, lengths = nearest(self.operations.translations, cell)
        return self.operations.rotations[lengths < 1e-4]


def canonical(
    structure: Structure, *, symprec: float = SYMPREC, checked: bool = False
) -> Canonical:
    """The form of a crystal from which it is encoded.

    Primitive, conventional and Niggli cells, supercells, any origin, orientation and order of atoms
    and left-handed cells give the same crystal up to rotation, about the same point: the anchor,
    an atom of the smallest orbit, then of the element with fewest atoms, then of the
    heaviest, then of the site whose surroundings have the larger invariants. Which of the
    equivalent atoms it is makes no difference but an operation of the crystal.

    Args:
        structure: periodic along all three lattice vectors.
        symprec: distance in Å within which symmetry is taken to be meant and made exact.
        checked: whether `check_structure` has been asked already.

    Raises:
        UnsupportedStructureError: it is not periodic along all three vectors.
        StructureError: it can't be used at all (see `geomae.data.check_structure`), or no symmetry
            can be found.
        MissingExtraError: moyopy is not installed.
    """
    if not checked:
        check_structure(structure)
    found = symmetrise(structure, symprec=symprec)
    anchor, tied = choose_anchor(found.structure, found.orbits)
    others = np.delete(np.arange(found.structure.n_atoms), anchor)
    made, operations = about(found, anchor, np.concatenate([[anchor], others]))
    centre = found.structure.positions.numpy()[anchor]
    return Canonical(made, found, operations, int(found.parents[anchor]), centre, tied)


def about(
    found: Symmetrised, anchor: int, order: Int[np.ndarray, " n"]
) -> tuple[Structure, Operations]:
    """A crystal about one of its atoms, in a Niggli-reduced cell, and its operations about it.

    Args:
        found: the crystal, its symmetry exact.
        anchor: the atom that comes to the origin; the others to the images nearest to it.
        order: of the atoms.
    """
    primitive, old = found.structure, found.operations
    cell = niggli(primitive.cell[0].numpy())
    positions = primitive.positions.numpy()
    relative, _ = nearest(positions - positions[anchor], cell)
    relative[anchor] = 0.0
    made = Structure(primitive.numbers[torch.from_numpy(order)], relative[order], cell=cell)
    moved = positions[anchor] @ old.rotations.transpose(0, 2, 1) - positions[anchor]
    return made, Operations(old.rotations, old.translations + moved)


def choose_anchor(structure: Structure, orbits: Int[np.ndarray, " n"]) -> tuple[int, int]:
    """The anchor of a primitive crystal, and how many other orbits nothing tells from its own.

    Args:
        structure: primitive.
        orbits: number of the first equivalent atom of each.
    """
    numbers = structure.numbers.numpy()
    sites = np.unique(orbits)
    multiplicity = np.array([(orbits == site).sum() for site in sites])
    count = np.array([(numbers == numbers[site]).sum() for site in sites])
    keys = list(zip(multiplicity, count, -numbers[sites], strict=True))
    best = [site for site, key in zip(sites, keys, strict=True) if key == min(keys)]
    for radius in RADII:
        if len(best) == 1:
            break
        invariants = site_invariants(structure, np.array(best), radius)
        best = [best[i] for i in _largest(invariants)]
    return int(best[0]), len(best) - 1


def _largest(rows: Float[np.ndarray, "k f"]) -> list[int]:
    """Rows that are the largest in lexicographic order, as far as differences are clear."""
    left = np.arange(len(rows))
    scale = np.abs(rows).max(0) + 1e-12 * np.abs(rows).max()
    for column, size in zip(rows.T, scale, strict=True):
        if len(left) > 1:
            left = left[column[left] >= column[left].max() - DECIDED * size]
    return left.tolist()


def site_invariants(
    structure: Structure, sites: Int[np.ndarray, " k"], radius: float
) -> Float[np.ndarray, "k f"]:
    """Power spectra of the densities of each element about some atoms.

    Smooth in the positions; the scalars come first.

    Args:
        structure: a crystal.
        sites: atoms.
        radius: of the neighbourhood, in Å.
    """
    near = neighbours(structure.positions, radius, cell=structure.cell, pbc=structure.pbc)
    elements, kind = np.unique(structure.numbers.numpy(), return_inverse=True)
    harmonics = spherical_harmonics(LMAX, near.vectors).numpy()
    fraction = (near.lengths / radius).numpy()
    steps = fraction[:, None] * SHELLS - np.arange(SHELLS)
    radial = np.exp(-np.square(steps)) * np.square(1 - np.square(fraction))[:, None]
    source, target = near.edges.numpy()
    density = np.zeros((structure.n_atoms, len(elements), SHELLS, harmonics.shape[1]))
    terms = radial[:, :, None] * harmonics[:, None, :]
    np.add.at(density, (target, kind.reshape(-1)[source]), terms)
    own = density[sites].reshape(len(sites), -1, harmonics.shape[1])
    degree = degrees(LMAX).numpy()
    powers = [np.square(own[..., degree == d]).sum(-1) for d in range(LMAX + 1)]
    return np.concatenate(powers, 1)
