"""How tensors turn with space, and how they change with the order of points."""

from typing import Literal

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from geomae.equivariant import Layout, irreps_of, read_irreps, wigner_matrices

Kind = str
"""How a tensor transforms.

- 'positions': `[..., 3]` in Å, which rotate and move
- 'vectors': `[..., 3]`, which rotate
- 'features': `[n, components, channels]`, of natural parity
- 'features with parity': `[n, 2, components, channels]`
- 'invariant': anything that stays as it is
- or irreps such as '4x0e + 1x1o' for e3nn's flat layout, `[..., dim]`
"""

Role = Literal["point", "edge", "edges", "fixed"]
"""What a tensor's entries belong to.

- 'point': rows belong to points, and change places with them
- 'edges': `[2, edges]` holds indices of points
- 'edge': rows belong to edges
- 'fixed': neither
"""


def wigner_matrix(
    irreps: str | o3.Irreps, matrix: Float[Tensor, "3 3"]
) -> Float[Tensor, "flat flat"]:
    """Matrix that turns values of any irreps in e3nn's flat layout, float64.

    Args:
        irreps: of the values, such as `4x0e + 1x1o`.
        matrix: orthogonal, proper or not; acts on positions as `positions @ matrix.T`.
    """
    irreps, proper = read_irreps(irreps), bool(torch.det(matrix) > 0)
    natural = wigner_matrices(max((ir.l for _, ir in irreps), default=0), matrix)
    parts = [
        natural[ir.l] * (1 if proper else ir.p * (-1) ** ir.l)
        for mul, ir in irreps
        for _ in range(mul)
    ]
    return torch.block_diag(*parts)


def rotate_features(
    features: Float[Tensor, "n *parity m c"],
    matrix: Float[Tensor, "3 3"],
    parity: bool = False,
) -> Float[Tensor, "n *parity m c"]:
    """Features turned by an orthogonal matrix, proper or not.

    Args:
        features: of the degrees 0 to lmax.
        matrix: acts on positions as `positions @ matrix.T`.
        parity: features have both parities, `[n, 2, components, channels]`.
    """
    layout = Layout(round(features.shape[-2] ** 0.5) - 1, parity)
    wigner = wigner_matrix(irreps_of(layout, 1), matrix).to(features)
    return layout.unflatten(wigner @ layout.flatten(features))


def transform(
    values: Tensor, kind: Kind, matrix: Float[Tensor, "3 3"], shift: Float[Tensor, " 3"]
) -> Tensor:
    """A tensor turned, then moved if it holds positions; see `Kind`."""
    if kind == "invariant":
        return values
    if kind == "vectors":
        return values @ matrix.T.to(values)
    if kind == "positions":
        return values @ matrix.T.to(values) + shift.to(values)
    if kind in ("features", "features with parity"):
        return rotate_features(values, matrix, kind == "features with parity")
    return values @ wigner_matrix(kind, matrix).T.to(values)


def permute(values: Tensor, role: Role, points: Tensor, order: Tensor) -> Tensor:
    """Row i of the result is row `points[i]` (or edge `order[i]`) of the values."""
    if role == "point":
        return values[points.to(values.device)]
    if role == "edge":
        return values[order.to(values.device)]
    if role == "edges":
        return torch.argsort(points).to(values.device)[values][:, order.to(values.device)]
    return values
