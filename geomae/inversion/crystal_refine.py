"""Refining crystals by the parameters that their symmetry leaves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.inversion.crystal_orbit_fit import FLATTEST, OrbitFit, OrbitGrams
from geomae.inversion.crystal_orbits import OrbitBatch, Orbits, released
from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.refine import refine
from geomae.inversion.soap_fit import SoapFit

SMALLEST = 3.0
"""Å^3 an atom, below which nothing is computed."""

ROUNDS = 8
"""Refinements one after the other, at most."""

GAIN = 0.9
"""Part of the residual that a round must go below."""

FREE = 1e-7
"""Singular values of the derivatives below this, relative to the largest, count as zero."""


@dataclass(frozen=True, eq=False)
class Start:
    """A crystal on a skeleton, with the row that each orbit and each atom shall have."""

    orbits: Orbits
    parameters: Float[Tensor, " d"]
    targets: Int[Tensor, " o"]
    order: Int[Tensor, " n"]

    def rows(self) -> tuple[Int[Tensor, " n"], Float[Tensor, "p 3"]]:
        """Atomic numbers and positions in the order of the rows, lattice vectors behind these."""
        made, order = self.orbits.rows(self.parameters), torch.argsort(self.order)
        return self.orbits.species[order], torch.cat([made[:-3][order], made[-3:]])

    def free(self, *, averaged: bool) -> "Start":
        """The same crystal, which keeps nothing but its lattice."""
        return free_start(*self.rows(), averaged=averaged)


def free_start(numbers: Int[Tensor, " n"], rows: Float[Tensor, "p 3"], *, averaged: bool) -> Start:
    """A crystal that keeps nothing but its lattice.

    Args:
        numbers: atomic numbers.
        rows: positions in Å in the order of the vectors, lattice vectors behind them.
        averaged: there is one vector for all atoms.
    """
    orbits, every = released(rows, numbers), torch.arange(len(numbers))
    strain = orbits.strain(torch.eye(3, dtype=rows.dtype))
    parameters = torch.cat([rows.new_zeros(len(orbits.along)), strain])
    return Start(orbits, parameters, torch.zeros_like(every) if averaged else every, every)


def posed(
    starts: Sequence[Start], fit: OrbitFit
) -> tuple[OrbitBatch, Float[Tensor, "k p 3"], Float[Tensor, "k f"]]:
    """Starts as a batch, their parameters, and what their values shall be."""
    orbits = [own.orbits for own in starts]
    batch = OrbitBatch.of(orbits, fit.soap.species)
    rows = batch.packed(orbits, [own.parameters for own in starts])
    most = batch.centres.shape[1]
    targets = [
        torch.cat([own.targets, own.targets.new_zeros(most - len(own.targets))]) for own in starts
    ]
    return batch, rows, fit.target(batch, torch.stack(targets))


def residuals(starts: Sequence[Start], fit: OrbitFit) -> Float[Tensor, " k"]:
    """Relative distances from the target; infinite for cells that are flat."""
    batch, rows, target = posed(starts, fit)
    found, _ = guarded(fit, batch, rows, torch.arange(len(starts)), target.shape[1])
    return (found - target).norm(dim=1) / target.norm(dim=1)


def refined(
    starts: Sequence[Start], fit: OrbitFit, **options
) -> tuple[list[Start], Float[Tensor, " k"]]:
    """Starts where they end, and their relative residuals.

    Args:
        starts: of as many atoms each.
        fit: what they are fitted to.
        options: of `geomae.inversion.refine.refine`.
    """
    batch, rows, target = posed(starts, fit)

    def jacobian(which: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        found, slopes = guarded(fit, batch, places, which[:, 0, 0].long(), target.shape[1])
        return found, slopes.unflatten(2, (-1, 3))

    # the numbers of the starts travel where others have weights
    which = torch.arange(len(starts), dtype=rows.dtype)[:, None, None]
    found = refine(jacobian, target, which, rows, **options)
    ends = batch.unpacked([own.orbits for own in starts], found.positions)
    moved = [replace(own, parameters=end) for own, end in zip(starts, ends, strict=True)]
    return moved, found.residual


def settled(
    starts: Sequence[Start], fit: OrbitFit, *, rounds: int = ROUNDS, **options
) -> tuple[list[Start], Float[Tensor, " k"]]:
    """`refined`, again and again while that helps.

    Near a symmetric crystal what breaks the symmetry acts at second order only, and damping that
    has fallen too far gives up; a new round begins with more.
    """
    ends, residual = refined(starts, fit, **options)
    for _ in range(rounds - 1):
        again, left = refined(ends, fit, **options)
        if not bool((left < GAIN * residual).any()):
            break
        ends, residual = again, left
    return ends, residual


def guarded(
    fit: OrbitFit,
    batch: OrbitBatch,
    rows: Float[Tensor, "k p 3"],
    which: Int[Tensor, " k"],
    n_values: int,
) -> tuple[Float[Tensor, "k f"], Float[Tensor, "k f q"]]:
    """Values and derivatives; infinite where a cell is flat or next to nothing."""
    cells = batch.cells(rows, which)
    volumes = torch.linalg.det(cells).abs()
    usable = volumes > SMALLEST * batch.fixed.shape[1]
    heights = 1 / torch.linalg.inv(cells[usable]).norm(dim=1).amax(1)
    usable[usable.clone()] = heights > FLATTEST
    found = rows.new_full((len(rows), n_values), torch.inf)
    slopes = rows.new_zeros(len(rows), n_values, 3 * rows.shape[1])
    if bool(usable.any()):
        found[usable], slopes[usable] = fit.of(batch, rows[usable], which[usable])
    return found, slopes


def polished(
    soap: Soap, values: Float[Tensor, " f"], numbers: Int[Tensor, " n"], rows: Float[Tensor, "p 3"]
) -> tuple[Float[Tensor, "p 3"], float]:
    """A crystal refined as far as it goes, and how far from the true one it may be.

    What a residual r is worth in Å is r over the least singular value of the derivatives that is
    not zero. Vectors that are averaged are flat, so that a tiny residual can be a long way.

    Args:
        soap: with an open lattice.
        values: its vectors, in a row.
        numbers: atomic number of each row.
        rows: positions in Å, lattice vectors behind them.

    Returns:
        Positions and lattice vectors, and the distance in Å, to first order.
    """
    fit = OrbitGrams(SoapFit(soap, values))
    start = free_start(numbers, rows, averaged=soap.average == "outer")
    ends, residual = settled([start], fit, steps=60, patience=1e-6)
    batch, places, target = posed(ends, fit)
    _, slopes = fit.of(batch, places, torch.arange(1))
    sizes = torch.linalg.svdvals(slopes[0] / target.norm())
    least = sizes[sizes > FREE * sizes[0]].min()
    return ends[0].rows()[1], float(residual[0] / least)
