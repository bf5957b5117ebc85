"""Frames: vectors that turn with a structure, and turning a structure by them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.data.structure import Structure
from geomae.inversion.descriptors.base import Descriptor

POWERS = (0, 1, 2)
"""Of the distance from the centre, in Å, by which atoms are weighted."""


@dataclass(frozen=True)
class Oriented:
    """A structure turned into a frame.

    Attributes:
        positions: turned.
        mismatch: relative distance of its own frame from the given one.
        complete: the frame leaves no rotation free.
        settles_hand: the frame tells the structure from its mirror image.
    """

    positions: Float[Tensor, "n 3"]
    mismatch: float
    complete: bool
    settles_hand: bool


def frame_of(descriptor: Descriptor, structure: Structure) -> Float[Tensor, "k 3"]:
    """Vectors that turn with a structure: `sum_i |r_i|^p r_i` of each element, p = 0, 1, 2.

    Args:
        descriptor: whose species and centre they are about.
        structure: whose frame it is.
    """
    place = structure.positions.double()
    if descriptor.centre == "centroid":
        place = place - place.mean(0)
    return frame_vectors(descriptor.weights(structure.numbers), place)


def frame_vectors(
    weights: Float[Tensor, "n s"], positions: Float[Tensor, "n 3"]
) -> Float[Tensor, "k 3"]:
    """The same of positions about the centre, `[3 species, 3]`."""
    radii = positions.norm(dim=1, keepdim=True)
    return torch.cat([weights.T @ (positions * radii**power) for power in POWERS])


def orient(
    weights: Float[Tensor, "n s"],
    positions: Float[Tensor, "n 3"],
    frame: Float[Tensor, "k 3"],
    *,
    improper: bool,
) -> Oriented:
    """The structure, turned so that its frame is nearest to the given one.

    Args:
        weights: of species on atoms.
        positions: about the centre.
        frame: goal.
        improper: whether it may be reflected, too.
    """
    own = frame_vectors(weights, positions)
    left, sizes, right = torch.linalg.svd(frame.T @ own)
    rank = int((sizes > 1e-9 * sizes[0].clamp(min=1e-30)).sum()) if float(sizes[0]) > 1e-12 else 0
    sign = torch.ones_like(sizes)
    if not improper or rank < 3:
        sign[2] = torch.linalg.det(left @ right)
    matrix = (left * sign) @ right
    size = frame.norm().clamp(min=1e-12)
    mismatch = float((own @ matrix.T - frame).norm() / size) if rank else float(own.norm() > 1e-6)
    return Oriented(positions @ matrix.T, mismatch, rank >= 2, rank == 3)
