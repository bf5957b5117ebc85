"""Sharpening a drawing until its own encoding is the latent that it was drawn from."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad

from geomae.autoencoder.encoder import Encoder
from geomae.pooling.tree import Tree


@dataclass(frozen=True)
class Refined:
    """Positions after refinement.

    Attributes:
        positions: of the atoms, `[atoms, 3]` in Å, about the latent's point.
        residual: `[structures]`, |E(X) - z| / |z| along the drawn memberships.
    """

    positions: Tensor
    residual: Tensor


@torch.no_grad()
def refine(
    encoder: Encoder,
    tree: Tree,
    latents: Float[Tensor, "n m c"],
    *,
    rounds: int = 6,
    steps: int = 8,
    tolerance: float = 1e-12,
) -> Refined:
    """Gauss-Newton on |E(X) - z|^2 with the memberships of the drawn tree held fixed.

    With the memberships fixed the encoding is smooth in the positions. One Jacobian serves
    several steps (a chord iteration, which converges linearly with a rate as small as the
    error of the start); it is renewed, with more damping, where steps stop helping.

    Args:
        encoder: in the precision of the result (float64 to go below 1e-6 Å).
        tree: as drawn; its memberships stay.
        latents: target.
        rounds: Jacobians at most.
        steps: steps with each at most.
        tolerance: relative residual below which a structure is left alone.
    """
    latents = latents.to(tree.positions[0].dtype).flatten(1)
    batch, n = tree.batch[0], len(latents)
    size = latents.norm(dim=1).clamp(min=torch.finfo(latents.dtype).tiny)

    def encode(positions: Tensor) -> Tensor:
        return encoder(tree.with_atoms_at(positions)).flatten(1)

    positions = tree.positions[0]
    error = encode(positions) - latents
    residual = error.norm(dim=1) / size
    damping = torch.full_like(residual, 1e-6)
    for _ in range(rounds):
        if not bool((residual > tolerance).any()):
            break
        jacobian = position_jacobian(encode, positions, batch, n)
        before = residual
        for _ in range(steps):
            moved = positions + _step(jacobian, error, damping, batch)
            new_error = encode(moved) - latents
            new = new_error.norm(dim=1) / size
            better = new < residual
            positions = torch.where(better[batch][:, None], moved, positions)
            error = torch.where(better[:, None], new_error, error)
            gain = torch.where(better, new / residual, 1.0)
            residual = torch.where(better, new, residual)
            if not bool(((gain < 0.5) & (residual > tolerance)).any()):
                break
        stuck = residual > 0.5 * before
        damping = torch.where(stuck, damping * 100, damping / 10).clamp(1e-9, 1e3)
    centre = tree.with_atoms_at(positions).positions[-1]
    return Refined(positions - centre[batch], residual)


def position_jacobian(
    encode: Callable[[Tensor], Tensor],
    positions: Float[Tensor, "atoms 3"],
    batch: Tensor,
    n: int,
) -> Float[Tensor, "n coordinates values"]:
    """Exact derivatives of every structure's encoding by its coordinates, in forward mode.

    Structures don't see each other, so one forward pass moves one coordinate of each of them;
    rows beyond a structure's own coordinates are zero.
    """
    counts = torch.bincount(batch, minlength=n)
    starts = torch.cumsum(counts, 0) - counts
    slot = 3 * (torch.arange(len(batch), device=batch.device) - starts[batch])
    coordinate = slot[:, None] + torch.arange(3, device=batch.device)
    rows = []
    with forward_ad.dual_level():
        for index in range(3 * int(counts.max()) if n else 0):
            tangent = (coordinate == index).to(positions.dtype)
            moved = encode(forward_ad.make_dual(positions, tangent))
            rows.append(forward_ad.unpack_dual(moved).tangent)
    return torch.stack(rows, 1)


def _step(
    jacobian: Float[Tensor, "n coordinates values"],
    error: Float[Tensor, "n values"],
    damping: Float[Tensor, " n"],
    batch: Tensor,
) -> Float[Tensor, "atoms 3"]:
    """The damped Gauss-Newton step of every atom, without a net shift of the structure."""
    normal = jacobian @ jacobian.transpose(1, 2)
    diagonal = normal.diagonal(dim1=1, dim2=2)
    mean = diagonal.sum(1) / (diagonal > 0).sum(1).clamp(min=1)
    ridge = (damping * mean)[:, None] + torch.where(diagonal > 0, 0.0, 1.0)
    gradient = (jacobian @ error[..., None])[..., 0]
    step = -torch.linalg.solve(normal + torch.diag_embed(ridge), gradient)
    counts = torch.bincount(batch, minlength=len(error))
    mask = torch.arange(step.shape[1] // 3, device=batch.device) < counts[:, None]
    return step.unflatten(1, (-1, 3))[mask]
