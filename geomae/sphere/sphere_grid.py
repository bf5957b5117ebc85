"""Fixed, nearly uniform directions on the sphere, and which of them are neighbours."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from geomae.equivariant.constants import Constant
from geomae.equivariant.harmonics import spherical_harmonics

CACHED_VALUES = 400_000
"""Grid values of the signals that are looked at together: as many as the cache holds."""


@dataclass(frozen=True, eq=False)
class SphereGrid:
    """Vertices of an icosahedron whose faces are divided into small triangles.

    Ten rhombi of `k^2` vertices each, two faces of the icosahedron a rhombus, then the two poles.
    Antipodes of vertices are vertices.

    Attributes:
        directions: `[g, 3]`, float64.
        cells: vertices of each rhombus with the row around it, `[10, k + 2, k + 2]`. Neighbours
            of cell (i, j) are (i +- 1, j), (i, j +- 1), (i + 1, j - 1) and (i - 1, j + 1).
        pole_neighbours: of the last two vertices, `[2, 5]`.
        spacing: longest distance between neighbours, in radians.
    """

    directions: Float[Tensor, "g 3"]
    cells: Int[Tensor, "10 rows rows"]
    pole_neighbours: Int[Tensor, "2 5"]
    spacing: float

    def __len__(self) -> int:
        return len(self.directions)

    @property
    def neighbours(self) -> Int[Tensor, "g 6"]:
        """The neighbours of each vertex; where there are 5, one is repeated."""
        return _neighbours(self.cells, self.pole_neighbours)


@dataclass(frozen=True, eq=False)
class SampledHarmonics:
    """Harmonics on a grid, laid out for the search of maxima.

    Attributes:
        grid: the directions.
        table: 'component' harmonics at all cells, at the poles, and at the neighbours of the
            poles, `[10 (k + 2)^2 + 12, m]`.
    """

    grid: SphereGrid
    table: Constant

    @torch.no_grad()
    def maxima(
        self,
        coefficients: Float[Tensor, "n m"],
        fraction: float | None,
        margin: float,
        slack: float,
    ) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"]]:
        """Signal and vertex of every local maximum on the grid, or almost one.

        Args:
            coefficients: of signals of mean zero; zeros have no maximum.
            fraction: how high a maximum must be, as a fraction of the highest; None for all.
            margin: how much less is enough, as a fraction of the greatest absolute value.
            slack: how much lower than its neighbours a maximum may be, as such a fraction.
        """
        n, rows = len(coefficients), len(self.table.values)
        # Matrix products and reductions are several times slower for odd numbers of signals.
        size = min(512, max(CACHED_VALUES // rows, 32) // 32 * 32, max(-(-n // 16) * 16, 16))
        work = _Workspace(self, coefficients, size)
        found = []
        for start in range(0, n, size):
            part = coefficients[start : start + size]
            part = torch.nn.functional.pad(part, (0, 0, 0, size - len(part)))
            own = work.maxima(part, fraction, margin, slack)
            found += [(start + signal, vertex) for vertex, signal in own]
        if not found:
            nothing = torch.zeros(0, dtype=torch.long, device=coefficients.device)
            return nothing, nothing
        signals, vertices = zip(*found, strict=True)
        return torch.cat(signals), torch.cat(vertices)


class _Workspace:
    """Arrays for the search, which stay in the cache from one set of `n` signals to the next."""

    def __init__(self, sampled: SampledHarmonics, like: Tensor, n: int):
        self.n, self.first_pole = n, len(sampled.grid) - 2
        self.table = sampled.table(like)
        rows = sampled.grid.cells.shape[1]
        self.values = like.new_empty(len(self.table), self.n)
        self.cells = self.values[:-12].view(10, rows, rows, self.n)
        self.pairs = like.new_empty(10, rows - 1, rows, self.n)
        self.around = like.new_empty(10, rows - 2, rows - 2, self.n)
        self.higher = torch.empty_like(self.around, dtype=torch.bool)

    def maxima(
        self, coefficients: Tensor, fraction: float | None, margin: float, slack: float
    ) -> list[tuple[Tensor, Tensor]]:
        """Vertices and signals: those in the rhombi, then the poles."""
        values, pairs, around = self.values, self.pairs, self.around
        torch.mm(self.table, coefficients.T, out=values)
        lowest, highest = values.amin(0), values.amax(0)
        size = torch.maximum(highest, -lowest)
        limit, below = torch.full_like(highest, -torch.inf), slack * size
        if fraction is not None:
            limit = fraction * highest - margin * size
        limit = torch.where(highest > 0, limit, torch.inf)
        torch.maximum(self.cells[:, :-1], self.cells[:, 1:], out=pairs)
        torch.maximum(pairs[:, :-1, 1:-1], pairs[:, 1:, 1:-1], out=around)
        for part in (pairs[:, 1:, :-2], pairs[:, :-1, 2:]):
            torch.maximum(around, part, out=around)
        torch.maximum(around.sub_(below), limit, out=around)
        torch.ge(self.cells[:, 1:-1, 1:-1], around, out=self.higher)
        ring = torch.maximum(values[-10:].view(2, 5, self.n).amax(1) - below, limit)
        pole, signal = _where(values[-12:-10] >= ring)
        return [_where(self.higher), (pole + self.first_pole, signal)]


def _where(mask: Bool[Tensor, "*rows n"]) -> tuple[Tensor, Tensor]:
    """Flat row and column of what is true; numpy finds it several times faster on a CPU."""
    if mask.device.type == "cpu":
        place = torch.from_numpy(np.flatnonzero(mask.numpy()))
    else:
        place = torch.nonzero(mask.flatten())[:, 0]
    row = torch.div(place, mask.shape[-1], rounding_mode="floor")
    return row, place - row * mask.shape[-1]


@lru_cache(maxsize=16)
def sampled_harmonics(frequency: int, lmax: int) -> SampledHarmonics:
    """Harmonics up to degree `lmax` on the grid of that frequency; made once."""
    grid = sphere_grid(frequency)
    last = torch.tensor([len(grid) - 2, len(grid) - 1])
    rows = torch.cat([grid.cells.flatten(), last, grid.pole_neighbours.flatten()])
    return SampledHarmonics(grid, Constant(spherical_harmonics(lmax, grid.directions)[rows]))


@lru_cache(maxsize=16)
def sphere_grid(frequency: int) -> SphereGrid:
    """The grid of `10 frequency^2 + 2` directions; made once.

    Args:
        frequency: parts into which each edge of the icosahedron is divided, at least 2.
    """
    if frequency < 2:
        raise ValueError(f"expected a frequency of at least 2, got {frequency}")
    corners, rhombi = _icosahedron()
    charts = np.stack([_chart(*corners[rhombus], frequency) for rhombus in rhombi])
    points = np.concatenate([charts[:, 2:-1, 1:-2].reshape(-1, 3), corners[:1], corners[-1:]])
    tree = cKDTree(points)
    cells = torch.from_numpy(tree.query(charts[:, 1:, :-1])[1])
    directions = torch.from_numpy(points)
    pole_neighbours = torch.from_numpy(tree.query(points[-2:], 6)[1][:, 1:])
    neighbours = directions[_neighbours(cells, pole_neighbours)]
    chord = (neighbours - directions[:, None]).norm(dim=-1).max()
    return SphereGrid(directions, cells, pole_neighbours, float(2 * torch.arcsin(chord / 2)))


def _icosahedron() -> tuple[np.ndarray, list[list[int]]]:
    """Corners (north pole, two rings of five, south pole) and rhombi, each from a pole outward."""
    height = 5**-0.5
    turns = 2 * np.pi / 10 * np.arange(10)
    upper, lower = turns[::2], turns[1::2]
    ring = [
        np.stack([2 * height * np.sin(t), np.full(5, h), 2 * height * np.cos(t)], 1)
        for t, h in ((upper, height), (lower, -height))
    ]
    corners = np.concatenate([[[0, 1, 0]], *ring, [[0, -1, 0]]])
    following = [1, 2, 3, 4, 0]
    north = [[0, 1 + r, 1 + following[r], 6 + r] for r in range(5)]
    south = [[11, 6 + r, 6 + following[r], 1 + following[r]] for r in range(5)]
    return corners, north + south


def _chart(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray, k: int) -> np.ndarray:
    """Points (i, j) of the rhombus a, b, c, d and of a row beyond, -1 <= i, j <= k + 1.

    Steps of equal angle along the edges of the two triangles.
    """
    angle = np.arccos(a @ b)
    i, j = np.meshgrid(np.arange(-1, k + 2), np.arange(-1, k + 2), indexing="ij")
    near = np.stack([k - i - j, i, j], -1)
    far = np.stack([i + j - k, k - j, k - i], -1)
    points = np.where(
        (i + j <= k)[..., None],
        np.sin(near / k * angle) @ np.stack([a, b, c]),
        np.sin(far / k * angle) @ np.stack([d, b, c]),
    )
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def _neighbours(cells: Tensor, pole_neighbours: Tensor) -> Tensor:
    shifted = (
        cells[:, 2:, 1:-1],
        cells[:, :-2, 1:-1],
        cells[:, 1:-1, 2:],
        cells[:, 1:-1, :-2],
        cells[:, 2:, :-2],
        cells[:, :-2, 2:],
    )
    poles = torch.cat([pole_neighbours, pole_neighbours[:, :1]], 1)
    return torch.cat([torch.stack([part.flatten() for part in shifted], 1), poles])
