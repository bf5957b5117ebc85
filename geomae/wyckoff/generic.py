"""The space group that a skeleton's crystals have, where nothing takes a special value."""

import numpy as np
from scipy.linalg import expm

from geomae.crystals.symmetry import space_group
from geomae.data.structure import Structure
from geomae.wyckoff.template import Template

VOLUME = 15.0
"""Of an atom in Å^3."""

STRAIN = 0.1
"""Spread of logarithmic strains."""

TOLERANCE = 1e-3
"""Distance in Å within which moyo takes symmetry to be meant."""


def generic_group(template: Template, rng: np.random.Generator) -> int:
    """Number of the group of a crystal with random coordinates and a random lattice.

    It is larger than the template's where its orbits have more symmetry than its group, such as a
    single atom in P1; 0 where moyo finds none.

    Args:
        template: with a different element on each class.
        rng: of what is random.

    Raises:
        MissingExtraError: moyopy is not installed.
    """
    random = rng.normal(size=(3, 3))
    strain = (template.strain @ (STRAIN * (random + random.T) / 2).ravel()).reshape(3, 3)
    cell = template.frame * np.cbrt(VOLUME * template.n_atoms) @ expm(strain)
    coordinates = rng.random((len(template.size), 3))
    points = template.fixed + np.einsum("oj,ojk->ok", coordinates, template.basis)
    atoms = np.einsum("aij,aj->ai", template.rotations, points[template.owner]) + template.shifts
    kinds = template.member[template.owner] + 1
    return space_group(Structure(kinds, atoms @ cell, cell=cell), TOLERANCE)
