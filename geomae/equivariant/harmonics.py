"""Spherical harmonics and the layout of features: one array, components of all degrees in a row."""

from functools import lru_cache

import torch
from e3nn import o3
from jaxtyping import Float, Int
from torch import Tensor


def dim(lmax: int) -> int:
    """Components of all degrees 0 to lmax."""
    return (lmax + 1) ** 2


def degrees(lmax: int) -> Int[Tensor, " components"]:
    """Degree of each component."""
    degree = torch.arange(lmax + 1)
    return torch.repeat_interleave(degree, 2 * degree + 1)


def spherical_harmonics(
    lmax: int, vectors: Float[Tensor, "*batch 3"], *, normalize: bool = True
) -> Float[Tensor, "*batch components"]:
    """Real spherical harmonics of degrees 0 to lmax, e3nn's order and signs (l = 1 is x, y, z).

    'component' normalisation: the squares of a degree's components sum to 2l + 1 on the unit
    sphere.

    Args:
        lmax: highest degree.
        vectors: directions; of any length if `normalize`.
        normalize: False gives solid harmonics, |v|^l times the above: polynomials, smooth at 0.
    """
    if normalize:
        vectors = torch.nn.functional.normalize(vectors, dim=-1)
    parts = [torch.ones_like(vectors[..., :1])]
    # each degree comes from the one below, so rounding to autocast's precision would pile up
    with torch.autocast(vectors.device.type, enabled=False):
        for table in _ladder(lmax, vectors.dtype, vectors.device):
            products = vectors[..., :, None] * parts[-1][..., None, :]
            parts.append(products.flatten(-2) @ table)
    return torch.cat(parts, -1)


@lru_cache
@torch.compiler.assume_constant_result
def _ladder(lmax: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Matrices that make solid harmonics of each degree from those below, times x, y and z."""
    point = torch.tensor([0.3, -0.5, 0.7], dtype=torch.float64)
    exact = o3.spherical_harmonics(
        list(range(lmax + 1)), point, normalize=False, normalization="component"
    )
    tables = []
    for degree in range(1, lmax + 1):
        below, own = exact[(degree - 1) ** 2 : degree**2], exact[degree**2 : (degree + 1) ** 2]
        table = o3.wigner_3j(1, degree - 1, degree, dtype=torch.float64).flatten(0, 1)
        made = torch.outer(point, below).flatten() @ table
        table = table * (made @ own) / (made @ made)
        tables.append(table.to(device=device, dtype=dtype))
    return tuple(tables)


@lru_cache
def derivative_matrices(lmax: int) -> Float[Tensor, "3 components components"]:
    """Matrices D with `dS/dx_i = D_i S` for the solid harmonics S of degrees 0 to lmax, float64.

    Each derivative of a solid harmonic of degree l is one of degree l - 1. Which one is the
    Clebsch-Gordan table's matter (Wigner-Eckart); how much of it follows from Euler's
    theorem, `sum_i x_i dS/dx_i = l S`.
    """
    point = torch.tensor([[0.3, -0.5, 0.7]], dtype=torch.float64)
    solid = spherical_harmonics(lmax, point, normalize=False)[0]
    result = torch.zeros(3, dim(lmax), dim(lmax), dtype=torch.float64)
    for degree in range(1, lmax + 1):
        below, own = slice((degree - 1) ** 2, degree**2), slice(degree**2, (degree + 1) ** 2)
        table = o3.wigner_3j(degree - 1, 1, degree, dtype=torch.float64).permute(1, 2, 0)
        made = torch.einsum("iml,l,i->m", table, solid[below], point[0])
        result[:, own, below] = degree * (made @ solid[own]) / (made @ made) * table
    return result


def soften(
    vectors: Float[Tensor, "*batch 3"], softening: float
) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch"]]:
    """Directions that fade smoothly to zero where the vector does, and lengths that don't vanish.

    Returns `v / s` and `s = sqrt(|v|^2 + softening^2)`. Solid harmonics of the first and radial
    functions of the second are smooth everywhere.
    """
    lengths = (vectors.square().sum(-1, keepdim=True) + softening**2).sqrt()
    return vectors / lengths, lengths[..., 0]
