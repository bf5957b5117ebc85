"""Cartesian vectors and symmetric tensors as irreps, and back."""

from typing import Literal

import numpy as np
from e3nn import o3
from torch import float64

from geomae.errors import GeomaeError

Target = Literal["scalar", "vector", "tensor"]
"""What a column, three columns (x, y, z) or nine (a 3 x 3 matrix, row by row) of y stand for."""

WIDTHS = {"scalar": 1, "vector": 3, "tensor": 9}


def degrees_of(target: str) -> list[int]:
    """Degrees of natural parity that a target is made of; a tensor counts as symmetric."""
    if target not in WIDTHS:
        raise GeomaeError(f"target must be one of {', '.join(WIDTHS)}, not '{target}'")
    return {"scalar": [0], "vector": [1], "tensor": [0, 2]}[target]


def to_degree(y: np.ndarray, target: Target, degree: int) -> np.ndarray:
    """Part of a degree, `[n, 2 * degree + 1, k]`, of targets `[n, width * k]`."""
    width = WIDTHS[target]
    if y.shape[1] % width:
        raise GeomaeError(f"a {target} has {width} columns, but y has {y.shape[1]}")
    return np.einsum("ab,nkb->nak", _basis(target, degree), y.reshape(len(y), -1, width))


def from_degree(part: np.ndarray, target: Target, degree: int) -> np.ndarray:
    """What a part of a degree adds to the targets, `[n, width * k]`."""
    values = np.einsum("ab,nak->nkb", _basis(target, degree), part)
    return values.reshape(len(part), -1)


def _basis(target: Target, degree: int) -> np.ndarray:
    """Orthonormal rows `[2 * degree + 1, width]` that take the part of a degree."""
    if target != "tensor":
        return np.eye(WIDTHS[target])
    table = o3.wigner_3j(1, 1, degree, dtype=float64).numpy() * (2 * degree + 1) ** 0.5
    return table.reshape(9, -1).T
