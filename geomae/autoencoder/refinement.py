"""Sharpening a drawing until its own encoding is the latent that it was drawn from."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.autoencoder.encoder import Encoder
from geomae.pooling.tree import Tree

DISPLACEMENT = 4e-3
"""Finite difference in Å: far above float32's rounding, far below any distance of atoms."""

ARRIVED = 1e-9
"""Longest step in Å of an atom after which a structure is at its place."""

ALIKE = 16
"""Structures, sorted by size, that are refined together."""


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
    rough: Encoder,
    tree: Tree,
    latents: Float[Tensor, "n m c"],
    *,
    rounds: int = 5,
    steps: int = 12,
) -> Refined:
    """Gauss-Newton on |E(X) - z|^2 with the memberships of the drawn tree held fixed.

    With the memberships fixed the encoding is smooth in the positions. One Jacobian, by finite
    differences in the lower precision, serves several steps (a chord iteration: it converges
    linearly, with a rate as small as the error of the start, to the precision of the residual,
    not of the Jacobian). It is renewed, with more damping, where steps stop helping. Structures
    that the first Jacobian does not help are given up.

    Args:
        encoder: in the precision of the result.
        rough: the same in the precision of the Jacobians.
        tree: as drawn; its memberships stay.
        latents: target.
        rounds: Jacobians at most.
        steps: steps with each at most.
    """
    sizes = torch.bincount(tree.batch[0], minlength=len(latents))
    positions = tree.positions[0].clone()
    residual = positions.new_ones(len(latents))
    drawn = torch.nonzero(sizes)[:, 0]
    for ids in drawn[torch.argsort(sizes[drawn], stable=True)].split(ALIKE):
        ids = torch.sort(ids).values
        part = tree.select(ids)
        refined = _refine_alike(encoder, rough, part, latents[ids].flatten(1), rounds, steps)
        positions[torch.isin(tree.batch[0], ids)] = refined.positions
        residual[ids] = refined.residual
    return Refined(positions, residual)


def _refine_alike(
    encoder: Encoder, rough: Encoder, tree: Tree, target: Tensor, rounds: int, steps: int
) -> Refined:
    """`refine` for structures of about the same size."""
    target = target.to(tree.positions[0].dtype)
    batch = tree.batch[0]
    size = target.norm(dim=1).clamp(min=torch.finfo(target.dtype).tiny)
    low = next(rough.parameters()).dtype

    def encode(positions: Tensor) -> Tensor:
        return encoder(tree.with_atoms_at(positions)).flatten(1)

    def encode_roughly(positions: Tensor) -> Tensor:
        return rough(tree.with_atoms_at(positions.to(low))).flatten(1)

    positions = tree.positions[0]
    error = encode(positions) - target
    residual = error.norm(dim=1) / size
    damping = torch.full_like(residual, 1e-6)
    moving = torch.ones_like(residual, dtype=torch.bool)
    for _ in range(rounds):
        before = residual
        solve = _normal_solver(
            difference_jacobian(encode_roughly, positions, batch), damping, batch
        )
        for _ in range(steps):
            step = solve(error)
            moved = positions + torch.where(moving[batch][:, None], step, 0.0)
            new_error = encode(moved) - target
            new = new_error.norm(dim=1) / size
            better = (new < residual) & moving
            positions = torch.where(better[batch][:, None], moved, positions)
            error = torch.where(better[:, None], new_error, error)
            helped = better & (new < 0.7 * residual)
            residual = torch.where(better, new, residual)
            length = _longest(step, batch, len(residual))
            moving = moving & (length > ARRIVED)
            if not bool((moving & helped).any()):
                break
        stuck = residual > 0.5 * before
        moving &= ~(stuck & (residual > 0.3)) & (residual > 1e-6)
        if not bool(moving.any()):
            break
        damping = torch.where(stuck, damping * 1e3, damping).clamp(1e-9, 1.0)
    centre = tree.with_atoms_at(positions).positions[-1]
    return Refined(positions - centre[batch], residual)


def difference_jacobian(
    encode: Callable[[Tensor], Tensor],
    positions: Float[Tensor, "atoms 3"],
    batch: Int[Tensor, " atoms"],
) -> Float[Tensor, "n coordinates values"]:
    """Derivatives of every structure's encoding by its coordinates, by finite differences.

    Structures don't see each other, so one pass moves one coordinate of each of them; rows
    beyond a structure's own coordinates are zero.
    """
    counts = torch.bincount(batch)
    starts = torch.cumsum(counts, 0) - counts
    slot = 3 * (torch.arange(len(batch), device=batch.device) - starts[batch])
    coordinate = slot[:, None] + torch.arange(3, device=batch.device)
    here = encode(positions)
    rows = [
        (encode(positions + DISPLACEMENT * (coordinate == index)) - here) / DISPLACEMENT
        for index in range(3 * int(counts.max()))
    ]
    return torch.stack(rows, 1)


def _normal_solver(
    jacobian: Float[Tensor, "n coordinates values"],
    damping: Float[Tensor, " n"],
    batch: Int[Tensor, " atoms"],
) -> Callable[[Float[Tensor, "n values"]], Float[Tensor, "atoms 3"]]:
    """Damped Gauss-Newton steps of every atom from errors, by one factorisation."""
    jacobian = jacobian.to(damping.dtype)
    normal = jacobian @ jacobian.transpose(1, 2)
    diagonal = normal.diagonal(dim1=1, dim2=2)
    mean = diagonal.sum(1) / (diagonal > 0).sum(1).clamp(min=1)
    ridge = (damping * mean)[:, None] + torch.where(diagonal > 0, 0.0, 1.0)
    factor, failed = torch.linalg.cholesky_ex(normal + torch.diag_embed(ridge))
    solvable = (failed == 0) & torch.isfinite(jacobian).all((1, 2))
    counts = torch.bincount(batch, minlength=len(jacobian))
    atoms = torch.arange(jacobian.shape[1] // 3, device=batch.device) < counts[:, None]

    def solve(error: Tensor) -> Tensor:
        gradient = jacobian @ error[..., None]
        step = -torch.cholesky_solve(gradient, factor)[..., 0]
        step = torch.where(solvable[:, None], step, 0.0)
        return step.unflatten(1, (-1, 3))[atoms]

    return solve


def _longest(step: Float[Tensor, "atoms 3"], batch: Tensor, n: int) -> Float[Tensor, " n"]:
    """Length of the longest step of an atom of each structure."""
    return step.new_zeros(n).scatter_reduce(0, batch, step.norm(dim=1), "amax")
