"""Sharpening a symmetric drawing within its symmetry."""

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.autoencoder.encoder import Encoder
from geomae.autoencoder.refinement import Refined
from geomae.pooling import Tree

DIFFERENCE = 1e-5
"""Displacement in Å for the Jacobian, in float64."""

ARRIVED = 1e-10
"""Largest move in Å of an atom after which a structure is at its place."""

STEPS = 30
"""Steps at most."""

FARTHEST = 0.3
"""Largest move in Å of an atom in one step."""

COPIES = 64
"""Copies of a structure that are encoded together."""


@torch.no_grad()
def refine_symmetric(
    encoder: Encoder,
    tree: Tree,
    coordinates: Float[Tensor, "moves free"],
    latent: Float[Tensor, "m c"],
    *,
    steps: int = STEPS,
) -> Refined:
    """Levenberg-Marquardt on |E(X) - z|^2 over what the symmetry leaves free.

    Everything that breaks the symmetry is not there to be varied, so the structure has it to
    rounding at every step, and features that vanish by it, beside which encodings are steep, stay
    at zero. The memberships of the drawn tree are held fixed.

    Args:
        encoder: in float64.
        tree: of one structure.
        coordinates: columns are moves of all atoms' coordinates.
        latent: target, about the origin.
        steps: at most.
    """
    target = latent.double().flatten()
    scale = target.norm().clamp(min=torch.finfo(torch.float64).tiny)
    moves = coordinates / coordinates.norm(dim=0).clamp(min=1e-12)
    positions, free = tree.positions[0].clone(), moves.shape[1]
    error = _encoded(encoder, tree, positions[None])[0] - target
    damping, fresh, jacobian = 1e-4, False, None
    for _ in range(steps if free else 0):
        if jacobian is None or not fresh:
            jacobian, fresh = _jacobian(encoder, tree, positions, moves, error + target), True
        step = (moves @ _solved(jacobian, error, damping)).reshape(-1, 3)
        length = float(step.norm(dim=1).max())
        if length < ARRIVED:
            break
        step = step * min(1.0, FARTHEST / length)
        moved = _encoded(encoder, tree, (positions + step)[None])[0] - target
        gain = float(1 - moved.norm() / error.norm())
        if gain > 0:
            positions, error, damping = positions + step, moved, max(damping / 10, 1e-12)
            fresh = gain > 0.5  # a good step leaves the Jacobian good
            if gain < 1e-7:
                break
        elif damping > 1e3:
            break
        else:
            damping *= 10
    centre = tree.with_atoms_at(positions).positions[-1]
    return Refined(positions - centre, (error.norm() / scale)[None])


def _solved(
    jacobian: Float[Tensor, "values free"], error: Float[Tensor, " values"], damping: float
) -> Float[Tensor, " free"]:
    normal = jacobian.T @ jacobian
    ridge = damping * normal.diagonal().mean().clamp(min=1e-12)
    normal = normal + ridge * torch.eye(len(normal), dtype=normal.dtype)
    return -torch.linalg.solve(normal, jacobian.T @ error)


def _jacobian(
    encoder: Encoder, tree: Tree, positions: Tensor, moves: Tensor, here: Tensor
) -> Float[Tensor, "values free"]:
    shifted = positions + DIFFERENCE * moves.T.reshape(-1, *positions.shape)
    return ((_encoded(encoder, tree, shifted) - here) / DIFFERENCE).T


def _encoded(
    encoder: Encoder, tree: Tree, positions: Float[Tensor, "k atoms 3"]
) -> Float[Tensor, "k values"]:
    """Encodings of copies of one structure, moved, along the same memberships."""
    parts = []
    for chunk in positions.split(COPIES):
        copies = Tree.join([tree] * len(chunk))
        parts.append(encoder(copies.with_atoms_at(chunk.flatten(0, 1))).flatten(1))
    return torch.cat(parts)
