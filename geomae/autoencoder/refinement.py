"""Sharpening a drawing until its own encoding is the latent that it was drawn from."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.autoencoder.encoder import Encoder
from geomae.pooling.tree import Tree

ROUGH, FINE = 4e-3, 1e-8
"""Finite differences in Å: far above rounding in the lower and the higher precision."""

ARRIVED = 1e-9
"""Longest step in Å of an atom after which a structure is at its place."""

ROUGHLY_ARRIVED = 1e-5
"""The same for the steps taken in the lower precision."""

ALIKE = 64
"""Structures, sorted by size, that are refined together."""

ENCODED_TOGETHER = 64
"""Copies of structures that are encoded together for a Jacobian."""


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
    rounds: int,
    steps: int = 12,
) -> Refined:
    """Gauss-Newton on |E(X) - z|^2 with the memberships of the drawn tree held fixed.

    With the memberships fixed the encoding is smooth in the positions. One Jacobian, by finite
    differences in the lower precision, serves several steps (a chord iteration: it converges
    linearly, with a rate as small as the error of the start, to the precision of the residual,
    not of the Jacobian). Where steps stop helping it is renewed in the higher precision, with finer
    differences, and with more damping where it did not help at all: highly symmetric structures
    need that, because features that vanish by symmetry grow steeply beside it. Structures
    that neither helps are given up.

    Args:
        encoder: in the precision of the result.
        rough: the same in the precision of the Jacobians.
        tree: as drawn; its memberships stay.
        latents: target.
        rounds: Jacobians at most.
        steps: steps with each at most.
    """
    target = latents.to(tree.positions[0].dtype).flatten(1)
    sizes = torch.bincount(tree.batch[0], minlength=len(latents))
    positions = tree.positions[0].clone()
    residual = positions.new_ones(len(latents))
    damping = torch.full_like(residual, 1e-6)
    moving = sizes > 0
    for number in range(rounds):
        todo = torch.nonzero(moving)[:, 0]
        if not len(todo):
            break
        for ids in todo[torch.argsort(sizes[todo], stable=True)].split(ALIKE):
            ids = torch.sort(ids).values
            own = torch.isin(tree.batch[0], ids)
            part = tree.select(ids).with_atoms_at(positions[own])
            source = (encoder, FINE) if number else (rough, ROUGH)
            result = _round(encoder, *source, part, target[ids], damping[ids], steps)
            positions[own], residual[ids] = result.positions, result.residual
            hopeless = result.stuck & (result.residual > 0.3) & (number > 0)
            moving[ids] = result.moving & ~hopeless
            damping[ids] = torch.where(result.stuck, damping[ids] * 1e3, damping[ids]).clamp(max=1)
    centre = tree.with_atoms_at(positions).positions[-1]
    return Refined(positions - centre[tree.batch[0]], residual)


@dataclass(frozen=True)
class _Round:
    """What the steps with one Jacobian came to.

    Attributes:
        positions, residual: reached.
        stuck: they did not even halve the residual.
        moving: not yet where they should be.
    """

    positions: Tensor
    residual: Tensor
    stuck: Tensor
    moving: Tensor


def _round(
    encoder: Encoder,
    differentiated: Encoder,
    displacement: float,
    tree: Tree,
    target: Tensor,
    damping: Tensor,
    steps: int,
) -> _Round:
    """Steps with one Jacobian, for structures of about the same size.

    The first steps are taken in the precision of the Jacobian.
    """
    batch, low = tree.batch[0], next(differentiated.parameters()).dtype
    positions = tree.positions[0]
    together = max(1, ENCODED_TOGETHER // len(target))
    copies = Tree.join([tree] * together)

    def encode(positions: Tensor) -> Tensor:
        return encoder(tree.with_atoms_at(positions)).flatten(1)

    def encode_roughly(positions: Tensor) -> Tensor:
        return differentiated(tree.with_atoms_at(positions.to(low))).flatten(1)

    def encode_copies(positions: Tensor) -> Tensor:
        return differentiated(copies.with_atoms_at(positions.to(low))).flatten(1)

    jacobian = difference_jacobian(encode_copies, positions, batch, displacement, together)
    descent = _Descent(_normal_solver(jacobian, damping, batch), batch, target)
    before = descent.residual(encode(positions) - target)
    if low != target.dtype:
        positions, _, _ = descent(encode_roughly, positions, ROUGHLY_ARRIVED, steps)
    positions, residual, moving = descent(encode, positions, ARRIVED, steps)
    return _Round(positions, residual, residual > 0.5 * before, moving & (residual > 1e-6))


class _Descent:
    """Steps with a fixed Jacobian.

    Args:
        solve: the step that a fixed Jacobian gives for an error.
        batch: structure of each atom.
        target: latents.
    """

    def __init__(self, solve: Callable[[Tensor], Tensor], batch: Tensor, target: Tensor):
        self.solve, self.batch, self.target = solve, batch, target
        self.size = target.norm(dim=1).clamp(min=torch.finfo(target.dtype).tiny)

    def residual(self, error: Float[Tensor, "n values"]) -> Float[Tensor, " n"]:
        """Relative length of errors."""
        return error.norm(dim=1) / self.size

    def __call__(
        self, encode: Callable[[Tensor], Tensor], positions: Tensor, arrived: float, steps: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Positions and residuals reached, and what still moves.

        Args:
            encode: latents of positions.
            positions: start.
            arrived: longest step of an atom, in Å, of a structure that is at its place.
            steps: at most.
        """
        batch, mix = self.batch, _Mixing(self.batch, len(self.target))
        error = encode(positions) - self.target
        residual = self.residual(error)
        moving = torch.ones_like(residual, dtype=torch.bool)
        for _ in range(steps):
            step = mix(positions, self.solve(error))
            moved = positions + torch.where(moving[batch][:, None], step, 0.0)
            new_error = encode(moved) - self.target
            new = self.residual(new_error)
            better = (new < residual) & moving
            helped = better & (new < 0.7 * residual)
            positions = torch.where(better[batch][:, None], moved, positions)
            error = torch.where(better[:, None], new_error, error)
            residual = torch.where(better, new, residual)
            moving = moving & (_longest(step, batch, len(residual)) > arrived)
            if not bool((moving & helped).any()):
                break
        return positions, residual, moving


