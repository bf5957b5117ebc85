"""The structure nearest to a power spectrum with noise.

The channels of some elements alone are the power spectrum of their atoms alone: these few are found
first, from rough radii, and their noisy sums of directions or chance. The other elements' atoms
are at the peaks of their signals in space. Least squares take all of it to the nearest structure,
and what noise leaves of the values tells whether that was found.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.inversion.algebra import Shells, starts_of
from geomae.inversion.noisy_spectra import NoisySpectrum
from geomae.inversion.one_centre import first_elements
from geomae.inversion.shell_forms import ShellForms
from geomae.inversion.spread import mutated

FITTED = 2.0
"""Residual, relative to what noise leaves, up to which a structure counts as the nearest."""

BATCH = 16
"""Starts that are refined together."""

COUNTED = 4
"""Starts that such a batch counts as."""

FRESH = 3
"""One batch of so many is new; the others are mutants of the best ends."""

PARENTS = 6
"""Ends of which mutants are made."""


def nearest_structure(
    spectrum: NoisySpectrum,
    numbers: Int[Tensor, " n"] | None,
    n_starts: int,
    generator: torch.Generator,
) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3"], float] | None:
    """A structure whose power spectrum is a noisy one but for the noise, or the nearest found.

    Args:
        spectrum: the values.
        numbers: of the atoms, where known.
        n_starts: refined at most, about.
        generator: of what is left to chance.

    Returns:
        Atomic numbers, positions about the centre, and the residual relative to what noise leaves;
        None if noise hides all atoms.
    """
    species = torch.tensor(spectrum.density._numbers)
    if numbers is None:
        numbers = species.repeat_interleave(spectrum.counts)
    if not len(numbers):
        return None
    chosen = first_elements(species.tolist(), numbers)
    part = spectrum.only(numbers[chosen].unique().tolist())
    own = torch.tensor(part.density._numbers)
    shells = part.shells((numbers[chosen, None] == own).sum(0))
    if not len(shells.counts):
        return None
    first, others = own[shells.atoms], numbers[~chosen]
    best = None
    for places, told in _first(part, shells, n_starts, generator):
        if len(others):
            made = spectrum.completed(places[0], first, others, generator)
            starts = torch.cat([places.expand(len(made), -1, -1), made], 1)
            places, told = spectrum.refined(torch.cat([first, others]), starts)
        least = int(told.argmin())
        if best is None or float(told[least]) < best[2]:
            best = torch.cat([first, others]), places[least], float(told[least])
        if best[2] < FITTED:
            break
    return best


def _first(
    part: NoisySpectrum, shells: Shells, n_starts: int, generator: torch.Generator
) -> Iterator[tuple[Float[Tensor, "1 n 3"], Float[Tensor, " 1"]]]:
    """The atoms that are looked for first: each time they are found, and the best in the end."""
    own = torch.tensor(part.density._numbers)[shells.atoms]
    standing = ShellForms(shells).alone()
    ends = torch.zeros(0, len(own), 3, dtype=torch.float64)
    left = ends.new_zeros(0)
    for number in range(max(1, n_starts // COUNTED)):
        if number % FRESH and len(ends):
            starts = mutated(ends, BATCH, generator)
        else:
            starts = starts_of(shells, BATCH, generator, standing=standing)
        places, told = part.refined(own, starts)
        ends, left = torch.cat([ends, places]), torch.cat([left, told])
        kept = torch.argsort(left)[:PARENTS]
        ends, left = ends[kept], left[kept]
        if float(left[0]) < FITTED:
            yield ends[:1], left[:1]
            ends, left = ends[:0], left[:0]
    if len(left):
        yield ends[:1], left[:1]
