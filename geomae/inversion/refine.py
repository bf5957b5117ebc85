"""Levenberg-Marquardt on many starts at once, in float64, with exact Jacobians."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.func import jacfwd, vmap

Values = Callable[[Tensor, Tensor], Tensor]
"""Values `[f]` of one structure's weights `[n, s]` and positions `[n, 3]`."""

Jacobian = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Values `[k, f]` and their derivatives `[k, f, p, 3]` of `[k, n, s]` and `[k, p, 3]`."""

MEMORY = 2**25
"""Entries of the Jacobians that are held at once (256 MB)."""

QUARTER = (0.15, 0.35)
"""A step that leaves such a part of the residual is taken for one towards a double root."""

ROUNDING = 1e-15
"""Relative residual below which nothing can be gained."""


@dataclass(frozen=True)
class Refined:
    """Where starts ended.

    Attributes:
        positions: `[k, p, 3]` in Å, lattice vectors behind the atoms where these are fitted.
        residual: |values - target| / |target|, `[k]`.
        steps: that were taken, `[k]`.
    """

    positions: Float[Tensor, "k p 3"]
    residual: Float[Tensor, " k"]
    steps: Int[Tensor, " k"]


def exact_jacobian(values: Values) -> Jacobian:
    """Values and derivatives by forward-mode differentiation, of a batch."""

    def both(weights: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        found = values(weights, positions)
        return found, found

    derivative = vmap(jacfwd(both, argnums=1, has_aux=True))

    def call(weights: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        slopes, found = derivative(weights, positions)
        return found, slopes

    return call


@torch.no_grad()
def refine(
    jacobian: Jacobian,
    target: Float[Tensor, "*each f"],
    weights: Float[Tensor, "k n s"],
    starts: Float[Tensor, "k p 3"],
    *,
    steps: int = 100,
    patience: float = 1e-4,
    enough: int | None = None,
    tolerance: float = 1e-10,
) -> Refined:
    """Least squares of `values - target` from many starts, to rounding where it can be reached.

    Each start has its own damping (Marquardt's, in units of the curvatures) and stops by itself:
    where its residual is rounding, where no step helps, or where it creeps. Symmetric structures
    are double roots along what breaks their symmetry, to which Newton's steps go half of the way
    only: where residuals fall to a quarter, the next step is twice as long.

    Args:
        jacobian: values and derivatives of a batch; `exact_jacobian(descriptor.evaluate)` where
            there is no faster way.
        target: what the values shall be; one row for all starts, or one for each.
        weights: of species on atoms, of each start; they stay.
        starts: positions in Å.
        steps: at most.
        patience: a start that gains less than this part of its residual in each of several
            steps is at a local minimum, and stops.
        enough: stop everything once so many starts are within the tolerance and at rest.
        tolerance: relative residual of a start that counts as arrived.
    """
    state = _State(target, weights, starts.clone(), jacobian)
    state.expand(torch.arange(len(starts)))
    for _ in range(steps):
        moving = state.moving(patience)
        arrived = (state.residual <= tolerance) & ~moving
        if not bool(moving.any()) or (enough and int(arrived.sum()) >= enough):
            break
        state.step(torch.nonzero(moving)[:, 0])
    return Refined(state.positions, state.residual, state.taken)


class _State:
    """Positions, residuals, normal equations and damping of all starts."""

    def __init__(self, target: Tensor, weights: Tensor, positions: Tensor, jacobian: Jacobian):
        k, n = positions.shape[:2]
        self.target, self.weights, self.jacobian = target.expand(k, -1), weights, jacobian
        self.positions = positions
        self.size = self.target.norm(dim=1).clamp(min=torch.finfo(target.dtype).tiny)
        self.residual = positions.new_full((k,), torch.inf)
        self.damping = positions.new_full((k,), 1e-2)
        self.normal = positions.new_zeros(k, 3 * n, 3 * n)
        self.slope = positions.new_zeros(k, 3 * n)
        self.longest = positions.new_full((k,), torch.inf)
        self.stretch = positions.new_ones(k)
        self.slow = torch.zeros(k, dtype=torch.long)
        self.taken = torch.zeros(k, dtype=torch.long)
        self.chunk = max(1, MEMORY // max(1, target.shape[-1] * 3 * n * 2))

    def moving(self, patience: float) -> Bool[Tensor, " k"]:
        """Which starts have somewhere to go."""
        self.patience = patience
        stuck = (self.slow >= 6) | (self.damping > 1e9) | ~torch.isfinite(self.residual)
        return ~stuck & (self.residual > ROUNDING) & (self.longest > 1e-13)

    def expand(self, ids: Tensor) -> None:
        """Residuals and normal equations at the positions of some starts."""
        for part in ids.split(self.chunk):
            found, slopes = self.jacobian(self.weights[part], self.positions[part])
            self._keep(part, found, slopes)

    def _keep(self, ids: Tensor, found: Tensor, slopes: Tensor) -> None:
        flat = slopes.flatten(2)
        error = found - self.target[ids]
        self.residual[ids] = error.norm(dim=1) / self.size[ids]
        self.normal[ids] = flat.mT @ flat
        self.slope[ids] = (flat.mT @ error[..., None])[..., 0]

    def step(self, ids: Tensor) -> None:
        """One damped step of some starts, kept where it helps."""
        for part in ids.split(self.chunk):
            stretch = self.stretch[part]
            move = stretch[:, None] * self._solve(part)
            moved = self.positions[part] + move.unflatten(1, (-1, 3))
            found, slopes = self.jacobian(self.weights[part], moved)
            new = (found - self.target[part]).norm(dim=1) / self.size[part]
            old = self.residual[part]
            better = new < old
            self.slow[part] = torch.where(
                better & (new < (1 - self.patience) * old), 0, self.slow[part] + 1
            )
            failed = torch.where(stretch > 1, 1.0, 5.0)
            self.damping[part] *= torch.where(better, torch.where(new < old / 2, 0.1, 0.4), failed)
            self.damping[part] = self.damping[part].clamp(min=1e-12)
            left = new / old
            quartered = better & (stretch == 1) & (QUARTER[0] < left) & (left < QUARTER[1])
            self.stretch[part] = 1 + quartered.to(new)
            self.longest[part] = torch.where(better, move.abs().amax(1), self.longest[part])
            self.taken[part] += 1
            kept = part[better]
            self.positions[kept] = moved[better]
            self._keep(kept, found[better], slopes[better])

    def _solve(self, ids: Tensor) -> Float[Tensor, "k p"]:
        normal, damping = self.normal[ids], self.damping[ids]
        diagonal = normal.diagonal(dim1=1, dim2=2)
        floor = 1e-6 * diagonal.amax(1, keepdim=True) + torch.finfo(normal.dtype).tiny
        ridge = damping[:, None] * torch.maximum(diagonal, floor)
        factor, failed = torch.linalg.cholesky_ex(normal + torch.diag_embed(ridge))
        step = -torch.cholesky_solve(self.slope[ids][..., None], factor)[..., 0]
        usable = (failed == 0) & torch.isfinite(step).all(1)
        step = torch.where(usable[:, None], step, torch.zeros_like(step))
        length = step.abs().amax(1, keepdim=True)
        return step * (1.0 / length.clamp(min=1.0))
