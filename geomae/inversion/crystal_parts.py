"""Parts of a crystal that no atom's surroundings hold together."""

import numpy as np
import torch
from jaxtyping import Int

from geomae.data.neighbours import neighbours
from geomae.data.structure import Structure


def parts_within(crystal: Structure, reach: float) -> list[int]:
    """Along how many lattice vectors each part repeats, where atoms within reach hold together.

    Layers repeat along two, chains along one. The only part of a crystal that is held together
    repeats along three.

    Args:
        crystal: with a cell.
        reach: largest distance in Å of two atoms that hold together.
    """
    pbc = torch.ones(1, 3, dtype=torch.bool)
    pairs = neighbours(crystal.positions, reach, cell=crystal.cell, pbc=pbc)
    assert pairs.shifts is not None, "a crystal repeats"
    source, target = pairs.edges.numpy()
    shifts = pairs.shifts.numpy()
    cells: dict[int, Int[np.ndarray, "3"]] = {}
    found = []
    for first in range(crystal.n_atoms):
        if first in cells:
            continue
        cells[first] = np.zeros(3, dtype=shifts.dtype)
        waiting, loops = [first], [np.zeros(3, dtype=shifts.dtype)]
        while waiting:
            atom = waiting.pop()
            for edge in np.flatnonzero(target == atom):
                other, there = int(source[edge]), cells[atom] + shifts[edge]
                if other in cells:
                    loops.append(there - cells[other])
                else:
                    cells[other] = there
                    waiting.append(other)
        found.append(int(np.linalg.matrix_rank(np.unique(loops, axis=0))))
    return found
