"""Peaks of signals on the sphere: all local maxima, to the rounding of the precision."""

from dataclasses import dataclass, fields
from math import cos, radians, sin

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.sphere.expansion import expansions
from geomae.sphere.newton import (
    Stationary,
    ascent_step,
    climb_on_sphere,
    curvature_floor,
    tangent,
)
from geomae.sphere.ridges import one_of_each_ridge
from geomae.sphere.series import lmax_of, scaled_parts, series
from geomae.sphere.sphere_grid import sampled_harmonics

SLACK = 0.01
"""How far below the threshold, as a fraction of the highest, a height that's a guess may be."""

LOWER = 0.03
"""How far below a neighbour the vertex next to a maximum on a slanted crest may lie, as a fraction
of the greatest absolute value and for a spacing of one radian of the highest degree."""

SAME_START = 5e-3
"""Of signals of norm 1: polynomials around two vertices differ by less at a common maximum."""

SAME_HEIGHT = 1e-3
"""Of signals of norm 1: climbs that end in one place differ by less, whatever the precision."""


@dataclass(frozen=True)
class SpherePeaks:
    """Local maxima of signals on the sphere, sorted by signal, then by falling value.

    Attributes:
        directions: unit vectors, `[p, 3]`.
        values: of the signal there, `[p]`.
        curvatures: eigenvalues of the Hessian on the sphere, ascending, `[p, 2]`.
        signal: signal that each belongs to, `[p]`.
        degenerate: a curvature vanishes, so that the maximum isn't (or not well) determined as a
            point; a ridge of equal height, such as a ring, is represented by one of its
            points, which has no meaning beyond that, `[p]`.
        constant: of each signal: it has no peaks, being the same in all directions, `[n]`.
    """

    directions: Float[Tensor, "p 3"]
    values: Float[Tensor, " p"]
    curvatures: Float[Tensor, "p 2"]
    signal: Int[Tensor, " p"]
    degenerate: Bool[Tensor, " p"]
    constant: Bool[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.signal)

    @property
    def n_signals(self) -> int:
        return len(self.constant)

    @property
    def counts(self) -> Int[Tensor, " n"]:
        """Number of peaks of each signal."""
        return torch.bincount(self.signal, minlength=self.n_signals)

    def split(self) -> list["SpherePeaks"]:
        """The peaks of each signal by itself."""
        starts = torch.cumsum(self.counts, 0) - self.counts
        parts = []
        for number, (start, count) in enumerate(
            zip(starts.tolist(), self.counts.tolist(), strict=True)
        ):
            own = {f.name: getattr(self, f.name)[start : start + count] for f in fields(self)}
            own |= {
                "signal": own["signal"] - number,
                "constant": self.constant[number : number + 1],
            }
            parts.append(SpherePeaks(**own))
        return parts


def find_peaks(
    coefficients: Float[Tensor, "n m"],
    *,
    relative_threshold: float | None = 0.4,
    min_separation: float = 0.0,
) -> SpherePeaks:
    """The peaks of signals on the sphere.

    Signals are evaluated on a fixed grid, several directions for each of their waves; what is
    higher there than its neighbours, or almost, climbs to the maximum by Newton's method, first on
    a polynomial that stands for the signal around the grid point, then on the signal itself. The
    result is equivariant under rotations and reflections as long as each maximum has such a grid
    point: of 30,000 random signals about one has not the same number of peaks in two orientations,
    a few more where all maxima of high degrees are asked for. Nothing is random, no signal sees
    another.

    `directions` and `values` carry gradients to the coefficients, by the implicit function theorem
    and to first order. The direction of a degenerate peak carries none.

    Args:
        coefficients: of each signal, 'component' harmonics of all degrees 0 to lmax.
        relative_threshold: least height above the signal's mean, as a fraction of that of the
            highest peak; None for all maxima. The default is above the side lobes of one
            delta function, whatever its degree.
        min_separation: a peak within this angle of a higher one is dropped, in degrees.

    Raises:
        ValueError: if the coefficients don't have the shape said, or a limit is out of range.
    """
    if coefficients.ndim != 2 or not coefficients.is_floating_point():
        raise ValueError(
            f"expected floating-point coefficients [n, (lmax + 1)^2], got "
            f"{list(coefficients.shape)} of {coefficients.dtype}"
        )
    if not 0 <= min_separation <= 180 or (relative_threshold or 0) > 1:
        raise ValueError(
            f"expected min_separation in [0, 180] degrees and relative_threshold of at most 1, "
            f"got {min_separation} and {relative_threshold}"
        )
    with torch.no_grad():
        peaks = _search(coefficients.detach(), relative_threshold, radians(min_separation))
    if torch.is_grad_enabled() and coefficients.requires_grad:
        return follow_peaks(coefficients, peaks)
    return peaks


