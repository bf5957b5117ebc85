"""What of features, signals and latents is invariant under a group."""

from typing import TYPE_CHECKING, Any, overload

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from geomae.symmetry.errors import GroupError
from geomae.symmetry.groups import PointGroup, as_irreps
from geomae.symmetry.representations import representation

if TYPE_CHECKING:
    from geomae.autoencoder import Latents


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
