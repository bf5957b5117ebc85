"""Sums of spherical harmonics at single directions, with first and second derivatives."""

from dataclasses import dataclass
from functools import lru_cache
from math import factorial, isqrt, prod

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.equivariant.constants import Constant
from geomae.equivariant.harmonics import dim


@dataclass(frozen=True)
class Jet:
    """A function near points of space: its value, slope and curvature.

    Attributes:
        value: `[p]`.
        gradient: `[3, p]`.
        hessian: the entries xx, yy, zz, xy, xz, yz, `[6, p]`.
    """

    value: Float[Tensor, " p"]
    gradient: Float[Tensor, "3 p"]
    hessian: Float[Tensor, "6 p"]


@dataclass(frozen=True)
class Recurrence:
    """How the zonal parts of harmonics follow from one another.

    With y the polar axis and w = z + ix, the harmonics of order +-m are the real and imaginary
    parts of w^m times a polynomial of y, and the monic ones obey
    `p_l = y p_(l-1) - beta_l p_(l-2)`.

    Attributes:
        index: component behind each real and imaginary part, `[parts]`, in the order of (degree,
            order, part).
        scale: what each is multiplied by, `[parts]`.
        beta: of each degree and order.
    """

    index: Tensor
    scale: Constant
    beta: tuple[tuple[float, ...], ...]


@lru_cache(maxsize=64)
def recurrence(lmax: int) -> Recurrence:
    """The recurrence up to a degree, for harmonics of 'component' normalisation."""
    index, scale = [], []
    for degree in range(lmax + 1):
        for order in range(degree + 1):
            # Of the order-th derivative of Legendre's polynomial: leading coefficient and norm.
            leading = prod(range(1, 2 * degree, 2)) / factorial(degree - order)
            norm = (2 * degree + 1) * (2 if order else 1)
            norm *= factorial(degree - order) / factorial(degree + order)
            index += [degree * (degree + 1) + order, degree * (degree + 1) - order]
            scale += [norm**0.5 * leading, -(norm**0.5) * leading if order else 0.0]
    beta = tuple(
        tuple(
            ((degree - 1) ** 2 - order**2) / (4 * (degree - 1) ** 2 - 1) for order in range(degree)
        )
        for degree in range(lmax + 1)
    )
    return Recurrence(torch.tensor(index), Constant(torch.tensor(scale, dtype=torch.float64)), beta)


def lmax_of(coefficients: Tensor, axis: int = -1) -> int:
    """Highest degree of coefficients, from their number.

    Raises:
        ValueError: if it is no square.
    """
    components = coefficients.shape[axis]
    lmax = isqrt(components) - 1
    if components == 0 or dim(lmax) != components:
        raise ValueError(
            f"expected (lmax + 1)^2 coefficients along axis {axis}, got {list(coefficients.shape)}"
        )
    return lmax


def scaled_parts(coefficients: Float[Tensor, "n m"]) -> Float[Tensor, "n parts"]:
    """Coefficients as `series` takes them."""
    table = recurrence(lmax_of(coefficients))
    return coefficients[:, table.index.to(coefficients.device)] * table.scale(coefficients)


def lmax_of_parts(parts: Float[Tensor, "parts p"]) -> int:
    """Highest degree of what `scaled_parts` made: there are (lmax + 1) (lmax + 2) parts."""
    return isqrt(parts.shape[0]) - 1


def series(parts: Float[Tensor, "parts p"], directions: Float[Tensor, "3 p"]) -> Jet:
    """One signal at each direction, with derivatives in space.

    Clenshaw's recurrence over degrees, for the value and two derivatives along the polar axis,
    then a sum over orders. What is differentiated is a polynomial in x, y, z that agrees with the
    signal on the unit sphere; off it, it's one of many that do.

    Args:
        parts: from `scaled_parts`, transposed: those of the signal at each direction.
        directions: unit vectors.
    """
    lmax = lmax_of_parts(parts)
    beta = recurrence(lmax).beta
    x, y, z = directions
    powers = _powers(z, x, lmax)
    sums = tuple(torch.zeros_like(parts[:2]) for _ in range(9))
    for order in range(lmax + 1):
        tower = _clenshaw(parts, y, order, lmax, beta)
        _accumulate(sums, tower, powers, order)
    f, f_y, f_yy, f_z, f_x, f_yz, f_xy, f_zz, f_xz = (part.sum(0) for part in sums)
    gradient = torch.stack([f_x, f_y, f_z])
    return Jet(f, gradient, torch.stack([-f_zz, 2 * f_yy, f_zz, f_xy, f_xz, f_yz]))


def _powers(real: Tensor, imaginary: Tensor, most: int) -> list[tuple[Tensor, Tensor]]:
    """Of w: (Re w^k, -Im w^k), and what stands in their place in the derivative along Im w."""
    re, im = torch.ones_like(real), torch.zeros_like(real)
    powers = []
    for _ in range(most + 1):
        powers.append((torch.stack([re, -im]), torch.stack([-im, -re])))
        re, im = re * real - im * imaginary, re * imaginary + im * real
    return powers


def _clenshaw(
    parts: Tensor, y: Tensor, order: int, lmax: int, beta: tuple[tuple[float, ...], ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Polynomial of one order at `y`, its derivative, and half its second, each `[2, p]`."""
    zero = torch.zeros_like(parts[:2])
    value, slope, bend = zero, zero, zero
    older = (zero, zero, zero)
    for degree in range(lmax, order - 1, -1):
        start = degree * (degree + 1) + 2 * order
        new = (
            torch.addcmul(parts[start : start + 2], y, value),
            torch.addcmul(value, y, slope),
            torch.addcmul(slope, y, bend),
        )
        if degree + 2 <= lmax:
            for one, two in zip(new, older, strict=True):
                one.sub_(two, alpha=beta[degree + 2][order])
        older = (value, slope, bend)
        value, slope, bend = new
    return value, slope, bend


def _accumulate(
    sums: tuple[Tensor, ...],
    tower: tuple[Tensor, Tensor, Tensor],
    powers: list[tuple[Tensor, Tensor]],
    order: int,
) -> None:
    """Adds one order's share to the sums f, y, yy/2, z, x, yz, xy, zz, xz."""
    value, slope, _ = tower
    for total, part in zip(sums[:3], tower, strict=True):
        total.addcmul_(part, powers[order][0])
    if order >= 1:
        along_z, along_x = powers[order - 1]
        sums[3].addcmul_(value, along_z, value=order)
        sums[4].addcmul_(value, along_x, value=order)
        sums[5].addcmul_(slope, along_z, value=order)
        sums[6].addcmul_(slope, along_x, value=order)
    if order >= 2:
        along_z, along_x = powers[order - 2]
        sums[7].addcmul_(value, along_z, value=order * (order - 1))
        sums[8].addcmul_(value, along_x, value=order * (order - 1))
