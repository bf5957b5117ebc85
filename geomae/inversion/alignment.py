"""Turning one structure onto another whose atoms come in any order."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from geomae.data.structure import Structure
from geomae.errors import GeomaeError

CANDIDATES = 256
"""Triples of atoms that are tried as images of three atoms of the reference."""


FLAT = 1e-5
"""Å from a plane, or from a mirror image, that is rounding."""

SAME = 1e-9
"""RMSD in Å that no other matching need be tried to better."""


@dataclass(frozen=True)
class Alignment:
    """How a structure lies on a reference.

    Attributes:
        rmsd: over matched atoms, in Å.
        matrix: orthogonal; `positions @ matrix.T` lie on the reference.
        matching: atom that stands for each of the reference.
    """

    rmsd: float
    matrix: Float[Tensor, "3 3"]
    matching: tuple[int, ...]


def align(
    reference: Structure, other: Structure, *, mirror: bool = False, centre: str = "centroid"
) -> Alignment:
    """The rotation and matching of like atoms with the least distance.

    Three atoms of the reference are laid on all triples of like atoms with about the same
    distances; the best of these are matched (Hungarian method) and turned again. Exact for
    structures that are the same; an upper bound for others.

    Args:
        reference, other: finite structures of one composition.
        mirror: also try the mirror image of `other`; the matrix is then improper if it is better.
        centre: about which to turn: 'centroid' of the atoms or 'origin'.

    Raises:
        GeomaeError: the compositions differ.
    """
    fixed, moving = (s.positions.double() for s in (reference, other))
    if sorted(reference.numbers.tolist()) != sorted(other.numbers.tolist()):
        raise GeomaeError(f"{other.formula} can't be laid on {reference.formula}")
    if centre == "centroid":
        fixed, moving = fixed - fixed.mean(0), moving - moving.mean(0)
    best = None
    for sign in (1.0, -1.0) if mirror else (1.0,):
        found = _align_proper(reference.numbers, fixed, other.numbers, sign * moving)
        if best is None or found.rmsd < best.rmsd - 1e-9:
            best = Alignment(found.rmsd, sign * found.matrix, found.matching)
    assert best is not None
    return best


def has_mirror(structure: Structure, *, centre: str = "centroid") -> bool:
    """Whether a plane that exchanges two like atoms, or one with all atoms, is a mirror.

    A structure without such a plane may still be its own mirror image, by a rotation reflection.

    Args:
        structure: finite.
        centre: that planes go through: 'centroid' of the atoms or 'origin'.
    """
    place = structure.positions.double()
    if centre == "centroid":
        place = place - place.mean(0)
    if len(place) < 3 or float(torch.linalg.svdvals(place)[2]) < FLAT:
        return True
    alike = structure.numbers[:, None] == structure.numbers
    radii = place.norm(dim=1)
    first, second = torch.nonzero(alike & ((radii[:, None] - radii).abs() < FLAT)).unbind(1)
    normals = (place[first] - place[second])[first < second][:CANDIDATES]
    normals = torch.nn.functional.normalize(normals, dim=1)[:, None]
    images = place - 2 * (place * normals).sum(2, keepdim=True) * normals
    gaps = torch.cdist(images, place.expand(len(images), -1, -1)).masked_fill(~alike, torch.inf)
    return bool((gaps.amin(2).amax(1) < FLAT).any())


def _align_proper(numbers: Tensor, fixed: Tensor, others: Tensor, moving: Tensor) -> Alignment:
    anchors = _anchors(numbers, fixed)
    matrices = _candidate_turns(numbers, fixed, others, moving, anchors)
    alike = numbers[:, None] == others
    gaps = torch.cdist(fixed[None], moving @ matrices.mT).masked_fill(~alike, torch.inf)
    rough = gaps.amin(2).square().sum(1) + gaps.amin(1).square().sum(1)
    best = Alignment(float("inf"), torch.eye(3, dtype=torch.float64), ())
    for index in torch.argsort(rough)[:6].tolist():
        matrix = matrices[index]
        for _ in range(4):
            matching = _match(fixed, moving @ matrix.T, alike)
            turned = _turn(fixed, moving[matching])
            rmsd = float((moving[matching] @ turned.T - fixed).square().sum(1).mean().sqrt())
            if rmsd >= best.rmsd:
                break
            best, matrix = Alignment(rmsd, turned, tuple(matching.tolist())), turned
        if best.rmsd < SAME:
            break
    return best


def _anchors(numbers: Tensor, positions: Tensor) -> list[int]:
    """Up to three atoms that span the structure: rare, far out, not in a line."""
    radii = positions.norm(dim=1)
    rarity = (numbers[:, None] == numbers).sum(1)
    first = int(torch.argmax(radii / radii.max().clamp(min=1e-9) - 0.2 * rarity))
    axis = positions[first] / radii[first].clamp(min=1e-9)
    aside = torch.linalg.cross(positions, axis.expand_as(positions)).norm(dim=1)
    second = int(torch.argmax(aside - 1e-3 * rarity))
    normal = torch.linalg.cross(axis, positions[second])
    height = (positions @ (normal / normal.norm().clamp(min=1e-9))).abs()
    third = int(torch.argmax(height))
    return list(dict.fromkeys([first, second, third]))


def _candidate_turns(
    numbers: Tensor, fixed: Tensor, others: Tensor, moving: Tensor, anchors: list[int]
) -> Float[Tensor, "t 3 3"]:
    """Rotations that lay triples of like atoms on the anchors, best triples first."""
    pools = [torch.nonzero(others == numbers[a])[:, 0] for a in anchors]
    grid = torch.stack(torch.meshgrid(*pools, indexing="ij"), -1).reshape(-1, len(anchors))
    sorted_grid = grid.sort(1).values
    grid = grid[(sorted_grid.diff(dim=1) > 0).all(1)]
    goal, found = _shape(fixed[anchors][None]), _shape(moving[grid])
    order = torch.argsort((found - goal).square().sum(1))[:CANDIDATES]
    return _turn(fixed[anchors].expand(len(order), -1, -1), moving[grid[order]])


def _shape(points: Float[Tensor, "t a 3"]) -> Float[Tensor, "t f"]:
    """Radii and distances of a few points."""
    radii = points.norm(dim=2)
    first, second = torch.triu_indices(points.shape[1], points.shape[1], 1)
    return torch.cat([radii, (points[:, first] - points[:, second]).norm(dim=2)], 1)


def _turn(
    fixed: Float[Tensor, "*batch n 3"], moving: Float[Tensor, "*batch n 3"]
) -> Float[Tensor, "*batch 3 3"]:
    """Rotation that brings points nearest to others (Kabsch 1976), about the origin."""
    left, _, right = torch.linalg.svd(fixed.mT @ moving)
    sign = torch.ones_like(left[..., 0])
    sign[..., 2] = torch.linalg.det(left @ right)
    return (left * sign[..., None, :]) @ right


def _match(fixed: Tensor, moving: Tensor, alike: Tensor) -> Tensor:
    squares = torch.cdist(fixed, moving).square()
    squares = torch.where(alike, squares, 1e6).numpy()
    return torch.as_tensor(np.asarray(linear_sum_assignment(squares)[1]))
