"""Crystals from SOAP vectors by way of their symmetry: skeletons, few parameters, then release."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.inversion.crystal_candidates import Candidate, candidates
from geomae.inversion.crystal_orbit_fit import FLATTEST, OrbitFit, OrbitGrams, OrbitScalars
from geomae.inversion.crystal_orbits import OrbitBatch, Orbits, on_template, released
from geomae.inversion.crystal_rows import matched
from geomae.inversion.crystal_starts import volume_of
from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.refine import refine
from geomae.inversion.soap_fit import SoapFit

BATCH = 32
"""Crystals that are refined together."""

EQUAL = 1e-3
"""Relative difference of two rows below which their atoms are taken for equivalent."""

SPREADS = (0.03, 0.1, 0.25)
"""Spreads of the strain by which a cell is drawn, of which each start has one."""

VOLUMES = {"off": 0.02, "outer": 0.06}
"""Spread of the logarithm of the volume, by averaging."""

MOST_DRAWS = 8
"""Starts of which the best is refined, at most."""

ROUGH = {"steps": 40, "patience": 1e-2}
"""How degree 0 is fitted."""

CLOSE = 1e-4
"""Relative residual of degree 0 of a crystal that is worth the whole vectors."""

SOLVED = 1e-9
"""Relative residual of the whole vectors of a crystal that is a solution but for what breaks its
symmetry."""

EXACT = 1e-10
"""Relative residual below which rows are as equal as atoms are equivalent."""

AT_ONCE = 4
"""Crystals that are fitted to whole vectors together."""

SMALLEST = 3.0
"""Å^3 an atom, below which nothing is computed."""


def crystals_by_symmetry(
    soap: Soap,
    values: Float[Tensor, " f"],
    numbers: Int[Tensor, " n"],
    n_starts: int,
    generator: torch.Generator,
) -> Iterator[tuple[Int[Tensor, " n"], Float[Tensor, "p 3"]]]:
    """Atoms and lattice vectors that have the whole vectors, one crystal at a time.

    If none has, the nearest comes at the end.

    Args:
        soap: with an open lattice.
        values: its vectors, in a row.
        numbers: atomic number of each row; of the atoms in any order, where averaged.
        n_starts: crystals on skeletons that are refined, about so many.
        generator: of what is random.
    """
    search = SymmetricSearch(soap, values, numbers, generator)
    nearest, least = None, float("inf")
    for _ in range(0, n_starts, BATCH):
        starts = search.batch()
        if not starts:
            break
        ends, rough = search.refined(starts, search.rough, **ROUGH)
        order = torch.argsort(rough)
        if float(rough[order[0]]) < least:
            nearest, least = ends[int(order[0])], float(rough[order[0]])
        chosen = [ends[i] for i in order[:AT_ONCE].tolist() if rough[i] < CLOSE]
        if not chosen:
            continue
        ends, whole = search.refined(chosen, search.whole, tolerance=SOLVED / 100)
        for place in torch.argsort(whole).tolist():
            if whole[place] < SOLVED:
                yield search.rows(search.settled(ends[place]))
    if nearest is not None:
        yield search.rows(nearest)


@dataclass(eq=False)
class Tried:
    """A candidate, and how often it was tried.

    Attributes:
        orbits: how its crystals follow from their parameters.
        periods: of the free coordinates, in units of the parameters.
        share: of crystals that have the skeleton, up to a factor.
        times: how often it was tried.
    """

    orbits: Orbits
    periods: Float[Tensor, " q"]
    share: float
    freedom: int
    times: int = 0

    @staticmethod
    def of(candidate: Candidate, volume: float) -> "Tried":
        """Not tried yet; the frame has a volume in Å^3."""
        template = candidate.template
        orbits = on_template(template, candidate.species, volume)
        periods = [
            np.linalg.norm(template.basis[orbit, axis] @ orbits.frame.numpy())
            for orbit, free in enumerate(template.freedom.tolist())
            for axis in range(free)
        ]
        freedom = orbits.n_parameters - round(float(np.trace(template.polar)))
        return Tried(orbits, torch.tensor(np.array(periods)), candidate.share, freedom)

    @property
    def draws(self) -> int:
        """Starts of which the best is refined."""
        return 1 if self.freedom <= 1 else min(2 * self.freedom, MOST_DRAWS)

    @property
    def turn(self) -> float:
        """The larger, the sooner it is tried again."""
        if self.freedom <= 1 and self.times >= 2:
            return 0.0
        return self.share**0.7 / (1 + 2 * self.times / max(2, self.freedom))

    def drawn(
        self, k: int, swell: float, generator: torch.Generator
    ) -> Float[Tensor, "k q+s"]:
        """Parameters of crystals at random.

        Args:
            k: crystals.
            swell: spread of the logarithm of the volume.
            generator: of what is random.
        """
        options = {"generator": generator, "dtype": torch.float64}
        chosen = torch.randint(len(SPREADS), (k,), generator=generator)
        noise = torch.tensor(SPREADS, dtype=torch.float64)[chosen, None, None]
        noise = noise * torch.randn(k, 3, 3, **options)
        strains = self.orbits.strains
        unit = strains / strains.flatten(1).norm(dim=1)[:, None, None]
        noise = torch.einsum("sab,scd,kcd->kab", unit, unit, noise + noise.mT)
        eye = torch.eye(3, dtype=torch.float64)
        trace = noise.diagonal(dim1=1, dim2=2).sum(1) - swell * torch.randn(k, **options)
        strain = torch.linalg.matrix_exp(noise - trace[:, None, None] * eye / 3)
        moves = torch.rand(k, len(self.periods), **options) * self.periods
        return torch.cat([moves, torch.stack([self.orbits.strain(own) for own in strain])], 1)


@dataclass(frozen=True, eq=False)
class Start:
    """A crystal on a skeleton, with the row that each orbit and each atom shall have."""

    orbits: Orbits
    parameters: Float[Tensor, " q+s"]
    targets: Int[Tensor, " o"]
    order: Int[Tensor, " n"]


@dataclass(frozen=True)
class Classes:
    """Rows that are equal, and the element of each.

    Attributes:
        rows: of each class.
        element: of each class, an atomic number.
    """

    rows: tuple[tuple[int, ...], ...]
    element: tuple[int, ...]

    def sizes(self) -> dict[int, list[int]]:
        """Of each element, how large its classes are."""
        found: dict[int, list[int]] = {}
        for rows, z in zip(self.rows, self.element, strict=True):
            found.setdefault(z, []).append(len(rows))
        return found


def equal_rows(
    soap: Soap, values: Float[Tensor, " f"], numbers: Int[Tensor, " n"]
) -> Classes:
    """Rows of one element that are nearly equal, so that their atoms may be equivalent."""
    table = values.reshape(len(numbers), -1)
    gaps = torch.cdist(table, table, compute_mode="donot_use_mm_for_euclid_dist")
    near = (gaps < EQUAL * table.norm(dim=1)) & (numbers[:, None] == numbers)
    left, rows = list(range(len(numbers))), []
    while left:
        own = [i for i in left if bool(near[left[0], i])]
        rows.append(tuple(own))
        left = [i for i in left if i not in own]
    return Classes(tuple(rows), tuple(int(numbers[own[0]]) for own in rows))


class SymmetricSearch:
    """Starts on skeletons, refined with their symmetry.

    Args:
        soap: with an open lattice.
        values: its vectors, in a row.
        numbers: atomic number of each row; of the atoms in any order, where averaged.
        generator: of what is random.
    """

    def __init__(
        self,
        soap: Soap,
        values: Float[Tensor, " f"],
        numbers: Int[Tensor, " n"],
        generator: torch.Generator,
    ):
        self.soap, self.numbers, self.generator = soap, numbers, generator
        self.averaged = soap.average == "outer"
        self.volume = volume_of(soap, values) * len(numbers)
        self.classes = None if self.averaged else equal_rows(soap, values, numbers)
        fit = SoapFit(soap, values)
        self.exact, self.whole = OrbitGrams(fit), OrbitGrams(fit)
        self.rough: OrbitFit = OrbitGrams(fit, 1) if self.averaged else OrbitScalars(soap, values)
        for rows in self.classes.rows if self.classes else ():
            for part in (self.whole, self.rough):
                part.wanted[list(rows)] = part.wanted[list(rows)].mean(0)
        found = candidates(numbers, None if self.classes is None else self.classes.sizes())
        self.pool = [Tried.of(own, self.volume) for own in found]

    def batch(self) -> list[Start]:
        """The next starts: of each skeleton whose turn it is, the best of some drawn."""
        drawn: list[list[Start]] = []
        while self.pool and len(drawn) < BATCH:
            best = max(self.pool, key=lambda own: own.turn)
            if best.turn <= 0:
                break
            best.times += 1
            made = best.drawn(best.draws, VOLUMES[self.soap.average], self.generator)
            drawn.append([Start(best.orbits, own, *self.assigned(best.orbits)) for own in made])
        flat = [own for some in drawn for own in some]
        if not flat:
            return []
        residual = self._residuals(self.rough, *self.posed(flat, self.rough))
        ends = residual.split([len(some) for some in drawn])
        return [some[int(own.argmin())] for some, own in zip(drawn, ends, strict=True)]

    def _residuals(
        self, fit: OrbitFit, batch: OrbitBatch, rows: Tensor, target: Tensor
    ) -> Float[Tensor, " k"]:
        which = torch.arange(len(rows))
        found, _ = guarded(fit, batch, rows, which, target.shape[1], self.soap)
        return torch.nan_to_num((found - target).norm(dim=1), nan=torch.inf)

    def assigned(self, orbits: Orbits) -> tuple[Int[Tensor, " o"], Int[Tensor, " n"]]:
        """A row for each orbit, and one for each atom, of its element."""
        if self.classes is None:
            return torch.zeros_like(orbits.sizes), torch.arange(len(orbits.fixed))
        order = torch.randperm(len(self.classes.rows), generator=self.generator).tolist()
        free = {k: list(self.classes.rows[k]) for k in order}
        targets = torch.zeros_like(orbits.sizes)
        places = torch.zeros_like(orbits.owner)
        for orbit in torch.argsort(orbits.sizes, descending=True).tolist():
            size, z = int(orbits.sizes[orbit]), int(orbits.species[orbits.centres[orbit]])
            mine = [k for k in order if self.classes.element[k] == z and free[k]]
            # as large, else large enough, else whatever is left
            mine.sort(key=lambda k: (len(free[k]) != size, len(free[k]) < size))
            rows: list[int] = []
            for k in mine:
                while free[k] and len(rows) < size:
                    rows.append(free[k].pop())
            targets[orbit] = rows[0]
            places[orbits.owner == orbit] = torch.tensor(rows)
        return targets, places

    def posed(
        self, starts: Sequence[Start], fit: OrbitFit
    ) -> tuple[OrbitBatch, Float[Tensor, "k p 3"], Float[Tensor, "k f"]]:
        """Starts as a batch, their parameters, and what their values shall be."""
        orbits = [own.orbits for own in starts]
        batch = OrbitBatch.of(orbits, self.soap.species)
        rows = batch.packed(orbits, [own.parameters for own in starts])
        most = batch.centres.shape[1]
        targets = [
            torch.cat([own.targets, own.targets.new_zeros(most - len(own.targets))])
            for own in starts
        ]
        return batch, rows, fit.target(batch, torch.stack(targets))

    def refined(
        self, starts: Sequence[Start], fit: OrbitFit, **options
    ) -> tuple[list[Start], Float[Tensor, " k"]]:
        """Starts where they end, and their residuals."""
        batch, rows, target = self.posed(starts, fit)

        def jacobian(which: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
            found, slopes = guarded(
                fit, batch, places, which[:, 0, 0].long(), target.shape[1], self.soap
            )
            return found, slopes.unflatten(2, (-1, 3))

        which = torch.arange(len(starts), dtype=rows.dtype)[:, None, None]
        found = refine(jacobian, target, which, rows, **options)
        ends = batch.unpacked([own.orbits for own in starts], found.positions)
        moved = [
            Start(own.orbits, end, own.targets, own.order)
            for own, end in zip(starts, ends, strict=True)
        ]
        return moved, found.residual

    def rows(self, start: Start) -> tuple[Int[Tensor, " n"], Float[Tensor, "p 3"]]:
        """Atomic numbers and positions in the order of the rows, lattice vectors behind these."""
        made = start.orbits.rows(start.parameters)
        order = torch.argsort(start.order)
        return start.orbits.species[order], torch.cat([made[:-3][order], made[-3:]])

    def settled(self, start: Start) -> Start:
        """A crystal that has its rows' means, without the symmetry that its rows don't have.

        Which atom of an orbit has which row is told by how atoms can move.
        """
        if self.classes is None:
            return start
        free = self.free(start)
        batch, rows, target = self.posed([free], self.exact)
        found, slopes = self.exact.of(batch, rows, torch.arange(1))
        apart = float((found - target).norm() / target.norm())
        if apart < EXACT:
            return start
        n = len(free.order)
        wanted = target.unflatten(1, (n, -1))[0] - found.unflatten(1, (n, -1))[0]
        kinds = torch.zeros(n, dtype=torch.long)
        for number, own in enumerate(self.classes.rows):
            kinds[list(own)] = number
        row = matched(slopes[0].unflatten(0, (n, -1)), wanted, kinds, self.generator)
        free = Start(free.orbits, free.parameters, row, row)
        ends, residual = self.refined([free], self.exact, steps=20)
        return ends[0] if float(residual[0]) < apart else start

    def free(self, start: Start) -> Start:
        """The same crystal, which keeps nothing but its lattice."""
        numbers, rows = self.rows(start)
        orbits = released(rows, numbers)
        strain = orbits.strain(torch.eye(3, dtype=rows.dtype))
        parameters = torch.cat([rows.new_zeros(len(orbits.along)), strain])
        everything = torch.arange(len(numbers))
        targets = torch.zeros_like(everything) if self.averaged else everything
        return Start(orbits, parameters, targets, everything)


def guarded(
    fit: OrbitFit,
    batch: OrbitBatch,
    rows: Float[Tensor, "k p 3"],
    which: Int[Tensor, " k"],
    n_values: int,
    soap: Soap,
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

