"""Sharpening a drawing until its own encoding is the latent that it was drawn from."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.autoencoder.chord import Chord, Mixing, longest
from geomae.autoencoder.encoder import Encoder
from geomae.autoencoder.jacobian import difference_jacobian, near_jacobian
from geomae.pooling.tree import Tree

ROUGH, FINE = 4e-3, 1e-8
"""Finite differences in Å: far above rounding in the lower and the higher precision."""

ARRIVED = 5e-8
"""Longest step in Å of an atom after which a structure is at its place."""

ROUGHLY_ARRIVED = 3e-6
"""The same for the steps taken in the lower precision."""

HELPED = 0.8
"""What a step must shrink the residual to, or the Jacobian has served its time."""

NOTHING, SMALL = 1e-4, 1e-3
"""Share of the squared error that is not worth a step, where the residual is small, as with
latents in low precision."""

ALIKE = 32
"""Structures, sorted by size, that are refined together."""

ENCODED_TOGETHER = 64
"""Copies of structures that are encoded together for an exact Jacobian."""


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
    steps: int = 14,
) -> Refined:
    """Gauss-Newton on |E(X) - z|^2 with the memberships of the drawn tree held fixed.

    With the memberships fixed the encoding is smooth in the positions. One Jacobian serves several
    steps (a chord iteration: it converges linearly, with a rate as small as the error of the
    Jacobian, to the precision of the residual). The first is `near_jacobian` in the lower
    precision, which costs little and is close enough for almost all. Where its steps stop helping
    it is renewed, or, if they did not help much, replaced by finite differences in the higher
    precision, with more damping where steps did not help at all: highly symmetric structures
    need that, because features that vanish by symmetry grow steeply beside it. Structures
    that neither helps are given up.

    Args:
        encoder: in the precision of the result.
        rough: the same in the precision of the first Jacobians and steps.
        tree: as drawn; its memberships stay.
        latents: target.
        rounds: Jacobians at most.
        steps: steps with each at most.
    """
    tree = _centred(tree, tree.positions[0])
    target = latents.to(tree.positions[0].dtype).flatten(1)
    sizes = torch.bincount(tree.batch[0], minlength=len(latents))
    positions = tree.positions[0].clone()
    residual = positions.new_ones(len(latents))
    damping = torch.full_like(residual, 1e-6)
    moving, exactly = sizes > 0, torch.zeros_like(sizes, dtype=torch.bool)
    for number in range(rounds):
        for exact in (False, True):
            for ids in _alike(moving & (exactly == exact), sizes):
                own = torch.isin(tree.batch[0], ids)
                part = tree.select(ids).with_atoms_at(positions[own])
                first = encoder if exact else rough
                result = _round(encoder, first, part, target[ids], damping[ids], steps, exact)
                positions[own], residual[ids] = result.positions, result.residual
                hopeless = result.stuck & (result.residual > 0.3) & exact
                moving[ids] = result.moving & ~hopeless
                more = torch.where(result.stuck & exact, damping[ids] * 1e3, damping[ids])
                damping[ids] = more.clamp(max=1)
        exactly |= moving & ((residual > SMALL) | (number > 0))
        if not bool(moving.any()):
            break
    return Refined(_centred(tree, positions).positions[0], residual)


def _alike(todo: Tensor, sizes: Tensor) -> list[Tensor]:
    """Numbers of the structures to do, in ascending batches of about the same size."""
    ids = torch.nonzero(todo)[:, 0]
    if not len(ids):
        return []
    return [own.sort().values for own in ids[sizes[ids].argsort(stable=True)].split(ALIKE)]


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
    first: Encoder,
    tree: Tree,
    target: Tensor,
    damping: Tensor,
    steps: int,
    exact: bool,
) -> _Round:
    """Steps with one Jacobian, the first of them in the precision of the encoder `first`."""
    low = next(first.parameters()).dtype
    near = None if exact else near_jacobian(first, tree.to(low), ROUGH)
    jacobian = _exact_jacobian(first, tree) if near is None else near
    descent = _Descent(tree, target, Chord(jacobian, damping, tree.batch[0]))
    before = descent.look(first)
    if low != target.dtype:
        descent.run(first, ROUGHLY_ARRIVED, steps, blind=True)
        descent.look(encoder)
    descent.run(encoder, ARRIVED, steps, blind=False)
    stuck = descent.residual > 0.5 * before
    return _Round(descent.positions, descent.residual, stuck, ~descent.arrived)


def _exact_jacobian(encoder: Encoder, tree: Tree) -> Tensor:
    """All derivatives, by finite differences of many copies together."""
    together = max(1, ENCODED_TOGETHER // tree.n_structures)
    copies = Tree.join([tree] * together)

    def encode(positions: Tensor) -> Tensor:
        return encoder(copies.with_atoms_at(positions)).flatten(1)

    return difference_jacobian(encode, tree.positions[0], tree.batch[0], FINE, together)


class _Descent:
    """Steps of structures with a fixed Jacobian.

    Args:
        tree: where they start, centred.
        target: latents.
        chord: the steps that the Jacobian gives for errors.
    """

    def __init__(self, tree: Tree, target: Tensor, chord: Chord):
        self.tree, self.target, self.chord = tree, target, chord
        self.mixing = Mixing(tree.batch[0], len(target))
        self.positions, self.error = tree.positions[0].clone(), torch.zeros_like(target)
        self.size = target.norm(dim=1).clamp(min=torch.finfo(target.dtype).tiny)
        self.residual = torch.full_like(self.size, torch.inf)
        self.arrived = torch.zeros_like(self.size, dtype=torch.bool)

    def look(self, encoder: Encoder) -> Float[Tensor, " n"]:
        """Errors and residuals where the structures are, by an encoder; the residuals."""
        self.error = self._encode(encoder, self.tree, self.positions) - self.target
        self.residual = self.error.norm(dim=1) / self.size
        self.arrived = torch.zeros_like(self.arrived)
        return self.residual

    def run(self, encoder: Encoder, near: float, steps: int, *, blind: bool) -> None:
        """Steps until structures arrive, or steps no longer help.

        Only those that still move are encoded. The iteration restarts where it was taken up, but
        what was learned of the Jacobian's faults is kept.

        Args:
            encoder: of the positions.
            near: step in Å of a structure that is at its place.
            steps: at most.
            blind: take that last step, too, without another look.
        """
        part, moving = self, torch.arange(len(self.target), device=self.target.device)
        for _ in range(steps):
            step, share = part.chord(part.error)
            step = _centred_step(part.tree, part.mixing(part.positions, step))
            here = longest(step, part.tree.batch[0], len(part.target)) <= near
            here |= (share <= NOTHING) & (part.residual <= SMALL)
            moved = part.positions + step
            if blind:
                own = here[part.tree.batch[0]]
                part.positions[own] = moved[own]
            if part is not self:
                self._take(part, moving)
            self.arrived[moving[here]] = True
            part, moving, moved = part.kept(~here, moving, moved)
            if not len(moving):
                return
            helped = part.try_(encoder, moved)
            if part is not self:
                self._take(part, moving)
            part, moving, _ = part.kept(helped, moving, part.positions)
            if not len(moving):
                return

    def try_(self, encoder: Encoder, moved: Tensor) -> Tensor:
        """Goes where it is better; returns which it helped enough to go on."""
        error = self._encode(encoder, self.tree, moved) - self.target
        residual = error.norm(dim=1) / self.size
        better = residual < self.residual
        helped = residual < HELPED * self.residual
        own = better[self.tree.batch[0]]
        self.positions[own] = moved[own]
        self.error[better], self.residual[better] = error[better], residual[better]
        return helped

    def kept(
        self, keep: Tensor, numbers: Tensor, moved: Tensor
    ) -> tuple["_Descent", Tensor, Tensor]:
        """The descent of some of the structures alone, their numbers, their part of `moved`."""
        if bool(keep.all()):
            return self, numbers, moved
        ids, own = torch.nonzero(keep)[:, 0], keep[self.tree.batch[0]]
        part = _Descent(self.tree.select(ids), self.target[ids], self.chord.select(keep))
        part.mixing = self.mixing.select(keep)
        part.positions, part.error = self.positions[own], self.error[ids]
        part.residual = self.residual[ids]
        return part, numbers[ids], moved[own]

    def _take(self, part: "_Descent", numbers: Tensor) -> None:
        """What a part has reached."""
        own = torch.isin(self.tree.batch[0], numbers)
        self.positions[own], self.error[numbers] = part.positions, part.error
        self.residual[numbers] = part.residual

    @staticmethod
    def _encode(encoder: Encoder, tree: Tree, positions: Tensor) -> Tensor:
        low = next(encoder.parameters()).dtype
        return encoder(tree.with_atoms_at(positions.to(low))).flatten(1).to(positions.dtype)


def _centred(tree: Tree, positions: Tensor) -> Tree:
    """The tree with its last points at the origin."""
    centre = tree.with_atoms_at(positions).positions[-1]
    return tree.with_atoms_at(positions - centre[tree.batch[0]])


def _centred_step(tree: Tree, step: Tensor) -> Tensor:
    """A step that leaves the last points where they are."""
    return step - tree.with_atoms_at(step).positions[-1][tree.batch[0]]
