"""How features turn: Wigner matrices of rotations and reflections."""

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor


def wigner_matrices(lmax: int, matrix: Float[Tensor, "3 3"]) -> list[Float[Tensor, "m m"]]:
    """Matrices of degrees 0 to lmax for natural parity, float64.

    Degree l + 1 is what the Clebsch-Gordan coefficients make of degrees l and 1, which is exact
    in float64 for proper and improper matrices alike; e3nn's own goes through Euler angles.

    Args:
        lmax: highest degree.
        matrix: orthogonal; acts on positions as `positions @ matrix.T`.
    """
    matrix = matrix.to("cpu", torch.float64)
    blocks = [torch.ones(1, 1, dtype=torch.float64), matrix]
    for degree in range(1, lmax):
        table = o3.wigner_3j(degree, 1, degree + 1, dtype=torch.float64) * (2 * degree + 3) ** 0.5
        blocks.append(torch.einsum("abc,ai,bj,ijk->ck", table, blocks[-1], matrix, table))
    return blocks[: lmax + 1]
