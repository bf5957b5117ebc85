"""Sharpening drawn crystals, positions and lattice together, until they encode to the latent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.crystals.batch import CrystalBatch, join, lists_of
from geomae.crystals.directions import Ways, all_ways, symmetric_ways
from geomae.crystals.encoder import CrystalEncoder
from geomae.crystals.reading import Draft
from geomae.data.structure import Structure

ROUGH, FINE = 4e-3, 1e-6
"""Finite differences in Å: far above rounding in the lower and the higher precision."""

ALIKE = 32
"""Crystals, sorted by size, that are refined together."""

COPIES = 16
"""Displaced copies of crystals that are encoded together."""

ROUNDS, STEPS, ROUGH_ROUNDS = 6, 16, 2
"""Jacobians at most, steps with each at most, and how many Jacobians are in the lower precision."""

CLOSE = 1e-4
"""Residual down to which encodings in the lower precision lead the way."""

PATIENCE = 3
"""Steps that hardly help after which a Jacobian is renewed."""

ARRIVED = {torch.float32: 1e-7, torch.float64: 1e-9}
"""Relative residual below which nothing is left to do, by the latent's precision."""

LONGEST = 0.5
"""Longest move of an atom or a lattice vector in one step, in Å."""

SLACK = 0.3
"""Length in Å by which lists of neighbours reach beyond the cutoff while atoms move."""

SYMMETRY = 1e-3
"""Distance in Å within which a draft's symmetry is taken to be meant: fields turn with their
latents, so that it is exact but for rounding, and distortions are larger."""

GOOD, NEAR = 1e-6, 0.1
"""Residuals between which a crystal is refined again along all changes."""

