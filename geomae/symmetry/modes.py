"""How atoms may move: displacements that keep the symmetry, vibrations by irreps."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from geomae.data.elements import SYMBOLS
from geomae.data.structure import Structure
from geomae.symmetry.complete import site_projector
from geomae.symmetry.crystal import primitive_of
from geomae.symmetry.detect import (
    one_structure,
    site_groups,
    space_group,
    structure_operations,
)
from geomae.symmetry.errors import PropertyError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.project import projector, rows_of

VECTOR, AXIAL, TENSOR = "1x1o", "1x1e", "1x0e + 1x2e"


@dataclass(frozen=True)
class SiteFreedom:
    """Where the symmetry of its site lets an atom move.

    Attributes:
        atom: its number.
        element: its symbol.
        group: of the site.
        directions: orthonormal, `[k, 3]`: none for a fixed point, one along a line, and so on.
    """

    atom: int
    element: str
    group: PointGroup
    directions: Float[Tensor, "k 3"]

    def __str__(self) -> str:
        where = {0: "stays where it is", 1: "along ", 2: "in the plane normal to ", 3: "anywhere"}
        text = where[len(self.directions)]
        if len(self.directions) == 1:
            text += _vector(self.directions[0])
        if len(self.directions) == 2:
            text += _vector(torch.linalg.cross(self.directions[0], self.directions[1]))
        return f"atom {self.atom} ({self.element}, site {self.group.name}): {text}"


@dataclass(frozen=True)
class Modes:
    """Vibrations of a molecule, or phonons of a crystal at the centre of the Brillouin zone.

    Attributes:
        group: point group; of a crystal its class.
        vibrations: how often each irrep comes up, rigid motions left out.
        infrared: irreps that a dipole has a part of.
        raman: irreps that a polarizability has a part of.
        basis: orthonormal displacements of the vibrations, `[modes, atoms, 3]`; those of one irrep
            mix among themselves in true modes.
        labels: irrep of each.
    """

    group: PointGroup
    vibrations: dict[str, int]
    infrared: tuple[str, ...]
    raman: tuple[str, ...]
    basis: Float[Tensor, "modes n 3"]
    labels: tuple[str, ...]

    def __str__(self) -> str:
        terms = [f"{count if count > 1 else ''}{name}" for name, count in self.vibrations.items()]
        head = (
            f"vibrations in {self.group.name} ({self.group.hermann_mauguin}): "
            f"{len(self.basis)} modes, {' + '.join(terms) or 'none'}"
        )
        silent = [n for n in self.vibrations if n not in self.infrared + self.raman]
        parts = (("infrared", self.infrared), ("Raman", self.raman), ("silent", tuple(silent)))
        lines = [f"  {name}: {', '.join(names)}" for name, names in parts if names]
        return "\n".join([head, *lines])


def displacement_basis(
    structure: Structure, tolerance: float | None
) -> tuple[PointGroup, Float[Tensor, "k n 3"], tuple[SiteFreedom, ...], str]:
    """Displacements that keep the symmetry, rigid motions left out, and the freedom of each site.

    Returns:
        The group, the displacements, the freedom of each atom, and all that in words.
    """
    group, projection = site_projector(structure, o3.Irreps(VECTOR), tolerance)
    rigid = rigid_motions(structure)
    basis = rows_of(projection @ (torch.eye(len(rigid)).double() - rigid))
    sites = tuple(
        SiteFreedom(k, SYMBOLS[int(z)], own, rows_of(projector(own, VECTOR)))
        for k, (z, own) in enumerate(
            zip(structure.numbers, site_groups(structure, tolerance), strict=True)
        )
    )
    orbits = atom_orbits(structure, tolerance)
    free = "nothing may move" if not len(basis) else (
        "1 displacement keeps" if len(basis) == 1 else f"{len(basis)} displacements keep"
    ) + " the symmetry"  # fmt: skip
    head = (
        f"displacements in {group.name} ({group.hermann_mauguin}): {free}, rigid motions left out"
    )
    lines = [
        f"  {sites[atom]}" + (f" (and {len(others) - 1} equivalent)" if len(others) > 1 else "")
        for atom, others in orbits.items()
    ]
    return group, basis.unflatten(1, (-1, 3)), sites, "\n".join([head, *lines])


def atom_orbits(structure: Structure, tolerance: float | None) -> dict[int, list[int]]:
    """Equivalent atoms, themselves among them, by the first of each orbit."""
    first = structure_operations(structure, tolerance).permutations.min(0).values.tolist()
    return {k: [i for i, own in enumerate(first) if own == k] for k in sorted(set(first))}


def rigid_motions(structure: Structure) -> Float[Tensor, "flat flat"]:
    """Projection on translations and, of molecules, infinitesimal rotations of all atoms."""
    n = structure.n_atoms
    eye = torch.eye(3, dtype=torch.float64)
    motions = [axis.expand(n, 3) for axis in eye]
    if not structure.periodic:
        centred = structure.positions.double() - structure.positions.double().mean(0)
        motions += [torch.linalg.cross(axis.expand(n, 3), centred) for axis in eye]
    u, sizes, _ = torch.linalg.svd(torch.stack(motions).flatten(1).T, full_matrices=False)
    u = u[:, sizes > 1e-3 * sizes.max()]
    return u @ u.T


def vibration_modes(structure: Structure, tolerance: float | None) -> Modes:
    """Vibrations of a molecule, or phonons at the zone centre of a crystal, by irreps.

    Of a crystal in a centred cell or a supercell, those of the primitive cell, in which all its
    images of an atom move alike.
    """
    if structure.periodic:
        found = space_group(structure, tolerance)
        small, member = primitive_of(structure, found)
        if small is not structure:
            modes = vibration_modes(small, tolerance)
            spread = modes.basis[:, member] * (small.n_atoms / structure.n_atoms) ** 0.5
            return replace(modes, basis=spread)
    operations = structure_operations(structure, tolerance)
    group, n = operations.group, structure.n_atoms
    rest = torch.eye(3 * n, dtype=torch.float64) - rigid_motions(structure)
    nearest = torch.cdist(operations.rotations.flatten(1), group.operations.flatten(1)).argmin(1)
    found, rows, labels = {}, [], []
    for irrep in group.irreps:
        if group.symbol.family == "K":
            break
        projection = torch.zeros(n, n, 3, 3, dtype=torch.float64)
        for k, place in enumerate(operations.permutations):
            weight = irrep.characters[nearest[k]] * operations.rotations[k]
            projection.index_put_((place, torch.arange(n)), weight.expand(n, 3, 3), accumulate=True)
        scale = irrep.dimension / (2 if irrep.pair else 1) / len(operations)
        matrix = projection.transpose(1, 2).reshape(3 * n, 3 * n) * scale @ rest
        matrix = (matrix + matrix.T) / 2
        own = rows_of(matrix)
        if len(own):
            found[irrep.name] = len(own) // irrep.dimension
            rows.append(own)
            labels += [irrep.name] * len(own)
    basis = torch.cat(rows) if rows else torch.zeros(0, 3 * n, dtype=torch.float64)
    infrared, raman = group.decompose(VECTOR), group.decompose(TENSOR)
    return Modes(
        group,
        found,
        tuple(name for name in found if name in infrared),
        tuple(name for name in found if name in raman),
        basis.unflatten(1, (n, 3)),
        tuple(labels),
    )


def mode_irreps(
    thing: "Structure | Any",
    displacements: Float[Tensor, "n 3"],
    tolerance: float | None = None,
) -> dict[str, float]:
    """Which irreps a vibration or a phonon at the zone centre has, and its share of each.

    Shares are those of the squared length; translations and, of molecules, rotations are left
    out. A mode of one irrep has one share of 1; a displacement of any kind may have several.

    Args:
        thing: a molecule or crystal, or whatever `as_structures` takes, one of them.
        displacements: of the atoms, in any unit; not weighted by the masses.
        tolerance: in Å, for the symmetry.

    Raises:
        PropertyError: there is not a row an atom, or the displacements move the whole only; in a
            crystal also if they differ between images of an atom: they belong elsewhere in the
            zone.
    """
    structure = one_structure(thing)
    moves = torch.as_tensor(displacements).detach().to("cpu", torch.float64)
    if moves.shape != (structure.n_atoms, 3):
        raise PropertyError(
            f"expected displacements [{structure.n_atoms}, 3], got {list(moves.shape)}"
        )
    modes, flat = vibration_modes(structure, tolerance), moves.flatten()
    inner = flat - rigid_motions(structure) @ flat
    parts = modes.basis.flatten(1) @ inner
    size, known = float(inner.square().sum()), float(parts.square().sum())
    if size <= 1e-12 * float(flat.square().sum()):
        raise PropertyError("these displacements move the whole: expected some that change it")
    if known < 0.999 * size:
        raise PropertyError(
            "these displacements differ between images of an atom: they are no phonon at the zone "
            "centre; `order_parameters` takes them as a target in this supercell"
        )
    shares: dict[str, float] = {}
    for label, part in zip(modes.labels, parts.tolist(), strict=True):
        shares[label] = shares.get(label, 0.0) + part**2 / known
    return {label: share for label, share in shares.items() if share > 1e-6}


def _vector(direction: Tensor) -> str:
    """Components, the largest 1 where they are simple."""
    scaled = direction / direction[direction.abs().argmax()]
    return "(" + ", ".join(f"{x:.3g}" if abs(x) > 1e-6 else "0" for x in scaled.tolist()) + ")"
