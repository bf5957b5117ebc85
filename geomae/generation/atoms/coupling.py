"""Which noise becomes which structure: exchangeable atoms and orientations are matched first.

Noise is the same however it is turned and numbered, so each draw may be laid on its structure as
closely as it goes. Paths cross less then, and what a network has to tell from the middle of one is
less ambiguous (Klein et al., "Equivariant flow matching", 2023).
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

UNLIKE = 1e4
"""Cost in Å^2 of exchanging atoms that are not alike; larger than any that are."""


def coupled(
    noise: Float[Tensor, "n a 3"],
    target: Float[Tensor, "n a 3"],
    alike: Int[Tensor, "n a"],
    *,
    turn: bool,
) -> Float[Tensor, "n a 3"]:
    """Noise, turned and with like atoms exchanged so that it is near its target.

    Args:
        noise: displacements in Å.
        target: what they become.
        alike: atoms of a structure with the same number can be exchanged.
        turn: whether the noise may be turned and reflected as well.
    """
    with torch.autocast(noise.device.type, enabled=False):
        return _coupled(noise, target, alike, turn)


def _coupled(noise: Tensor, target: Tensor, alike: Tensor, turn: bool) -> Tensor:
    if turn:
        noise = _turned(noise, target)
    unlike = alike[:, :, None] != alike[:, None]
    costs = torch.cdist(target, noise).square() + UNLIKE * unlike
    found = np.stack([linear_sum_assignment(cost)[1] for cost in costs.double().cpu().numpy()])
    order = torch.from_numpy(found).to(noise.device)
    noise = noise.gather(1, order[..., None].expand(-1, -1, 3))
    return _turned(noise, target) if turn else noise


def _turned(noise: Float[Tensor, "n a 3"], target: Float[Tensor, "n a 3"]) -> Tensor:
    """Noise in the orientation nearest to its target, reflections included (Kabsch 1976)."""
    left, _, right = torch.linalg.svd(noise.transpose(1, 2) @ target)
    return noise @ (left @ right)
