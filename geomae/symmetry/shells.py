"""Orbitals on atoms: their shells, how they turn, and matrices between them in blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from e3nn import o3
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.equivariant.flat import read_irreps
from geomae.equivariant.wigner import wigner_matrices
from geomae.errors import GeomaeError
from geomae.symmetry.orbitals import orbital_block


class ShellError(GeomaeError):
    """An element has no shells in a basis, or a matrix does not fit the orbitals."""


class ShellBasis:
    """Shells of orbitals on the atoms of each element.

    Orbitals are numbered atom by atom, shell by shell; those of a shell stand in e3nn's order (p is
    x, y, z).

    Args:
        shells: for each atomic number the degrees of its shells, `{1: (0,), 8: (0, 0, 1)}` for
            hydrogen and oxygen in a minimal basis.

    Raises:
        ShellError: there is no element, or one without shells or with a negative degree.
    """

    def __init__(self, shells: Mapping[int, Sequence[int]]):
        self.shells = {int(z): tuple(map(int, shells[z])) for z in sorted(shells)}
        for number, degrees in self.shells.items():
            if not degrees or min(degrees) < 0:
                raise ShellError(f"element {number} needs shells of degree >= 0, not {degrees}")
        if not self.shells:
            raise ShellError("a basis needs the shells of at least one element")

    @property
    def lmax(self) -> int:
        """Highest degree of a shell."""
        return max(max(degrees) for degrees in self.shells.values())

    @cached_property
    def widths(self) -> dict[int, int]:
        """Orbitals of an atom of each element."""
        return {z: sum(2 * l + 1 for l in degrees) for z, degrees in self.shells.items()}

    def sizes(self, numbers: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Orbitals of each atom.

        Raises:
            ShellError: naming the elements that have no shells here.
        """
        known = torch.tensor(list(self.shells))
        if missing := sorted(set(numbers.tolist()) - set(self.shells)):
            raise ShellError(f"no shells for the elements {missing}; there are {known.tolist()}")
        widths = torch.tensor(list(self.widths.values()))
        return widths[torch.searchsorted(known, numbers.cpu())].to(numbers.device)

    def places(self, numbers: Int[Tensor, " n"]) -> list[list[slice]]:
        """Where the orbitals of each shell of each atom are among all."""
        found, place = [], 0
        for number in numbers.tolist():
            found.append([])
            for degree in self.shells[number]:
                found[-1].append(slice(place, place + 2 * degree + 1))
                place += 2 * degree + 1
        return found

    def rotation(
        self, numbers: Int[Tensor, " n"], matrix: Float[Tensor, "3 3"]
    ) -> Float[Tensor, "orbitals orbitals"]:
        """D such that an operator's matrix H becomes `D @ H @ D.T` in the turned molecule.

        Args:
            numbers: atomic numbers.
            matrix: orthogonal, proper or not; acts on positions as `positions @ matrix.T`.
        """
        self.sizes(numbers)
        natural = wigner_matrices(self.lmax, matrix)
        return torch.block_diag(*(natural[l] for z in numbers.tolist() for l in self.shells[z]))

    def __repr__(self) -> str:
        return f"ShellBasis({self.shells})"


@dataclass(frozen=True)
class BlockKind:
    """All blocks between the shells of two elements, on one atom or on two.

    Attributes:
        rows, columns: degrees of the shells of the first and of the second atom.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def irreps(self) -> o3.Irreps:
        """What the blocks are made of, shell pair by shell pair."""
        blocks = [orbital_block(a, b) for a in self.rows for b in self.columns]
        return read_irreps("+".join(str(block.irreps) for block in blocks))

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of orbitals."""
        return sum(2 * l + 1 for l in self.rows), sum(2 * l + 1 for l in self.columns)

    def to_matrices(self, values: Float[Tensor, "*n dim"]) -> Float[Tensor, "*n a b"]:
        """Matrix elements of values of `irreps`; lengths stay the same."""
        return (values @ _recoupling(self).to(values)).unflatten(-1, self.shape)

    def to_irreps(self, blocks: Float[Tensor, "*n a b"]) -> Float[Tensor, "*n dim"]:
        """The inverse of `to_matrices`."""
        return blocks.flatten(-2) @ _recoupling(self).T.to(blocks)


