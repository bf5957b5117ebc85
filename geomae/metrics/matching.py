"""Which decoded atom stands for which original one, also where compositions differ."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from geomae.data.structure import Structure
from geomae.errors import GeomaeError

UNMATCHED = -1
"""Stands in a matching for an atom that has no partner."""


def match_atoms(original: Structure, decoded: Structure) -> list[int]:
    """Index of the decoded atom for each original one, or -1.

    Least sum of squared distances among the atoms of each element (Hungarian method). Distances
    in crystals are those to the nearest image. An element with more atoms on one side than on
    the other leaves some of them without partners.

    Args:
        original, decoded: in one frame; nothing is realigned.
    """
    matching = np.full(original.n_atoms, UNMATCHED)
    numbers, others = original.numbers.numpy(), decoded.numbers.numpy()
    for number in np.unique(numbers):
        own, other = np.flatnonzero(numbers == number), np.flatnonzero(others == number)
        if not len(other):
            continue
        gaps = decoded.positions.numpy()[other] - original.positions.numpy()[own][:, None]
        squares = np.square(_to_nearest_image(gaps, original, decoded)).sum(-1)
        rows, columns = linear_sum_assignment(squares)
        matching[own[rows]] = other[columns]
    return matching.tolist()


def displacement_vectors(
    original: Structure, decoded: Structure, matching: Sequence[int]
) -> Float[np.ndarray, "n 3"]:
    """From each original atom to its decoded partner (nearest image), in Å; nan without one."""
    partners = np.asarray(matching, dtype=int)
    vectors = np.full((original.n_atoms, 3), np.nan)
    paired = partners >= 0
    gaps = decoded.positions.numpy()[partners[paired]] - original.positions.numpy()[paired]
    vectors[paired] = _to_nearest_image(gaps, original, decoded)
    return vectors


def check_matching(matching: Sequence[int], original: Structure, decoded: Structure) -> list[int]:
    """The matching as plain numbers.

    Raises:
        GeomaeError: not one entry an original atom, an index out of range, or one used twice.
    """
    partners = [int(i) for i in matching]
    used = [i for i in partners if i != UNMATCHED]
    if len(partners) != original.n_atoms:
        raise GeomaeError(
            f"matching has {len(partners)} entries, expected one an atom ({original.n_atoms})"
        )
    if any(not 0 <= i < decoded.n_atoms for i in used) or len(set(used)) < len(used):
        raise GeomaeError(
            f"matching must hold different indices of the {decoded.n_atoms} decoded atoms, "
            f"or {UNMATCHED}; got {partners}"
        )
    return partners


def _to_nearest_image(gaps: np.ndarray, original: Structure, decoded: Structure) -> np.ndarray:
    """The same vectors `[..., 3]`, less the lattice vectors that make them shortest.

    The decoded cell counts, for its atoms are those that have images; else the original's.
    """
    crystal = next(
        (s for s in (decoded, original) if s.periodic and s.get("cell") is not None), None
    )
    if crystal is None:
        return gaps
    cell, flags = crystal.cell[0].numpy(), crystal.pbc[0].numpy()
    if abs(np.linalg.det(cell)) < 1e-9:
        return gaps
    near = gaps - np.where(flags, np.round(gaps @ np.linalg.inv(cell)), 0.0) @ cell
    steps = np.stack(np.meshgrid(*[[-1, 0, 1] if f else [0] for f in flags]), -1).reshape(-1, 3)
    images = near[..., None, :] + steps @ cell
    best = np.square(images).sum(-1).argmin(-1)
    return np.take_along_axis(images, best[..., None, None], -2)[..., 0, :]
