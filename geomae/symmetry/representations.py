"""What many operations do to values of irreps, all at once and exactly."""

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from geomae.equivariant.flat import read_irreps


def wigner_batch(lmax: int, operations: Float[Tensor, "g 3 3"]) -> list[Float[Tensor, "g m m"]]:
    """`geomae.equivariant.wigner_matrices` of many operations at once, natural parity."""
    blocks = [torch.ones(len(operations), 1, 1, dtype=torch.float64), operations]
    for degree in range(1, lmax):
        table = o3.wigner_3j(degree, 1, degree + 1, dtype=torch.float64) * (2 * degree + 3) ** 0.5
        turned = torch.einsum("gai,ijk->gajk", blocks[-1], table)
        turned = torch.einsum("gbj,gajk->gabk", operations, turned)
        blocks.append(torch.einsum("abc,gabk->gck", table, turned))
    return blocks[: lmax + 1]


def representation(
    operations: Float[Tensor, "g 3 3"], irreps: int | str | o3.Irreps
) -> Float[Tensor, "g d d"]:
    """Matrices on values of irreps in e3nn's flat layout, float64.

    Args:
        operations: orthogonal, of either handedness.
        irreps: such as `1x0e + 1x2e`; a number L means the degrees 0 to L of natural parity.
    """
    operations = operations.to("cpu", torch.float64)
    if isinstance(irreps, int):
        parts = [(1, l, (-1) ** l) for l in range(irreps + 1)]
    else:
        parts = [(mul, ir.l, ir.p) for mul, ir in read_irreps(irreps)]
    blocks = wigner_batch(max((l for _, l, _ in parts), default=0), operations)
    improper = torch.linalg.det(operations) < 0
    size = sum(mul * (2 * l + 1) for mul, l, _ in parts)
    result = torch.zeros(len(operations), size, size, dtype=torch.float64)
    start = 0
    for mul, l, p in parts:
        sign = torch.where(improper, float(p * (-1) ** l), 1.0).double()
        block = blocks[l] * sign[:, None, None]
        for _ in range(mul):
            stop = start + 2 * l + 1
            result[:, start:stop, start:stop] = block
            start = stop
    return result
