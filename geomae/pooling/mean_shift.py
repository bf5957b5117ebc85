"""Blooming without parameters: every point climbs to a mode of the density of all of them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch_geometric.utils import to_dense_batch

from geomae.matrices3 import highest_eigenvalue, solve_symmetric

MAX_STEPS = 500


@dataclass(frozen=True)
class Modes:
    """Where the points climbed to.

    Attributes:
        positions: `[n, 3]`, in the unit of the input.
        converged: the last shift was below the tolerance, `[n]`.
    """

    positions: Float[Tensor, "n 3"]
    converged: Bool[Tensor, " n"]


@torch.no_grad()
def mean_shift(
    positions: Float[Tensor, "n 3"],
    weights: Float[Tensor, " n"],
    sigma: float,
    batch: Int[Tensor, " n"] | None = None,
    *,
    tolerance: float = 1e-8,
    ridge: float = 0.0,
) -> Modes:
    """Climb from every point to a mode of `sum_j w_j exp(-|y - x_j|^2 / 2 sigma^2)`.

    The steps are those of mean shift (Comaniciu and Meer 2002), and Newton steps on the logarithm
    of the density where it is concave. Both commute with rotations, reflections, translations
    and permutations. A point without a gradient stays where it is, on a saddle too: no side is
    chosen for it.

    Args:
        positions: of the points of one or several structures.
        weights: of the points, positive.
        sigma: width of the kernel, in the unit of the positions.
        batch: structure of each point, ascending.
        tolerance: length of the shift that ends a climb, as a fraction of sigma.
        ridge: distance from a ridge or saddle, as a fraction of sigma, at which a point is on it
            and stays there, so that a structure that is symmetric but for rounding is treated as
            symmetric.
    """
    batch = torch.zeros_like(weights, dtype=torch.long) if batch is None else batch
    if not len(positions):
        return Modes(positions, batch.bool())
    points, mask = to_dense_batch(positions.double(), batch)
    masses, _ = to_dense_batch(weights.double(), batch)
    climbing = points / sigma
    centres = climbing.clone()
    owner, slot = mask.nonzero(as_tuple=True)
    active = torch.arange(len(owner), device=owner.device)
    for _ in range(MAX_STEPS):
        if not len(active):
            break
        rows, slots = owner[active], slot[active]
        step = _step(climbing[rows, slots], centres[rows], masses[rows], ridge)
        climbing[rows, slots] += step
        active = active[step.norm(dim=-1) > tolerance]
    converged = torch.ones_like(owner, dtype=torch.bool)
    converged[active] = False
    return Modes((climbing * sigma)[mask].to(positions.dtype), converged)


def _step(
    points: Float[Tensor, "p 3"],
    centres: Float[Tensor, "p m 3"],
    masses: Float[Tensor, "p m"],
    ridge: float,
) -> Float[Tensor, "p 3"]:
    """Newton's step where the density's logarithm is concave and it is short, else mean shift's."""
    difference = centres - points[:, None]
    share = masses * torch.exp(-difference.square().sum(-1) / 2)
    share = share / share.sum(-1, keepdim=True)
    weighted = share[..., None] * difference
    shift = weighted.sum(1)
    spread = weighted.transpose(1, 2) @ difference
    stiffness = torch.eye(3, dtype=points.dtype, device=points.device) - spread
    stiffness = stiffness + shift[:, :, None] * shift[:, None]
    newton = solve_symmetric(stiffness, shift)
    concave = highest_eigenvalue(-stiffness) < 0
    if ridge:
        convex = torch.nonzero(~concave)[:, 0]
        shift[convex] = _along_ridges(shift[convex], stiffness[convex], ridge)
    good = concave & (newton.norm(dim=-1) < 0.3)
    return torch.where(good[:, None], newton, shift)


def _along_ridges(
    shift: Float[Tensor, "p 3"], stiffness: Float[Tensor, "p 3 3"], ridge: float
) -> Float[Tensor, "p 3"]:
    """Shifts without what leads off a ridge where that is no more than `ridge`."""
    values, axes = torch.linalg.eigh(stiffness)
    along = (shift[:, None] @ axes)[:, 0]
    kept = along.where((values > 0) | (along.abs() > ridge), 0.0)
    return (axes @ kept[..., None])[..., 0]
