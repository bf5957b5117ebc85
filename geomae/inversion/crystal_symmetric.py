"""Crystals from SOAP vectors by way of their symmetry: skeletons, few parameters, then release."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.inversion.crystal_orbit_fit import OrbitFit, OrbitGrams, OrbitScalars
from geomae.inversion.crystal_orbits import Orbits
from geomae.inversion.crystal_refine import Start, posed, refined, residuals, settled
from geomae.inversion.crystal_rows import EQUAL, Classes, equal_rows, matched
from geomae.inversion.crystal_starts import volume_of
from geomae.inversion.crystal_tried import Tried
from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.soap_fit import SoapFit
from geomae.wyckoff.candidates import candidates, general_candidates

BATCH = 32
"""Crystals that are refined together."""

VOLUMES = {"off": 0.02, "outer": 0.06}
"""Spread of the logarithm of the volume, by averaging."""

ROUGH = {"steps": 40, "patience": 1e-2}
"""How degree 0 is fitted."""

CLOSE = 1e-4
"""Relative residual of degree 0 of a crystal that is worth the whole vectors."""

SOLVED = 1e-9
"""Relative residual of the whole vectors of a crystal that is a solution but for what breaks its
symmetry."""

EXACT = 1e-10
"""Relative residual below which rows are as equal as atoms are equivalent."""

MOST_KEPT = 4
"""Ends of which mutants are made."""

MUTANTS = 4
"""Mutants of each of these in a batch."""

LEAST_FREEDOM = 5
"""Free parameters of a crystal that has mutants."""

HOPELESS = 0.3
"""Relative residual of an end that is not gone on from."""

KNOWN_FIRST = 4
"""Batches of skeletons that the statistics know, before others are tried, too."""

MOST_GENERAL = 300
"""Skeletons that the statistics don't know, at most."""

GENERAL = 0.3
"""Share that all of these have together, in parts of the others'."""

