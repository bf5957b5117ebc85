"""Sharpening drawn crystals, positions and lattice together, until they encode to the latent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geomae.crystals.batch import join, lists_of
from geomae.crystals.directions import symmetric_directions
from geomae.crystals.encoder import CrystalEncoder
from geomae.crystals.reading import Draft
from geomae.data.structure import Structure

ROUGH, FINE = 4e-3, 1e-6
"""Finite differences in Å: far above rounding in the lower and the higher precision."""

ALIKE = 32
"""Crystals, sorted by size, that are refined together."""

ROUNDS, STEPS, ROUGH_ROUNDS = 9, 10, 2
"""Jacobians at most, steps with each at most, and how many Jacobians are in the lower precision."""

ARRIVED = 1e-7
"""Relative residual below which nothing is left to do."""

LONGEST = 0.5
"""Longest move of an atom or a lattice vector in one step, in Å."""

SYMMETRY = 1e-3
"""Distance in Å within which a draft's symmetry is taken to be meant: fields turn with their
latents, so that it is exact but for rounding, and distortions are larger."""

HOPELESS = 0.2
"""Residual at which a crystal is given up that steps don't bring closer."""


@dataclass(frozen=True)
class RefinedCrystal:
    """A draft after refinement.

    Attributes:
        draft: with the positions and the cell that were reached.
        residual: |E(X) - z| / |z|.
    """

    draft: Draft
    residual: float


@torch.no_grad()
def refine(
    encoder: CrystalEncoder,
    rough: CrystalEncoder,
    drafts: Sequence[Draft],
    latents: Float[Tensor, "n m c"],
    *,
    rounds: int = ROUNDS,
) -> list[RefinedCrystal]:
    """Gauss-Newton on |E(X) - z|^2 over the atoms but the anchor and the three lattice vectors.

    A field turns with its latent, so a draft has the latent's symmetry but for rounding. It is made
    exact, and only changes that keep it are tried: a handful instead of three for each atom.
    Crystals that do not arrive that way are refined again along all changes. One Jacobian,
    by finite differences, serves several steps; where they stop helping it is renewed with more
    damping.

    Args:
        encoder: in the precision of the result.
        rough: the same in the precision of the first Jacobians.
        drafts: to start from.
        latents: target.
        rounds: Jacobians at most; 0 only tells residuals.
    """
    done = [RefinedCrystal(draft, np.inf) for draft in drafts]
    for symmetric in (True, False):
        left = [i for i, own in enumerate(done) if own.residual >= GOOD]
        if not rounds and not symmetric:
            break
        left.sort(key=lambda i: len(drafts[i].numbers))
        for start in range(0, len(left), ALIKE):
            ids = left[start : start + ALIKE]
            group = _Group(encoder, [drafts[i] for i in ids], latents[ids], symmetric)
            for number in range(rounds):
                if bool(group.finished.all()):
                    break
                early = number < ROUGH_ROUNDS
                group.round(rough if early else encoder, ROUGH if early else FINE)
            for i, own in zip(ids, group.results(), strict=True):
                if own.residual < done[i].residual:
                    done[i] = own
    return done


GOOD = 1e-6
"""Residual below which a crystal is not refined again along all changes."""


