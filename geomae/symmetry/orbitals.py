"""Blocks of Hamiltonians between orbitals: what elements symmetry allows."""

from dataclasses import dataclass
from typing import Any

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from geomae.data.structure import Structure
from geomae.symmetry.complete import finite_operations
from geomae.symmetry.errors import PropertyError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.identify import identify
from geomae.symmetry.project import averaging_operations, rows_of
from geomae.symmetry.representations import representation
from geomae.symmetry.standard import distinct

SHELLS = "spdfghi"


@dataclass(frozen=True)
class OrbitalBlock:
    """Matrix elements of an invariant operator, such as the Hamiltonian, between two shells.

    Attributes:
        l1: degree of the first shell, whose components are rows.
        l2: degree of the second.
        atoms: numbers of the atoms that carry them; None for two shells at one site.
        same_shell: both shells are of one kind (same element and radial function), so that an
            operation that swaps the atoms, or none at one site, relates an element to that
            across the diagonal.
    """

    l1: int
    l2: int
    atoms: tuple[int, int] | None = None
    same_shell: bool = False

    @property
    def irreps(self) -> o3.Irreps:
        """What the block is made of: degrees |l1 - l2| to l1 + l2."""
        parity = (-1) ** (self.l1 + self.l2)
        degrees = range(abs(self.l1 - self.l2), self.l1 + self.l2 + 1)
        irreps: o3.Irreps = o3.Irreps([(1, (l, parity)) for l in degrees])  # type: ignore[assignment]
        return irreps

    def to_irreps(self, blocks: Float[Tensor, "n a b"]) -> Float[Tensor, "n dim"]:
        """Irrep components of blocks; lengths stay the same."""
        parts = []
        for _, ir in self.irreps:
            table = o3.wigner_3j(self.l1, self.l2, ir.l, dtype=torch.float64)
            parts.append(torch.einsum("nab,abc->nc", blocks, table) * ir.dim**0.5)
        return torch.cat(parts, 1)

    def __str__(self) -> str:
        where = "" if self.atoms is None else f" of atoms {self.atoms[0]} and {self.atoms[1]}"
        return f"block {_shell(self.l1)}-{_shell(self.l2)}{where}"


def orbital_block(
    l1: int | str,
    l2: int | str,
    *,
    atoms: tuple[int, int] | None = None,
    same_shell: bool = False,
) -> OrbitalBlock:
    """The block of a Hamiltonian or overlap matrix between two shells, for `allowed`.

    Args:
        l1: degree, or `s`, `p`, `d`, ..., of the first shell.
        l2: of the second.
        atoms: numbers of the atoms that carry them; by default both are at one site.
        same_shell: see `OrbitalBlock`.

    Raises:
        PropertyError: there is no such shell, or shells of different degree are said to be the
            same.
    """
    first, second = _degree(l1), _degree(l2)
    if same_shell and first != second:
        raise PropertyError(f"shells of degrees {first} and {second} can't be the same")
    return OrbitalBlock(first, second, None if atoms is None else tuple(atoms), same_shell)


def block_basis(
    thing: "Structure | PointGroup | Any", block: OrbitalBlock, tolerance: float | None
) -> tuple[PointGroup, Float[Tensor, "n a b"]]:
    """The group that keeps the sites, and orthonormal blocks that are allowed."""
    lmax = block.l1 + block.l2
    if isinstance(thing, PointGroup):
        if thing.symbol.family == "K":
            return thing, _isotropic(block)
        operations = averaging_operations(thing, lmax)
        swapping = operations if block.same_shell else operations[:0]
        group = thing
    else:
        group, operations, swapping = _of_atoms(thing, block, tolerance)
    if group.symbol.family == "K":
        return group, _isotropic(block)
    first = representation(operations, f"1x{block.l1}{'eo'[block.l1 % 2]}")
    second = representation(operations, f"1x{block.l2}{'eo'[block.l2 % 2]}")
    total = torch.einsum("gab,gcd->acbd", first, second).flatten(2).flatten(0, 1)
    if len(swapping):
        one = representation(swapping, f"1x{block.l1}{'eo'[block.l1 % 2]}")
        swapped = torch.einsum("gab,gcd->cabd", one, one).flatten(2).flatten(0, 1)
        total = total + swapped
    mean = total / (len(operations) + len(swapping))
    rows = rows_of((mean + mean.T) / 2)
    return group, rows.unflatten(1, (2 * block.l1 + 1, 2 * block.l2 + 1))


def _of_atoms(
    structure: Structure, block: OrbitalBlock, tolerance: float | None
) -> tuple[PointGroup, Tensor, Tensor]:
    """Operations that keep both atoms, and, for shells of one kind, those that swap them."""
    assert block.atoms is not None
    i, j = block.atoms
    group, rotations, places = finite_operations(structure, block.l1 + block.l2, tolerance)
    if group.symbol.family == "K":
        return group, rotations, rotations
    kept = (places[:, i] == i) & (places[:, j] == j)
    swapped = (places[:, i] == j) & (places[:, j] == i) & block.same_shell
    if structure.periodic:
        raise PropertyError(
            "blocks between atoms are for molecules; in a crystal each pair of images has its own: "
            "cut out a cluster, or give one site (site=...)"
        )
    if bool(kept.all()):
        own = group
    elif group.infinite:
        own = PointGroup.named("C∞v", group.frame)
    else:
        own = identify(distinct(rotations[kept]), near=group.frame)
    return own, rotations[kept], rotations[swapped]


def _isotropic(block: OrbitalBlock) -> Tensor:
    if block.l1 != block.l2:
        return torch.zeros(0, 2 * block.l1 + 1, 2 * block.l2 + 1, dtype=torch.float64)
    size = 2 * block.l1 + 1
    return torch.eye(size, dtype=torch.float64)[None] / size**0.5


def _degree(shell: int | str) -> int:
    if isinstance(shell, int) and shell >= 0:
        return shell
    if isinstance(shell, str) and len(shell) == 1 and shell in SHELLS:
        return SHELLS.index(shell)
    raise PropertyError(
        f"there is no shell {shell!r}; expected 0, 1, 2, ... or one of s p d f g h i"
    )


def _shell(degree: int) -> str:
    return SHELLS[degree] if degree < len(SHELLS) else f"l={degree}"
