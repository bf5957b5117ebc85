"""Magnetic point groups: operations of space, some of them along with the reversal of time."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from e3nn import o3
from jaxtyping import Bool, Float
from torch import Tensor

from geomae.data.structure import Structure
from geomae.symmetry.complete import mean_on_atoms
from geomae.symmetry.detect import (
    TOLERANCE,
    check_atom,
    one_structure,
    point_group,
    site_groups,
    structure_operations,
)
from geomae.symmetry.errors import GroupError, PropertyError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.identify import identify, with_axis
from geomae.symmetry.molecule import AtomOperations, match_group
from geomae.symmetry.naming import CRYSTAL_CLASSES
from geomae.symmetry.primes import with_primes
from geomae.symmetry.project import projector
from geomae.symmetry.standard import distinct, locate

MOMENTS = ("initial_magmoms", "magmoms")
"""Names under which structures carry magnetic moments."""

SMALL = 1e-3
"""Change of moments, relative to the largest, within which they count as unchanged."""

CONTINUOUS = {
    ("D∞h", "Σg-"): "C∞h", ("D∞h", "Σu+"): "C∞v", ("D∞h", "Σu-"): "D∞", ("C∞v", "Σ-"): "C∞",
    ("C∞h", "Σu"): "C∞", ("D∞", "Σ-"): "C∞", ("Kh", "Su"): "K",
}  # fmt: skip
"""Operations without time reversal, for the irreps of infinite groups that may tell them."""


@dataclass(frozen=True, eq=False)
class MagneticGroup:
    """A point group of which some operations come with the reversal of time.

    The signs +1 (without) and -1 (with time reversal) multiply as the operations do, so that they
    are the characters of a real irrep of one dimension. A property that is odd under time
    reversal is allowed as often as it has that irrep; one that is even as often as it has the
    totally symmetric one.

    Attributes:
        group: the operations of space, with time reversal or without.
        irrep: name of the irrep whose characters are the signs; the first one if none is reversed.
        grey: time reversal alone is among the operations, and every operation comes both ways:
            what carries no magnetic moments has such a group, and no odd property.
    """

    group: PointGroup
    irrep: str
    grey: bool = False

    @classmethod
    def named(cls, name: str, frame: Float[Tensor, "3 3"] | None = None) -> "MagneticGroup":
        """A magnetic group by its symbol, in the standard setting of its operations of space.

        Args:
            name: Hermann-Mauguin with primes (`4/mm'm'`), `G(H)` of two Schoenflies symbols, H the
                operations without time reversal (`D4h(C4h)`), or, with time reversal alone, either
                symbol with 1' added (`4/mmm1'`). Without primes no operation is reversed.
            frame: rotation from the standard setting to where the group stands.

        Raises:
            GroupError: there is no such group; says which there are of the same operations.
        """
        text = name.strip().replace("’", "'").replace("′", "'")
        if text.endswith("1'") and text != "-1'":
            group = PointGroup.named(text[:-2].strip() or "1", frame)
            return cls(group, group.irreps[0].name, True)
        pair = re.fullmatch(r"([^()]+)\(([^()]+)\)", text)
        base = pair[1] if pair else text.replace("'", "")
        group = PointGroup.named(base.strip(), frame)
        known = magnetic_groups(group)
        for one in known:
            if text == one.hermann_mauguin or (pair and one.unitary.name == pair[2].strip()):
                return one
        if "'" not in text and not pair:
            return known[0]
        symbols = ", ".join(dict.fromkeys(one.hermann_mauguin for one in known))
        raise GroupError(
            f"there is no magnetic group '{name}'; of {group.name} there are {symbols}"
        )

    @cached_property
    def reversed(self) -> Bool[Tensor, " g"]:
        """Which of the group's operations come with time reversal; of a grey group none has to."""
        return self.group.irrep(self.irrep).characters < 0

    @cached_property
    def unitary(self) -> PointGroup:
        """The operations without time reversal."""
        if not bool(self.reversed.any()):
            return self.group
        if self.group.infinite:
            return PointGroup.named(CONTINUOUS[self.group.name, self.irrep], self.group.frame)
        return identify(self.group.operations[~self.reversed], near=self.group.frame)

    @property
    def name(self) -> str:
        """`D4h`, `D4h1'` (grey) or `D4h(C4h)`: the operations without time reversal in brackets."""
        if self.grey:
            return f"{self.group.name}1'"
        if self.unitary is self.group:
            return self.group.name
        return f"{self.group.name}({self.unitary.name})"

    @property
    def hermann_mauguin(self) -> str:
        """International symbol, with a prime at what comes with time reversal."""
        if self.grey:
            return f"{self.group.hermann_mauguin}1'"
        return with_primes(self.group.symbol, self._reverses)

    @property
    def ferromagnetic(self) -> bool:
        """Whether a magnetic moment of the whole is allowed."""
        return self.count("1x1e", odd=True) > 0

    def count(self, irreps: str | o3.Irreps, *, odd: bool) -> int:
        """Independent components of a property.

        Args:
            irreps: of the property.
            odd: whether it changes its sign with the direction of time.
        """
        if odd and self.grey:
            return 0
        name = self.irrep if odd else self.group.irreps[0].name
        return self.group.decompose(irreps).get(name, 0)

    def projector(self, irreps: int | str | o3.Irreps, *, odd: bool) -> Float[Tensor, "d d"]:
        """The orthogonal projection on what the group leaves as it is, float64.

        Args:
            irreps: in e3nn's flat layout.
            odd: whether the values change their sign with the direction of time.
        """
        even = projector(self.group, irreps)
        if not odd:
            return even
        if self.grey:
            return torch.zeros_like(even)
        # of two cosets with opposite signs: twice the mean over one of them less that over both
        return even if self.unitary is self.group else projector(self.unitary, irreps) - even

    def _reverses(self, standard: Float[Tensor, "3 3"]) -> bool:
        operation = self.group.frame @ standard @ self.group.frame.T
        return not self.unitary.contains(operation)

    def __repr__(self) -> str:
        return f"MagneticGroup({self.name}, {self.hermann_mauguin})"


