"""Blocks of Hamiltonians between orbitals: what elements symmetry allows."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from geomae.data.structure import Structure
from geomae.symmetry.complete import finite_operations
from geomae.symmetry.crystal import primitive_of
from geomae.symmetry.detect import space_group, structure_operations
from geomae.symmetry.errors import PropertyError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.identify import identify
from geomae.symmetry.project import averaging_operations, rows_of
from geomae.symmetry.representations import representation
from geomae.symmetry.standard import distinct

SHELLS = "spdfghi"

BLOCK = re.compile(
    r"(?:(?:orbital |hamiltonian )?block )?([spdfghi]) ?- ?([spdfghi])"
    r"(?: (?:of )?(?:atoms? )?(\d+)(?: and |, ?| |-)(\d+))?(,? same shell)?"
)
"""Words for a block."""


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
        image: in a crystal, the lattice vectors by which the second atom is moved from where it
            stands; None for its image that is nearest to the first atom.
    """

    l1: int
    l2: int
    atoms: tuple[int, int] | None = None
    same_shell: bool = False
    image: tuple[int, int, int] | None = None

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
        moved = "" if self.image is None else " moved by {}, {}, {}".format(*self.image)
        return f"block {_shell(self.l1)}-{_shell(self.l2)}{where}{moved}"


def orbital_block(
    l1: int | str,
    l2: int | str,
    *,
    atoms: tuple[int, int] | None = None,
    same_shell: bool = False,
    image: tuple[int, int, int] | None = None,
) -> OrbitalBlock:
    """The block of a Hamiltonian or overlap matrix between two shells, for `allowed`.

    Args:
        l1: degree, or `s`, `p`, `d`, ..., of the first shell.
        l2: of the second.
        atoms: numbers of the atoms that carry them; by default both are at one site.
        same_shell: see `OrbitalBlock`.
        image: in a crystal, lattice vectors by which the second atom is moved; its image nearest to
            the first atom by default.

    Raises:
        PropertyError: there is no such shell, or shells of different degree are said to be the
            same.
    """
    first, second = _degree(l1), _degree(l2)
    if same_shell and first != second:
        raise PropertyError(f"shells of degrees {first} and {second} can't be the same")
    if image is not None and atoms is None:
        raise PropertyError("an image is one of the second atom's: expected atoms=(i, j) as well")
    return OrbitalBlock(first, second, None if atoms is None else tuple(atoms), same_shell, image)


def read_block(text: str) -> OrbitalBlock | None:
    """A block by its words, such as `block p-d` or `block p-p of atoms 0 and 1`; None of others."""
    found = BLOCK.fullmatch(" ".join(text.lower().split()))
    if found is None:
        return None
    first, second, i, j, same = found.groups()
    atoms = None if i is None else (int(i), int(j))
    return orbital_block(first, second, atoms=atoms, same_shell=bool(same))


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
    if structure.periodic:
        return _of_images(structure, block, tolerance)
    if block.image is not None:
        raise PropertyError("a molecule has no lattice: its atoms have no images")
    group, rotations, places = finite_operations(structure, block.l1 + block.l2, tolerance)
    if group.symbol.family == "K":
        return group, rotations, rotations
    kept = (places[:, i] == i) & (places[:, j] == j)
    swapped = (places[:, i] == j) & (places[:, j] == i) & block.same_shell
    if bool(kept.all()):
        own = group
    elif group.infinite:
        own = PointGroup.named("C∞v", group.frame)
    else:
        own = identify(distinct(rotations[kept]), near=group.frame)
    return own, rotations[kept], rotations[swapped]


def _of_images(
    structure: Structure, block: OrbitalBlock, tolerance: float | None
) -> tuple[PointGroup, Tensor, Tensor]:
    """The same in a crystal: what keeps the first atom and the way from it to the second."""
    assert block.atoms is not None
    space = space_group(structure, tolerance)
    small, member = primitive_of(structure, space)
    operations = space.operations if small is structure else structure_operations(small, tolerance)
    i, j = (int(member[atom]) for atom in block.atoms)
    way = _way(structure, block)
    slack = 4 * operations.deviation + 1e-5
    turned = operations.rotations @ way
    places = operations.permutations
    kept = (places[:, i] == i) & ((turned - way).norm(dim=1) < slack)
    swapped = (places[:, i] == j) & (places[:, j] == i) & ((turned + way).norm(dim=1) < slack)
    rotations = operations.rotations
    own = identify(distinct(rotations[kept], 0.1), near=operations.group.frame)
    return own, rotations[kept], rotations[swapped & block.same_shell]


def _way(structure: Structure, block: OrbitalBlock) -> Float[Tensor, "3"]:
    """From the first atom of a block to the image of the second that is meant, in Å."""
    assert block.atoms is not None
    i, j = block.atoms
    cell = structure.cell[0].detach().double()
    straight = (structure.positions[j] - structure.positions[i]).detach().double()
    if block.image is not None:
        return straight + torch.tensor(block.image, dtype=torch.float64) @ cell
    shift = (straight @ torch.linalg.inv(cell)).round()
    steps = torch.cartesian_prod(*[torch.arange(-2.0, 3.0).double()] * 3) - shift
    ways = straight + steps @ cell
    lengths = ways.norm(dim=1)
    # the first of the nearest, so that rounding does not choose
    return ways[int((lengths < lengths.min() + 1e-3).to(torch.int8).argmax())]


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
