"""Crystals that keep a space group, told by few numbers: free coordinates and an invariant strain.

Atoms are at `(fixed + y along) frame S`, for numbers y and a symmetric matrix S = s strains that
the group leaves as it is; the lattice vectors are `frame S`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.wyckoff.template import Template


@dataclass(frozen=True, eq=False)
class Orbits:
    """How a crystal follows from its parameters.

    Attributes:
        fixed: fractional coordinates of the atoms where nothing is moved, `[n, 3]`.
        along: by which each parameter moves them, about 1 Å a unit, `[q, n, 3]`.
        frame: vectors of a cell that the group allows, as rows, `[3, 3]`, in Å.
        strains: invariant symmetric matrices, `[s, 3, 3]`, about 1 Å a unit.
        species: atomic number of each atom, `[n]`.
        centres: first atom of each orbit, `[o]`.
        sizes: atoms of each orbit, `[o]`.
        owner: orbit of each atom, `[n]`.
    """

    fixed: Float[Tensor, "n 3"]
    along: Float[Tensor, "q n 3"]
    frame: Float[Tensor, "3 3"]
    strains: Float[Tensor, "s 3 3"]
    species: Int[Tensor, " n"]
    centres: Int[Tensor, " o"]
    sizes: Int[Tensor, " o"]
    owner: Int[Tensor, " n"]

    @property
    def n_parameters(self) -> int:
        """Free coordinates and strains."""
        return len(self.along) + len(self.strains)

    def strain(self, matrix: Float[Tensor, "3 3"]) -> Float[Tensor, " s"]:
        """Parameters of an invariant symmetric matrix, by which the frame is multiplied."""
        flat = self.strains.flatten(1)
        return (flat @ matrix.flatten()) / flat.square().sum(1)

    def rows(self, parameters: Float[Tensor, " d"]) -> Float[Tensor, "p 3"]:
        """Positions in Å, the lattice vectors behind them."""
        moves, strain = parameters.split([len(self.along), len(self.strains)])
        cell = self.frame @ torch.einsum("s,sab->ab", strain, self.strains)
        fractions = self.fixed + torch.einsum("q,qna->na", moves, self.along)
        return torch.cat([fractions @ cell, cell])


def on_template(template: Template, species: Sequence[int], volume: float) -> Orbits:
    """Crystals on a skeleton.

    Args:
        template: the skeleton.
        species: atomic number of each orbit.
        volume: of the cell in Å^3, for the frame.
    """
    size = volume ** (1 / 3)
    frame = template.frame * size
    places = np.einsum("nab,nb->na", template.rotations, template.fixed[template.owner])
    along = []
    for orbit, free in enumerate(template.freedom.tolist()):
        for axis in range(free):
            step = np.zeros((len(template.owner), 3))
            mine = template.owner == orbit
            step[mine] = template.rotations[mine] @ template.basis[orbit, axis]
            along.append(step / np.linalg.norm(template.basis[orbit, axis] @ frame))
    starts = np.searchsorted(template.owner, np.arange(len(template.size)))
    return Orbits(
        torch.as_tensor(places + template.shifts),
        torch.as_tensor(np.array(along).reshape(-1, len(places), 3)),
        torch.as_tensor(frame),
        torch.as_tensor(invariant_strains(template.strain)) / size,
        torch.tensor(species)[torch.as_tensor(template.owner)],
        torch.as_tensor(starts),
        torch.as_tensor(template.size),
        torch.as_tensor(template.owner),
    )


def released(rows: Float[Tensor, "p 3"], species: Int[Tensor, " n"]) -> Orbits:
    """A crystal that keeps nothing but its lattice: each atom is an orbit of its own.

    Args:
        rows: positions in Å, the lattice vectors behind them.
        species: atomic number of each atom.
    """
    atoms, cell = rows[:-3], rows[-3:]
    n = len(atoms)
    back, size = torch.linalg.inv(cell), float(cell.det().abs()) ** (1 / 3)
    along = torch.einsum("nm,ab->nbma", torch.eye(n, dtype=rows.dtype), back.T).flatten(0, 1)
    every = torch.as_tensor(invariant_strains(np.eye(9)))
    numbers = torch.arange(n)
    return Orbits(
        atoms @ back, along, cell, every / size, species, numbers, torch.ones_like(numbers), numbers
    )


def invariant_strains(projection: Float[np.ndarray, "9 9"]) -> Float[np.ndarray, "s 3 3"]:
    """An orthonormal basis of the symmetric matrices that a projection leaves as they are."""
    transposed = np.eye(9).reshape(3, 3, 3, 3).swapaxes(2, 3).reshape(9, 9)
    symmetric = (np.eye(9) + transposed) / 2
    values, vectors = np.linalg.eigh(symmetric @ projection @ symmetric)
    return vectors[:, values > 0.5].T.reshape(-1, 3, 3)


@dataclass(frozen=True, eq=False)
class OrbitBatch:
    """Crystals of as many atoms each, filled up to as many orbits and parameters.

    Attributes:
        fixed, along, frame, strains: as of `Orbits`, of each crystal; strains are zero where there
            are fewer than six, and so are moves.
        column: of each atom's element among the descriptor's, `[k, n]`.
        centres: `[k, o]`.
        shares: part of the atoms that each orbit has, zero where there is none, `[k, o]`.
        n_moves: parameters before the strains.
    """

    fixed: Float[Tensor, "k n 3"]
    along: Float[Tensor, "k q n 3"]
    frame: Float[Tensor, "k 3 3"]
    strains: Float[Tensor, "k 6 3 3"]
    column: Int[Tensor, "k n"]
    centres: Int[Tensor, "k o"]
    shares: Float[Tensor, "k o"]

    @property
    def n_moves(self) -> int:
        """Parameters before the strains."""
        return self.along.shape[1]

    @staticmethod
    def of(crystals: Sequence[Orbits], species: Sequence[int]) -> "OrbitBatch":
        """Crystals of elements `species`, which are numbered in that order."""
        most = max(len(own.along) for own in crystals)
        most += -most % 3  # whole rows of three
        orbits = max(len(own.centres) for own in crystals)
        order = torch.tensor(species)
        return OrbitBatch(
            torch.stack([own.fixed for own in crystals]),
            torch.stack([_filled(own.along, most) for own in crystals]),
            torch.stack([own.frame for own in crystals]),
            torch.stack([_filled(own.strains, 6) for own in crystals]),
            torch.stack([(own.species[:, None] == order).long().argmax(1) for own in crystals]),
            torch.stack([_filled(own.centres, orbits) for own in crystals]),
            torch.stack([_filled(own.sizes.double() / len(own.fixed), orbits) for own in crystals]),
        )

    def packed(
        self, crystals: Sequence[Orbits], parameters: Sequence[Float[Tensor, " _"]]
    ) -> Float[Tensor, "k p 3"]:
        """Parameters as rows of three, filled up with zeros: moves, then strains."""
        table = []
        for own, values in zip(crystals, parameters, strict=True):
            moves, strain = values.split([len(own.along), len(own.strains)])
            table.append(torch.cat([_filled(moves, self.n_moves), _filled(strain, 6)]))
        return torch.stack(table).unflatten(1, (-1, 3))

    def unpacked(
        self, crystals: Sequence[Orbits], rows: Float[Tensor, "k p 3"]
    ) -> list[Float[Tensor, " _"]]:
        """What `packed` made of parameters, undone."""
        return [
            torch.cat([row[: len(own.along)], row[self.n_moves :][: len(own.strains)]])
            for own, row in zip(crystals, rows.flatten(1), strict=True)
        ]

    def cells(self, rows: Float[Tensor, "k p 3"], which: Int[Tensor, " k"]) -> Tensor:
        """Lattice vectors `[k, 3, 3]` of some crystals, whose parameters are given."""
        strain = rows.flatten(1)[:, self.n_moves :]
        return self.frame[which] @ torch.einsum("ks,ksab->kab", strain, self.strains[which])

    def fractions(self, rows: Float[Tensor, "k p 3"], which: Int[Tensor, " k"]) -> Tensor:
        """Fractional coordinates `[k, n, 3]`."""
        moves = rows.flatten(1)[:, : self.n_moves]
        return self.fixed[which] + torch.einsum("kq,kqna->kna", moves, self.along[which])


def _filled(values: Tensor, length: int) -> Tensor:
    """With zeros behind, up to a length."""
    return torch.cat([values, values.new_zeros(length - len(values), *values.shape[1:])])
