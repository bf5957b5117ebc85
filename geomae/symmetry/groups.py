"""Point groups: operations in the frame of what has them, irreps, subgroups, cosets."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import torch
from e3nn import o3
from jaxtyping import Float, Int
from torch import Tensor

from geomae.equivariant.flat import read_irreps
from geomae.symmetry.characters import CharacterTable, ConjugacyClass, Irrep, table_of
from geomae.symmetry.errors import GroupError
from geomae.symmetry.infinite import decompose_degree
from geomae.symmetry.naming import Symbol, read_symbol
from geomae.symmetry.representations import representation
from geomae.symmetry.standard import (
    generated,
    locate,
    multiplication_table,
    standard_operations,
)

SAME = 1e-6
"""Operations nearer than this are the same."""


@dataclass(frozen=True, eq=False)
class PointGroup:
    """A point group and how it stands in space.

    Operations act on positions as `positions @ operation.T`. They are `frame @ s @ frame.T` of
    the operations s of the standard setting (see `named`), in its order, identity first. An
    infinite group has in their place those of a finite subgroup, with an axis of order 30 (I or
    Ih for K or Kh); what is averaged over them is right for degrees below 30 (6).

    Attributes:
        name: Schoenflies symbol.
        operations: orthogonal matrices, float64.
        frame: columns are the axes x, y, z of the standard setting, a rotation.
    """

    name: str
    operations: Float[Tensor, "g 3 3"]
    frame: Float[Tensor, "3 3"] = field(repr=False)

    @classmethod
    def named(cls, name: str, frame: Float[Tensor, "3 3"] | None = None) -> "PointGroup":
        """A group by its symbol, Schoenflies (`D4h`, `C∞v`) or Hermann-Mauguin (`4/mmm`).

        Standard setting: the principal axis is z; C2' (D groups) is on x; a mirror of Cnv holds
        x; the mirror of Cs is normal to z. Cubic groups have C2 or C4 on x, y, z, and C3 on
        (1, 1, 1); icosahedral groups C2 on x, y, z and C5 in the plane xz.

        Args:
            name: Cn, Cnv, Cnh, Dn, Dnh, Dnd, S2n of any n, C1, Cs, Ci, T, Td, Th, O, Oh, I, Ih,
                C∞, C∞v, C∞h, D∞, D∞h (`inf` will do), K (all rotations), Kh (reflections too).
            frame: rotation from the standard setting to where the group stands.

        Raises:
            GroupError: there is no such group, or the frame is no rotation.
        """
        symbol = read_symbol(name)
        eye = torch.eye(3, dtype=torch.float64)
        if frame is None:
            return cls(symbol.text, standard_operations(symbol.text).clone(), eye)
        frame = torch.as_tensor(frame, dtype=torch.float64)
        fits = frame.shape == (3, 3) and bool((frame @ frame.T - eye).abs().max() < SAME)
        if not fits or torch.linalg.det(frame) < 0:
            raise GroupError("the frame of a point group must be a rotation matrix [3, 3]")
        operations = frame @ standard_operations(symbol.text) @ frame.T
        operations[0] = eye
        return cls(symbol.text, operations, frame)

    @property
    def symbol(self) -> Symbol:
        """The Schoenflies symbol taken apart."""
        return read_symbol(self.name)

    @property
    def hermann_mauguin(self) -> str:
        """International symbol, such as `4/mmm`."""
        return self.symbol.hermann_mauguin

    @property
    def infinite(self) -> bool:
        """Whether there are continuous rotations."""
        return self.symbol.infinite

    @property
    def order(self) -> float:
        """Number of operations; infinity for an infinite group."""
        return float("inf") if self.infinite else len(self.operations)

    @property
    def axis(self) -> Float[Tensor, "3"] | None:
        """The principal axis, if there is one."""
        return self.frame[:, 2] if self.symbol.axial else None

    @property
    def proper(self) -> bool:
        """Whether all operations are rotations: what has this symmetry is chiral."""
        return bool((torch.linalg.det(self.operations) > 0).all())

    def __len__(self) -> int:
        return len(self.operations)

    def __repr__(self) -> str:
        size = "infinite" if self.infinite else f"{len(self)} operations"
        return f"PointGroup({self.name}, {self.hermann_mauguin}, {size})"

    def same_as(self, other: "PointGroup", atol: float = SAME) -> bool:
        """Whether the other group has the same operations, in space."""
        if self.name != other.name:
            return False
        if self.infinite:
            return self._continuous_in(other, atol)
        return bool((locate(self.operations, other.operations)[1] < atol).all())

    def conjugate(self, rotation: Float[Tensor, "3 3"]) -> "PointGroup":
        """The group of what is moved by an orthogonal matrix: `R g R^T`.

        Args:
            rotation: may be improper.
        """
        rotation = torch.as_tensor(rotation, dtype=torch.float64)
        eye = torch.eye(3, dtype=torch.float64)
        if rotation.shape != (3, 3) or (rotation @ rotation.T - eye).abs().max() > SAME:
            raise GroupError("a group can be conjugated by an orthogonal matrix [3, 3] only")
        # inversion commutes with every operation
        return PointGroup.named(
            self.name, rotation * torch.linalg.det(rotation).sign() @ self.frame
        )

    def matrices(self, irreps: int | str | o3.Irreps) -> Float[Tensor, "g d d"]:
        """What each operation does to values of irreps, in e3nn's flat layout, float64.

        Args:
            irreps: such as `1x0e + 1x2e`; a number L means the degrees 0 to L of natural parity,
                as signals have them.
        """
        return representation(self.operations, irreps)

    @cached_property
    def table(self) -> Int[Tensor, "g g"]:
        """Number of the operation "first b, then a" for each a and b."""
        return multiplication_table(standard_operations(self.name))

    def character_table(self) -> CharacterTable:
        """Irreps and their characters; `print` shows it as books do."""
        return table_of(self.name)

    @property
    def classes(self) -> tuple[ConjugacyClass, ...]:
        """Conjugacy classes of the operations."""
        return self.character_table().classes

    @property
    def irreps(self) -> tuple[Irrep, ...]:
        """Real irreps, the totally symmetric one first; of an infinite group, the first few."""
        return self.character_table().irreps

    def irrep(self, name: str) -> Irrep:
        """The irrep of this name.

        Raises:
            GroupError: there is none; lists those there are.
        """
        for irrep in self.irreps:
            if irrep.name == name:
                return irrep
        known = ", ".join(irrep.name for irrep in self.irreps)
        raise GroupError(f"{self.name} has no irrep '{name}'; it has {known}")

    def decompose(self, irreps: int | str | o3.Irreps) -> dict[str, int]:
        """How often each irrep of the group comes up in irreps of rotations and reflections.

        Args:
            irreps: such as `1x1o`; a number L means the degrees 0 to L of natural parity.
        """
        found: Counter[str] = Counter()
        for mul, ir in as_irreps(irreps):
            for name, count in self._decompose_one(ir).items():
                found[name] += mul * count
        order = [irrep.name for irrep in self.irreps]
        order += [name for name in found if name not in order]
        return {name: found[name] for name in order if found[name]}

    def _decompose_one(self, ir: o3.Irrep) -> dict[str, int]:
        if self.infinite:
            return decompose_degree(self.symbol, ir)
        matrices = representation(standard_operations(self.name), f"1x{ir}")
        return self.decompose_characters(matrices.diagonal(dim1=1, dim2=2).sum(1))

    def decompose_characters(self, characters: Float[Tensor, " g"]) -> dict[str, int]:
        """How often each irrep comes up in a representation with these characters.

        Args:
            characters: for each operation, in their order.

        Raises:
            GroupError: no representation has such characters.
        """
        if self.infinite:
            raise GroupError(f"{self.name} is infinite: characters of its operations are no list")
        found = {}
        for irrep in self.irreps:
            norm = float(irrep.characters @ irrep.characters)
            count = float(irrep.characters @ characters.to(irrep.characters)) / norm
            if abs(count - round(count)) > 1e-4 or round(count) < 0:
                raise GroupError(
                    f"these are not characters of a representation of {self.name}: {irrep.name} "
                    f"comes up {count:.3g} times"
                )
            if round(count):
                found[irrep.name] = round(count)
        return found

    def name_of(self, characters: Float[Tensor, " g"]) -> str:
        """Name of the irrep with these characters; a sum such as `A1g + B1g` if there are more."""
        parts = self.decompose_characters(characters)
        return " + ".join(name if count == 1 else f"{count}{name}" for name, count in parts.items())

    def contains(self, operation: Float[Tensor, "3 3"], atol: float = SAME) -> bool:
        """Whether an operation belongs to the group, of infinite ones any of them."""
        operation = torch.as_tensor(operation, dtype=torch.float64)
        local = self.frame.T @ operation @ self.frame
        if not self.infinite:
            return bool(locate(local, standard_operations(self.name))[1] < atol)
        proper = bool(torch.linalg.det(local) > 0)
        if self.symbol.family == "K":
            return proper or self.symbol.suffix == "h"
        axis, up = local[2, 2], bool(local[2, 2] > 0)
        if abs(abs(float(axis)) - 1) > atol:
            return False
        kinds = {"C": [(True, True)], "D": [(True, True), (True, False)]}[self.symbol.family]
        if self.symbol.suffix == "v":
            kinds.append((False, True))
        if self.symbol.suffix == "h":
            kinds += [(False, False)] + [(False, True)] * (self.symbol.family == "D")
        return (proper, up) in kinds

    def is_subgroup_of(self, other: "PointGroup", atol: float = SAME) -> bool:
        """Whether every operation of this group is one of the other's, in space."""
        if self.infinite:
            return other.infinite and self._continuous_in(other, atol)
        return all(other.contains(operation, atol) for operation in self.operations)

    def _continuous_in(self, other: "PointGroup", atol: float) -> bool:
        # an axis of order 30 and every other operation: nothing finite has room for them
        return all(other.contains(operation, atol) for operation in self.operations)

    def cosets(self, subgroup: "PointGroup") -> Float[Tensor, "index 3 3"]:
        """One operation of each left coset `g H`, identity first: what turns one solution that has
        the subgroup's symmetry into all the equivalent ones.

        Raises:
            GroupError: it is no subgroup, or there are infinitely many cosets.
        """
        if not subgroup.is_subgroup_of(self):
            raise GroupError(
                f"{subgroup.name} is no subgroup of this {self.name} as they stand in space; "
                "expected one of its subgroups(conjugates=True)"
            )
        if self.infinite and not subgroup.infinite:
            raise GroupError(f"{self.name} has infinitely many cosets of {subgroup.name}")
        left = torch.ones(len(self), dtype=torch.bool)
        found = []
        while left.any():
            first = int(left.to(torch.int8).argmax())
            found.append(first)
            gaps = torch.tensor(
                [subgroup.contains(self.operations[first].T @ g) for g in self.operations]
            )
            left &= ~gaps
        return self.operations[found]

    def subgroups(self, *, conjugates: bool = False) -> list["PointGroup"]:
        """All subgroups, itself and C1 among them, from the largest to the smallest.

        Args:
            conjugates: give every one; else one for each class of those that operations of the
                group turn into each other.

        Raises:
            GroupError: the group is infinite.
        """
        from geomae.symmetry.subgroups import subgroups

        return subgroups(self, conjugates)

    def join(self, operation: Float[Tensor, "3 3"]) -> "PointGroup":
        """The smallest group with this one's operations and another.

        Raises:
            GroupError: no finite group holds them.
        """
        from geomae.symmetry.identify import identify

        return identify(generated(torch.cat([self.operations, operation[None]])), near=self.frame)


def as_irreps(irreps: int | str | o3.Irreps) -> o3.Irreps:
    """Irreps from a string, or the degrees 0 to L of natural parity from a number L."""
    if isinstance(irreps, int):
        natural: o3.Irreps = o3.Irreps([(1, (l, (-1) ** l)) for l in range(irreps + 1)])  # type: ignore[assignment]
        return natural
    return read_irreps(irreps)
