"""Neighbours of atoms within a cutoff, in molecules and under periodic boundary conditions."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.errors import GeomaeError

TABLE_ATOMS = 512
"""A molecule of more atoms goes to the cell list instead of the table of all distances."""

LEAST_REACH = 1.0
"""Shortest search of the cell list, in Å: with less, its cells are too many."""


@dataclass(frozen=True)
class Neighbours:
    """Ordered pairs of neighbours, sorted by target, then source, then image.

    Attributes:
        edges: (source, target) of each pair.
        vectors: from target to source, image included, in Å; differentiable in positions and cell.
        shifts: lattice vectors that lead to the source's image, so that
            `vectors = positions[source] - positions[target] + shifts @ cell`; None where no
            structure repeats.
    """

    edges: Int[Tensor, "2 edges"]
    vectors: Float[Tensor, "edges 3"]
    shifts: Int[Tensor, "edges 3"] | None = None

    def __len__(self) -> int:
        return self.edges.shape[1]

    @property
    def lengths(self) -> Float[Tensor, " edges"]:
        """Distances in Å."""
        return self.vectors.norm(dim=1)


def neighbours(
    positions: Float[Tensor, "n 3"],
    cutoff: float,
    batch: Int[Tensor, " n"] | None = None,
    cell: Float[Tensor, "*structures 3 3"] | None = None,
    pbc: Bool[Tensor, "*structures 3"] | None = None,
) -> Neighbours:
    """All pairs of the same structure that are closer than a cutoff.

    An atom is no neighbour of itself, but its periodic images are; a pair is met once for each
    image within the cutoff, however small the cell. Atoms may lie outside of the cell. Molecules
    take the table of all distances, crystals and large molecules the cell lists of vesin.

    Args:
        positions: in Å.
        cutoff: in Å; pairs at exactly this distance are left out.
        batch: structure of each atom, ascending; all are of one structure if it is None.
        cell: lattice vectors as rows in Å, of one structure or of each.
        pbc: periodicity along each lattice vector; all True if only a cell is given.

    Raises:
        GeomaeError: the cutoff isn't above 0, or is infinite in a crystal; a periodic lattice
            vector is missing or depends on others; structures and cells differ in number.
    """
    if not cutoff > 0:
        raise GeomaeError(f"the cutoff must be above 0 Å, not {cutoff}")
    sizes = _sizes(positions, batch)
    cells, periodic = _lattices(len(sizes), positions, cell, pbc)
    repeats, endless = periodic.any(1), math.isinf(cutoff)
    if endless and bool(repeats.any()):
        raise GeomaeError("the cutoff must be finite in a crystal, which has no end")
    by_table = ~repeats & (endless | (sizes <= TABLE_ATOMS))
    starts = sizes.cumsum(0) - sizes
    pairs = [_table(starts[by_table], sizes[by_table])]
    images = [torch.zeros(pairs[0].shape[1], 3, dtype=torch.long)]
    for k in (~by_table).nonzero()[:, 0].tolist():
        span = slice(int(starts[k]), int(starts[k] + sizes[k]))
        near, shifts = _cell_list(positions[span], cutoff, cells[k], periodic[k])
        pairs.append(near + starts[k])
        images.append(shifts)
    edges, shifts = torch.cat(pairs, 1), torch.cat(images)
    if not bool(by_table.all()):
        edges, shifts = _sorted(edges, shifts)
    owner = torch.repeat_interleave(torch.arange(len(sizes)), sizes)[edges[1]]
    edges, shifts, owner = (t.to(positions.device) for t in (edges, shifts, owner))
    vectors = positions[edges[0]] - positions[edges[1]]
    if bool(repeats.any()):
        moves = torch.einsum("ei,eij->ej", shifts.to(vectors), cells.to(vectors)[owner])
        vectors = vectors + moves
    near = vectors.detach().square().sum(1) < cutoff**2
    return Neighbours(edges[:, near], vectors[near], shifts[near] if bool(repeats.any()) else None)


def heights(
    cell: Float[Tensor, "structures 3 3"], pbc: Bool[Tensor, "structures 3"]
) -> Float[Tensor, "structures 3"]:
    """Distances of the planes on which a cell repeats along each lattice vector, in Å.

    In a slab or a chain, within the plane or line that its periodic vectors span. 0 where these
    depend on each other, infinite along vectors that aren't periodic.
    """
    result = torch.full(pbc.shape, torch.inf, dtype=torch.float64)
    for k in pbc.any(1).nonzero()[:, 0].tolist():
        rows = cell[k, pbc[k]].double().cpu().numpy()
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = rows / lengths.clip(min=np.finfo(np.float64).tiny)
        independent = np.linalg.matrix_rank(unit) == len(rows)
        gaps = 1 / np.linalg.norm(np.linalg.pinv(rows), axis=0) if independent else 0.0
        result[k, pbc[k]] = torch.as_tensor(gaps, dtype=torch.float64)
    return result


def _sizes(positions: Tensor, batch: Tensor | None) -> Tensor:
    """Atoms of each structure, on the CPU."""
    if batch is None:
        return torch.tensor([len(positions)])
    if bool((batch.diff() < 0).any()):
        raise GeomaeError("the batch vector must be ascending, as PyTorch Geometric makes it")
    return torch.bincount(batch).cpu()


def _lattices(
    n: int, positions: Tensor, cell: Tensor | None, pbc: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Cells `[n, 3, 3]` with their gradients, and periodicities `[n, 3]` on the CPU."""
    if pbc is None:
        pbc = torch.full((1, 3), cell is not None)
    if cell is None:
        cell = positions.new_zeros(1, 3, 3)
    cell, pbc = cell.reshape(-1, 3, 3), pbc.reshape(-1, 3).cpu()
    for name, value in (("cells", cell), ("periodicities", pbc)):
        if len(value) not in (1, n):
            raise GeomaeError(f"expected {name} of one structure or of {n}, not {len(value)}")
    cell, pbc = cell.expand(n, 3, 3), pbc.expand(n, 3)
    if bool((heights(cell.detach().cpu(), pbc) <= 0).any()):
        raise GeomaeError("a periodic lattice vector is missing or depends on the others")
    return cell, pbc


