"""Compositions for samples with a symmetry: of those in a flow's data, ones that it can have."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.symmetry import PointGroup
from geomae.symmetry.orbits import OrbitSizes, orbit_sizes

if TYPE_CHECKING:
    from geomae.generation.flow import LatentFlow


def symmetric_compositions(
    flow: "LatentFlow",
    group: PointGroup,
    seed: int,
    numbers: Sequence[int],
    n_atoms: int | None = None,
) -> Int[Tensor, "n elements"] | None:
    """Atoms of each element for some samples, drawn from the flow's data as often as they are
    there, among molecules whose heavy atoms of each kind, and whose hydrogens, fill whole orbits.

    Told a composition that its symmetry excludes, a flow makes neither.

    Args:
        flow: whose data.
        group: that samples have.
        seed: of the draw, with each sample's number.
        numbers: of the samples.
        n_atoms: only compositions of so many.

    Returns:
        None if the data has none that fits.
    """
    formulas = flow.formulas().numpy()
    hydrogens = formulas[:, [flow.elements.index(1)]] if 1 in flow.elements else formulas[:, :0]
    parts = np.concatenate([flow.inventories().long().numpy(), hydrogens], 1)
    fits = fill_orbits(parts, orbit_sizes(group.name))
    if n_atoms is not None:
        fits &= formulas.sum(1) == n_atoms
    rows = np.flatnonzero(fits)
    if not len(rows):
        return None
    shares: Float[np.ndarray, " rows"] = flow.statistics["shares"].double().cpu().numpy()[rows]
    drawn = [
        np.random.default_rng([seed, number]).choice(rows, p=shares / shares.sum())
        for number in numbers
    ]
    return torch.from_numpy(formulas[drawn])


def fill_orbits(
    counts: Int[np.ndarray, "rows kinds"], sizes: OrbitSizes
) -> Bool[np.ndarray, " rows"]:
    """Which numbers of points of each kind fill whole orbits, one of all at most in the centre."""
    reach = sizes.reachable(int(counts.max(initial=0)))
    whole = reach[counts]
    central = sizes.centre & (counts > 0) & reach[np.maximum(counts - 1, 0)]
    return (whole | central).all(1) & ((~whole).sum(1) <= 1)
