"""Whether a crystal has a space group, said by a program that had no part in making it."""

import numpy as np

from geomae.crystals.symmetry import nearest, space_group
from geomae.data.structure import Structure
from geomae.wyckoff.template import Template

TOLERANCE = 0.01
"""Distance in Å within which an atom's image must meet an atom."""


def found_by_moyo(structure: Structure, tolerance: float = TOLERANCE) -> int:
    """Number of the space group that moyo finds, before anything is symmetrised; 0 if none.

    Args:
        structure: a crystal.
        tolerance: in Å.

    Raises:
        MissingExtraError: moyopy is not installed.
    """
    return space_group(structure, tolerance)


def symmetry_error(structure: Structure, template: Template) -> float:
    """Largest distance in Å of an atom's image, under any operation of a template's group, to the
    nearest like atom, and of a lattice vector's image to one of its length.

    Args:
        structure: in the template's cell.
        template: whose operations are tried.
    """
    cell = structure.cell[0].double().numpy()
    points = structure.positions.double().numpy() @ np.linalg.inv(cell)
    unlike = structure.numbers[:, None] != structure.numbers
    metric, worst = cell @ cell.T, 0.0
    action = template.operations
    for rotation, shift in zip(action.rotations, action.translations, strict=True):
        gaps = (points @ rotation.T + shift)[:, None] - points
        lengths = np.where(unlike.numpy(), np.inf, nearest(gaps @ cell, cell)[1])
        strained = np.abs(rotation.T @ metric @ rotation - metric) / np.sqrt(np.trace(metric))
        worst = max(worst, float(lengths.min(1).max()), float(strained.max()))
    return worst