def _table(starts: Tensor, sizes: Tensor) -> Tensor:
    """All ordered pairs (source, target) of different atoms of the same structure, `[2, pairs]`."""
    first = torch.repeat_interleave(starts, sizes)
    size = torch.repeat_interleave(sizes, sizes)
    target = torch.repeat_interleave(first + _counted(sizes), size)
    source = torch.repeat_interleave(first, size) + _counted(size)
    return torch.stack([source, target])[:, source != target]


def _counted(sizes: Tensor) -> Tensor:
    """0 to size - 1 for each size, in a row."""
    starts = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    return torch.arange(len(starts)) - starts


def _cell_list(
    positions: Tensor, cutoff: float, cell: Tensor, pbc: Tensor
) -> tuple[Tensor, Tensor]:
    """Pairs (source, target) and shifts of one structure, to the cutoff and a little beyond."""
    from vesin import NeighborList

    reach = max(float(cutoff) * (1 + 1e-5), LEAST_REACH)
    search = NeighborList(cutoff=reach, full_list=True)
    target, source, shifts = search.compute(
        points=np.ascontiguousarray(positions.detach().double().cpu().numpy()),
        box=np.ascontiguousarray(cell.detach().double().cpu().numpy()),
        periodic=pbc.numpy() if pbc.any() else False,
        quantities="ijS",
    )
    pairs = np.stack([source, target]).astype(np.int64)
    return torch.from_numpy(pairs), torch.from_numpy(shifts.astype(np.int64))


def _sorted(edges: Tensor, shifts: Tensor) -> tuple[Tensor, Tensor]:
    """By target, then source, then shift."""
    order = torch.from_numpy(np.lexsort(torch.cat([shifts.T.flip(0), edges]).numpy()))
    return edges[:, order], shifts[order]