class _Mixing:
    """Anderson's acceleration (1965) of the steps of a fixed Jacobian, structure by structure.

    The last steps and how they changed tell how far the next one falls short.

    Args:
        batch: structure of each atom.
        n: structures.
        memory: changes remembered.
    """

    def __init__(self, batch: Tensor, n: int, memory: int = 4):
        self.batch, self.n, self.memory = batch, n, memory
        self.last: tuple[Tensor, Tensor] | None = None
        self.moves: list[Tensor] = []
        self.changes: list[Tensor] = []

    def __call__(
        self, positions: Float[Tensor, "atoms 3"], step: Float[Tensor, "atoms 3"]
    ) -> Float[Tensor, "atoms 3"]:
        """The step to take instead of the plain one at these positions."""
        if self.last is not None:
            self.moves = [*self.moves, positions - self.last[0]][-self.memory :]
            self.changes = [*self.changes, step - self.last[1]][-self.memory :]
        self.last = positions, step
        if not self.moves:
            return step
        changes, moves = torch.stack(self.changes, 2), torch.stack(self.moves, 2)
        gram = self._sum(changes[..., None] * changes[..., None, :])
        size = gram.diagonal(dim1=1, dim2=2).amax(1).clamp(min=torch.finfo(gram.dtype).tiny)
        ridge = 1e-10 * size[:, None, None] * torch.eye(gram.shape[1], dtype=gram.dtype).to(gram)
        right = self._sum(changes * step[..., None])
        share = torch.linalg.solve(gram + ridge, right[..., None])[..., 0]
        return step - ((moves + changes) * share[self.batch][:, None]).sum(2)

    def _sum(self, values: Tensor) -> Tensor:
        """Over the coordinates of each structure's atoms."""
        total = values.new_zeros(self.n, *values.shape[2:])
        return total.index_add(0, self.batch, values.sum(1))


def difference_jacobian(
    encode: Callable[[Tensor], Tensor],
    positions: Float[Tensor, "atoms 3"],
    batch: Int[Tensor, " atoms"],
    displacement: float,
    together: int = 1,
) -> Float[Tensor, "n coordinates values"]:
    """Derivatives of every structure's encoding by its coordinates, by finite differences in Å.

    Structures don't see each other, so one of them is moved along one coordinate in each pass; rows
    beyond a structure's own coordinates are zero.

    Args:
        encode: of the positions of `together` copies of all structures in a row.
        positions: of the atoms.
        batch: structure of each atom.
        displacement: of a coordinate, in Å.
        together: coordinates moved in one pass, each in its own copy.
    """
    counts = torch.bincount(batch)
    starts = torch.cumsum(counts, 0) - counts
    slot = 3 * (torch.arange(len(batch), device=batch.device) - starts[batch])
    coordinate = slot[:, None] + torch.arange(3, device=batch.device)
    n_coordinates = 3 * int(counts.max())
    passes = []
    for start in range(-1, n_coordinates, together):
        index = torch.arange(start, start + together, device=batch.device)[:, None, None]
        moved = positions + displacement * (coordinate == index)
        passes.append(encode(moved.flatten(0, 1)).unflatten(0, (together, -1)))
    encoded = torch.cat(passes)
    return ((encoded[1 : n_coordinates + 1] - encoded[0]) / displacement).transpose(0, 1)


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
