"""Polynomials that stand for signals around the vertices of a grid, to start Newton's method."""

from dataclasses import dataclass
from functools import lru_cache
from math import pi

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.equivariant.constants import Constant
from geomae.equivariant.harmonics import spherical_harmonics
from geomae.sphere.newton import CHUNK, ascent_step, eigenvalues, move, tangent_frame
from geomae.sphere.sphere_grid import sphere_grid

DEGREE = 4
TERMS = [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]
"""Powers of the two coordinates in each term."""

STEPS = 3
LEVEL, SOFT = 0.1, 0.5
"""A crest is level up to this slope and curvature, as fractions of the curvature across it."""

SETTLED = 0.02
"""Last step of a way that has arrived for certain."""

NODES = 40


@dataclass(frozen=True, eq=False)
class Expansions:
    """At each vertex, the polynomial of a signal in coordinates of the tangent plane.

    Attributes:
        directions: the vertices, `[g, 3]`.
        table: takes coefficients of a signal to those of the polynomial, `[g, m, terms]`.
        radius: unit of the coordinates.
    """

    directions: Constant
    table: Constant
    radius: float

    @torch.no_grad()
    def approach(
        self,
        coefficients: Float[Tensor, "n m"],
        signal: Int[Tensor, " p"],
        vertex: Int[Tensor, " p"],
    ) -> tuple[Float[Tensor, "p 3"], Float[Tensor, " p"]]:
        """Maxima of the polynomials around the vertices, or places on the way to them.

        Args:
            coefficients: of signals of norm 1.
            signal, vertex: sorted by vertex.

        Returns:
            Directions, and heights that the signal has not far from there: minus infinity where
            the way leads away from the vertex, infinity where it slows down on a crest so level
            that the polynomial can't tell whether the signal has a maximum there.
        """
        places, heights = [], []
        for owner, here in zip(signal.split(CHUNK), vertex.split(CHUNK), strict=True):
            polynomials = self._polynomials(coefficients, owner, here).T.contiguous()
            starts = self.directions(coefficients).index_select(0, here).T.contiguous()
            place, height = _climb(polynomials, starts, self.radius)
            places.append(place)
            heights.append(height)
        return torch.cat(places), torch.cat(heights)

    def _polynomials(self, coefficients: Tensor, signal: Tensor, vertex: Tensor) -> Tensor:
        """`[p, terms]`, by one product for each vertex where many share it."""
        table, rows = self.table(coefficients), coefficients.index_select(0, signal)
        vertices, counts = torch.unique_consecutive(vertex, return_counts=True)
        result = rows.new_empty(len(rows), len(TERMS))
        if len(vertex) < 4 * len(vertices):
            for here, row, out in zip(
                vertex.split(512), rows.split(512), result.split(512), strict=True
            ):
                torch.bmm(row[:, None], table.index_select(0, here), out=out[:, None])
            return result
        sizes = counts.tolist()
        blocks = zip(vertices.tolist(), rows.split(sizes), result.split(sizes), strict=True)
        for here, block, out in blocks:
            torch.mm(block, table[here], out=out)
        return result


def _climb(polynomial: Tensor, starts: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Newton's method on polynomials `[terms, p]`, from the origin of the tangent plane."""
    s = t = torch.zeros_like(polynomial[0])
    for _ in range(STEPS):
        gradient, hessian = _derivatives(polynomial, s, t)
        one, two = ascent_step(gradient, hessian, 1e-4)
        shrink = (0.5 / torch.hypot(one, two).clamp(min=0.5)).clamp(max=1)
        s, t = s + one * shrink, t + two * shrink
    length = torch.hypot(s, t)
    height = _value(polynomial, s, t)
    height = torch.where((length < 1) & (shrink == 1), height, -torch.inf)
    low, high = eigenvalues(hessian)
    level = (torch.hypot(*gradient) < LEVEL * low.abs()) & (high > -SOFT * low.abs())
    height = torch.where(level & (torch.hypot(one, two) > SETTLED), torch.inf, height)
    shrink = radius * (1.2 / length.clamp(min=1.2))
    return move(starts, tangent_frame(starts), s * shrink, t * shrink).T, height


def _value(polynomial: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """Horner's scheme in both coordinates."""
    total = torch.zeros_like(s)
    rows = [[k for k, (power, _) in enumerate(TERMS) if power == i] for i in range(DEGREE + 1)]
    for row in reversed(rows):
        inner = polynomial[row[-1]]
        for term in reversed(row[:-1]):
            inner = torch.addcmul(polynomial[term], inner, t)
        total = torch.addcmul(inner, total, s)
    return total


def _derivatives(
    polynomial: Tensor, s: Tensor, t: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Gradient and Hessian of polynomials at (s, t)."""
    powers_s, powers_t = [torch.ones_like(s)], [torch.ones_like(t)]
    for _ in range(DEGREE - 1):
        powers_s.append(powers_s[-1] * s)
        powers_t.append(powers_t[-1] * t)
    monomials = {(i, j): powers_s[i] * powers_t[j] for i, j in TERMS if i + j < DEGREE}
    sums = [torch.zeros_like(s) for _ in range(5)]
    for coefficient, (i, j) in zip(polynomial, TERMS, strict=True):
        shares = (
            (i, i - 1, j),
            (j, i, j - 1),
            (i * (i - 1), i - 2, j),
            (i * j, i - 1, j - 1),
            (j * (j - 1), i, j - 2),
        )
        for total, (factor, a, b) in zip(sums, shares, strict=True):
            if factor:
                total.addcmul_(coefficient, monomials[a, b], value=factor)
    return (sums[0], sums[1]), (sums[2], sums[3], sums[4])


@lru_cache(maxsize=8)
def expansions(frequency: int, lmax: int) -> Expansions:
    """Expansions of signals up to degree `lmax` around the vertices of a grid; made once.

    Least squares over a disc that reaches past the neighbours' bisectors.
    """
    grid = sphere_grid(frequency)
    radius = 0.75 * grid.spacing
    index = torch.arange(NODES, dtype=torch.float64) + 0.5
    # Dense at the rim, as polynomials want it; the golden angle spreads the nodes around.
    distance, angle = torch.sin(index / NODES * pi / 2), index * pi * (5**0.5 - 1)
    s, t = distance * torch.cos(angle), distance * torch.sin(angle)
    fit = torch.linalg.pinv(torch.stack([s**i * t**j for i, j in TERMS], 1))
    table = torch.cat(
        [_fitted(part, s * radius, t * radius, fit, lmax) for part in grid.directions.split(256)]
    )
    return Expansions(Constant(grid.directions), Constant(table.float()), radius)


def _fitted(vertices: Tensor, s: Tensor, t: Tensor, fit: Tensor, lmax: int) -> Tensor:
    frame = torch.stack(tangent_frame(vertices.T.contiguous()))
    nodes = vertices[:, None] + torch.einsum("xn,xcg->gnc", torch.stack([s, t]), frame)
    return torch.einsum("kn,gnm->gmk", fit, spherical_harmonics(lmax, nodes))
