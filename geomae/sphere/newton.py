"""Newton's method on the sphere, for many signals and starting points at once."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.sphere.series import Jet, lmax_of, scaled_parts, series

MAX_STEPS = 60
CHUNK = 16384
"""Points that are followed together: few enough for the cache, enough to hide call overhead."""


@dataclass(frozen=True)
class Stationary:
    """Where climbs on the sphere ended.

    Attributes:
        directions: unit vectors, `[p, 3]`.
        values: `[p]`.
        curvatures: eigenvalues of the Hessian on the sphere, ascending, `[p, 2]`.
        signal: signal that each belongs to, `[p]`.
        converged: the gradient vanishes there, `[p]`.
    """

    directions: Float[Tensor, "p 3"]
    values: Float[Tensor, " p"]
    curvatures: Float[Tensor, "p 2"]
    signal: Int[Tensor, " p"]
    converged: Bool[Tensor, " p"]

    def __getitem__(self, index: Tensor) -> "Stationary":
        return Stationary(*(getattr(self, field.name)[index] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.signal)


@dataclass(frozen=True)
class Tangent:
    """Derivatives on the sphere in a frame of the tangent plane.

    Attributes:
        frame: two orthonormal tangent vectors, each `[3, p]`.
        gradient: components of the gradient along them.
        hessian: components 11, 12, 22 of the Hessian.
    """

    frame: tuple[Tensor, Tensor]
    gradient: tuple[Tensor, Tensor]
    hessian: tuple[Tensor, Tensor, Tensor]


def tangent_frame(directions: Float[Tensor, "3 p"]) -> tuple[Tensor, Tensor]:
    """Two orthonormal vectors `[3, p]` in the tangent plane (Duff et al. 2017)."""
    x, y, z = directions
    sign = torch.where(z < 0, -1.0, 1.0).to(z)
    a = -1 / (sign + z)
    b = x * y * a
    one = torch.stack([1 + sign * x * x * a, sign * b, -sign * x])
    two = torch.stack([b, sign + y * y * a, -y])
    return one, two


def tangent(directions: Float[Tensor, "3 p"], jet: Jet) -> Tangent:
    """Derivatives on the sphere from derivatives in space.

    The sphere's own curvature adds the slope along the radius to the Hessian.
    """
    one, two = tangent_frame(directions)
    xx, yy, zz, xy, xz, yz = jet.hessian

    def applied(v: Tensor) -> Tensor:
        x, y, z = v
        return torch.stack(
            [
                xx * x + xy * y + xz * z,
                xy * x + yy * y + yz * z,
                xz * x + yz * y + zz * z,
            ]
        )

    along_one, along_two = applied(one), applied(two)
    radial = (directions * jet.gradient).sum(0)
    gradient = ((one * jet.gradient).sum(0), (two * jet.gradient).sum(0))
    hessian = (
        (one * along_one).sum(0) - radial,
        (one * along_two).sum(0),
        (two * along_two).sum(0) - radial,
    )
    return Tangent((one, two), gradient, hessian)


def eigenvalues(hessian: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Of symmetric 2 x 2 matrices (components 11, 12, 22), ascending."""
    a, b, c = hessian
    mean, radius = (a + c) / 2, torch.hypot((a - c) / 2, b)
    return mean - radius, mean + radius


def ascent_step(
    gradient: tuple[Tensor, Tensor], hessian: tuple[Tensor, Tensor, Tensor], floor: float
) -> tuple[Tensor, Tensor]:
    """Components of the step to a maximum: Newton's, with eigenvalues made negative.

    Args:
        gradient, hessian: components in a frame.
        floor: eigenvalues smaller than this in size count as this large.
    """
    (g1, g2), (h11, h12, h22) = gradient, hessian
    low, high = eigenvalues(hessian)
    inverse_low, inverse_high = (1 / e.abs().clamp(min=floor) for e in (low, high))
    gap = high - low
    slope = torch.where(gap > 0, (inverse_high - inverse_low) / gap, 0)
    constant = inverse_low - slope * low
    return (
        constant * g1 + slope * (h11 * g1 + h12 * g2),
        constant * g2 + slope * (h12 * g1 + h22 * g2),
    )


def move(directions: Tensor, frame: tuple[Tensor, Tensor], s1: Tensor, s2: Tensor) -> Tensor:
    """Along the tangent, and back to the sphere."""
    moved = directions + frame[0] * s1 + frame[1] * s2
    return moved / moved.square().sum(0).sqrt()


