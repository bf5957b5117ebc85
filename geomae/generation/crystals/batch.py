"""Several templates in flat arrays, and where their atoms are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.wyckoff.template import Template

FARTHEST = 3
"""Cells away that an atom can be seen in, along each vector."""


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def geometry(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compute in the precision of the arguments, where autocast is on for networks, too."""

    @wraps(method)
    def exact(*given: Arguments.args, **named: Arguments.kwargs) -> Result:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return method(*given, **named)

    return exact


@dataclass(frozen=True)
class Sites:
    """Orbits and atoms of crystals, one crystal after the other.

    Attributes:
        element: number of each orbit's element among the flow's, `[orbits]`.
        crystal: of each orbit, `[orbits]`.
        size, freedom, basis, inverse, fixed, free: see `Template`, `[orbits, ...]`.
        orbit: of each atom, `[atoms]`.
        rotations, shifts: see `Template`, `[atoms, ...]`.
        seeing, seen: an orbit and an atom of the same crystal, `[pairs]`.
        own: the atom is the orbit's first point, `[pairs]`.
        frame: vectors of the mean cells as rows in Å, of the volume that the elements take,
            `[n, 3, 3]`.
        strain, polar: see `Template`, `[n, ...]`.
    """

    element: Int[Tensor, " orbits"]
    crystal: Int[Tensor, " orbits"]
    size: Int[Tensor, " orbits"]
    freedom: Int[Tensor, " orbits"]
    basis: Float[Tensor, "orbits 3 3"]
    inverse: Float[Tensor, "orbits 3 3"]
    fixed: Float[Tensor, "orbits 3"]
    free: Float[Tensor, "orbits 3 3"]
    orbit: Int[Tensor, " atoms"]
    rotations: Float[Tensor, "atoms 3 3"]
    shifts: Float[Tensor, "atoms 3"]
    seeing: Int[Tensor, " pairs"]
    seen: Int[Tensor, " pairs"]
    own: Bool[Tensor, " pairs"]
    frame: Float[Tensor, "n 3 3"]
    strain: Float[Tensor, "n 9 9"]
    polar: Float[Tensor, "n 3 3"]

    def __len__(self) -> int:
        return len(self.frame)

    def to(self, where: torch.device | torch.dtype) -> "Sites":
        """On another device, or with real numbers in another precision."""
        moved = {}
        for field in fields(self):
            tensor = getattr(self, field.name)
            if isinstance(where, torch.device) or tensor.is_floating_point():
                moved[field.name] = tensor.to(where)
        return replace(self, **moved)

    @geometry
    def share(self) -> Float[Tensor, " orbits"]:
        """Of the crystal's atoms, for each orbit."""
        whole = torch.zeros(len(self), dtype=self.frame.dtype, device=self.frame.device)
        whole = whole.index_add(0, self.crystal, self.size.to(whole))
        return self.size / whole[self.crystal]

    @geometry
    def points(self, coordinates: Float[Tensor, "orbits 3"]) -> Float[Tensor, "orbits 3"]:
        """First points of orbits, in fractions of the cell, for free coordinates."""
        return self.fixed + torch.einsum("oj,ojk->ok", coordinates, self.basis)

    @geometry
    def coordinates(self, points: Float[Tensor, "orbits 3"]) -> Float[Tensor, "orbits 3"]:
        """Free coordinates of first points."""
        return torch.einsum("ok,okj->oj", points - self.fixed, self.inverse)

    @geometry
    def atoms(self, points: Float[Tensor, "orbits 3"]) -> Float[Tensor, "atoms 3"]:
        """Coordinates of all atoms."""
        return torch.einsum("aij,aj->ai", self.rotations, points[self.orbit]) + self.shifts

    @geometry
    def cells(self, strains: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3 3"]:
        """Lattice vectors as rows, in Å, at logarithmic strains of the frame."""
        return self.frame @ torch.linalg.matrix_exp(strains)

    @geometry
    def confined_strains(self, strains: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3 3"]:
        """What the groups leave of strains."""
        flat = torch.einsum("nij,nj->ni", self.strain, strains.flatten(1)).unflatten(1, (3, 3))
        return 0.5 * (flat + flat.transpose(1, 2))

    @geometry
    def confined(self, displacements: Float[Tensor, "orbits 3"]) -> Float[Tensor, "orbits 3"]:
        """What the groups leave of displacements of coordinates, without the mean along which
        nothing fixes the origin.
        """
        own = torch.einsum("oij,oj->oi", self.free, displacements)
        mean = torch.zeros(len(self), 3, dtype=own.dtype, device=own.device)
        mean = mean.index_add(0, self.crystal, own * self.share()[:, None])
        return own - torch.einsum("nij,nj->ni", self.polar, mean)[self.crystal]

    @geometry
    @torch.no_grad()
    def neighbours(
        self, points: Float[Tensor, "orbits 3"], cells: Float[Tensor, "n 3 3"], cutoff: float
    ) -> tuple[Int[Tensor, " edges"], Int[Tensor, " edges"], Float[Tensor, "edges 3"]]:
        """Atoms near the first point of each orbit: that orbit, the atom's, and where it is, in Å.

        Args:
            points: first points, in fractions of the cells.
            cells: lattice vectors as rows, in Å.
            cutoff: in Å.
        """
        crystal = self.crystal[self.seeing]
        gaps = self.atoms(points)[self.seen] - points[self.seeing]
        gaps = gaps - gaps.round()
        heights = torch.linalg.inv(cells).norm(dim=1).reciprocal()
        bounds = (cutoff / heights + 0.5).floor().clamp(max=FARTHEST)
        steps = torch.arange(-FARTHEST, FARTHEST + 1).to(cells)
        shifts = torch.cartesian_prod(steps, steps, steps)
        inside = (shifts.abs() <= bounds[:, None]).all(2)
        pair, shift = inside[crystal].nonzero(as_tuple=True)
        vectors = (gaps[pair] + shifts[shift])[:, None] @ cells[crystal[pair]]
        vectors = vectors[:, 0]
        here = self.own[pair] & (shifts[shift] == 0).all(1)
        near = (vectors.square().sum(1) < cutoff**2) & ~here
        pair = pair[near]
        return self.seeing[pair], self.orbit[self.seen[pair]], vectors[near]


def joined(
    templates: Sequence[Template],
    elements: Sequence[Int[np.ndarray, "_"]],
    volume: Float[np.ndarray, " elements"],
) -> Sites:
    """Templates in a row.

    Args:
        templates: of the crystals.
        elements: number of each class's element, for each crystal.
        volume: of an atom of each element in Å^3.
    """
    kinds = [own[t.member] for t, own in zip(templates, elements, strict=True)]
    orbits, atoms = [len(t.size) for t in templates], [t.n_atoms for t in templates]
    first_orbit, first_atom = (np.cumsum([0, *sizes])[:-1] for sizes in (orbits, atoms))
    seeing = [
        np.repeat(np.arange(k), a) + start
        for k, a, start in zip(orbits, atoms, first_orbit, strict=True)
    ]
    seen = [
        np.tile(np.arange(a), k) + start
        for k, a, start in zip(orbits, atoms, first_atom, strict=True)
    ]
    firsts = np.concatenate(
        [start + np.searchsorted(t.owner, np.arange(len(t.size)))
         for t, start in zip(templates, first_atom, strict=True)]
    )  # fmt: skip
    seeing, seen = np.concatenate(seeing), np.concatenate(seen)
    frames = [
        t.frame * float(volume[own] @ t.size) ** (1 / 3)
        for t, own in zip(templates, kinds, strict=True)
    ]

    def rows(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(t, name) for t in templates]))

    return Sites(
        torch.from_numpy(np.concatenate(kinds)),
        torch.from_numpy(np.repeat(np.arange(len(templates)), orbits)),
        rows("size"),
        rows("freedom"),
        rows("basis"),
        rows("inverse"),
        rows("fixed"),
        rows("free"),
        torch.from_numpy(
            np.concatenate([t.owner + s for t, s in zip(templates, first_orbit, strict=True)])
        ),
        rows("rotations"),
        rows("shifts"),
        torch.from_numpy(seeing),
        torch.from_numpy(seen),
        torch.from_numpy(firsts[seeing] == seen),
        torch.from_numpy(np.stack(frames)),
        torch.from_numpy(np.stack([t.strain for t in templates])),
        torch.from_numpy(np.stack([t.polar for t in templates])),
    )
