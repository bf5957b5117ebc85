"""Quadrature on the sphere."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.integrate import lebedev_rule
from torch import Tensor

LEBEDEV_DEGREES = (*range(3, 32, 2), *range(35, 132, 6))
"""Degrees up to which Lebedev's rules are exact."""


def sphere_quadrature(
    degree: int,
) -> tuple[Float[Tensor, "points 3"], Float[Tensor, " points"]]:
    """Nodes that integrate all harmonics up to `degree` exactly.

    Lebedev's rule of the least sufficient degree, or a product rule beyond them (131). Returns
    directions and weights (float64) that sum to 1.
    """
    sufficient = [exact for exact in LEBEDEV_DEGREES if exact >= degree]
    if not sufficient:
        return product_quadrature(degree)
    points, weights = lebedev_rule(sufficient[0])
    return torch.from_numpy(points.T.copy()), torch.from_numpy(weights / weights.sum())


def product_quadrature(
    degree: int,
) -> tuple[Float[Tensor, "points 3"], Float[Tensor, " points"]]:
    """Gauss-Legendre in the height (y) by uniform angles: exact up to any `degree`."""
    heights, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    angles = 2 * np.pi * np.arange(degree + 1) / (degree + 1)
    rings = np.sqrt(1 - heights**2)
    points = np.stack(
        [
            rings[:, None] * np.sin(angles),
            np.broadcast_to(heights[:, None], (len(heights), len(angles))),
            rings[:, None] * np.cos(angles),
        ],
        -1,
    )
    share = np.repeat(weights / 2 / len(angles), len(angles))
    return torch.from_numpy(points.reshape(-1, 3)), torch.from_numpy(share)
