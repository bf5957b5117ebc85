"""Missing data: what symmetry determines of values given in part, and what it leaves free."""

from dataclasses import dataclass
from typing import Any

import torch
from e3nn import o3
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.data.structure import Structure
from geomae.symmetry.detect import one_structure, point_group, structure_operations
from geomae.symmetry.errors import PropertyError
from geomae.symmetry.groups import PointGroup, as_irreps
from geomae.symmetry.molecule import match_group
from geomae.symmetry.project import averaging_operations, projector, rows_of
from geomae.symmetry.representations import representation


@dataclass(frozen=True)
class Completion:
    """Values of which some were known, completed by symmetry.

    Attributes:
        values: everything that is known now; what stays free is zero in the free directions (the
            shortest values that fit).
        determined: which components are certain.
        free: orthonormal directions in which the values may still change, `[n_free, ...]`.
        residual: largest difference between a known value and the symmetric values that fit best.
        group: point group that was used.
    """

    values: Float[Tensor, "..."]
    determined: Bool[Tensor, "..."]
    free: Float[Tensor, "..."]
    residual: float
    group: PointGroup

    @property
    def n_free(self) -> int:
        """Numbers that are still to be given."""
        return len(self.free)

    def __str__(self) -> str:
        known, size = int(self.determined.sum()), self.determined.numel()
        rest = "nothing stays free" if not self.n_free else f"{self.n_free} numbers stay free"
        return f"{self.group.name}: {known} of {size} components are determined, {rest}"


def complete(
    thing: "Structure | Any",
    irreps: str | o3.Irreps,
    known_values: Float[Tensor, "..."],
    mask: Bool[Tensor, "..."],
    *,
    tolerance: float | None = None,
    consistency: float = 1e-3,
) -> Completion:
    """Fill in what symmetry determines of a property of which some components are known.

    Args:
        thing: a structure (or what `as_structures` takes), or a PointGroup.
        irreps: of the property, such as `1x0e + 1x2e`.
        known_values: `[d]` of the whole structure, or `[n, d]` with a row an atom, in e3nn's flat
            layout; entries that aren't known may be anything.
        mask: of the same shape, True where the value is known.
        tolerance: of the symmetry, in Å.
        consistency: largest difference between known values and symmetric ones, relative to the
            largest known.

    Raises:
        PropertyError: the shapes don't fit, or known values contradict the symmetry: says which.
    """
    irreps = as_irreps(irreps)
    known_values = torch.as_tensor(known_values, dtype=torch.float64)
    mask = torch.as_tensor(mask, dtype=torch.bool)
    group, projection = _symmetric(thing, irreps, known_values, tolerance)
    if known_values.shape != mask.shape or projection.shape[0] != known_values.numel():
        raise PropertyError(
            f"expected known values and mask [{irreps.dim}] of the whole, or one row of "
            f"{irreps.dim} an atom, for {irreps}; got {list(known_values.shape)} and "
            f"{list(mask.shape)}"
        )
    basis, known = rows_of(projection), mask.flatten()
    given = known_values.flatten()[known]
    u, sizes, v = torch.linalg.svd(basis[:, known].T, full_matrices=True)
    rank = int((sizes > 1e-8).sum())
    weights = v[:rank].T @ ((u[:, :rank].T @ given) / sizes[:rank])
    free = v[rank:] @ basis
    values = weights @ basis
    residual = float((values[known] - given).abs().max()) if len(given) else 0.0
    _check_consistent(values, known_values, mask, group, residual, consistency)
    determined = free.norm(dim=0) < 1e-8 if len(free) else torch.ones_like(known)
    shape = known_values.shape
    return Completion(
        values.reshape(shape),
        determined.reshape(shape),
        free.reshape(len(free), *shape),
        residual,
        group,
    )


def _symmetric(
    thing: Any, irreps: o3.Irreps, known: Tensor, tolerance: float | None
) -> tuple[PointGroup, Tensor]:
    """The group, and the projection on symmetric values of the whole or of all atoms."""
    if isinstance(thing, PointGroup):
        return thing, projector(thing, irreps)
    structure = one_structure(thing)
    if known.ndim == 1:
        group = point_group(structure, tolerance)
        return group, projector(group, irreps)
    if known.shape[0] != structure.n_atoms:
        raise PropertyError(f"expected a row for each of {structure.n_atoms} atoms, got "
                            f"{known.shape[0]}")  # fmt: skip
    return site_projector(structure, irreps, tolerance)


def site_projector(
    structure: Structure, irreps: o3.Irreps, tolerance: float | None
) -> tuple[PointGroup, Float[Tensor, "flat flat"]]:
    """Projection on what a structure's symmetry leaves as it is of values `[atoms, d]`."""
    group, rotations, places = finite_operations(structure, irreps.lmax, tolerance)
    if group.symbol.family == "K":
        return group, projector(group, irreps)
    return group, mean_on_atoms(rotations, places, irreps)


def mean_on_atoms(
    rotations: Float[Tensor, "k 3 3"],
    places: Int[Tensor, "k n"],
    irreps: o3.Irreps,
    signs: Float[Tensor, " k"] | None = None,
) -> Float[Tensor, "flat flat"]:
    """Mean over operations of what they do to values `[atoms, d]`, a projection.

    Args:
        rotations: of the operations.
        places: where they bring each atom.
        irreps: of the values.
        signs: that values get on top.
    """
    blocks = representation(rotations, irreps)
    if signs is not None:
        blocks = blocks * signs[:, None, None]
    n, d = places.shape[1], blocks.shape[1]
    total = torch.zeros(n, n, d, d, dtype=torch.float64)
    start = torch.arange(n)
    for block, place in zip(blocks, places, strict=True):
        total.index_put_((place, start), block.expand(n, d, d), accumulate=True)
    mean = (total / len(blocks)).transpose(1, 2).reshape(n * d, n * d)
    return (mean + mean.T) / 2


def finite_operations(
    structure: Structure, lmax: int, tolerance: float | None
) -> tuple[PointGroup, Float[Tensor, "k 3 3"], Int[Tensor, "k n"]]:
    """The point group, and operations to average values of atoms over: their rotations and where
    they bring the atoms.
    """
    operations = structure_operations(structure, tolerance)
    group = operations.group
    if not group.infinite or group.symbol.family == "K":
        return group, operations.rotations, operations.permutations
    rotations = averaging_operations(group, lmax)
    finite = PointGroup(group.name, rotations, group.frame)
    centred = structure.positions.double() - structure.positions.double().mean(0)
    slack = 2 * operations.deviation + 1e-6
    return group, rotations, match_group(finite, centred, structure.numbers, slack)


def _check_consistent(
    values: Tensor, known: Tensor, mask: Tensor, group: PointGroup, residual: float, allowed: float
) -> None:
    size = float(known[mask].abs().max()) if bool(mask.any()) else 0.0
    if residual <= allowed * size:
        return
    off = ((values.reshape(known.shape) - known).abs() * mask).flatten()
    worst = int(off.argmax())
    index = tuple(torch.unravel_index(torch.tensor(worst), known.shape))
    place = [int(i) for i in index]
    raise PropertyError(
        f"known values contradict the symmetry {group.name}: component {place} is "
        f"{float(known[index]):.4g}, symmetric values that fit best have "
        f"{float(values[worst]):.4g} there; expected values measured on the structure in this "
        "orientation"
    )
