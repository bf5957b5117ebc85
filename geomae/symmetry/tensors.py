"""Cartesian tensors with symmetric indices, and the irreps they are made of."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import permutations, product

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

LETTERS = "ijklmn"


@dataclass(frozen=True)
class CartesianTensor:
    """A kind of tensor of space.

    Attributes:
        rank: number of indices.
        swaps: permutations of the indices that leave it as it is, such as `(1, 0)`.
        axial: changes its sign under reflections on top of what its indices do.
    """

    rank: int
    swaps: tuple[tuple[int, ...], ...] = ()
    axial: bool = False

    @property
    def parity(self) -> int:
        """Under inversion."""
        return (-1) ** (self.rank + self.axial)

    @cached_property
    def irreps(self) -> o3.Irreps:
        """What it is made of, degrees ascending."""
        return o3.Irreps(_reduced(self.rank, self.swaps, self.parity)[0]).simplify()

    @property
    def basis(self) -> Float[Tensor, "dim *indices"]:
        """The tensor of each irrep component in e3nn's order, orthonormal, float64."""
        return _reduced(self.rank, self.swaps, self.parity)[1]

    def to_cartesian(
        self, values: Float[Tensor, "*batch dim"]
    ) -> Float[Tensor, "*batch_and_indices"]:
        """The tensors with these irrep components; lengths stay the same."""
        return torch.tensordot(values, self.basis.to(values), dims=1)

    def from_cartesian(
        self, tensors: Float[Tensor, "*batch_and_indices"]
    ) -> Float[Tensor, "*batch dim"]:
        """Irrep components of tensors, what lacks the symmetry of the indices left out."""
        flat = tensors.flatten(-self.rank) if self.rank else tensors[..., None]
        return flat @ self.basis.flatten(1).to(tensors).T if self.rank else flat


@lru_cache(maxsize=64)
def _reduced(
    rank: int, swaps: tuple[tuple[int, ...], ...], parity: int
) -> tuple[str, Float[Tensor, "dim *indices"]]:
    """Irreps of the symmetric part of a tensor power of vectors, and their tensors."""
    found: dict[int, list[Tensor]] = {}
    group = _generated(rank, swaps)
    for degree, tensor in _coupled(rank):
        moved = [tensor.permute(0, *(1 + i for i in order)) for order in group]
        found.setdefault(degree, []).append(torch.stack(moved).mean(0))
    irreps, rows = [], []
    for degree in sorted(found):
        copies = torch.stack(found[degree])
        # copies of an irrep mix among themselves: one component tells how
        gram = torch.einsum("a...,b...->ab", copies[:, 0], copies[:, 0])
        kept = _independent(gram, copies)
        if len(kept):
            irreps.append(f"{len(kept)}x{degree}{'e' if parity > 0 else 'o'}")
            rows.append(kept.flatten(0, 1))
    return " + ".join(irreps), torch.cat(rows)


def _independent(gram: Tensor, copies: Tensor) -> Float[Tensor, "k m *indices"]:
    """Orthonormal combinations of copies, by Gram and Schmidt in their order."""
    kept: list[Tensor] = []
    for copy in copies:
        for other in kept:
            copy = copy - (copy[0] * other[0]).sum() * other
        size = copy[0].norm()
        if size > 1e-8:
            kept.append(copy / size)
    if not kept:
        return copies[:0]
    return torch.stack(kept)


def _coupled(rank: int) -> list[tuple[int, Float[Tensor, "m *indices"]]]:
    """All irreps in a tensor power of vectors, one coupled after another."""
    parts = [(0, torch.ones(1, dtype=torch.float64))]
    for _ in range(rank):
        new = []
        for degree, tensor in parts:
            for total in range(abs(degree - 1), degree + 2):
                table = o3.wigner_3j(degree, 1, total, dtype=torch.float64)
                made = torch.einsum("a...,abc->c...b", tensor, table) * (2 * total + 1) ** 0.5
                new.append((total, made))
        parts = new
    return parts


def _generated(rank: int, swaps: tuple[tuple[int, ...], ...]) -> list[tuple[int, ...]]:
    """All permutations that some generate."""
    found = {tuple(range(rank))}
    while True:
        more = found | {tuple(a[i] for i in b) for a, b in product(found, swaps)}
        if more == found:
            return sorted(found)
        found = more


def symmetric(rank: int) -> tuple[tuple[int, ...], ...]:
    """The permutations of all indices."""
    return tuple(permutations(range(rank)))