HOPELESS = 0.2
"""Residual above which a crystal is given up that steps don't bring closer."""


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
    exact, and only changes that keep it are tried, with turns of the whole: a handful instead of
    three for each atom. Crystals that do not arrive that way are refined again along all changes.
    Jacobians are finite differences, kept up to date with every step (Broyden 1965); one mostly
    serves to the end.

    Args:
        encoder: in the precision of the result.
        rough: the same in the precision of the first Jacobians.
        drafts: to start from.
        latents: target.
        rounds: Jacobians at most; 0 only tells residuals.
    """
    done = [RefinedCrystal(draft, np.inf) for draft in drafts]
    for symmetric in (True, False):
        left = list(range(len(done)))
        if not symmetric:
            left = [i for i, own in enumerate(done) if GOOD <= own.residual < NEAR]
        if not rounds and not symmetric:
            break
        left.sort(key=lambda i: len(drafts[i].numbers))
        for start in range(0, len(left), ALIKE):
            ids = left[start : start + ALIKE]
            chosen = [drafts[i] for i in ids]
            group = _Group(encoder, chosen, latents[ids], symmetric and rounds > 0)
            for number in range(rounds):
                if bool(group.finished.all()):
                    break
                early = number < ROUGH_ROUNDS
                group.round(rough if early else encoder, ROUGH if early else FINE)
            for i, own in zip(ids, group.results(), strict=True):
                if own.residual < done[i].residual:
                    done[i] = own
    return done


class _Group:
    """Crystals of about the same size on their way: each a point in the space of its ways."""

    def __init__(
        self, encoder: CrystalEncoder, drafts: list[Draft], latents: Tensor, symmetric: bool
    ):
        self.encoder, self.drafts = encoder, drafts
        self.target = latents.double().flatten(1)
        self.size = self.target.norm(dim=1).clamp(min=1e-300)
        self.arrived = ARRIVED[latents.dtype]
        self.ways: list[Ways] = []
        for draft in drafts:
            own = Structure(draft.numbers, draft.positions, cell=draft.cell)
            self.ways.append(symmetric_ways(own, SYMMETRY) if symmetric else all_ways(own))
        self.parameters = self.target.new_zeros(len(drafts), max(own.n for own in self.ways))
        self.damping = self.target.new_full((len(drafts),), 1e-6)
        self.finished = torch.zeros(len(drafts), dtype=torch.bool)
        self._list_again()
        self.error = self._errors(encoder, self.parameters, ~self.finished)
        self.residual = self.error.norm(dim=1) / self.size

    def _points(self, i: int, parameters: Float[Tensor, "k q"]) -> Float[Tensor, "k p 3"]:
        """Atoms but the anchor, and lattice vectors, of crystal i."""
        return self.ways[i].points(parameters[:, : self.ways[i].n])

    def _list_again(self) -> None:
        """Neighbours and images of where the atoms are now."""
        self.listed = [self._points(i, own[None])[0] for i, own in enumerate(self.parameters)]
        crystals = []
        for draft, own in zip(self.drafts, self.listed, strict=True):
            positions = torch.cat([own.new_zeros(1, 3), own[:-3]])
            crystals.append((torch.as_tensor(draft.numbers), positions, own[-3:]))
        lists = [lists_of(*crystal, self.encoder.config, slack=SLACK) for crystal in crystals]
        self.crystals = join(crystals, lists)

    def _errors(
        self, encoder: CrystalEncoder, parameters: Float[Tensor, "n q"], chosen: Bool[Tensor, " n"]
    ) -> Float[Tensor, "k values"]:
        """Encodings less the latents, of the chosen crystals."""
        ids = torch.nonzero(chosen)[:, 0].tolist()
        points = torch.cat([self._points(i, parameters[i][None])[0] for i in ids])
        encoding = _encode(encoder, self.crystals.repeated(chosen.long()), points)
        return encoding.double() - self.target[ids]

    def _jacobian(
        self, encoder: CrystalEncoder, displacement: float, chosen: Bool[Tensor, " n"]
    ) -> Float[Tensor, "n q values"]:
        """Derivatives along each crystal's ways; zero beyond its own."""
        jacobian = self.target.new_zeros(*self.parameters.shape, self.target.shape[1])
        ids = torch.nonzero(chosen)[:, 0].tolist()
        here = self._copies(encoder, [(i, 0) for i in ids], 0.0)
        base = dict(zip(ids, here, strict=True))
        pairs = [(i, k) for i in ids for k in range(self.ways[i].n)]
        for start in range(0, len(pairs), COPIES):
            part = pairs[start : start + COPIES]
            ends = self._copies(encoder, part, displacement)
            for (i, k), end in zip(part, ends, strict=True):
                jacobian[i, k] = (end - base[i]).double() / displacement
        return jacobian

    def _copies(
        self, encoder: CrystalEncoder, pairs: list[tuple[int, int]], displacement: float
    ) -> Float[Tensor, "k values"]:
        """Encodings of crystals displaced along one of their ways each; pairs of a crystal follow
        one another.
        """
        which: dict[int, list[int]] = {}
        for i, k in pairs:
            which.setdefault(i, []).append(k)
        points, times = [], torch.zeros(len(self.drafts), dtype=torch.long)
        for i, ways in which.items():
            moved = self.parameters[i].repeat(len(ways), 1)
            moved[torch.arange(len(ways)), torch.tensor(ways)] += displacement
            points.append(self._points(i, moved).flatten(0, 1))
            times[i] = len(ways)
        return _encode(encoder, self.crystals.repeated(times), torch.cat(points))

    def round(self, encoder: CrystalEncoder, displacement: float) -> None:
        """Steps with one Jacobian."""
        self._list_again()
        self._look(self.encoder)
        before = self.residual.clone()
        jacobian = self._jacobian(encoder, displacement, ~self.finished)
        if encoder is not self.encoder:
            self._look(encoder)
            self._steps(encoder, jacobian, CLOSE)
            self._look(self.encoder)
        self._steps(self.encoder, jacobian, self.arrived)
        stuck = self.residual > 0.5 * before
        self.damping = torch.where(stuck, self.damping * 100, self.damping).clamp(1e-12, 1e2)
        given_up = stuck & ((self.residual > HOPELESS) | (self.damping > 1e-1))
        self.finished |= (self.residual < self.arrived) | given_up

    def _look(self, encoder: CrystalEncoder) -> None:
        """How far the crystals that are not finished are, by an encoder."""
        going = ~self.finished
        self.error[going] = self._errors(encoder, self.parameters, going)
        self.residual[going] = self.error[going].norm(dim=1) / self.size[going]

    def _steps(
        self, encoder: CrystalEncoder, jacobian: Float[Tensor, "n q values"], goal: float
    ) -> None:
        """Steps until a residual is reached, or they hardly help any more."""
        tired = torch.zeros(len(self.drafts), dtype=torch.long)
        for _ in range(STEPS):
            going = ~self.finished & (self.residual > goal) & (tired < PATIENCE)
            if not bool(going.any()):
                break
            tired[going] += self._step(encoder, jacobian, going)

    def _step(
        self,
        encoder: CrystalEncoder,
        jacobian: Float[Tensor, "n q values"],
        going: Bool[Tensor, " n"],
    ) -> Int[Tensor, " k"]:
        """One step of the crystals that go on; 1 for each that it hardly helped."""
        ids = torch.nonzero(going)[:, 0]
        own, error, damping = jacobian[ids], self.error[ids], self.damping[ids]
        step = _damped(own, error, damping)
        moves = [
            self._points(i, self.parameters[i] + torch.stack([0 * s, s])).diff(dim=0).norm(dim=-1)
            for i, s in zip(ids.tolist(), step, strict=True)
        ]
        longest = torch.stack([move.max() for move in moves])
        step = step * (LONGEST / longest.clamp(min=LONGEST))[:, None]
        trial = self.parameters.clone()
        trial[ids] += step
        new_error = self._errors(encoder, trial, going)
        residual, old = new_error.norm(dim=1) / self.size[ids], self.residual[ids]
        better = residual < old
        predicted = torch.einsum("nq,nqv->nv", step, own)
        secant = (new_error - error - predicted) / step.square().sum(1).clamp(min=1e-30)[:, None]
        jacobian[ids] += step[:, :, None] * secant[:, None]
        self.parameters[ids] = torch.where(better[:, None], trial[ids], self.parameters[ids])
        self.error[ids] = torch.where(better[:, None], new_error, error)
        self.residual[ids] = torch.where(better, residual, old)
        self.damping[ids] = (damping * torch.where(better, 0.3, 10.0)).clamp(1e-12, 1e2)
        self._keep_lists()
        return (residual > 0.7 * old).long()

    def _keep_lists(self) -> None:
        """Make the lists anew once an atom may have come within the cutoff that they don't have."""
        for i, own in enumerate(self.parameters):
            gaps = self._points(i, own[None])[0] - self.listed[i]
            if float(gaps.norm(dim=1).max()) > SLACK / 2:
                self._list_again()
                return

    def results(self) -> list[RefinedCrystal]:
        """Where the crystals are, and how far their encodings are from the latents."""
        found = []
        for i, residual in enumerate(self.residual.tolist()):
            own = self._points(i, self.parameters[i][None])[0].numpy()
            positions = np.concatenate([np.zeros((1, 3)), own[:-3]])
            draft = replace(self.drafts[i], positions=positions, cell=own[-3:])
            found.append(RefinedCrystal(draft, residual))
        return found


