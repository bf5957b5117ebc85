"""Maxima of smooth functions of a point in space, for many functions and seeds at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.matrices3 import highest_eigenvalue, solve_symmetric

ScalarField = Callable[[Tensor, Tensor], Tensor]
"""Values `[p]` at points `[p, 3]`, each of the function that its owner `[p]` names."""

SecondOrder = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""The same with gradients `[p, 3]` and Hessians `[p, 3, 3]`."""

DOUBT = 0.7
"""Part of the fall that a maximum's curvature promises below which a side of it is climbed."""

ROUNDS = 4
"""How often it is looked around what was found before."""


@dataclass(frozen=True)
class Maxima:
    """Where climbs ended.

    Attributes:
        positions: `[p, 3]`.
        values: `[p]`.
        curvatures: eigenvalues of the Hessian, ascending, `[p, 3]`; all negative at a maximum.
        owner: function that each belongs to, `[p]`.
        converged: the climb ended at a point where the gradient vanishes, `[p]`.
        slopes: length of the gradient, `[p]`.
        axes: eigenvectors of the Hessian, in the order of the curvatures, as columns, `[p, 3, 3]`.
    """

    positions: Float[Tensor, "p 3"]
    values: Float[Tensor, " p"]
    curvatures: Float[Tensor, "p 3"]
    owner: Int[Tensor, " p"]
    converged: Bool[Tensor, " p"]
    slopes: Float[Tensor, " p"]
    axes: Float[Tensor, "p 3 3"]

    def __getitem__(self, index: Tensor) -> "Maxima":
        return Maxima(*(getattr(self, field.name)[index] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.owner)

    @staticmethod
    def join(parts: Sequence["Maxima"]) -> "Maxima":
        """Several in a row."""
        return Maxima(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Maxima)))