@torch.no_grad()
def climb_on_sphere(
    coefficients: Float[Tensor, "n m"],
    seeds: Float[Tensor, "p 3"],
    signal: Int[Tensor, " p"],
    *,
    reach: float,
) -> Stationary:
    """Climb from each seed to a maximum of its signal.

    Most climbs end after a few steps; the others are followed together afterwards.

    Args:
        coefficients: of signals of norm 1 (or so: tolerances are relative to that).
        seeds: unit vectors.
        signal: signal of each.
        reach: longest step, in radians.
    """
    lmax = lmax_of(coefficients)
    climbs = _Climbs(scaled_parts(coefficients).T.contiguous(), seeds, signal, lmax, reach)
    for part in torch.arange(len(seeds), device=seeds.device).split(CHUNK):
        climbs.follow(part, 1 if climbs.epsilon > 1e-10 else 2)
    for part in torch.nonzero(~climbs.converged)[:, 0].split(CHUNK):
        climbs.follow(part, MAX_STEPS)
    return climbs.result()


def curvature_floor(lmax: int, epsilon: float) -> float:
    """Curvature of a signal of norm 1 that is too small to say where a maximum is."""
    return epsilon**0.5 * max(1, lmax * (lmax + 1))


class _Climbs:
    """Where every climb stands."""

    def __init__(self, parts: Tensor, seeds: Tensor, signal: Tensor, lmax: int, reach: float):
        self.parts, self.signal, self.lmax, self.reach = parts, signal, lmax, reach
        self.epsilon = torch.finfo(parts.dtype).eps
        self.floor = curvature_floor(lmax, self.epsilon)
        self.slack = 16 * self.epsilon * (lmax + 1)
        self.directions = seeds.T.contiguous()
        self.values = torch.full_like(self.directions[0], -torch.inf)
        self.curvatures = torch.zeros_like(self.directions[:2])
        self.converged = torch.zeros_like(self.values, dtype=torch.bool)

    def follow(self, active: Tensor, steps: int) -> None:
        """Moves some climbs on, by at most so many steps."""
        own = self.parts.index_select(1, self.signal[active])
        trial = point = self.directions.index_select(1, active)
        height = torch.full_like(trial[0], -torch.inf)
        limit = torch.full_like(height, self.reach)
        ended = torch.zeros_like(height, dtype=torch.bool)
        for step in range(steps):
            jet = series(own, trial)
            local = tangent(trial, jet)
            s1, s2 = ascent_step(local.gradient, local.hessian, self.floor)
            fell = jet.value < height - self.slack
            done = self._arrived(local, s1, s2) & ~fell & ~ended
            shrink = (limit / torch.hypot(s1, s2).clamp(min=self.epsilon)).clamp(max=1)
            ahead = move(trial, local.frame, s1 * shrink, s2 * shrink)
            self._record(active, ahead, jet.value, local, s1, s2, done)
            limit = torch.where(fell, (trial - point).square().sum(0).sqrt() / 4, limit)
            back = point + (trial - point) / 4
            ahead = torch.where(fell, back / back.square().sum(0).sqrt(), ahead)
            point, height = torch.where(fell, point, trial), torch.where(fell, height, jet.value)
            trial = ahead
            ended |= done | (limit <= self.epsilon)
            going = torch.nonzero(~ended)[:, 0]
            if not len(going) or step + 1 == steps:
                break
            if 2 * len(going) < len(active):
                active, own, ended = active[going], own.index_select(1, going), ended[going]
                point, trial = point.index_select(1, going), trial.index_select(1, going)
                height, limit = height[going], limit[going]
        self.directions[:, active[going]] = trial[:, going]

    def _arrived(self, local: Tangent, s1: Tensor, s2: Tensor) -> Tensor:
        """Whether the step ends on a maximum, or the gradient is down to rounding errors."""
        low, high = eigenvalues(local.hessian)
        stiffness = low.abs() / high.abs().clamp(min=self.floor)
        rest = (s1 * s1 + s2 * s2) * (self.lmax + 1) * stiffness
        level = torch.hypot(*local.gradient) <= self.slack * (self.lmax + 1)
        return ((rest <= 4 * self.epsilon) & (high < 0)) | level

    def _record(
        self,
        active: Tensor,
        ahead: Tensor,
        value: Tensor,
        local: Tangent,
        s1: Tensor,
        s2: Tensor,
        done: Tensor,
    ) -> None:
        """Keeps what is known of the climbs that end with this step."""
        g1, g2 = local.gradient
        which = active[done]
        self.directions[:, which] = ahead[:, done]
        self.values[which] = (value + (g1 * s1 + g2 * s2) / 2)[done]
        self.curvatures[:, which] = torch.stack(eigenvalues(local.hessian))[:, done]
        self.converged[which] = True

    def result(self) -> Stationary:
        return Stationary(
            self.directions.T.contiguous(),
            self.values,
            self.curvatures.T.contiguous(),
            self.signal,
            self.converged,
        )