def _search(coefficients: Tensor, threshold: float | None, separation: float) -> SpherePeaks:
    lmax = lmax_of(coefficients)
    epsilon = torch.finfo(coefficients.dtype).eps
    mean, above = coefficients[:, 0], coefficients[:, 1:]
    scale = coefficients.abs().amax(1, keepdim=True)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    size = (above / scale).norm(dim=1) * scale[:, 0]
    constant = size <= 64 * epsilon * mean.abs()
    unit = coefficients / torch.where(constant, torch.ones_like(size), size)[:, None]
    unit[:, 0] = 0
    unit = torch.where(constant[:, None], torch.zeros_like(unit), unit)
    frequency = max(4, 2 * lmax + (2 if threshold is None else 0))
    signal, starts = _starts(unit, lmax, frequency, threshold)
    spacing = sampled_harmonics(frequency, lmax).grid.spacing
    ends = climb_on_sphere(unit, starts, signal, reach=spacing)
    floor = curvature_floor(lmax, epsilon)
    ends = ends[_highest(ends, len(coefficients), threshold, floor)]
    ends = ends[_distinct(ends, unit, spacing, separation, floor)]
    own = size[ends.signal]
    return SpherePeaks(
        ends.directions,
        ends.values * own + mean[ends.signal],
        ends.curvatures * own[:, None],
        ends.signal,
        ends.curvatures[:, 1] > -floor,
        constant,
    )


def _starts(
    unit: Tensor, lmax: int, frequency: int, threshold: float | None
) -> tuple[Tensor, Tensor]:
    """Signals and directions close to their maxima, from the grid."""
    sampled = sampled_harmonics(frequency, lmax)
    rough = unit.float()
    # A maximum lies within this of a vertex, and falls no faster than the cosine of lmax times it.
    reach = 0.6 * sampled.grid.spacing
    margin = 1 - cos(lmax * reach)
    slack = LOWER * (lmax * sampled.grid.spacing) ** 2
    signal, vertex = sampled.maxima(rough, threshold, margin, slack)
    if not len(signal):
        return signal, unit.new_zeros(0, 3)
    order = torch.argsort(vertex, stable=True)
    signal, vertex = signal[order], vertex[order]
    starts, heights = expansions(frequency, lmax).approach(rough, signal, vertex)
    lowest = torch.full_like(heights[:1], torch.finfo(heights.dtype).min)
    if threshold is not None:
        finite = torch.where(torch.isinf(heights), -torch.inf, heights)
        lowest = (threshold - SLACK) * _top(finite, signal, len(unit)).clamp(min=0)[signal]
    high = torch.nonzero(heights >= lowest)[:, 0]
    high = high[torch.argsort(heights[high], descending=True)]
    high = high[torch.argsort(signal[high], stable=True)]
    signal, starts, heights = signal[high], starts[high], heights[high]
    first = ~_is_repeated(starts, heights, signal, sampled.grid.spacing / 10, SAME_START)
    signal, starts = signal[first], starts[first]
    return signal, torch.nn.functional.normalize(starts.to(unit.dtype), dim=1)


def _top(values: Tensor, signal: Tensor, n: int) -> Tensor:
    """Highest value of each signal, `[n]`."""
    lowest = values.new_full((n,), -torch.inf)
    return lowest.scatter_reduce(0, signal, values, "amax")


