"""Crystals side by side, with everything that their encoding runs over."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.crystals.config import CrystalConfig
from geomae.crystals.lattice import COEFFICIENTS, COSET
from geomae.data.neighbours import neighbours
from geomae.data.structure import Structure

FAINT = 1e-9
"""Weight, relative to the highest, below which images and lattice vectors are left out."""

SHIFTS = np.array(list(product(range(-3, 4), repeat=3)))


@dataclass(frozen=True)
class CrystalBatch:
    """Crystals in canonical form: geometry, and lists of whole numbers that go with it.

    Attributes:
        numbers: atomic numbers, `[atoms]`.
        positions: about the anchors, which are the first atoms and at the origin, `[atoms, 3]` in
            Å.
        cells: Niggli-reduced lattice vectors as rows, `[n, 3, 3]` in Å.
        batch: crystal of each atom, `[atoms]`, ascending.
        edges: (source, target) of neighbours, `[2, edges]`.
        shifts: lattice vectors that lead to the source's image, `[edges, 3]`.
        image_atom, image_shift: images of atoms around the anchors, `[images]`, `[images, 3]`.
        vector_crystal, vector_class: crystal of each short lattice vector and its class
            modulo twice the lattice, 0 to 6, `[vectors]`.
        coefficients: of those vectors, `[vectors, 3]`.
    """

    numbers: Tensor
    positions: Tensor
    cells: Tensor
    batch: Tensor
    edges: Tensor
    shifts: Tensor
    image_atom: Tensor
    image_shift: Tensor
    vector_crystal: Tensor
    vector_class: Tensor
    coefficients: Tensor

    @property
    def n(self) -> int:
        return len(self.cells)

    def moved(
        self, positions: Float[Tensor, "atoms 3"], cells: Float[Tensor, "n 3 3"]
    ) -> "CrystalBatch":
        """The same lists for atoms and lattices that have moved a little."""
        return replace(self, positions=positions, cells=cells)

    def to(self, target: torch.device | torch.dtype) -> "CrystalBatch":
        """The same on another device, or with positions and cells in another precision."""
        if isinstance(target, torch.dtype):
            return self.moved(self.positions.to(target), self.cells.to(target))
        return CrystalBatch(*(getattr(self, f.name).to(target) for f in fields(self)))

    def repeated(self, times: Int[Tensor, " n"]) -> "CrystalBatch":
        """Each crystal so many times in a row, in the order they are in."""
        copies = torch.repeat_interleave(torch.arange(self.n), times)

        def spread(owner: Tensor) -> tuple[Tensor, Tensor]:
            """Entries of a list, copy by copy, and the copy that each belongs to."""
            count = torch.bincount(owner, minlength=self.n)
            first, size = (torch.cumsum(count, 0) - count)[copies], count[copies]
            start = torch.cumsum(size, 0) - size
            own = torch.repeat_interleave(torch.arange(len(copies)), size)
            return torch.arange(len(own)) + (first - start)[own], own

        atom, batch = spread(self.batch)
        count = torch.bincount(self.batch, minlength=self.n)
        size = count[copies]
        moved = (torch.cumsum(size, 0) - size) - (torch.cumsum(count, 0) - count)[copies]
        edge, edge_copy = spread(self.batch[self.edges[1]])
        image, image_copy = spread(self.batch[self.image_atom])
        vector, vector_copy = spread(self.vector_crystal)
        return CrystalBatch(
            self.numbers[atom], self.positions[atom], self.cells[copies], batch,
            self.edges[:, edge] + moved[edge_copy], self.shifts[edge],
            self.image_atom[image] + moved[image_copy], self.image_shift[image],
            vector_copy, self.vector_class[vector], self.coefficients[vector],
        )  # fmt: skip

    def edge_vectors(self) -> Float[Tensor, "edges 3"]:
        """From target to source along each edge, in Å."""
        source, target = self.edges
        moves = torch.einsum(
            "ei,eij->ej", self.shifts.to(self.cells), self.cells[self.batch[target]]
        )
        return self.positions[source] - self.positions[target] + moves

    def image_vectors(self) -> Float[Tensor, "images 3"]:
        """From the anchor to each image of an atom, in Å."""
        cells = self.cells[self.batch[self.image_atom]]
        moves = torch.einsum("ei,eij->ej", self.image_shift.to(self.cells), cells)
        return self.positions[self.image_atom] + moves

    def lattice_vectors(self) -> Float[Tensor, "vectors 3"]:
        """The short lattice vectors, in Å."""
        cells = self.cells[self.vector_crystal]
        return torch.einsum("ei,eij->ej", self.coefficients.to(self.cells), cells)


def shares(
    vectors: Float[Tensor, "e 3"], group: Int[Tensor, " e"], n_groups: int, width: float
) -> Float[Tensor, " e"]:
    """Weights exp(-r^2 / 2 width^2) of vectors, divided by their sum over each group.

    Smooth in the vectors: nothing jumps where another becomes the shortest.
    """
    exponent = vectors.square().sum(1) / (-2 * width**2)
    highest = exponent.new_full((n_groups,), -torch.inf)
    highest = highest.scatter_reduce(0, group, exponent.detach(), "amax")
    weight = torch.exp(exponent - highest[group])
    total = weight.new_zeros(n_groups).index_add(0, group, weight)
    return weight / total[group]


def prominence(
    vectors: Float[Tensor, "e 3"], group: Int[Tensor, " e"], n_groups: int, width: float
) -> Float[Tensor, " e"]:
    """The same weights divided by the highest of each group: 1 for the shortest vectors."""
    weight = shares(vectors, group, n_groups, width)
    highest = weight.new_zeros(n_groups).scatter_reduce(0, group, weight, "amax")
    return weight / highest[group]


def lists_of(
    numbers: Tensor, positions: Tensor, cell: Tensor, config: CrystalConfig, *, slack: float = 0.0
) -> dict[str, np.ndarray]:
    """The whole numbers of one crystal in canonical form; see `CrystalBatch`.

    Args:
        numbers, positions, cell: of the crystal.
        config: says how far it matters.
        slack: length in Å by which neighbours may be farther, for crystals that are to move.
    """
    near = neighbours(positions, config.sites.cutoff + slack, cell=cell)
    basis, points = cell.numpy(), positions.numpy()
    squares = np.square(points[:, None] + SHIFTS @ basis).sum(-1)
    reach = -2 * np.log(FAINT) * config.image_width**2
    atom, shift = np.nonzero(squares <= squares.min(1, keepdims=True) + reach)
    lengths = np.square(COEFFICIENTS @ basis).sum(-1)
    least = np.full(8, np.inf)
    np.minimum.at(least, COSET, lengths)
    reach = -2 * np.log(FAINT) * config.vector_width**2
    kept = np.flatnonzero((COSET > 0) & (lengths <= least[COSET] + reach))
    assert near.shifts is not None
    return {
        "edges": near.edges.numpy().astype(np.int16),
        "shifts": near.shifts.numpy().astype(np.int8),
        "image_atom": atom.astype(np.int16),
        "image_shift": SHIFTS[shift].astype(np.int8),
        "vector_class": (COSET[kept] - 1).astype(np.int8),
        "coefficients": COEFFICIENTS[kept].astype(np.int8),
    }


def join(
    crystals: Sequence[tuple[Tensor, Tensor, Tensor]],
    lists: Sequence[dict[str, np.ndarray]],
    dtype: torch.dtype = torch.float64,
) -> CrystalBatch:
    """A batch of crystals given by numbers, positions and cell, and their lists."""
    sizes = np.array([len(numbers) for numbers, _, _ in crystals])
    starts = np.cumsum(sizes) - sizes

    def row(name: str, offsets: np.ndarray | None = None, axis: int = 0) -> Tensor:
        parts = [own[name].astype(np.int64) for own in lists]
        if offsets is not None:
            parts = [part + offset for part, offset in zip(parts, offsets, strict=True)]
        return torch.from_numpy(np.concatenate(parts, axis))

    counts = [len(own["coefficients"]) for own in lists]
    return CrystalBatch(
        torch.cat([numbers for numbers, _, _ in crystals]).long(),
        torch.cat([positions for _, positions, _ in crystals]).to(dtype),
        torch.stack([cell for _, _, cell in crystals]).to(dtype),
        torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
        row("edges", starts, 1),
        row("shifts"),
        row("image_atom", starts),
        row("image_shift"),
        torch.from_numpy(np.repeat(np.arange(len(sizes)), counts)),
        row("vector_class"),
        row("coefficients"),
    )


def batch_of(structures: Sequence[Structure], config: CrystalConfig) -> CrystalBatch:
    """A batch of crystals in canonical form, the anchor first and at the origin, in float64."""
    crystals = [(s.numbers, s.positions.double(), s.cell[0].double()) for s in structures]
    return join(crystals, [lists_of(*crystal, config) for crystal in crystals])
