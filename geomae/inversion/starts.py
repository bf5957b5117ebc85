"""Where refinement starts: structures proposed by algebra, by a model, or at random."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import comb
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.errors import GeomaeError, MissingExtraError
from geomae.inversion.algebra import shells_of, starts_of
from geomae.inversion.crystal_starts import crystals_by_scalars, random_crystals, volume_of
from geomae.inversion.crystal_symmetric import crystals_by_symmetry
from geomae.inversion.descriptors.base import Descriptor, names
from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.descriptors.spectra import PowerSpectrum, Together
from geomae.inversion.gram_fit import GramFit
from geomae.inversion.noisy_spectra import ROUNDING, SINGLE, NoisySpectrum, noise_of
from geomae.inversion.noisy_starts import FITTED, nearest_structure
from geomae.inversion.shell_forms import ShellForms
from geomae.inversion.soap_fit import SoapFit
from geomae.inversion.soap_scalars import species_of_rows
from geomae.inversion.soap_starts import directions_about_one, whole_from_skeleton
from geomae.inversion.spread import ball

EXACT = 1e-12
"""Residual of what algebra gives that need not be refined; ten times that where atoms at one radius
make double roots of what breaks their symmetry.
"""

STANDING = 4
"""Arrangements of some shells from which the others are looked for."""

SHAKEN = 0.15
"""Å by which atoms are moved where algebra left nothing open and refinement ended beside it."""

LATTICES = 8
"""Crystals that are refined together, where a start takes seconds."""

ON_SKELETONS = 8
"""Crystals on skeletons, which have few parameters, for each start that is asked for."""

MOST_COMPOSITIONS = 400
"""Compositions that are searched where none is given."""


@runtime_checkable
class Fit(Protocol):
    """Fewer values than the descriptor's, which the right structure has as well, and quickly."""

    @property
    def target(self) -> Tensor:
        """What they are, `[f]`."""
        ...

    def jacobian(self, weights: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Values of a batch, `[k, f]`, with derivatives `[k, f, p, 3]`."""
        ...


@dataclass(frozen=True)
class Problem:
    """What is to be inverted.

    Attributes:
        descriptor: of the values.
        values: in a row.
        numbers: atomic numbers of the structure, if known.
        n_atoms: number of its atoms, if known.
        frame: vectors `[3 species, 3]` that turn with the structure, if given.
    """

    descriptor: Descriptor
    values: Float[Tensor, " values"]
    numbers: Int[Tensor, " n"] | None = None
    n_atoms: int | None = None
    frame: Float[Tensor, "k 3"] | None = None

    def fits(self, numbers: Int[Tensor, " n"]) -> bool:
        """Whether a composition agrees with what is known."""
        if self.numbers is not None:
            return sorted(self.numbers.tolist()) == sorted(numbers.tolist())
        return self.n_atoms is None or self.n_atoms == len(numbers)


@dataclass(frozen=True)
class Starts:
    """Structures of one composition from which to refine.

    Attributes:
        numbers: atomic numbers, `[n]`.
        positions: `[k, n, 3]` in Å; lattice vectors behind them where these are unknown.
        route: where they come from.
        fit: a smaller set of values to refine against; None for the descriptor's own.
        certain: nothing was left to chance, so that more such starts would be the same.
        exact: solutions to rounding, if they are any: up to this residual they are not refined.
        refined: they are where refinement ends.
        noisy: values have noise, so that the nearest structure is looked for among all values.
    """

    numbers: Int[Tensor, " n"]
    positions: Float[Tensor, "k p 3"]
    route: str
    fit: Fit | None = None
    certain: bool = False
    exact: float = 0.0
    refined: bool = False
    noisy: bool = False


Proposer = Callable[[Problem, int, torch.Generator], Iterator[Starts]]
"""Batches of starts for a problem, about so many in all, the most promising first. A network that
draws structures from invariants is one of these."""


def by_algebra(problem: Problem, n: int, generator: torch.Generator) -> Iterator[Starts]:
    """What Gram matrices tell: radii and counts, and directions of atoms alone at their radius."""
    found = power_part(problem)
    if found is None:
        return
    spectrum, values = found
    if spectrum.pairs != "all" or spectrum.density.envelope or spectrum.density.lmax < 1:
        return
    grams = spectrum.grams(values)
    noisy = NoisySpectrum(grams, spectrum.density, noise_of(grams[0]))
    if noisy.relative <= SINGLE:
        yield from _at_its_word(problem, spectrum, grams, n, generator)
    if noisy.relative > ROUNDING:
        yield from _despite_noise(problem, noisy, n, generator)


def _at_its_word(
    problem: Problem, spectrum: PowerSpectrum, grams: Tensor, n: int, generator: torch.Generator
) -> Iterator[Starts]:
    """What Gram matrices tell that have no noise but that of rounding."""
    most = None
    if problem.numbers is not None:
        most = spectrum.weights(problem.numbers).sum(0).long()
    shells = shells_of(grams, spectrum.density, most=most)
    if shells is None or not shells.n_atoms:
        return
    known = torch.tensor(spectrum.species)
    numbers = known[shells.atoms]
    if not problem.fits(numbers):
        return
    fit, given = GramFit(grams, spectrum.density, most=len(numbers)), 0
    standing, shapes = [], None
    if shells.n_open:
        forms = ShellForms(shells)
        places = None
        for directions, placed in forms.made():
            if bool(placed.all()):
                places = (directions * shells.radii[shells.owner][:, None])[None]
                yield Starts(numbers, places, "algebra", fit, exact=10 * EXACT)
            elif bool((placed & ~shells.central[shells.owner]).any()) and len(standing) < STANDING:
                standing.append((directions, placed))
        if forms.certain and places is not None:
            yield Starts(numbers, places[:0], "algebra", fit, certain=True)
        if places is None and not standing:
            standing = forms.alone()
        shapes = forms.shapes() if standing else None
    for batch in (1, 16, 16) if not shells.n_open else (8, 16, 32, 64, 128, 256):
        if given >= n:
            return
        positions = starts_of(shells, batch, generator, standing=standing, shapes=shapes)
        if not shells.n_open and given:
            noise = torch.randn(positions.shape, generator=generator, dtype=positions.dtype)
            positions = positions + SHAKEN * noise
        given += batch
        sure, first = not shells.n_open, EXACT if batch == 1 else 0.0
        yield Starts(numbers, positions, "algebra", fit, certain=sure, exact=first)


def _despite_noise(
    problem: Problem, spectrum: NoisySpectrum, n: int, generator: torch.Generator
) -> Iterator[Starts]:
    """The structure nearest to a noisy spectrum; certain where noise explains what is left."""
    found = nearest_structure(spectrum, problem.numbers, n, generator)
    if found is not None:
        numbers, place, left = found
        sure = left < FITTED
        yield Starts(numbers, place[None], "algebra", certain=sure, refined=True, noisy=True)


def by_distances(problem: Problem, n: int, generator: torch.Generator) -> Iterator[Starts]:
    """What SOAP vectors tell of distances, with directions at random about one centre."""
    soap = problem.descriptor
    if not isinstance(soap, Soap) or soap.average != "off" or soap.cell is not None or soap.lattice:
        return
    if soap.centres == "all":
        batches = whole_from_skeleton(soap, problem.values, n, generator)
    elif soap.centres == "origin" or soap.centres == (0,):
        batches = directions_about_one(soap, problem.values, problem.numbers, n, generator)
    else:
        return
    for numbers, positions, fit in batches:
        if problem.fits(numbers):
            yield Starts(numbers, positions, "distances", fit)


def by_symmetry(problem: Problem, n: int, generator: torch.Generator) -> Iterator[Starts]:
    """Crystals whose lattice is unknown, refined on skeletons that carry their composition."""
    soap = problem.descriptor
    if not isinstance(soap, Soap) or not soap.lattice or soap.centres != "all":
        return
    numbers = problem.numbers
    if soap.average == "off":
        numbers = species_of_rows(soap, problem.values)
    if numbers is None or not problem.fits(numbers):
        return
    fit = fit_of(problem)
    many = ON_SKELETONS * n
    try:
        for own, rows in crystals_by_symmetry(soap, problem.values, numbers, many, generator):
            yield Starts(own, rows[None], "symmetry", fit, refined=True)
    except MissingExtraError:
        # space groups come from moyopy; chance needs none
        return


def by_density(problem: Problem, n: int, generator: torch.Generator) -> Iterator[Starts]:
    """Crystals whose lattice is unknown: random ones of the density told, elements by rows."""
    soap = problem.descriptor
    if not isinstance(soap, Soap) or not soap.lattice or soap.average != "off":
        return
    numbers = species_of_rows(soap, problem.values) if soap.centres == "all" else None
    if numbers is None or not problem.fits(numbers):
        return
    fit = fit_of(problem)
    for rows in crystals_by_scalars(soap, problem.values, numbers, n, generator):
        yield Starts(numbers, rows[None], "density", fit)


def at_random(problem: Problem, n: int, generator: torch.Generator) -> Iterator[Starts]:
    """Atoms spread over a ball of the usual density, of all compositions that may be.

    Not where vectors of all atoms tell each one's element: the routes above know more.

    Raises:
        GeomaeError: too little is known of the composition to try them all.
    """
    if tells_rows(problem):
        return
    candidates, fit = compositions(problem), fit_of(problem)
    most = LATTICES if problem.descriptor.lattice else 32
    batch = max(4, min(most, n // len(candidates)))
    rounds = max(1, n // (batch * len(candidates)))
    for _ in range(rounds):
        for numbers in candidates:
            yield Starts(numbers, spread(problem, len(numbers), batch, generator), "random", fit)


def tells_rows(problem: Problem) -> bool:
    """Whether the values are SOAP vectors of all atoms that tell each one's element."""
    soap = problem.descriptor
    if not isinstance(soap, Soap) or soap.centres != "all" or soap.average != "off":
        return False
    return soap.cell is None and species_of_rows(soap, problem.values) is not None


def spread(problem: Problem, n: int, k: int, generator: torch.Generator) -> Float[Tensor, "k p 3"]:
    """Random positions, and lattice vectors where these are unknown, too."""
    soap = problem.descriptor
    if not problem.descriptor.lattice:
        return ball(n, k, generator)
    assert isinstance(soap, Soap)
    rough = n * volume_of(soap, problem.values)
    exact = soap.average == "off"
    return random_crystals(n, (rough if exact else 0.7 * rough, 1.3 * rough), k, generator)


def fit_of(problem: Problem) -> Fit | None:
    """A quicker equivalent of the descriptor, where there is one."""
    descriptor = problem.descriptor
    if isinstance(descriptor, Soap) and descriptor.average != "inner":
        return SoapFit(descriptor, problem.values)
    found = power_part(problem)
    if found is not None and found[0].pairs == "all":
        spectrum, values = found
        return GramFit(spectrum.grams(values), spectrum.density, most=problem.n_atoms)
    return None


def compositions(problem: Problem) -> list[Int[Tensor, " n"]]:
    """Atomic numbers of every composition that agrees with what is known.

    SOAP vectors of all atoms tell the element of each, in the order of the rows.
    """
    descriptor = problem.descriptor
    if isinstance(descriptor, Soap) and descriptor.centres == "all":
        numbers = species_of_rows(descriptor, problem.values)
        if numbers is not None and problem.fits(numbers):
            return [numbers]
    if problem.numbers is not None:
        return [problem.numbers]
    species = problem.descriptor.species
    if problem.n_atoms is None:
        raise GeomaeError(
            "neither the values nor the algebra tell the number of atoms: give `n_atoms` or "
            "`species`"
        )
    count = comb(problem.n_atoms + len(species) - 1, problem.n_atoms)
    if count > MOST_COMPOSITIONS:
        raise GeomaeError(
            f"{problem.n_atoms} atoms of {names(species)} make {count} compositions, more than "
            f"the {MOST_COMPOSITIONS} that are searched: give `species`"
        )
    return [
        torch.tensor(numbers) for numbers in combinations_with_replacement(species, problem.n_atoms)
    ]


def power_part(problem: Problem) -> tuple[PowerSpectrum, Tensor] | None:
    """The power spectrum in a descriptor, and its values."""
    descriptor = problem.descriptor
    if isinstance(descriptor, PowerSpectrum):
        return descriptor, problem.values
    if isinstance(descriptor, Together):
        for part, values in zip(
            descriptor.parts, descriptor.split(problem.values, problem.n_atoms or 1), strict=True
        ):
            if isinstance(part, PowerSpectrum):
                return part, values
    return None