@lru_cache
def _recoupling(kind: BlockKind) -> Float[Tensor, "dim elements"]:
    """Orthogonal matrix from values of irreps to elements of a matrix, float64."""
    rows, columns = kind.shape
    table = torch.zeros(kind.irreps.dim, rows, columns, dtype=torch.float64)
    start, top = 0, 0
    for first in kind.rows:
        left, bottom = 0, top + 2 * first + 1
        for second in kind.columns:
            block, right = orbital_block(first, second), left + 2 * second + 1
            unit = torch.eye(block.irreps.dim, dtype=torch.float64)
            unit = unit.unflatten(1, (bottom - top, right - left))
            stop = start + block.irreps.dim
            table[start:stop, top:bottom, left:right] = (
                # rows of the unit are elements, so that this is the transpose
                block.to_irreps(unit).T.unflatten(1, (bottom - top, right - left))
            )
            start, left = stop, right
        top = bottom
    return table.flatten(1)


@dataclass(frozen=True)
class BlockPairs:
    """The pairs of atoms of one kind, and where their blocks are.

    Attributes:
        kind: of the blocks.
        pairs: numbers of these pairs among all.
        share: of the block that each pair is to give: a half where the pair is met twice.
        structure: of each pair.
        rows, columns: orbitals within the structure.
    """

    kind: BlockKind
    pairs: Int[Tensor, " n"]
    share: float
    structure: Int[Tensor, " n"]
    rows: Int[Tensor, "n a"]
    columns: Int[Tensor, "n b"]

    def read(self, matrices: Float[Tensor, "s orbitals orbitals k"]) -> Float[Tensor, "n k a b"]:
        """The blocks in matrices."""
        return matrices[self._index].movedim(-1, 1)

    def write(
        self, matrices: Float[Tensor, "s orbitals orbitals k"], blocks: Float[Tensor, "n k a b"]
    ) -> Float[Tensor, "s orbitals orbitals k"]:
        """Matrices with these blocks, or the pairs' share of them, in their place."""
        return matrices.index_put(self._index, self.share * blocks.movedim(1, -1))

    @property
    def _index(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.structure[:, None, None], self.rows[:, :, None], self.columns[:, None, :]


def pair_key(first: int, second: int, same_atom: bool) -> str:
    """Name of a kind of pair: `8`, the element of an atom with itself, or `1-8` of two atoms."""
    return str(first) if same_atom else f"{first}-{second}"


def kinds_of(basis: ShellBasis) -> dict[str, BlockKind]:
    """Every kind of pair of a basis; elements ascend, the other half follows by symmetry."""
    kinds = {}
    for first, rows in basis.shells.items():
        kinds[pair_key(first, first, True)] = BlockKind(rows, rows)
        for second, columns in basis.shells.items():
            if first <= second:
                kinds[pair_key(first, second, False)] = BlockKind(rows, columns)
    return kinds


def block_pairs(
    basis: ShellBasis,
    numbers: Int[Tensor, " n"],
    batch: Int[Tensor, " n"],
    atoms: Int[Tensor, "2 pairs"],
) -> dict[str, BlockPairs]:
    """Pairs of atoms by kind, with their orbitals; those of descending elements are left out.

    Args:
        basis: shells of the elements.
        numbers: atomic numbers.
        batch: structure of each atom.
        atoms: first and second atom of each pair; both orders of every pair must be there.
    """
    sizes = basis.sizes(numbers)
    counts = torch.zeros(int(batch[-1]) + 1, dtype=torch.long).index_add(0, batch, sizes)
    starts = sizes.cumsum(0) - sizes - (counts.cumsum(0) - counts)[batch]
    first, second = numbers[atoms[0]], numbers[atoms[1]]
    same: Bool[Tensor, " pairs"] = atoms[0] == atoms[1]
    found = {}
    for key, kind in kinds_of(basis).items():
        z1, z2 = (int(z) for z in (key.split("-") * 2)[:2])
        chosen = (first == z1) & (second == z2) & (same == ("-" not in key))
        pairs = chosen.nonzero()[:, 0]
        if not len(pairs):
            continue
        rows = starts[atoms[0, pairs]][:, None] + torch.arange(kind.shape[0])
        columns = starts[atoms[1, pairs]][:, None] + torch.arange(kind.shape[1])
        share = 0.5 if z1 == z2 else 1.0
        found[key] = BlockPairs(kind, pairs, share, batch[atoms[0, pairs]], rows, columns)
    return found