def magnetic_groups(group: PointGroup | str) -> list[MagneticGroup]:
    """All magnetic groups with the operations of a point group.

    The first has no time reversal, the last is the grey one; between them is one for each half of
    the operations that may do without. Some of these differ by how they stand only.
    """
    group = PointGroup.named(group) if isinstance(group, str) else group
    signs = [ir.name for ir in group.irreps if ir.dimension == 1 and not ir.pair]
    found = [MagneticGroup(group, name) for name in signs]
    return [*found, MagneticGroup(group, signs[0], True)]


def crystal_magnetic_groups() -> list[MagneticGroup]:
    """The 122 magnetic point groups of crystals, those that differ by their setting once."""
    every = [one for name in CRYSTAL_CLASSES for one in magnetic_groups(name)]
    return list({one.name: one for one in reversed(every)}.values())[::-1]


def magnetic_group(
    thing: "Structure | Any",
    moments: Any = None,
    *,
    site: int | None = None,
    tolerance: float | None = None,
) -> MagneticGroup:
    """The magnetic point group of a molecule or crystal with magnetic moments on its atoms.

    Args:
        thing: a Structure or whatever `as_structures` takes, one of them.
        moments: of each atom, `[n, 3]` in any unit; one number an atom, `[n]`, is a moment along z
            of the input. By default what the structure carries as `initial_magmoms` or `magmoms`
            (ASE's names); without moments the group is grey.
        site: an atom whose own symmetry is meant.
        tolerance: in Å, 0.01 by default.

    Raises:
        PropertyError: the moments are not one or three numbers an atom.
    """
    structure = one_structure(thing)
    vectors = moments_of(structure, moments)
    if site is not None:
        check_atom(site, structure.n_atoms)
    if not bool(vectors.any()) or point_group(structure, tolerance).infinite:
        group = point_group(structure, tolerance) if site is None else site_groups(
            structure, tolerance
        )[site]  # fmt: skip
        if not bool(vectors.any()):
            return MagneticGroup(group, group.irreps[0].name, True)
        return _of_infinite(structure, group, vectors, tolerance)
    found = structure_operations(structure, tolerance)
    near = found.group
    if site is not None:
        found = _kept(found, found.permutations[:, site] == site)
    return _of_operations(found, vectors, near)


def moments_projector(
    structure: Structure,
    irreps: o3.Irreps,
    moments: Any,
    odd: bool,
    tolerance: float | None = None,
) -> Float[Tensor, "flat flat"]:
    """Projection on values `[atoms, d]` that fit the symmetry of a structure with its moments.

    Args:
        structure: a molecule or crystal.
        irreps: of each atom's values.
        moments: of the atoms, as `magnetic_group` takes them.
        odd: whether the values change their sign with the direction of time.
        tolerance: in Å.

    Raises:
        PropertyError: the group is infinite; values on a line of atoms need no group theory.
    """
    found, vectors = structure_operations(structure, tolerance), moments_of(structure, moments)
    if found.group.infinite:
        raise PropertyError(f"values of each atom with time reversal in {found.group.name}: not "
                            "for linear molecules")  # fmt: skip
    same, opposite = _signs(found.rotations, found.permutations, vectors)
    signs = torch.cat([same.new_ones(int(same.sum())).double(), -opposite[opposite].double()])
    rotations = torch.cat([found.rotations[same], found.rotations[opposite]])
    places = torch.cat([found.permutations[same], found.permutations[opposite]])
    return mean_on_atoms(rotations, places, irreps, signs if odd else None)


