"""What every structure must satisfy before anything is computed from it."""

import numpy as np
import torch
from scipy.spatial import cKDTree

from geomae.data.elements import SYMBOLS
from geomae.data.structure import Structure
from geomae.errors import StructureError

CLOSEST = 0.1
"""Least distance of two atoms, in Å."""

FLATTEST = 1e-3
"""Least volume of a cell over the product of its edges."""


def check_structure(
    structure: Structure, index: int | None = None, source: str | None = None
) -> None:
    """See that a structure can be used at all.

    Args:
        structure: to check.
        index: its position in the input, for the message.
        source: where it came from; by default its own property `source`.

    Raises:
        StructureError: no atoms, lengths that differ, an unknown element, positions or a cell that
            are not finite, a flat cell, periodicity without a cell, atoms closer than 0.1 Å.
    """
    fault = find_fault(structure)
    if fault:
        raise StructureError(fault, index=index, source=source or structure.get("source"))


def find_fault(structure: Structure) -> str | None:
    """The first thing that is wrong with a structure, in words; None if nothing is."""
    numbers, positions = structure.get("numbers"), structure.get("positions")
    if numbers is None or positions is None or not len(numbers):
        return "has no atoms"
    if len(numbers) != len(positions):
        return f"has {len(numbers)} atomic numbers but {len(positions)} positions"
    strange = [z for z in numbers.tolist() if not 1 <= z < len(SYMBOLS)]
    if strange:
        return f"has the atomic number {strange[0]}; elements have 1 to {len(SYMBOLS) - 1}"
    if not bool(torch.isfinite(positions).all()):
        atom = int((~torch.isfinite(positions).all(1)).nonzero()[0, 0])
        return f"atom {atom} ({SYMBOLS[int(numbers[atom])]}) has a position that is not finite"
    return _cell_fault(structure) or _overlap(structure)


def _cell_fault(structure: Structure) -> str | None:
    if not structure.periodic:
        return None
    if structure.get("cell") is None:
        return "is periodic but has no cell"
    cell = structure.cell[0]
    if not bool(torch.isfinite(cell).all()):
        return "has a cell that is not finite"
    active = cell[structure.pbc[0]]
    volume = torch.linalg.det(active @ active.T).clamp(min=0).sqrt()
    if volume <= FLATTEST * active.norm(dim=1).prod():
        return "has a cell of zero volume"
    return None


def _overlap(structure: Structure) -> str | None:
    """Two atoms, images included, that are closer than atoms can be."""
    positions = structure.positions.numpy()
    if structure.periodic:
        images, owner = _with_images(structure, CLOSEST)
    else:
        images, owner = positions, np.arange(len(positions))
    for a, b in sorted(cKDTree(images).query_pairs(CLOSEST)):
        i, j = sorted((int(owner[a]), int(owner[b])))
        first, second = SYMBOLS[int(structure.numbers[i])], SYMBOLS[int(structure.numbers[j])]
        gap = float(np.linalg.norm(images[a] - images[b]))
        return (
            f"atoms {i} ({first}) and {j} ({second}) are {gap:.3f} Å apart, closer than {CLOSEST}"
        )
    return None


def _with_images(structure: Structure, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Atoms wrapped into the cell, with the images of those that are near its faces."""
    cell, pbc = structure.cell[0].numpy().copy(), structure.pbc[0].numpy()
    empty = ~cell.any(1)
    if empty.any():
        cell[empty] = np.linalg.svd(cell[~empty])[2][(~empty).sum() :][: empty.sum()]
    fractions = structure.positions.numpy() @ np.linalg.inv(cell)
    fractions[:, pbc] %= 1.0
    reach = margin * np.linalg.norm(np.linalg.inv(cell), axis=0)
    points, owner = fractions, np.arange(len(fractions))
    for axis in np.flatnonzero(pbc):
        low, high = points[:, axis] < reach[axis], points[:, axis] > 1 - reach[axis]
        step = np.eye(3)[axis]
        points = np.concatenate([points, points[low] + step, points[high] - step])
        owner = np.concatenate([owner, owner[low], owner[high]])
    return points @ cell, owner
