"""Vectors from centres to atoms and their periodic images, and derivatives by what they come from.

Where the lattice is open, lattice vectors stand behind the positions, as three more rows.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from geomae.inversion.descriptors.soap import Soap

MOST_STEPS = 9
"""Lattice vectors along each axis; starts whose cell is flatter than that are hopeless."""


@dataclass(frozen=True)
class Displacements:
    """From each centre to each atom and its images.

    Attributes:
        vectors: `[k, c, images, n, 3]` in Å.
        shifts: of each image, in lattice vectors, `[images, 3]`; None for finite structures.
    """

    vectors: Float[Tensor, "k c i n 3"]
    shifts: Float[Tensor, "i 3"] | None


def displacements(soap: "Soap", rows: Float[Tensor, "k p 3"]) -> Displacements:
    """Of structures in a batch; images that are out of reach of every centre are left out.

    Args:
        soap: tells the centres, the reach and the lattice, if that is known.
        rows: positions in Å, lattice vectors behind them where the lattice is open.
    """
    atoms, cells = rows, None
    if soap.lattice:
        atoms, cells = rows[:, :-3], rows[:, -3:]
    elif soap.cell is not None:
        cells = soap.cell.to(rows).expand(len(rows), -1, -1)
    centres = centres_of(soap, atoms.shape[1])
    origin = atoms.new_zeros(1, 1, 3) if centres is None else atoms[:, centres]
    gaps = atoms[:, None] - origin[:, :, None]
    if cells is None:
        return Displacements(gaps[:, :, None], None)
    shifts = _shifts(cells, soap.r_cut + soap.padding)
    vectors = gaps[:, :, None] + (shifts @ cells)[:, None, :, None]
    if soap.lattice:
        near = vectors.detach().square().sum(4) < (soap.r_cut + soap.padding) ** 2
        wanted = near.any(3).any(1).any(0)
        shifts, vectors = shifts[wanted], vectors[:, :, wanted]
    return Displacements(vectors, shifts)


def centres_of(soap: "Soap", n_atoms: int) -> list[int] | None:
    """Atoms that are centres; None for the origin."""
    if soap.centres == "origin":
        return None
    return list(range(n_atoms)) if soap.centres == "all" else [int(i) for i in soap.centres]


def by_row(
    soap: "Soap", by_atom: Float[Tensor, "k c n *f"], by_shift: Tensor | None
) -> Float[Tensor, "k c p *f"]:
    """Derivatives by positions (and lattice vectors), from those by vectors.

    Args:
        soap: tells the centres.
        by_atom: by the vectors to each atom, summed over its images.
        by_shift: summed over all atoms and images, times the images' shifts, `[k, c, 3, ...]`;
            None where no lattice is open.
    """
    slopes = by_atom.clone()
    for row, atom in enumerate(centres_of(soap, by_atom.shape[2]) or []):
        slopes[:, row, atom] -= by_atom[:, row].sum(1)
    return slopes if by_shift is None else torch.cat([slopes, by_shift], 2)


def _shifts(cells: Float[Tensor, "k 3 3"], reach: float) -> Float[Tensor, "i 3"]:
    """To all images that can be within reach, for atoms in one cell with their centres.

    Enough for atoms within one cell of each other along each lattice vector.
    """
    heights = 1 / torch.linalg.inv(cells.detach()).norm(dim=1)
    steps = torch.ceil(reach / heights.amin(0)).clamp(max=MOST_STEPS).long() + 1
    axes = [torch.arange(-int(s), int(s) + 1, dtype=cells.dtype) for s in steps]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
