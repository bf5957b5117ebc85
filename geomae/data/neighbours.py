"""Who is near whom."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch_geometric.utils import to_dense_batch


@dataclass(frozen=True)
class Neighbours:
    """Pairs of atoms within a cutoff, each in both directions.

    Attributes:
        edges: (source, target), `[2, e]`.
        vectors: from target to source, image included, `[e, 3]` in Å; differentiable in positions
            and cell.
        shifts: lattice vectors that lead to the source's image, `[e, 3]` integers; None for finite
            structures.
    """

    edges: Int[Tensor, "2 e"]
    vectors: Float[Tensor, "e 3"]
    shifts: Int[Tensor, "e 3"] | None = None

    def __len__(self) -> int:
        return self.edges.shape[1]


def neighbours(
    positions: Float[Tensor, "n 3"],
    cutoff: float,
    batch: Int[Tensor, " n"] | None = None,
    cell: Float[Tensor, "b 3 3"] | None = None,
    pbc: Bool[Tensor, "b 3"] | None = None,
) -> Neighbours:
    """All pairs within a cutoff: by a dense mask in finite structures, by vesin in periodic ones.

    Args:
        positions: in Å.
        cutoff: in Å; pairs at exactly this distance are none.
        batch: structure of each atom, ascending.
        cell: lattice vectors of each structure as rows.
        pbc: which of them repeat; all by default where there is a cell.
    """
    batch = positions.new_zeros(len(positions), dtype=torch.long) if batch is None else batch
    if cell is None or (pbc is not None and not bool(pbc.any())):
        return _finite(positions, cutoff, batch)
    pbc = torch.ones(len(cell), 3, dtype=torch.bool) if pbc is None else pbc
    parts = []
    for structure in range(len(cell)):
        own = torch.nonzero(batch == structure)[:, 0]
        pairs, shifts = _periodic(positions[own], cutoff, cell[structure], pbc[structure])
        parts.append((own[pairs], shifts, torch.full_like(pairs[0], structure)))
    edges = torch.cat([edges for edges, _, _ in parts], 1)
    shifts = torch.cat([shifts for _, shifts, _ in parts])
    owner = torch.cat([owner for _, _, owner in parts])
    moved = torch.einsum("ei,eij->ej", shifts.to(positions), cell[owner].to(positions))
    return Neighbours(edges, positions[edges[0]] + moved - positions[edges[1]], shifts)


def _finite(positions: Tensor, cutoff: float, batch: Tensor) -> Neighbours:
    points, mask = to_dense_batch(positions.detach(), batch)
    near = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist") < cutoff
    near &= mask[:, :, None] & mask[:, None]
    near &= ~torch.eye(points.shape[1], dtype=torch.bool, device=points.device)
    structure, target, source = near.nonzero(as_tuple=True)
    counts = mask.sum(1)
    starts = torch.cumsum(counts, 0) - counts
    edges = torch.stack([source, target]) + starts[structure]
    return Neighbours(edges, positions[edges[0]] - positions[edges[1]])


def _periodic(
    positions: Tensor, cutoff: float, cell: Tensor, pbc: Tensor
) -> tuple[Int[Tensor, "2 e"], Int[Tensor, "e 3"]]:
    """Pairs (source, target) of one structure, and the shifts of the sources."""
    from vesin import NeighborList

    box = cell.detach().double().cpu().numpy()
    search = NeighborList(cutoff=float(cutoff), full_list=True)
    target, source, shifts = search.compute(
        points=np.ascontiguousarray(positions.detach().double().cpu().numpy()),
        box=np.ascontiguousarray(box),
        periodic=pbc.tolist(),
        quantities="ijS",
    )
    pairs = torch.from_numpy(np.stack([source, target]).astype(np.int64))
    return pairs.to(positions.device), torch.from_numpy(shifts.astype(np.int64)).to(
        positions.device
    )
