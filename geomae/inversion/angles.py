"""Angles between atoms on a sphere, from sums of Legendre polynomials of their cosines.

Where k atoms of an element are at one radius, the l-th Gram matrix tells the sum of P_l(cos) over
pairs of them, or over pairs with another shell's. These are moments of a sum of points, one for
each pair, with whole weights. Few distinct cosines follow as the nodes of a quadrature (Golub and
Welsch 1969), some of them at the ends -1 and 1 (Radau, Lobatto); as many as there are degrees
follow from Newton's identities as roots of a polynomial. Repeated cosines, which symmetry makes,
are nodes of a larger weight: no double roots.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

WHOLE = 0.05
"""How far from a whole number a count of pairs may come out."""

GAPS = (0.3, 0.1, 3e-2, 1e-2, 1e-3, 1e-4, 0.0)
"""Roots that are nearer than that may be one."""

POLISHING = 8
"""Newton steps on cosines whose counts are known."""


@dataclass(frozen=True)
class Angles:
    """Cosines of the angles of all pairs.

    Attributes:
        cosines: distinct ones, ascending, `[d]`.
        counts: pairs that have each, `[d]`.
        sure: no others have the same sums.
    """

    cosines: Float[np.ndarray, " d"]
    counts: Int[np.ndarray, " d"]
    sure: bool


def angles_of(sums: Float[np.ndarray, " degrees"], *, tolerance: float = 1e-7) -> Angles | None:
    """The cosines whose Legendre polynomials have given sums.

    Args:
        sums: of `P_l` over all pairs, l = 0, 1, ...; the first is the number of pairs.
        tolerance: error of the sums, in parts of that number.

    Returns:
        None where the degrees don't suffice, or no cosines have such sums.
    """
    n, lmax = round(float(sums[0])), len(sums) - 1
    if n < 1:
        return None
    if lmax >= 1:
        same = np.array([sums[1] / n]).clip(-1, 1)
        if np.abs(legendre(lmax, same)[:, 0] - sums / n).max() < tolerance:
            return Angles(same, np.array([n]), sure=lmax >= 2 or n == 1)
    for weight in range(2, lmax + 2):
        for ends in _ENDS:
            inner, odd = divmod(weight - len(ends), 2)
            nodes = None if odd or inner < 0 else _nodes(sums / n, ends, inner)
            if nodes is None:
                continue
            found = _counted(nodes, sums, n, tolerance)
            if found is not None:
                # a polynomial of this degree that is never negative vanishes on the nodes alone
                return Angles(*found, sure=weight <= lmax or n <= lmax)
    return _by_newton(sums, n, tolerance) if n <= lmax else None


_ENDS = ((), (-1.0,), (1.0,), (-1.0, 1.0))
"""Cosines that are at an end of the interval."""


def legendre(lmax: int, x: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "degrees *batch"]:
    """Legendre polynomials of degrees 0 to lmax."""
    values = [np.ones_like(x), x]
    for degree in range(1, lmax):
        ahead = (2 * degree + 1) * x * values[-1] - degree * values[-2]
        values.append(ahead / (degree + 1))
    return np.stack(values[: lmax + 1])


def _slopes(values: np.ndarray) -> np.ndarray:
    """Derivatives of Legendre polynomials: `P_l+1' = P_l-1' + (2l + 1) P_l`."""
    slopes = np.zeros_like(values)
    for degree in range(1, len(values)):
        below = slopes[degree - 2] if degree > 1 else 0.0
        slopes[degree] = below + (2 * degree - 1) * values[degree - 1]
    return slopes


def _times_x(moments: np.ndarray) -> np.ndarray:
    """Means of `x P_l` from those of `P_l`, one fewer."""
    degree = np.arange(len(moments) - 1)
    below = np.concatenate([[0.0], moments[: len(degree) - 1]])[: len(degree)]
    return ((degree + 1) * moments[1:] + degree * below) / (2 * degree + 1)


@lru_cache
def _products(count: int) -> Float[np.ndarray, "c c s"]:
    """Coefficients of `P_j P_k` in Legendre polynomials of degrees below `2 count - 1`."""
    x, weights = np.polynomial.legendre.leggauss(2 * count)
    values = legendre(2 * count - 2, x)
    norm = (2 * np.arange(2 * count - 1) + 1) / 2
    return np.einsum("jx,kx,sx,x,s->jks", values[:count], values[:count], values, weights, norm)


def _nodes(moments: np.ndarray, ends: tuple[float, ...], inner: int) -> np.ndarray | None:
    """Nodes of the quadrature with so many inside and some at the ends; None if there is none."""
    for end in ends:
        moments = moments[:-1] - end * _times_x(moments)
    if not inner:
        return np.array(ends)
    table = _products(inner)
    mass = table @ moments[: 2 * inner - 1]
    moved = table @ _times_x(moments)[: 2 * inner - 1]
    try:
        root = np.linalg.inv(np.linalg.cholesky(mass))
    except np.linalg.LinAlgError:
        return None
    nodes = np.linalg.eigvalsh(root @ moved @ root.T)
    if not np.isfinite(nodes).all() or np.abs(nodes).max() > 1 + 1e-6:
        return None
    return np.sort(np.concatenate([nodes.clip(-1, 1), ends]))


def _counted(
    nodes: np.ndarray, sums: np.ndarray, n: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Nodes, polished, and whole counts; None if they are not whole or the sums are others."""
    values = legendre(len(sums) - 1, nodes)
    weights = np.linalg.lstsq(values, sums, rcond=None)[0]
    counts = weights.round()
    if np.abs(weights - counts).max() > WHOLE or counts.min() < 1 or counts.sum() != n:
        return None
    return _polished(nodes, counts, sums, n, tolerance)