AT_ONCE = 4
"""Crystals that are fitted to whole vectors together."""


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
    kinds: list[Classes | None] = [None]
    if soap.average != "outer":
        # as a rule both are the same
        kinds = list(dict.fromkeys(equal_rows(soap, values, numbers, equal) for equal in EQUAL))
    searches = [SymmetricSearch(soap, values, numbers, generator, own) for own in kinds]
    nearest = list[Try]()
    for turn in range(-(-n_starts // BATCH)):
        search = searches[turn % len(searches)]
        tries = search.batch()
        if not tries:
            searches.remove(search)
            if not searches:
                break
            continue
        ends, rough = refined([own.start for own in tries], search.rough, **ROUGH)
        tries = [
            replace(own, start=end, residual=left)
            for own, end, left in zip(tries, ends, rough.tolist(), strict=True)
        ]
        search.keep(tries)
        nearest = sorted([*search.best[:1], *nearest], key=lambda own: own.residual)[:1]
        close = sorted((own for own in tries if own.residual < CLOSE), key=lambda own: own.residual)
        if not close:
            continue
        chosen = [own.start for own in close[:AT_ONCE]]
        ends, whole = settled(chosen, search.whole, rounds=2)
        for place in torch.argsort(whole).tolist():
            if whole[place] < SOLVED:
                yield search.rested(ends[place]).rows()
    if nearest:
        yield nearest[0].start.rows()


@dataclass(frozen=True, eq=False)
class Try:
    """A start on a skeleton, or where it ended.

    Attributes:
        tried: the skeleton.
        start: the crystal.
        residual: relative, of degree 0, where it ended.
    """

    tried: Tried
    start: Start
    residual: float = float("inf")


class SymmetricSearch:
    """Starts on skeletons, refined with their symmetry.

    Args:
        soap: with an open lattice.
        values: its vectors, in a row.
        numbers: atomic number of each row; of the atoms in any order, where averaged.
        generator: of what is random.
        classes: rows that are taken for equal; None where averaged.
    """

    def __init__(
        self,
        soap: Soap,
        values: Float[Tensor, " f"],
        numbers: Int[Tensor, " n"],
        generator: torch.Generator,
        classes: Classes | None,
    ):
        self.soap, self.numbers, self.generator = soap, numbers, generator
        self.averaged = soap.average == "outer"
        self.volume = volume_of(soap, values) * len(numbers)
        self.classes = classes
        fit = SoapFit(soap, values)
        self.exact, self.whole = OrbitGrams(fit), OrbitGrams(fit)
        self.rough: OrbitFit = OrbitGrams(fit, 1) if self.averaged else OrbitScalars(soap, values)
        for rows in self.classes.rows if self.classes else ():
            for part in (self.whole, self.rough):
                part.wanted[list(rows)] = part.wanted[list(rows)].mean(0)
        self.sizes = None if self.classes is None else self.classes.sizes()
        found = candidates(numbers, self.sizes)
        self.pool = [Tried.of(own, self.volume) for own in found]
        self.batches, self.best = 0, list[Try]()

    def batch(self) -> list["Try"]:
        """The next starts: mutants of the best ends, and of skeletons the best of some drawn."""
        if self.batches == KNOWN_FIRST or not self.pool:
            self.widen()
        self.batches += 1
        made = self._mutants()
        drawn: list[list[Try]] = []
        while self.pool and len(drawn) + len(made) < BATCH:
            best = max(self.pool, key=lambda own: own.turn)
            if best.turn <= 0:
                break
            best.times += 1
            parameters = best.drawn(best.draws, VOLUMES[self.soap.average], self.generator)
            drawn.append([Try(best, self._started(best.orbits, own)) for own in parameters])
        flat = [own.start for some in drawn for own in some]
        if flat:
            ends = residuals(flat, self.rough).split([len(some) for some in drawn])
            made += [some[int(own.argmin())] for some, own in zip(drawn, ends, strict=True)]
        return made

    def _started(self, orbits: Orbits, parameters: Float[Tensor, " d"]) -> Start:
        return Start(orbits, parameters, *self.assigned(orbits))

    def _mutants(self) -> list["Try"]:
        """Of each of the best ends some."""
        made = []
        for own in self.best:
            if own.tried.freedom >= LEAST_FREEDOM:
                found = own.tried.mutants(own.start.parameters, MUTANTS, self.generator)
                made += [replace(own, start=replace(own.start, parameters=row)) for row in found]
        return made

    def keep(self, tries: list["Try"]) -> None:
        """Remember the best ends, two of each skeleton at most."""
        counts: Counter[int] = Counter()
        kept = []
        for own in sorted([*self.best, *tries], key=lambda one: one.residual):
            counts[id(own.tried)] += 1
            new = all(abs(own.residual - other.residual) > 1e-3 * own.residual for other in kept)
            if counts[id(own.tried)] <= 2 and new and own.residual < HOPELESS:
                kept.append(own)
        self.best = kept[:MOST_KEPT]

    def widen(self) -> None:
        """Add skeletons that the statistics don't have."""
        whole = sum(own.share for own in self.pool) or 1.0
        made = general_candidates(self.numbers, self.sizes, MOST_GENERAL, self.generator)
        for own in made:
            tried = Tried.of(own, self.volume)
            tried.share *= GENERAL * whole
            self.pool.append(tried)

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

    def rested(self, start: Start) -> Start:
        """A crystal that has its rows' means, without the symmetry that its rows don't have.

        Which atom of an orbit has which row is told by how atoms can move.
        """
        if self.classes is None:
            return start
        free = start.free(averaged=False)
        batch, rows, target = posed([free], self.exact)
        found, slopes = self.exact.of(batch, rows, torch.arange(1))
        apart = float((found - target).norm() / target.norm())
        if apart < EXACT:
            return start
        n = len(free.order)
        wanted = (target - found)[0].unflatten(0, (n, -1))
        kinds = torch.zeros(n, dtype=torch.long)
        for number, own in enumerate(self.classes.rows):
            kinds[list(own)] = number
        row = matched(slopes[0].unflatten(0, (n, -1)), wanted, kinds, self.generator)
        ends, residual = settled([replace(free, targets=row, order=row)], self.exact, steps=20)
        return ends[0] if float(residual[0]) < apart else start
