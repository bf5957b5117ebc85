"""Ridges of equal height, such as rings: which maxima lie on the same one."""

from math import ceil, pi

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geomae.sphere.newton import Stationary, Tangent, eigenvalues, move, tangent
from geomae.sphere.series import lmax_of_parts, scaled_parts, series


@torch.no_grad()
def one_of_each_ridge(
    coefficients: Float[Tensor, "n m"], flat: Stationary, step: float, floor: float
) -> Bool[Tensor, " p"]:
    """Marks the first of those maxima that a walk along the crest joins.

    Args:
        coefficients: of signals of norm 1.
        flat: maxima with a vanishing curvature, sorted by signal.
        step: of the walk, in radians; short against the waves of the signals.
        floor: curvature that counts as vanishing.
    """
    kept = torch.ones_like(flat.converged)
    waiting = kept.clone()
    number = torch.arange(len(flat), device=kept.device)
    parts = scaled_parts(coefficients).T
    while True:
        n = torch.bincount(flat.signal[waiting], minlength=len(coefficients))
        waiting &= n[flat.signal] > 1
        if not waiting.any():
            return kept
        first = torch.full_like(n, len(flat)).scatter_reduce(
            0, flat.signal[waiting], number[waiting], "amin"
        )
        walkers = first[first < len(flat)]
        own = parts.index_select(1, flat.signal[walkers])
        crest = _walk(own, flat.directions[walkers], step, floor)
        waiting[walkers] = False
        row = torch.full_like(n, -1)
        row[flat.signal[walkers]] = torch.arange(len(walkers), device=kept.device)
        others = number[waiting]
        gap = crest[row[flat.signal[others]]] - flat.directions[others][:, None]
        joined = others[(gap.norm(dim=2) < step).any(1)]
        kept[joined], waiting[joined] = False, False


def _walk(parts: Tensor, starts: Tensor, step: float, floor: float) -> Float[Tensor, "w steps 3"]:
    """Points along the crests through the starts, both ways, until they meet or the crest falls."""
    lmax = lmax_of_parts(parts)
    epsilon = torch.finfo(parts.dtype).eps
    own = torch.cat([parts, parts], 1)
    here = torch.cat([starts, starts]).T.contiguous()
    jet = series(own, here)
    lowest = jet.value - 64 * epsilon * (lmax + 1) - floor * step**2
    heading = _along(tangent(here, jet))
    heading[:, len(starts) :] *= -1
    path = [here]
    going = torch.ones_like(jet.value, dtype=torch.bool)
    for _ in range(ceil(1.1 * pi / step)):
        ahead = here + step * heading
        ahead = ahead / ahead.norm(dim=0)
        for _ in range(3):
            jet = series(own, ahead)
            ahead = _onto_crest(ahead, tangent(ahead, jet), step)
        jet = series(own, ahead)
        going &= jet.value >= lowest
        if not going.any():
            break
        new = _along(tangent(ahead, jet))
        new = new * torch.where((new * heading).sum(0) < 0, -1.0, 1.0)
        here, heading = torch.where(going, ahead, here), torch.where(going, new, heading)
        path.append(here)
    both = torch.stack(path).transpose(1, 2)
    return torch.cat(both.split(len(starts), 1)).transpose(0, 1)


def _crest(local: Tangent) -> tuple[Tensor, Tensor, Tensor]:
    """Components of the direction of least curvature, and the greater curvature (in size)."""
    a, b, c = local.hessian
    low, high = eigenvalues(local.hessian)
    first = (high - c).abs() > (high - a).abs()
    t1, t2 = torch.where(first, high - c, b), torch.where(first, b, high - a)
    length = torch.hypot(t1, t2)
    round_top = length == 0
    length = torch.where(round_top, torch.ones_like(length), length)
    return torch.where(round_top, 1.0, t1 / length), t2 / length, low


def _along(local: Tangent) -> Tensor:
    """Unit vectors along the crest, `[3, w]`, of either sign."""
    t1, t2, _ = _crest(local)
    return local.frame[0] * t1 + local.frame[1] * t2


def _onto_crest(directions: Tensor, local: Tangent, step: float) -> Tensor:
    """One Newton step across the crest."""
    t1, t2, low = _crest(local)
    g1, g2 = local.gradient
    across = (g2 * t1 - g1 * t2) / low.abs().clamp(min=torch.finfo(low.dtype).tiny)
    across = across.clamp(-step, step)
    return move(directions, local.frame, -across * t2, across * t1)
