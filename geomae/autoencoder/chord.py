"""Steps of a chord iteration: one Jacobian serves many of them, and what it lacks is learned."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Chord:
    """Damped Gauss-Newton steps of every atom from errors, by one factorisation.

    Args:
        jacobian: `[n, coordinates, values]`, rows beyond a structure's coordinates zero.
        damping: of each structure, in parts of the mean diagonal of its normal matrix.
        batch: structure of each atom, ascending.
    """

    def __init__(
        self,
        jacobian: Float[Tensor, "n coordinates values"],
        damping: Float[Tensor, " n"],
        batch: Int[Tensor, " atoms"],
    ):
        normal = (jacobian @ jacobian.transpose(1, 2)).to(damping.dtype)
        diagonal = normal.diagonal(dim1=1, dim2=2)
        mean = diagonal.sum(1) / (diagonal > 0).sum(1).clamp(min=1)
        ridge = (damping * mean)[:, None] + torch.where(diagonal > 0, 0.0, 1.0)
        self.factor, failed = torch.linalg.cholesky_ex(normal + torch.diag_embed(ridge))
        self.solvable = (failed == 0) & torch.isfinite(diagonal).all(1)
        self.jacobian = jacobian
        counts = torch.bincount(batch, minlength=len(jacobian))
        atoms = torch.arange(jacobian.shape[1] // 3, device=batch.device)
        self.atoms = atoms < counts[:, None]

    def __call__(
        self, error: Float[Tensor, "n values"]
    ) -> tuple[Float[Tensor, "atoms 3"], Float[Tensor, " n"]]:
        """The step against errors, zero where the Jacobian gives none, and what share of the
        squared errors it should end.
        """
        size = error.norm(dim=1).clamp(min=torch.finfo(error.dtype).tiny)
        unit = (error / size[:, None]).to(self.jacobian.dtype)
        gradient = (self.jacobian @ unit[..., None]).to(error.dtype) * size[:, None, None]
        step = -torch.cholesky_solve(gradient, self.factor)[..., 0]
        step = torch.where(self.solvable[:, None], step, 0.0)
        share = -(step * gradient[..., 0]).sum(1) / size**2
        return step.unflatten(1, (-1, 3))[self.atoms], share

    def select(self, keep: Bool[Tensor, " n"]) -> "Chord":
        """The same for some of the structures."""
        part = object.__new__(Chord)
        part.jacobian, part.factor = self.jacobian[keep], self.factor[keep]
        part.solvable, part.atoms = self.solvable[keep], self.atoms[keep]
        return part


class Mixing:
    """Anderson's acceleration (1965) of the steps of a fixed Jacobian, structure by structure.

    The last steps and how they changed tell how far the next one falls short.

    Args:
        batch: structure of each atom, ascending.
        n: structures.
        memory: changes remembered.
    """

    def __init__(self, batch: Int[Tensor, " atoms"], n: int, memory: int = 5):
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
        self.last = positions.clone(), step
        if not self.moves:
            return step
        changes, moves = torch.stack(self.changes, 2), torch.stack(self.moves, 2)
        gram = self._sum(changes[..., None] * changes[..., None, :])
        scale = gram.diagonal(dim1=1, dim2=2).clamp(min=torch.finfo(gram.dtype).tiny).rsqrt()
        gram = gram * scale[:, :, None] * scale[:, None]
        ridge = 1e-10 * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        right = self._sum(changes * step[..., None]) * scale
        share = torch.linalg.solve(gram + ridge, right[..., None])[..., 0] * scale
        return step - ((moves + changes) * share[self.batch][:, None]).sum(2)

    def select(self, keep: Bool[Tensor, " n"]) -> "Mixing":
        """The same for some of the structures."""
        own = keep[self.batch]
        part = Mixing((torch.cumsum(keep, 0) - 1)[self.batch[own]], int(keep.sum()), self.memory)
        part.last = self.last and (self.last[0][own], self.last[1][own])
        part.moves = [move[own] for move in self.moves]
        part.changes = [change[own] for change in self.changes]
        return part

    def _sum(self, values: Tensor) -> Tensor:
        """Over the coordinates of each structure's atoms."""
        total = values.new_zeros(self.n, *values.shape[2:])
        return total.index_add(0, self.batch, values.sum(1))


def longest(step: Float[Tensor, "atoms 3"], batch: Tensor, n: int) -> Float[Tensor, " n"]:
    """Length of the longest step of an atom of each structure."""
    return step.new_zeros(n).scatter_reduce(0, batch, step.norm(dim=1), "amax")
