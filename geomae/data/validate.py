"""What every structure must satisfy before anything is computed from it."""

import torch
from torch import Tensor

from geomae.data.elements import SYMBOLS
from geomae.data.neighbours import heights, neighbours
from geomae.data.structure import Structure
from geomae.errors import StructureError

CLOSEST = 0.1
"""Least distance of two atoms, in Å."""

FLATTEST = 0.01
"""Least distance of the planes on which a cell repeats, in Å."""

DENSEST = (1.0, 3**0.5 / 2, 0.5**0.5)
"""Least length, area and volume that lattice points at a distance of 1 take (Gauss 1831)."""


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
            are not finite, a cell of no volume, periodicity without a cell, atoms (or an atom and
            its own image) closer than 0.1 Å.
    """
    fault = find_fault(structure)
    if fault:
        raise StructureError(fault, index=index, source=source or structure.get("source"))


def find_fault(structure: Structure) -> str | None:
    """The first thing that is wrong with a structure, in words; None if nothing is."""
    numbers, positions = structure.get("numbers"), structure.get("positions")
    if numbers is None or not len(numbers):
        return "has no atoms"
    if positions is None:
        return "has no positions"
    if positions.shape != (len(numbers), 3):
        return (
            f"has {len(numbers)} atomic numbers but positions of shape {list(positions.shape)}; "
            f"expected [{len(numbers)}, 3]"
        )
    unknown = ((numbers < 1) | (numbers >= len(SYMBOLS))).nonzero()[:, 0].tolist()
    if unknown:
        return (
            f"atom {unknown[0]} has the atomic number {int(numbers[unknown[0]])}; elements have 1 "
            f"to {len(SYMBOLS) - 1}"
        )
    finite = torch.isfinite(positions).all(1)
    if not bool(finite.all()):
        return f"{_name(structure, int((~finite).nonzero()[0, 0]))} is at no finite position"
    return _cell_fault(structure) or _overlap(structure)


def _cell_fault(structure: Structure) -> str | None:
    cell, pbc = structure.get("cell"), structure.get("pbc")
    if cell is None:
        return "is periodic but has no cell" if structure.periodic else None
    if not bool(torch.isfinite(cell).all()):
        return "has a cell that is not finite"
    if structure.periodic:
        rows = cell.reshape(3, 3).double()[pbc.reshape(3)]
        volume = float(torch.linalg.det(rows @ rows.T).clamp(min=0).sqrt())
        least = CLOSEST ** len(rows) * DENSEST[len(rows) - 1]
        height = float(heights(cell.reshape(1, 3, 3), pbc.reshape(1, 3)).min())
        if volume < least or height < FLATTEST:
            return f"has a cell of zero volume: its periodic vectors are {rows.tolist()} Å"
        if len(rows) == 3 and volume < least * structure.n_atoms:
            return f"has {structure.n_atoms} atoms in a cell of {volume:.3g} Å³: they overlap"
    return None


def _overlap(structure: Structure) -> str | None:
    """Two atoms, images included, that are closer than atoms can be."""
    near = neighbours(
        structure.positions.detach().double(),
        CLOSEST,
        cell=structure.get("cell"),
        pbc=structure.get("pbc"),
    )
    if not len(near):
        return None
    i, j = sorted(near.edges[:, 0].tolist())
    first, second = _name(structure, i), _name(structure, j)
    image = near.shifts is not None and bool(near.shifts[0].any())
    other = "its own periodic image" if i == j else second + " of a periodic image" * image
    return f"{first} and {other} are {_text(near.lengths[0])} Å apart, closer than {CLOSEST} Å"


def _name(structure: Structure, atom: int) -> str:
    return f"atom {atom} ({SYMBOLS[int(structure.numbers[atom])]})"


def _text(length: Tensor) -> str:
    return f"{float(length):.3g}"
