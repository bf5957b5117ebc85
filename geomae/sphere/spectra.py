"""Invariants of signals: numbers that rotations don't change."""

from functools import lru_cache

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from geomae.equivariant.constants import Constant
from geomae.equivariant.harmonics import degrees
from geomae.sphere.series import lmax_of


def power_spectrum(coefficients: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch degrees"]:
    """Power of each degree, `sum_m c_lm^2`; over all degrees the mean square of the signal.

    Args:
        coefficients: `[*, (lmax + 1)^2]`.

    Returns:
        `[*, lmax + 1]`.
    """
    lmax = lmax_of(coefficients)
    power = coefficients.new_zeros(*coefficients.shape[:-1], lmax + 1)
    return power.index_add(-1, degrees(lmax).to(coefficients.device), coefficients.square())


def cross_spectrum(features: Float[Tensor, "n m c"]) -> Float[Tensor, "n degrees c c"]:
    """Products of channels within each degree, `sum_m c_lm,i c_lm,j`.

    They know how channels are turned against each other, which powers don't.

    Args:
        features: signals of several channels, `[n, (lmax + 1)^2, channels]`.

    Returns:
        `[n, lmax + 1, channels, channels]`, symmetric.
    """
    lmax = lmax_of(features, axis=1)
    blocks = features.split([2 * degree + 1 for degree in range(lmax + 1)], 1)
    return torch.stack([block.mT @ block for block in blocks], 1)


@lru_cache(maxsize=32)
def bispectrum_triples(lmax: int, *, odd: bool = False) -> list[tuple[int, int, int]]:
    """Degrees (l1, l2, l3) of each entry of a bispectrum, ascending.

    Args:
        lmax: highest degree.
        odd: also those of odd sum. They need three different degrees: a coupling of odd sum
            is antisymmetric where two are equal.
    """
    return [
        (a, b, c)
        for a in range(lmax + 1)
        for b in range(a, lmax + 1)
        for c in range(b, min(a + b, lmax) + 1)
        if (a + b + c) % 2 == 0 or (odd and a < b < c)
    ]


@lru_cache(maxsize=32)
def _couplings(lmax: int, odd: bool) -> list[tuple[int, int, list[int], Constant]]:
    """For each pair of degrees: the third ones, and coefficients `[m1 * m2, all m3]`."""
    thirds: dict[tuple[int, int], list[int]] = {}
    for a, b, c in bispectrum_triples(lmax, odd=odd):
        thirds.setdefault((a, b), []).append(c)
    return [
        (
            a,
            b,
            third,
            Constant(
                torch.cat(
                    [o3.wigner_3j(a, b, c, dtype=torch.float64).flatten(0, 1) for c in third], 1
                )
            ),
        )
        for (a, b), third in thirds.items()
    ]


def bispectrum(
    coefficients: Float[Tensor, "*batch m"], *, odd: bool = False
) -> Float[Tensor, "*batch triples"]:
    """Triple products of degrees, `sum w_m1,m2,m3 c_l1,m1 c_l2,m2 c_l3,m3`.

    With e3nn's Clebsch-Gordan coefficients w (`o3.wigner_3j`), whose sign is a convention. They
    fix the shape of a generic signal up to rotation (Kakarala 2012); those of odd sum of degrees
    change sign under reflection, and so tell mirror images apart.

    Args:
        coefficients: `[*, (lmax + 1)^2]`.
        odd: also the triples of odd sum.

    Returns:
        One entry for each of `bispectrum_triples(lmax, odd=odd)`.
    """
    lmax = lmax_of(coefficients)
    blocks = coefficients.split([2 * degree + 1 for degree in range(lmax + 1)], -1)
    entries = []
    for a, b, third, table in _couplings(lmax, odd):
        pair = (blocks[a][..., :, None] * blocks[b][..., None, :]).flatten(-2)
        coupled = (pair @ table(coefficients)).split([2 * c + 1 for c in third], -1)
        entries += [(part * blocks[c]).sum(-1) for part, c in zip(coupled, third, strict=True)]
    return torch.stack(entries, -1)