def maximise(
    function: ScalarField,
    seeds: Float[Tensor, "p 3"],
    owner: Int[Tensor, " p"] | None = None,
    *,
    reach: float = 0.3,
    radius: float | None = None,
    tolerance: float | None = None,
    max_steps: int = 60,
    chunk: int = 4096,
) -> Maxima:
    """Climb from each seed to a maximum, by Newton steps within a trust region.

    Where the Hessian isn't negative definite it is shifted until it is, so that every step
    rises; a step after which the function is lower is taken back and the region shrunk. The climb
    ends with Newton's quadratic convergence, at the rounding of the precision. Points that have
    arrived are left alone. Nothing is random, and no seed sees another.

    Args:
        function: values at points, twice differentiable by autograd, each point's value
            depending on that point alone.
        seeds: starting points.
        owner: function of each; all 0 by default.
        reach: longest step, in the unit of the positions.
        radius: a climb that comes farther than this from the origin is given up.
        tolerance: step length that ends a climb; by default the rounding of the precision.
        max_steps: evaluations at most.
        chunk: points evaluated together.
    """

    def derivatives(points: Tensor, owners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return second_order(function, points, owners)

    owner = torch.zeros_like(seeds[:, 0], dtype=torch.long) if owner is None else owner
    return climb(
        derivatives,
        seeds,
        owner,
        reach=reach,
        radius=radius,
        tolerance=tolerance,
        max_steps=max_steps,
        chunk=chunk,
    )


def second_order(
    function: ScalarField, points: Float[Tensor, "p 3"], owner: Int[Tensor, " p"]
) -> tuple[Float[Tensor, " p"], Float[Tensor, "p 3"], Float[Tensor, "p 3 3"]]:
    """Values, gradients and Hessians at independent points, by automatic differentiation."""
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        values = function(points, owner)
        (gradient,) = torch.autograd.grad(values.sum(), points, create_graph=True)
        rows = [
            torch.autograd.grad(gradient[:, axis].sum(), points, retain_graph=axis < 2)[0]
            for axis in range(3)
        ]
    hessian = torch.stack(rows, 1)
    return values.detach(), gradient.detach(), (hessian + hessian.mT) / 2


@torch.no_grad()
def climb(
    derivatives: SecondOrder,
    seeds: Float[Tensor, "p 3"],
    owner: Int[Tensor, " p"],
    *,
    reach: float = 0.3,
    radius: float | None = None,
    tolerance: float | None = None,
    max_steps: int = 60,
    chunk: int = 4096,
) -> Maxima:
    """`maximise` for a function that comes with its derivatives."""
    state = _Climb(seeds, owner, reach, tolerance)
    for _ in range(max_steps):
        if not len(state.active):
            break
        trial = state.positions[state.active] + state.step[state.active]
        if radius is not None:
            trial = state.give_up(trial, trial.norm(dim=1) > radius)
            if not len(trial):
                break
        owners = owner[state.active]
        parts = [
            derivatives(points, names)
            for points, names in zip(trial.split(chunk), owners.split(chunk), strict=True)
        ]
        value, gradient, hessian = (torch.cat(part) for part in zip(*parts, strict=True))
        state.advance(trial, value, gradient, hessian)
    return state.result()


class _Climb:
    """What is known of every climb so far, and which are under way."""

    def __init__(self, seeds: Tensor, owner: Tensor, reach: float, tolerance: float | None):
        self.epsilon = torch.finfo(seeds.dtype).eps
        self.tolerance = 16 * self.epsilon if tolerance is None else tolerance
        self.quick = max(self.tolerance, self.epsilon**0.5)
        self.reach, self.owner = reach, owner
        self.positions = seeds.detach().clone()
        self.step = torch.zeros_like(self.positions)
        self.values = torch.full_like(seeds[:, 0], -torch.inf)
        self.gradients = torch.full_like(self.positions, torch.nan)
        self.hessians = self.positions.new_zeros(len(seeds), 3, 3)
        self.region = torch.full_like(self.values, reach)
        self.wanted = torch.full_like(self.values, torch.inf)
        self.converged = torch.zeros_like(owner, dtype=torch.bool)
        self.active = torch.nonzero(torch.isfinite(seeds).all(1))[:, 0]

    def give_up(self, trial: Tensor, lost: Tensor) -> Tensor:
        """Ends the climbs that are lost; returns the trial points of the others."""
        self.active = self.active[~lost]
        return trial[~lost]

    def advance(self, trial: Tensor, value: Tensor, gradient: Tensor, hessian: Tensor) -> None:
        """Takes the steps that rise and plans the next ones; ends the climbs that arrived."""
        active = self.active
        slack = 16 * self.epsilon * (1 + value.abs())
        risen = value >= self.values[active] - slack
        up, down = active[risen], active[~risen]
        self.positions[up], self.values[up] = trial[risen], value[risen]
        self.gradients[up], self.hessians[up] = gradient[risen], hessian[risen]
        wanted, concave = ascent_step(gradient[risen], hessian[risen])
        length, last = wanted.norm(dim=1), self.step[up].norm(dim=1)
        quick = (length <= self.quick) & (length <= 0.2 * self.wanted[up])
        self._finish(up[quick & concave], wanted[quick & concave])
        self.region[up] = (2 * torch.maximum(last, self.region[up] / 2)).clamp(max=self.reach)
        limit = (self.region[up] / length.clamp(min=self.tolerance)).clamp(max=1)
        self.step[up] = wanted * limit[:, None]
        self.step[down] /= 4
        self.region[down] = self.step[down].norm(dim=1)
        arrived = (length <= self.tolerance) | quick
        settled = (length <= self.epsilon**0.5 * self.reach) & (length >= self.wanted[up] / 2)
        self.wanted[up] = length
        self.converged[up] = concave & (arrived | settled)
        stuck = torch.zeros_like(self.converged)
        stuck[down] = self.region[down] <= self.tolerance
        stuck[up] = arrived & ~concave
        self.converged[down] |= stuck[down]
        self.active = active[~(self.converged | stuck)[active]]

    def _finish(self, arriving: Tensor, step: Tensor) -> None:
        """Takes Newton's last step without another look: what remains is its square."""
        rise = (self.gradients[arriving] * step).sum(1) / 2
        bend = (self.hessians[arriving] @ step[..., None])[..., 0]
        self.positions[arriving] += step
        self.values[arriving] += rise
        self.gradients[arriving] += bend

    def result(self) -> Maxima:
        curvatures, axes = torch.linalg.eigh(self.hessians)
        return Maxima(
            self.positions,
            self.values,
            curvatures,
            self.owner,
            self.converged,
            self.gradients.norm(dim=1),
            axes,
        )


def ascent_step(
    gradient: Float[Tensor, "p 3"], hessian: Float[Tensor, "p 3 3"]
) -> tuple[Float[Tensor, "p 3"], Bool[Tensor, " p"]]:
    """Newton's step to a maximum, and whether the Hessian is negative definite there.

    Elsewhere the Hessian is shifted by its highest eigenvalue and a part of its size, so that
    the step still rises, most along the directions in which the function curves upward.
    """
    dtype, (gradient, hessian) = gradient.dtype, (gradient.double(), hessian.double())
    size = hessian.square().sum((1, 2)).sqrt()
    highest = highest_eigenvalue(hessian)
    floor = 1e-7 * size
    concave = highest < -floor
    shift = torch.where(concave, 0.0, highest + 0.1 * size + torch.finfo(dtype).tiny)
    matrix = shift[:, None, None] * torch.eye(3, dtype=size.dtype, device=size.device) - hessian
    step = solve_symmetric(matrix, gradient)
    return torch.nan_to_num(step).to(dtype), concave


def merge_maxima(maxima: Maxima, *, tolerance: float) -> Maxima:
    """One of each group of climbs that ended at the same place of the same function.

    Climbs that did not end, or not at a maximum, are dropped. The highest of a group is kept;
    the result is ordered by owner, then by falling height.

    Args:
        maxima: of any number of functions.
        tolerance: distance within which two climbs ended at one maximum.
    """
    return maxima[_merged(maxima, tolerance)]


def _merged(maxima: Maxima, tolerance: float) -> Int[Tensor, " kept"]:
    """Rows that `merge_maxima` keeps."""
    rows = torch.nonzero(maxima.converged & (maxima.curvatures[:, -1] < 0))[:, 0]
    rows = rows[torch.argsort(maxima.values[rows], descending=True, stable=True)]
    rows = rows[torch.argsort(maxima.owner[rows], stable=True)]
    return rows[~is_repeated(maxima.positions[rows], maxima.owner[rows], tolerance)]


@torch.no_grad()
def highest_around(
    function: ScalarField,
    derivatives: SecondOrder,
    maxima: Maxima,
    *,
    distance: float,
    tolerance: float,
    reach: float = 0.3,
    chunk: int = 4096,
) -> Maxima:
    """Maxima, each replaced by the highest one close to it.

    Where a function has several maxima on top of one bump, which of them a climb ends in depends
    on where it began. At six points along the axes of a maximum's curvature, which turn with the
    function, its value tells whether it falls as it should; where it does not, a climb begins, and
    it is looked around what that finds, too.

    Args:
        function: that was climbed.
        derivatives: the same with its derivatives.
        maxima: merged ones.
        distance: of the points from each maximum.
        tolerance: distance within which a higher maximum takes the place of a lower one.
        reach, chunk: as for `climb`.
    """
    fresh = torch.arange(len(maxima), device=maxima.owner.device)
    for _ in range(ROUNDS):
        if not len(fresh):
            break
        seeds, origin = _doubtful_sides(function, maxima[fresh], distance)
        origin = fresh[origin]
        found = climb(derivatives, seeds, maxima.owner[origin], reach=reach, chunk=chunk)
        near = (found.positions - maxima.positions[origin]).norm(dim=1) <= tolerance
        higher = found.values > maxima.values[origin]
        joined = Maxima.join([maxima, found[near & higher]])
        kept = _merged(joined, tolerance)
        fresh = torch.nonzero(kept >= len(maxima))[:, 0]
        maxima = joined[kept]
    return maxima


def _doubtful_sides(
    function: ScalarField, maxima: Maxima, distance: float
) -> tuple[Float[Tensor, "k 3"], Int[Tensor, " k"]]:
    """Points where functions hardly fall beside maxima, and beside which maximum each is."""
    ways = distance * torch.cat([maxima.axes, -maxima.axes], 2).mT
    points, owner = maxima.positions[:, None] + ways, maxima.owner.repeat_interleave(6)
    values = function(points.flatten(0, 1), owner).view(-1, 6)
    fall = -0.5 * distance**2 * maxima.curvatures.repeat(1, 2)
    fallen = maxima.values[:, None] - values
    origin, side = torch.nonzero(fallen < DOUBT * fall, as_tuple=True)
    return points[origin, side], origin


def is_repeated(
    positions: Float[Tensor, "p d"], owner: Int[Tensor, " p"], tolerance: float
) -> Bool[Tensor, " p"]:
    """Whether an earlier point of the same owner lies within the tolerance.

    Args:
        positions, owner: sorted by owner.
        tolerance: distance.
    """
    repeated = torch.zeros_like(owner, dtype=torch.bool)
    index = torch.arange(len(owner), device=owner.device)
    later = index
    for offset in range(1, len(owner)):
        later = later[later >= offset]
        later = later[owner[later] == owner[later - offset]]
        if not len(later):
            break
        gap = (positions[later] - positions[later - offset]).norm(dim=1)
        repeated[later] |= gap <= tolerance
    return repeated


def follow(function: ScalarField, maxima: Maxima) -> Float[Tensor, "p 3"]:
    """Positions of maxima, differentiable in whatever the function depends on.

    By the implicit function theorem: `d position = -H^-1 d gradient`. First derivatives only.

    Args:
        function: the one that was climbed, with its parameters attached to a graph.
        maxima: converged and merged.
    """
    _, _, hessian = second_order(function, maxima.positions, maxima.owner)
    with torch.enable_grad():
        points = maxima.positions.detach().requires_grad_()
        values = function(points, maxima.owner)
        (gradient,) = torch.autograd.grad(values.sum(), points, create_graph=True)
        move = torch.linalg.solve(hessian, gradient[..., None])[..., 0]
        return maxima.positions.detach() - (move - move.detach())
