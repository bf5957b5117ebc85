"""What symmetry allows of a property, and what it forbids."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from geomae.symmetry.detect import one_structure, point_group, site_groups
from geomae.symmetry.errors import GroupError, PropertyError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.modes import Modes, SiteFreedom, displacement_basis, vibration_modes
from geomae.symmetry.orbitals import OrbitalBlock, block_basis
from geomae.symmetry.project import projector, rows_of
from geomae.symmetry.properties import MODES, Property, read_property
from geomae.symmetry.representations import representation
from geomae.symmetry.words import describe


@dataclass(frozen=True)
class Allowed:
    """What a symmetry allows of a property.

    Attributes:
        name: of the property, or its irreps.
        group: point group that was used.
        irreps: how the property transforms; None for properties of atoms.
        n_components: independent components; 0 if the property is forbidden.
        basis: orthonormal, in the input's own frame: `[n_components, dim]` in e3nn's order;
            displacements and vibrations have `[n_components, atoms, 3]`.
        cartesian_basis: the same as Cartesian tensors `[n_components, 3, 3, ...]`, orthonormal,
            where the property is one.
        block_basis: the same as blocks between orbitals, `[n_components, 2 l1 + 1, 2 l2 + 1]`.
        decomposition: irreps of the group in the property, and how often.
        labels: irrep of each row of the basis of vibrations.
        sites: where each atom may move, for displacements.
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
    thing: "PointGroup | str | Any",
    what: "str | o3.Irreps | Property | OrbitalBlock",
    *,
    site: int | None = None,
    tolerance: float | None = None,
) -> Allowed:
    """What the symmetry of a structure, or a group, allows of a property.

    Args:
        thing: a structure, signal or latent (see `point_group`), a PointGroup, or the symbol of
            one, which then stands in its standard setting.
        what: name of a property (`dipole`, `polarizability`, `piezoelectricity`, `displacements`,
            `vibrations`, ...), irreps such as `1x0e + 1x2e`, or an `orbital_block`.
        site: an atom whose own property is meant, such as its shielding or field gradient: its site
            symmetry is used.
        tolerance: of the symmetry, in Å (signals: relative).

    Raises:
        PropertyError: there is no such property, or it needs a structure; says which there are.
        GroupError: there is no such group.
    """
    if isinstance(thing, str) and not Path(thing).expanduser().exists():
        thing = _group_of(thing)
    if isinstance(what, OrbitalBlock):
        return _allowed_block(thing, what, site, tolerance)
    if isinstance(what, str) and what.lower() in (*MODES, "modes", "phonons", "vibration"):
        return _allowed_modes(thing, what.lower(), tolerance)
    prop = read_property(what)
    group = _group(thing, site, tolerance)
    return allowed_in_group(group, prop)


def allowed_in_group(group: PointGroup, prop: Property) -> Allowed:
    """What a group allows of a property, in the group's frame and turned to where it stands."""
    standard = PointGroup.named(group.name)
    rows = rows_of(projector(standard, prop.irreps))
    turn = representation(group.frame[None], prop.irreps)[0]
    basis = rows @ turn.T
    decomposition = group.decompose(prop.irreps)
    words = describe(group, prop, rows, decomposition)
    cartesian = prop.tensor.to_cartesian(basis) if prop.tensor else None
    return Allowed(
        prop.name,
        group,
        prop.irreps,
        basis,
        words,
        cartesian_basis=cartesian,
        decomposition=decomposition,
    )


def _group_of(name: str) -> PointGroup:
    try:
        return PointGroup.named(name)
    except GroupError as error:
        if "/" in name or "." in name:
            raise GroupError(f"there is no file '{name}', and {error}") from error
        raise


def _group(thing: Any, site: int | None, tolerance: float | None) -> PointGroup:
    if isinstance(thing, PointGroup):
        if site is not None:
            raise PropertyError("a site is an atom of a structure; a group has none")
        return thing
    if site is None:
        return point_group(thing, tolerance)
    structure = one_structure(thing)
    _check_atom(site, structure.n_atoms)
    return site_groups(structure, tolerance)[site]


def _check_atom(atom: int, count: int) -> None:
    if not 0 <= atom < count:
        raise PropertyError(f"there is no atom {atom}: the structure has atoms 0 to {count - 1}")


def _structure(thing: Any, name: str):
    if isinstance(thing, PointGroup):
        raise PropertyError(f"'{name}' need a structure: a group alone has no atoms")
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
            _check_atom(atom, structure.n_atoms)
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
    lines = [
        f"  element ({a}, {b}) is zero"
        for a, b in (matrices.abs().amax(0) < 1e-10).nonzero().tolist()
    ] if count else []  # fmt: skip
    return Allowed(
        str(block),
        group,
        block.irreps,
        basis,
        "\n".join([words, *lines]),
        block_basis=matrices,
        decomposition=group.decompose(block.irreps),
    )