def _highest(
    ends: Stationary, n: int, threshold: float | None, floor: float
) -> Int[Tensor, " kept"]:
    """Maxima that are high enough, sorted by signal, then by falling value."""
    peaked = ends.converged & (ends.curvatures[:, 1] <= floor)
    values = torch.where(peaked, ends.values, -torch.inf)
    if threshold is not None:
        peaked &= values >= threshold * _top(values, ends.signal, n)[ends.signal]
    kept = torch.nonzero(peaked)[:, 0]
    kept = kept[torch.argsort(values[kept], descending=True, stable=True)]
    return kept[torch.argsort(ends.signal[kept], stable=True)]


def _distinct(
    ends: Stationary, unit: Tensor, spacing: float, separation: float, floor: float
) -> Int[Tensor, " kept"]:
    """Which to keep of those that coincide, lie on one ridge, or are too close."""
    kept = torch.nonzero(
        ~_is_repeated(ends.directions, ends.values, ends.signal, spacing / 20, SAME_HEIGHT)
    )[:, 0]
    flat = kept[ends.curvatures[kept, 1] > -floor]
    if len(flat):
        dropped = flat[~one_of_each_ridge(unit, ends[flat], spacing / 2, floor)]
        kept = kept[~torch.isin(kept, dropped)]
    if separation > 0:
        kept = kept[_apart(ends.directions[kept], ends.signal[kept], separation)]
    return kept


def _is_repeated(
    directions: Tensor, values: Tensor, signal: Tensor, tolerance: float, same: float
) -> Bool[Tensor, " p"]:
    """Whether an earlier climb of the same signal ended at the same place.

    Only such as ended at about the same height are compared.
    """
    repeated = torch.zeros_like(signal, dtype=torch.bool)
    later = torch.arange(len(signal), device=repeated.device)
    for offset in range(1, len(signal)):
        later = later[later >= offset]
        earlier = later - offset
        alike = (signal[later] == signal[earlier]) & (values[earlier] - values[later] <= same)
        later = later[alike]
        if not len(later):
            break
        gap = (directions[later] - directions[later - offset]).norm(dim=1)
        repeated[later] |= gap <= tolerance
    return repeated


def _apart(directions: Tensor, signal: Tensor, separation: float) -> Bool[Tensor, " p"]:
    """Whether no higher peak that is itself kept lies within the angle."""
    pairs = []
    later = torch.arange(len(signal), device=signal.device)
    for offset in range(1, len(signal)):
        later = later[later >= offset]
        later = later[signal[later] == signal[later - offset]]
        if not len(later):
            break
        gap = (directions[later] - directions[later - offset]).norm(dim=1)
        close = later[gap < 2 * sin(separation / 2)]
        pairs.append(torch.stack([close - offset, close]))
    kept = torch.ones_like(signal, dtype=torch.bool)
    if pairs:
        higher, lower = torch.cat(pairs, 1)
        while True:
            now = torch.ones_like(kept)
            now[lower[kept[higher]]] = False
            if torch.equal(now, kept):
                break
            kept = now
    return kept


def follow_peaks(coefficients: Float[Tensor, "n m"], peaks: SpherePeaks) -> SpherePeaks:
    """The same peaks, differentiable in the coefficients.

    A maximum moves by `d direction = -H^-1 d gradient`; its value changes as the signal does at
    a fixed direction. First derivatives only.

    Args:
        coefficients: those in which the peaks were found, attached to a graph.
        peaks: of them.
    """
    parts = scaled_parts(coefficients).T.index_select(1, peaks.signal)
    fixed = peaks.directions.detach().T
    jet = series(parts, fixed)
    local = tangent(fixed, jet)
    hessian = tuple(part.detach() for part in local.hessian)
    s1, s2 = ascent_step(local.gradient, hessian, torch.finfo(fixed.dtype).tiny)
    step = local.frame[0] * (s1 - s1.detach()) + local.frame[1] * (s2 - s2.detach())
    moved = fixed + torch.where(peaks.degenerate, torch.zeros_like(step), step)
    values = peaks.values.detach() + (jet.value - jet.value.detach())
    return SpherePeaks(
        moved.T, values, peaks.curvatures, peaks.signal, peaks.degenerate, peaks.constant
    )