def moments_of(structure: Structure, moments: Any = None) -> Float[Tensor, "n 3"]:
    """Magnetic moments as vectors, those a structure carries by default, or zeros.

    Raises:
        PropertyError: they are not one or three numbers an atom.
    """
    own = next((structure.get(key) for key in MOMENTS if structure.get(key) is not None), None)
    given = own if moments is None else moments
    if given is None:
        return torch.zeros(structure.n_atoms, 3, dtype=torch.float64)
    values = torch.as_tensor(given).detach().to("cpu", torch.float64)
    if values.shape == (structure.n_atoms,):
        values = values[:, None] * torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    if values.shape != (structure.n_atoms, 3) or not bool(torch.isfinite(values).all()):
        raise PropertyError(
            f"expected magnetic moments [{structure.n_atoms}, 3], or [{structure.n_atoms}] along "
            f"z, got {list(values.shape)}"
        )
    return values


def _kept(found: AtomOperations, kept: Tensor) -> AtomOperations:
    group = identify(distinct(found.rotations[kept], 0.1), near=found.group.frame)
    return AtomOperations(
        group, found.rotations[kept], found.translations[kept], found.permutations[kept],
        found.deviation,
    )  # fmt: skip


def _signs(
    rotations: Float[Tensor, "k 3 3"], places: Tensor, vectors: Float[Tensor, "n 3"]
) -> tuple[Bool[Tensor, " k"], Bool[Tensor, " k"]]:
    """Which operations keep the moments as they are, and which reverse all of them."""
    axial = rotations * torch.linalg.det(rotations)[:, None, None]
    turned = vectors @ axial.transpose(1, 2)
    there = vectors[places]
    limit = SMALL * float(vectors.norm(dim=1).max())
    same = (turned - there).norm(dim=2).amax(1) <= limit
    return same, (turned + there).norm(dim=2).amax(1) <= limit


def _of_operations(
    found: AtomOperations, vectors: Float[Tensor, "n 3"], near: PointGroup
) -> MagneticGroup:
    same, opposite = _signs(found.rotations, found.permutations, vectors)
    kept = same | opposite
    group = identify(distinct(found.rotations[kept], 0.1), near=near.frame)
    number, _ = locate(found.rotations[kept], group.operations)
    both = torch.zeros(len(group), 2, dtype=torch.bool)
    for k, plain, turned in zip(number.tolist(), same[kept], opposite[kept], strict=True):
        both[k] |= torch.stack([plain, turned])
    # a translation that reverses the moments makes the point group grey, as do no moments
    if bool(both.all(1).any()):
        return MagneticGroup(group, group.irreps[0].name, True)
    signs = torch.where(both[:, 0], 1.0, -1.0).double()
    return MagneticGroup(group, group.name_of(signs))


def _of_infinite(
    structure: Structure,
    group: PointGroup,
    vectors: Float[Tensor, "n 3"],
    tolerance: float | None,
) -> MagneticGroup:
    """Of an atom, or of a linear molecule whose moments may leave no axis of revolution."""
    if group.symbol.family == "K":
        return MagneticGroup(with_axis("D∞h", vectors[vectors.norm(dim=1).argmax()]), "Σg-")
    centred = structure.positions.double() - structure.positions.double().mean(0)
    slack, axis = 2 * (TOLERANCE if tolerance is None else tolerance), group.frame[:, 2]
    across = vectors - torch.outer(vectors @ axis, axis)
    lying = across[across.norm(dim=1) > SMALL * float(vectors.norm(dim=1).max())]
    finite = group.name if not len(lying) else group.name.replace("∞", "2")
    best: MagneticGroup | None = None
    for x in _special(lying) if len(lying) else [group.frame[:, 0]]:
        frame = torch.stack([x, torch.linalg.cross(axis, x), axis], 1)
        own = PointGroup.named(finite, frame)
        places = match_group(own, centred, structure.numbers, slack)
        same, opposite = _signs(own.operations, places, vectors)
        if own.infinite:
            return _with_axis_kept(own, same, opposite)
        operations = AtomOperations(
            own, own.operations, torch.zeros(len(own), 3).double(), places, slack
        )
        made = _of_operations(operations, vectors, own)
        best = made if best is None or len(made.group) > len(best.group) else best
    assert best is not None
    return best


def _special(lying: Float[Tensor, "k 3"]) -> list[Tensor]:
    """Directions that a half turn or mirror must have if it brings one moment to another."""
    pairs = [lying[i] + sign * lying[j] for i in range(len(lying)) for j in range(i + 1)
             for sign in (1, -1)]  # fmt: skip
    return [pair / pair.norm() for pair in pairs if pair.norm() > 1e-6]


def _with_axis_kept(group: PointGroup, same: Tensor, opposite: Tensor) -> MagneticGroup:
    """The magnetic group of moments along the axis of an infinite group."""
    signs = torch.where(same, 1.0, -1.0).double()
    if bool((same | opposite).all()):
        for irrep in group.irreps:
            if irrep.dimension == 1 and (irrep.characters - signs).abs().max() < 1e-6:
                return MagneticGroup(group, irrep.name)
    # of D∞h what does not exchange the ends is left
    return _with_axis_kept(*_ends_kept(group, same, opposite))


def _ends_kept(group: PointGroup, same: Tensor, opposite: Tensor) -> tuple:
    smaller = PointGroup.named("C∞v", group.frame)
    number, _ = locate(smaller.operations, group.operations)
    return smaller, same[number], opposite[number]