def _damped(
    jacobian: Float[Tensor, "n q values"], error: Float[Tensor, "n values"], damping: Tensor
) -> Float[Tensor, "n q"]:
    """Steps of Levenberg and Marquardt; zero where they can't be found."""
    normal = jacobian @ jacobian.transpose(1, 2)
    diagonal = normal.diagonal(dim1=1, dim2=2)
    mean = diagonal.sum(1) / (diagonal > 0).sum(1).clamp(min=1)
    ridge = (damping * mean)[:, None] + torch.where(diagonal > 0, 0.0, 1.0)
    factor, failed = torch.linalg.cholesky_ex(normal + torch.diag_embed(ridge))
    step = -torch.cholesky_solve(jacobian @ error[..., None], factor)[..., 0]
    return torch.where(failed[:, None] == 0, step, 0.0).nan_to_num()


def _encode(
    encoder: CrystalEncoder, crystals: CrystalBatch, points: Float[Tensor, "points 3"]
) -> Float[Tensor, "n values"]:
    """Encodings of crystals given by their atoms but the anchors, and their lattice vectors."""
    sizes = torch.bincount(crystals.batch, minlength=crystals.n)
    others = torch.ones(len(crystals.numbers), dtype=torch.bool)
    others[torch.cumsum(sizes, 0) - sizes] = False
    rows = torch.cumsum(sizes + 2, 0)[:, None] + torch.arange(-3, 0)
    is_atom = torch.ones(len(points), dtype=torch.bool)
    is_atom[rows.flatten()] = False
    positions = points.new_zeros(len(others), 3)
    positions[others] = points[is_atom]
    moved = crystals.moved(positions, points[rows])
    return encoder(moved.to(next(encoder.parameters()).dtype)).flatten(1)
