"""Symmetric 3 x 3 matrices in closed form, many at once: nothing calls LAPACK one by one."""

import torch
from jaxtyping import Float
from torch import Tensor


def highest_eigenvalue(matrix: Float[Tensor, "p 3 3"]) -> Float[Tensor, " p"]:
    """Highest eigenvalue of each symmetric matrix (Smith 1961)."""
    mean = matrix.diagonal(dim1=1, dim2=2).mean(1)
    eye = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    deviator = matrix - mean[:, None, None] * eye
    size = (deviator.square().sum((1, 2)) / 6).sqrt()
    shape = determinant(deviator) / (2 * size**3).clamp(min=torch.finfo(matrix.dtype).tiny)
    return mean + 2 * size * torch.cos(torch.arccos(shape.clamp(-1, 1)) / 3)


def determinant(matrix: Float[Tensor, "p 3 3"]) -> Float[Tensor, " p"]:
    """Determinant of each matrix."""
    a, b, c = matrix.unbind(1)
    return (a * torch.linalg.cross(b, c)).sum(1)


def solve_symmetric(
    matrix: Float[Tensor, "p 3 3"], right: Float[Tensor, "p 3"]
) -> Float[Tensor, "p 3"]:
    """Solutions of symmetric systems, by the adjugate."""
    a, b, c = matrix.unbind(1)
    adjugate = torch.stack(
        [torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 2
    )
    scale = (a * adjugate[:, :, 0]).sum(1, keepdim=True)
    return (adjugate @ right[..., None])[..., 0] / scale
