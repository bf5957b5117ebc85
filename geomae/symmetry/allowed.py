"""What symmetry allows of a property, and what it forbids."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from geomae.data.elements import SYMBOLS
from geomae.symmetry.complete import site_projector
from geomae.symmetry.detect import check_atom, one_structure, point_group, site_groups
from geomae.symmetry.errors import GroupError, PropertyError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.magnetic import MagneticGroup, magnetic_group, moments_projector
from geomae.symmetry.modes import (
    Modes,
    SiteFreedom,
    atom_orbits,
    displacement_basis,
    vibration_modes,
)
from geomae.symmetry.orbitals import OrbitalBlock, block_basis, read_block
from geomae.symmetry.project import projector, rows_of
from geomae.symmetry.properties import MODES, Property, read_property
from geomae.symmetry.representations import representation
from geomae.symmetry.words import describe, polynomial


@dataclass(frozen=True)
class Allowed:
    """What a symmetry allows of a property.

    Attributes:
        name: of the property, or its irreps.
        group: point group that was used.
        irreps: how the property transforms; None for properties of atoms.
        n_components: independent components; 0 if the property is forbidden.
        basis: orthonormal, in the input's own frame: `[n_components, dim]` in e3nn's order;
            displacements and vibrations have `[n_components, atoms, 3]`, values of each atom
            `[n_components, atoms, dim]`.
        cartesian_basis: the same as Cartesian tensors `[n_components, 3, 3, ...]`, orthonormal,
            where the property is one.
        block_basis: the same as blocks between orbitals, `[n_components, 2 l1 + 1, 2 l2 + 1]`.
        decomposition: irreps of the group in the property, and how often.
        labels: irrep of each row of the basis of vibrations.
        sites: where each atom may move, for displacements.
        magnetic: the magnetic group, if time reversal was taken into account.
        words: the same in words.
    """

    name: str
    group: PointGroup
    irreps: o3.Irreps | None
    basis: Float[Tensor, "n ..."]
    words: str
    cartesian_basis: Float[Tensor, "n ..."] | None = None
    block_basis: Float[Tensor, "n a b"] | None = None
    decomposition: dict[str, int] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    sites: tuple[SiteFreedom, ...] = ()
    magnetic: MagneticGroup | None = None

    @property
    def n_components(self) -> int:
        """Number of independent components."""
        return len(self.basis)

    @property
    def forbidden(self) -> bool:
        """Whether every component is zero by symmetry."""
        return not self.n_components

    def __str__(self) -> str:
        return self.words


def allowed(
    thing: "PointGroup | MagneticGroup | str | Any",
    what: "str | o3.Irreps | Property | OrbitalBlock",
    *,
    site: int | None = None,
    each_atom: bool = False,
    time_reversal: bool = False,
    moments: Any = None,
    time_odd: bool | None = None,
    tolerance: float | None = None,
) -> Allowed:
    """What the symmetry of a structure, or a group, allows of a property.

    Time reversal is left out of account by default: a magnetic moment, say, is "allowed" where
    the operations of space allow it. With `time_reversal`, or magnetic moments on the atoms, or a
    magnetic group, it is taken into account: what has no magnetic moments allows nothing that is
    odd under time reversal.

    Args:
        thing: a structure, signal or latent (see `point_group`), a PointGroup or MagneticGroup, or
            the symbol of one (`D4h`, `4/mmm`, `4/mm'm'`), which then stands in its standard
            setting.
        what: name of a property (`dipole`, `polarizability`, `piezoelectricity`, `displacements`,
            `vibrations`, ...), irreps such as `1x0e + 1x2e`, or an `orbital_block` (in words:
            `block p-d`, `block p-p of atoms 0 and 1`).
        site: an atom whose own property is meant, such as its shielding or field gradient: its site
            symmetry is used.
        each_atom: a value on every atom is meant (a force, a charge, a moment of each).
        time_reversal: with the magnetic moments that the structure carries (`initial_magmoms`,
            `magmoms`), or none.
        moments: magnetic moments of the atoms, `[n, 3]`, or `[n]` along z.
        time_odd: whether the property changes its sign with the direction of time. Named
            properties know; irreps are taken to be even.
        tolerance: of the symmetry, in Å (signals: relative).

    Raises:
        PropertyError: there is no such property, or it needs a structure; says which there are.
        GroupError: there is no such group.
    """
    if isinstance(thing, str) and not Path(thing).expanduser().exists():
        thing = group_of(thing)
    block = read_block(what) if isinstance(what, str) else what
    if isinstance(block, OrbitalBlock):
        return _allowed_block(thing, block, site, tolerance)
    if isinstance(what, str) and what.lower() in (*MODES, "modes", "phonons", "vibration"):
        return _allowed_modes(thing, what.lower(), tolerance)
    prop = read_property(what)
    prop = prop if time_odd is None else replace(prop, odd=time_odd)
    magnetic = None
    if time_reversal or moments is not None or isinstance(thing, MagneticGroup):
        magnetic = _magnetic(thing, moments, site, tolerance)
    if each_atom:
        return _allowed_on_atoms(thing, prop, magnetic, moments, tolerance)
    group = _group(thing, site, tolerance) if magnetic is None else magnetic.group
    return allowed_in_group(group, prop, magnetic)


def allowed_in_group(
    group: PointGroup, prop: Property, magnetic: MagneticGroup | None = None
) -> Allowed:
    """What a group allows of a property, in the group's frame and turned to where it stands.

    Args:
        group: of the operations of space.
        prop: the property.
        magnetic: the same operations with time reversal at some of them.
    """
    standard = PointGroup.named(group.name)
    if magnetic is None:
        projection = projector(standard, prop.irreps)
    else:
        own = MagneticGroup(standard, magnetic.irrep, magnetic.grey)
        projection = own.projector(prop.irreps, odd=bool(prop.odd))
    rows = rows_of(projection)
    turn = representation(group.frame[None], prop.irreps)[0]
    basis = rows @ turn.T
    decomposition = group.decompose(prop.irreps)
    words = describe(magnetic or group, prop, rows, decomposition)
    cartesian = prop.tensor.to_cartesian(basis) if prop.tensor else None
    return Allowed(
        prop.name,
        group,
        prop.irreps,
        basis,
        words,
        cartesian_basis=cartesian,
        decomposition=decomposition,
        magnetic=magnetic,
    )


def group_of(name: str) -> PointGroup | MagneticGroup:
    """A point group, or with primes or brackets a magnetic one, by its symbol.

    Raises:
        GroupError: there is none, nor a file of that name.
    """
    try:
        magnetic = "'" in name or "(" in name
        return MagneticGroup.named(name) if magnetic else PointGroup.named(name)
    except GroupError as error:
        raise GroupError(f"there is no file '{name}', and {error}") from error


def _magnetic(thing: Any, moments: Any, site: int | None, tolerance: float | None) -> MagneticGroup:
    if isinstance(thing, PointGroup | MagneticGroup) or _is_signal(thing):
        if site is not None or moments is not None:
            raise PropertyError("a site and moments are of the atoms of a structure")
        if isinstance(thing, MagneticGroup):
            return thing
        group = thing if isinstance(thing, PointGroup) else point_group(thing, tolerance)
        return MagneticGroup(group, group.irreps[0].name, True)
    return magnetic_group(thing, moments, site=site, tolerance=tolerance)


def _is_signal(thing: Any) -> bool:
    return isinstance(thing, Tensor) or hasattr(thing, "array")


def _allowed_on_atoms(
    thing: Any,
    prop: Property,
    magnetic: MagneticGroup | None,
    moments: Any,
    tolerance: float | None,
) -> Allowed:
    """What may be on all atoms together: independent values, each spread over its orbit."""
    structure = _structure(thing, "values of each atom")
    if magnetic is None:
        group, projection = site_projector(structure, prop.irreps, tolerance)
    else:
        group = magnetic.group
        projection = moments_projector(structure, prop.irreps, moments, bool(prop.odd), tolerance)
    basis = rows_of(projection).unflatten(1, (structure.n_atoms, prop.irreps.dim))
    total = structure.n_atoms * prop.irreps.dim
    label = magnetic or group
    head = (
        f"{prop.name} ({prop.irreps}) of each atom in {label.name} ({label.hermann_mauguin}): "
        f"{len(basis)} of {total} components are independent"
    )
    # moments may tell atoms apart that are equivalent without them
    orbits = atom_orbits(structure, tolerance) if magnetic is None else {
        atom: [atom] for atom in range(structure.n_atoms)
    }  # fmt: skip
    lines = []
    for atom, others in orbits.items():
        own = _freedom(projection, atom, prop.irreps.dim)
        more = f", and {len(others) - 1} equivalent" if len(others) > 1 else ""
        element = SYMBOLS[int(structure.numbers[atom])]
        lines.append(
            f"  atom {atom} ({element}{more}): {own or 'no'} free component{'s' * (own != 1)}"
        )
    return Allowed(
        f"{prop.name} of each atom", group, prop.irreps, basis, "\n".join([head, *lines]),
        magnetic=magnetic,
    )  # fmt: skip


def _freedom(projection: Tensor, atom: int, dim: int) -> int:
    """Number of independent values of one atom."""
    own = slice(atom * dim, (atom + 1) * dim)
    return int((torch.linalg.eigvalsh(projection[own, own]) > 1e-9).sum())


def _group(thing: Any, site: int | None, tolerance: float | None) -> PointGroup:
    thing = thing.group if isinstance(thing, MagneticGroup) else thing
    if isinstance(thing, PointGroup):
        if site is not None:
            raise PropertyError("a site is an atom of a structure; a group has none")
        return thing
    if site is None:
        return point_group(thing, tolerance)
    structure = one_structure(thing)
    check_atom(site, structure.n_atoms)
    return site_groups(structure, tolerance)[site]


def _structure(thing: Any, name: str):
    if isinstance(thing, PointGroup | MagneticGroup):
        raise PropertyError(f"{name} need a structure: a group alone has no atoms")
    return one_structure(thing)


def _allowed_modes(thing: Any, what: str, tolerance: float | None) -> Allowed:
    structure = _structure(thing, what)
    if what == "displacements":
        group, basis, sites, words = displacement_basis(structure, tolerance)
        count = {group.character_table().irreps[0].name: len(basis)} if len(basis) else {}
        return Allowed(what, group, None, basis, words, decomposition=count, sites=sites)
    modes: Modes = vibration_modes(structure, tolerance)
    return Allowed(
        "vibrations",
        modes.group,
        None,
        modes.basis,
        str(modes),
        decomposition=modes.vibrations,
        labels=modes.labels,
    )


def _allowed_block(
    thing: Any, block: OrbitalBlock, site: int | None, tolerance: float | None
) -> Allowed:
    if block.atoms is not None:
        structure = _structure(thing, "orbital blocks between atoms")
        for atom in block.atoms:
            check_atom(atom, structure.n_atoms)
        group, matrices = block_basis(structure, block, tolerance)
    else:
        group = _group(thing, site, tolerance)
        matrices = block_basis(group, block, tolerance)[1]
    basis = block.to_irreps(matrices)
    count = len(matrices)
    total = block.irreps.dim
    words = (
        f"{block} in {group.name} ({group.hermann_mauguin}): {count} independent of {total} "
        + ("elements" if count else "elements: forbidden, every element is zero by symmetry")
    )
    zero = (matrices.abs().amax(0) < 1e-10).nonzero().tolist() if count else []
    names = [[polynomial(l, row) for row in torch.eye(2 * l + 1).double()]
             for l in (block.l1, block.l2)]  # fmt: skip
    pairs = [f"({names[0][i]} | {names[1][j]})" for i, j in zero]
    lines = ["  zero: " + ", ".join(pairs)] if pairs else []
    return Allowed(
        str(block),
        group,
        block.irreps,
        basis,
        "\n".join([words, *lines]),
        block_basis=matrices,
        decomposition=group.decompose(block.irreps),
    )