def _polished(
    nodes: np.ndarray, counts: np.ndarray, sums: np.ndarray, n: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Newton's method on cosines inside; ends stay. None where the sums are not reached."""
    inside = np.abs(nodes) < 1 - 1e-9
    best, least = nodes, np.inf
    for _ in range(POLISHING):
        values = legendre(len(sums) - 1, nodes)
        error = values @ counts - sums
        size = np.abs(error).max() / n
        if not size < least / 2:
            break
        best, least = nodes, size
        if not inside.any() or size < 1e-15:
            break
        slopes = (_slopes(values) * counts)[:, inside]
        nodes = nodes.copy()
        nodes[inside] -= np.linalg.lstsq(slopes, error, rcond=1e-9)[0]
        nodes = nodes.clip(-1, 1)
    return (best, counts.astype(int)) if least < tolerance else None


def _by_newton(sums: np.ndarray, n: int, tolerance: float) -> Angles | None:
    """As many cosines as there are pairs, by Newton's identities; close roots may be one."""
    roots = _roots(sums, n)
    for exact in (1e-4 * tolerance, tolerance):
        for gap in GAPS:
            group = np.concatenate([[0], np.cumsum(np.diff(roots) > gap)])
            counts = np.bincount(group).astype(float)
            means = np.bincount(group, roots) / counts
            found = _polished(means.clip(-1, 1), counts, sums, n, exact)
            if found is not None:
                return Angles(*found, sure=True)
    return None


def _roots(sums: np.ndarray, n: int) -> np.ndarray:
    """Real parts of the numbers whose powers have the sums told, ascending."""
    powers = [
        np.polynomial.legendre.poly2leg([0.0] * degree + [1.0]) @ sums[: degree + 1]
        for degree in range(n + 1)
    ]
    symmetric = [1.0]
    for k in range(1, n + 1):
        terms = [(-1) ** (i - 1) * symmetric[k - i] * powers[i] for i in range(1, k + 1)]
        symmetric.append(sum(terms) / k)
    return np.sort(np.roots([(-1) ** k * e for k, e in enumerate(symmetric)]).real)