class _Group:
    """Crystals of about the same size on their way."""

    def __init__(
        self, encoder: CrystalEncoder, drafts: list[Draft], latents: Tensor, symmetric: bool
    ):
        self.encoder, self.drafts, self.symmetric = encoder, drafts, symmetric
        self.target = latents.double().flatten(1)
        self.size = self.target.norm(dim=1).clamp(min=1e-300)
        counts = torch.tensor([len(d.numbers) + 2 for d in drafts])
        self.batch = torch.repeat_interleave(torch.arange(len(drafts)), counts)
        self.ends = torch.cumsum(counts, 0)
        self.points = torch.cat(
            [torch.from_numpy(np.concatenate([d.positions[1:], d.cell])) for d in drafts]
        )
        self.directions = [np.eye(3 * int(count)) for count in counts]
        self.damping = torch.full((len(drafts),), 1e-6, dtype=torch.float64)
        self.finished = torch.zeros(len(drafts), dtype=torch.bool)
        self._list_again()
        self.residual = self._errors(self.points).norm(dim=1) / self.size

    def _structure(self, i: int) -> Structure:
        """Crystal i as it is now."""
        own = self.points[self.batch == i]
        positions = torch.cat([own.new_zeros(1, 3), own[:-3]])
        return Structure(self.drafts[i].numbers, positions, cell=own[-3:])

    def _list_again(self) -> None:
        """Neighbours and images of where the atoms are now."""
        made = [self._structure(i) for i in range(len(self.drafts))]
        crystals = [(s.numbers, s.positions, s.cell[0]) for s in made]
        self.crystals = join(
            crystals, [lists_of(*crystal, self.encoder.config) for crystal in crystals]
        )
        rows = (self.ends[:, None] + torch.arange(-3, 0)).flatten()
        self.is_atom = torch.ones(len(self.batch), dtype=torch.bool)
        self.is_atom[rows] = False
        sizes = torch.bincount(self.crystals.batch, minlength=len(self.drafts))
        first = torch.cumsum(sizes, 0) - sizes
        others = torch.ones(len(self.crystals.numbers), dtype=torch.bool)
        others[first] = False
        self.place = torch.nonzero(others)[:, 0]

    def _symmetrise(self, symprec: float) -> None:
        """Make the symmetry of each crystal exact, and find the changes that keep it."""
        for i in range(len(self.drafts)):
            if not self.finished[i]:
                found = symmetric_directions(self._structure(i), symprec)
                own, self.directions[i] = found.structure, found.directions
                points = torch.cat([own.positions[1:], own.cell[0]])
                self.points[self.batch == i] = points

    def _encode(self, encoder: CrystalEncoder, points: Tensor) -> Float[Tensor, "n values"]:
        cells = points[~self.is_atom].reshape(-1, 3, 3)
        positions = points.new_zeros(len(self.crystals.numbers), 3)
        positions = positions.index_put((self.place,), points[self.is_atom])
        moved = self.crystals.moved(positions, cells).to(next(encoder.parameters()).dtype)
        return encoder(moved).flatten(1)

    def _errors(self, points: Tensor) -> Float[Tensor, "n values"]:
        return self._encode(self.encoder, points) - self.target

    def _jacobian(
        self, encoder: CrystalEncoder, displacement: float
    ) -> tuple[Float[Tensor, "n q values"], Float[Tensor, "points 3 q"]]:
        """Derivatives along each crystal's directions, and these as moves of the points; zero
        beyond its own.
        """
        most = max(own.shape[1] for own in self.directions)
        moves = self.points.new_zeros(len(self.points), 3, most)
        for i, own in enumerate(self.directions):
            rows = torch.from_numpy(own).reshape(-1, 3, own.shape[1])
            moves[self.batch == i, :, : own.shape[1]] = rows
        here = self._encode(encoder, self.points)
        columns = [
            (self._encode(encoder, self.points + displacement * moves[..., k]) - here)
            / displacement
            for k in range(most)
        ]
        return torch.stack(columns, 1).double(), moves

    def round(self, encoder: CrystalEncoder, displacement: float) -> None:
        """Steps with one Jacobian."""
        if self.symmetric:
            self._symmetrise(SYMMETRY)
        self._list_again()
        jacobian, moves = self._jacobian(encoder, displacement)
        error = self._errors(self.points)
        self.residual = before = error.norm(dim=1) / self.size
        normal = jacobian @ jacobian.transpose(1, 2)
        diagonal = normal.diagonal(dim1=1, dim2=2)
        mean = diagonal.sum(1) / (diagonal > 0).sum(1).clamp(min=1)
        ridge = (self.damping * mean)[:, None] + torch.where(diagonal > 0, 0.0, 1.0)
        factor, failed = torch.linalg.cholesky_ex(normal + torch.diag_embed(ridge))
        usable = (failed == 0) & ~self.finished
        for _ in range(STEPS):
            step = -torch.cholesky_solve(jacobian @ error[..., None], factor)[..., 0]
            move = torch.einsum("piq,pq->pi", moves, step.nan_to_num()[self.batch])
            longest = move.new_zeros(len(step)).scatter_reduce(
                0, self.batch, move.norm(dim=1), "amax"
            )
            share = (LONGEST / longest.clamp(min=1e-300)).clamp(max=1) * usable
            trial = self.points + share[self.batch][:, None] * move
            new_error = self._errors(trial)
            residual = new_error.norm(dim=1) / self.size
            better = (residual < self.residual) & usable
            helped = better & (residual < 0.7 * self.residual)
            self.points = torch.where(better[self.batch][:, None], trial, self.points)
            error = torch.where(better[:, None], new_error, error)
            self.residual = torch.where(better, residual, self.residual)
            if not bool((helped & (self.residual > ARRIVED)).any()):
                break
        stuck = self.residual > 0.5 * before
        self.damping = (self.damping * torch.where(stuck, 100.0, 0.1)).clamp(1e-12, 1e2)
        hopeless = stuck & (self.residual > HOPELESS)
        self.finished |= (self.residual < ARRIVED) | hopeless | (stuck & (self.damping > 1e-1))

    def results(self) -> list[RefinedCrystal]:
        """Where the crystals are, and how far their encodings are from the latents."""
        found = []
        for i, residual in enumerate(self.residual.tolist()):
            own = self._structure(i)
            moved = {"positions": own.positions.numpy(), "cell": own.cell[0].numpy()}
            found.append(RefinedCrystal(replace(self.drafts[i], **moved), residual))
        return found
