"""What of features, signals, latents and structures is invariant under a group."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from geomae.data.structure import Structure
from geomae.symmetry.crystal import crystal_symmetry
from geomae.symmetry.detect import TOLERANCE, one_structure
from geomae.symmetry.errors import GroupError
from geomae.symmetry.groups import PointGroup, as_irreps
from geomae.symmetry.molecule import check_tolerance, match_group, molecule_operations
from geomae.symmetry.representations import representation

if TYPE_CHECKING:
    from geomae.autoencoder import Latents

FITTINGS = 30
"""Times that a group is turned to where the structure is nearest to it, at most."""

SETTLED = 1e-9
"""Turns that move atoms by less, in Å, change nothing."""


def projector(group: PointGroup | str, irreps: int | str | o3.Irreps) -> Float[Tensor, "d d"]:
    """The orthogonal projection on what a group leaves as it is, float64.

    Exact for infinite groups of any degree: of an axis of revolution by a finite axis of
    higher order than the highest degree, of K and Kh by keeping scalars alone.

    Args:
        group: or its symbol, in its standard setting.
        irreps: in e3nn's flat layout; a number L means the degrees 0 to L of natural parity.
    """
    group = PointGroup.named(group) if isinstance(group, str) else group
    irreps = as_irreps(irreps)
    if group.symbol.family == "K":
        kept = [
            float(ir.l == 0 and (ir.p == 1 or not group.symbol.suffix))
            for mul, ir in irreps
            for _ in range(mul * ir.dim)
        ]
        return torch.diag(torch.tensor(kept, dtype=torch.float64))
    mean = representation(averaging_operations(group, irreps.lmax), irreps).mean(0)
    return (mean + mean.T) / 2


def averaging_operations(group: PointGroup, lmax: int) -> Float[Tensor, "g 3 3"]:
    """Operations over which to average values up to a degree: of an infinite axial group those of a
    finite one whose axis has a higher order.
    """
    if not group.infinite:
        return group.operations
    finite = group.name.replace("∞", str(lmax + 2 - lmax % 2))
    return PointGroup.named(finite, group.frame).operations


def invariant_basis(group: PointGroup | str, irreps: int | str | o3.Irreps) -> Float[Tensor, "k d"]:
    """Orthonormal rows that span what a group leaves as it is."""
    return rows_of(projector(group, irreps))


def rows_of(projection: Float[Tensor, "d d"]) -> Float[Tensor, "k d"]:
    """Orthonormal rows that span the image of an orthogonal projection; sparse where they can be.

    Components are taken one by one, and their images made orthogonal to those before: what is
    zero by symmetry stays zero, and a basis along the axes comes out as one.
    """
    count = round(float(projection.diagonal().sum()))
    rows: list[Tensor] = []
    left = projection.clone()
    for _ in range(count):
        sizes = left.diagonal()
        # the first of the largest, so that rounding does not choose
        first = int((sizes > sizes.max() - 1e-6).to(torch.int8).argmax())
        row = left[first] / left[first].norm()
        row = projection @ row
        row = row / row.norm()
        rows.append(row)
        left = left - torch.outer(row, row)
    return torch.stack(rows) if rows else projection.new_zeros(0, len(projection))


@overload
def project(thing: "Latents", group: PointGroup | str) -> "Latents": ...
@overload
def project(
    thing: Tensor, group: PointGroup | str, irreps: int | str | o3.Irreps | None = None
) -> Tensor: ...
def project(
    thing: Any, group: PointGroup | str, irreps: int | str | o3.Irreps | None = None
) -> Any:
    """The part of features, signals or latents that a group leaves as it is.

    Gradients pass. The group is meant about the point that the values belong to.

    Args:
        thing: `Latents`; features `[..., (L + 1)^2, channels]` or one signal `[(L + 1)^2]`; or with
            `irreps` values `[..., d]` in e3nn's flat layout.
        group: or its symbol, in its standard setting.
        irreps: of values in the flat layout.

    Raises:
        GroupError: the shape fits neither.
    """
    from geomae.autoencoder.latents import Latents

    if isinstance(thing, Latents):
        matrix = projector(group, thing.lmax).to(thing.array)
        return Latents(torch.einsum("ij,njc->nic", matrix, thing.array), thing.centres)
    if irreps is not None:
        matrix = projector(group, irreps).to(thing)
        if thing.shape[-1] != len(matrix):
            raise GroupError(f"expected values [..., {len(matrix)}] for {irreps}, got "
                             f"{list(thing.shape)}")  # fmt: skip
        return thing @ matrix
    size = thing.shape[0] if thing.ndim == 1 else thing.shape[-2]
    lmax = round(size**0.5) - 1
    if (lmax + 1) ** 2 != size:
        raise GroupError(
            "expected a signal [(L + 1)^2] or features [..., (L + 1)^2, channels], got "
            f"{list(thing.shape)}; values in e3nn's flat layout need their irreps"
        )
    matrix = projector(group, lmax).to(thing)
    return matrix @ thing if thing.ndim == 1 else torch.einsum("ij,...jc->...ic", matrix, thing)


@dataclass(frozen=True)
class Symmetrised:
    """A structure whose symmetry is exact.

    Attributes:
        structure: where the atoms stand now, everything else as it was given.
        group: point group; of a crystal its class.
        moved: how far each atom moved, in Å, `[n]`.
        strain: largest relative change of the lattice; 0 for a molecule.
    """

    structure: Structure
    group: PointGroup
    moved: Float[Tensor, " n"]
    strain: float = 0.0

    @property
    def largest_move(self) -> float:
        """In Å."""
        return float(self.moved.max())


def symmetrise(
    thing: "Structure | Any",
    group: PointGroup | str | None = None,
    tolerance: float | None = None,
) -> Symmetrised:
    """Make the symmetry of a structure exact by the smallest move.

    Each atom goes to the mean of the places to which the operations bring its equivalents, which
    is the nearest structure (least squares) with that symmetry and that matching of atoms. The
    centroid stays; so does the orientation. A crystal's lattice is averaged likewise.

    Args:
        thing: a molecule or crystal, or whatever `as_structures` takes, one of them.
        group: to impose on a molecule; by default what is found within the tolerance. A group in
            its frame is taken as it stands; a symbol is the subgroup of what is found.
        tolerance: in Å, 0.01 by default.

    Raises:
        GroupError: the group does not fit the structure within the tolerance.
        ToleranceError: the tolerance is not positive, or merges atoms.
    """
    structure = one_structure(thing)
    tolerance = TOLERANCE if tolerance is None else tolerance
    if structure.periodic:
        if group is not None:
            raise GroupError(
                "a group can be imposed on molecules only; of a crystal the space group found "
                "within the tolerance is made exact: choose the tolerance"
            )
        return _symmetrised_crystal(structure, tolerance)
    centre = structure.positions.double().mean(0)
    centred = structure.positions.double() - centre
    fixed = isinstance(group, PointGroup)
    check_tolerance(tolerance, centred)
    if isinstance(group, str):
        group = _found_by_name(structure, group, tolerance)
    elif group is None:
        group = molecule_operations(structure, tolerance).group
    averaged, group = _nearest(group, centred, structure.numbers, tolerance, fixed)
    result = structure.clone()
    result.positions = (averaged + centre).to(structure.positions)
    return Symmetrised(result, group, (averaged - centred).norm(dim=1))


def _nearest(
    group: PointGroup, centred: Tensor, numbers: Tensor, tolerance: float, fixed: bool
) -> tuple[Tensor, PointGroup]:
    """The symmetric positions nearest to those given, and their group, turned to where that is
    nearest unless it is fixed.
    """
    places = match_group(group, centred, numbers, tolerance)
    averaged = _averaged(group, centred, places)
    for _ in range(0 if fixed or group.symbol.family == "K" else FITTINGS):
        u, _, v = torch.linalg.svd(centred.T @ averaged)
        turn = u @ torch.diag(torch.tensor([1.0, 1.0, float(torch.linalg.det(u @ v))]).double()) @ v
        if float((averaged @ turn.T - averaged).abs().max()) < SETTLED:
            break
        group = group.conjugate(turn)
        averaged = _averaged(group, centred, places)
    return averaged, group


def _averaged(group: PointGroup, centred: Tensor, places: Tensor) -> Tensor:
    """Mean over the operations of the places that atoms are brought to."""
    if group.symbol.family == "K":
        return torch.zeros_like(centred)
    images = centred @ group.operations.transpose(1, 2)
    total = torch.zeros_like(centred)
    for image, place in zip(images, places, strict=True):
        total = total.index_add(0, place, image)
    return total / len(places)


def _found_by_name(structure: Structure, name: str, tolerance: float) -> PointGroup:
    wanted = PointGroup.named(name)
    found = molecule_operations(structure, tolerance).group
    if found.name == wanted.name:
        return found
    if not found.infinite:
        for subgroup in found.subgroups():
            if subgroup.name == wanted.name:
                return subgroup
    raise GroupError(
        f"{wanted.name} does not fit: within {tolerance:g} Å the structure has {found.name}, of "
        f"which {wanted.name} is no subgroup; try a larger tolerance"
    )


def _symmetrised_crystal(structure: Structure, tolerance: float) -> Symmetrised:
    """Lattice and atoms averaged over the space group's operations, in the given cell."""
    found = crystal_symmetry(structure, tolerance)
    cell = structure.cell[0].detach().double()
    fractions = structure.positions.detach().double() @ torch.linalg.inv(cell)
    operations = found.operations
    integer = (torch.linalg.inv(cell.T) @ operations.rotations @ cell.T).round()
    # R C = C W for all operations, C the lattice vectors as columns
    new = (operations.rotations @ cell.T @ torch.linalg.inv(integer)).mean(0).T
    shifts = operations.translations @ torch.linalg.inv(cell)
    total = torch.zeros_like(fractions)
    for rotation, shift, place in zip(integer, shifts, operations.permutations, strict=True):
        gap = fractions @ rotation.T + shift - fractions[place]
        total = total.index_add(0, place, gap - gap.round())
    change = total / len(integer)
    change = change - change.mean(0)
    result = structure.clone()
    result.cell = new[None].to(structure.cell)
    result.positions = ((fractions + change) @ new).to(structure.positions)
    strain = torch.linalg.svd(torch.linalg.solve(cell, new) - torch.eye(3).double()).S.max()
    return Symmetrised(result, found.point_group, (change @ new).norm(dim=1), float(strain))
