"""Invariants of signals: numbers that rotations don't change."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Couplings:
    """How components of degrees are coupled.

    Attributes:
        tables: coefficients `[m1 * m2, all m3]` for each pair of degrees.
        first, second: components of the products of all pairs, one pair after the other.
        third: component that each coupled one is multiplied by.
        triple: number of the triple that each of these products belongs to.
    """

    tables: list[Constant]
    first: Constant
    second: Constant
    third: Constant
    triple: Constant


@lru_cache(maxsize=32)
def _couplings(lmax: int, odd: bool) -> _Couplings:
    thirds: dict[tuple[int, int], list[int]] = {}
    triples = bispectrum_triples(lmax, odd=odd)
    for a, b, c in triples:
        thirds.setdefault((a, b), []).append(c)
    tables, products = [], []
    for (a, b), third in thirds.items():
        parts = [o3.wigner_3j(a, b, c, dtype=torch.float64).flatten(0, 1) for c in third]
        tables.append(Constant(torch.cat(parts, 1)))
        own = torch.arange(a**2, (a + 1) ** 2), torch.arange(b**2, (b + 1) ** 2)
        products.append(torch.cartesian_prod(*own))
    first, second = torch.cat(products).T
    last = [c for _, _, c in triples]
    components = torch.cat([torch.arange(c**2, (c + 1) ** 2) for c in last])
    sizes = torch.tensor([2 * c + 1 for c in last])
    owner = torch.repeat_interleave(torch.arange(len(last)), sizes)
    indices = (first, second, components, owner)
    return _Couplings(tables, *(Constant(index.contiguous()) for index in indices))


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
    known = _couplings(lmax_of(coefficients), odd)
    pairs = coefficients[..., known.first(coefficients)]
    pairs = pairs * coefficients[..., known.second(coefficients)]
    tables = [table(coefficients) for table in known.tables]
    parts = pairs.split([len(table) for table in tables], -1)
    coupled = torch.cat([part @ table for part, table in zip(parts, tables, strict=True)], -1)
    products = coupled * coefficients[..., known.third(coefficients)]
    triple = known.triple(coefficients)
    entries = products.new_zeros(*products.shape[:-1], int(known.triple.values[-1]) + 1)
    return entries.index_add(-1, triple, products)
