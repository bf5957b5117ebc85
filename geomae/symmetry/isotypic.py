"""Representations of finite groups taken apart: pieces that no operation mixes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NEAR = 1e-6
"""Eigenvalues and characters nearer than this are the same."""

Namer = Callable[[Float[Tensor, " g"]], str]
"""The name of an irrep with these characters."""


@dataclass(frozen=True)
class Piece:
    """Everything in a representation that transforms like one irrep.

    Irreps are real: two complex ones that are each other's conjugates are one.

    Attributes:
        irrep: its name.
        characters: for each operation.
        basis: orthonormal, as columns.
        copies: how often the irrep comes up.
    """

    irrep: str
    characters: Float[Tensor, " g"]
    basis: Float[Tensor, "flat k"]
    copies: int

    @property
    def trivial(self) -> bool:
        """Whether every operation leaves it as it is."""
        return bool((self.characters - 1).abs().max() < NEAR)

    @property
    def projector(self) -> Float[Tensor, "flat flat"]:
        return self.basis @ self.basis.T


def pieces(matrices: Float[Tensor, "g flat flat"], namer: Namer) -> list[Piece]:
    """The isotypic pieces of an orthogonal representation, the trivial one first.

    The eigenspaces of a random symmetric matrix, averaged over the group, are irreducible with
    probability 1; those with the same characters belong together.

    Args:
        matrices: of all operations of the group, float64.
        namer: gives an irrep its name by its characters.
    """
    size = matrices.shape[1]
    generator = torch.Generator().manual_seed(size)
    random = torch.randn(size, size, dtype=torch.float64, generator=generator).to(matrices)
    averaged = (matrices @ (random + random.T) @ matrices.transpose(1, 2)).mean(0)
    values, vectors = torch.linalg.eigh((averaged + averaged.T) / 2)
    found: list[tuple[Tensor, list[Tensor]]] = []
    for space in _clusters(values, vectors):
        characters = torch.einsum("ai,gab,bi->g", space, matrices, space)
        known = [same for other, same in found if (other - characters).abs().max() < NEAR]
        if known:
            known[0].append(space)
        else:
            found.append((characters, [space]))
    found.sort(key=lambda item: (item[1][0].shape[1], -float(item[0].sum())))
    return [
        Piece(
            namer(characters),
            characters,
            torch.cat(spaces, 1),
            len(spaces),
        )
        for characters, spaces in found
    ]


def fixed_space(
    matrices: Float[Tensor, "g flat flat"], chosen: Bool[Tensor, " g"], basis: Tensor
) -> Float[Tensor, "flat k"]:
    """Orthonormal basis of what a subgroup leaves as it is, in an invariant subspace.

    Args:
        matrices: of all operations.
        chosen: those of the subgroup.
        basis: orthonormal columns of the subspace.
    """
    averaged = basis.T @ matrices[chosen].mean(0) @ basis
    values, vectors = torch.linalg.eigh((averaged + averaged.T) / 2)
    return basis @ vectors[:, values > 1 - NEAR]


def isotropy(
    matrices: Float[Tensor, "g flat flat"], vectors: Tensor, tolerance: float = NEAR
) -> Bool[Tensor, " g"]:
    """Which operations leave vectors `[flat, k]` as they are.

    Args:
        matrices: of all operations.
        vectors: as columns; one that is zero is left by all.
        tolerance: change allowed, relative to the largest entry.
    """
    size = float(vectors.abs().max()) if vectors.numel() else 0.0
    if not size:
        return torch.ones(len(matrices), dtype=torch.bool, device=matrices.device)
    change = (matrices @ vectors - vectors).abs().amax((1, 2))
    return change < tolerance * size


def _clusters(values: Tensor, vectors: Tensor) -> list[Tensor]:
    """Eigenvectors of equal eigenvalues."""
    steps = values.diff() > NEAR * max(float(values.abs().max()), 1.0)
    ends = torch.cat([steps.nonzero()[:, 0] + 1, values.new_tensor([len(values)]).long()])
    sizes = torch.cat([ends[:1], ends.diff()]).tolist()
    return list(vectors.split(sizes, 1))
