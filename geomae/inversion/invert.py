"""From invariant values back to the structures that have them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.inversion.alignment import align, has_mirror
from geomae.inversion.crystal_alignment import crystal_gap, reduced
from geomae.inversion.crystal_parts import parts_within
from geomae.inversion.crystal_refine import polished
from geomae.inversion.descriptors import as_descriptor
from geomae.inversion.descriptors.base import Descriptor, as_species, names
from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.frames import frame_of, orient
from geomae.inversion.refine import Jacobian, refine
from geomae.inversion.results import (
    AmbiguousInversion,
    Inversion,
    NoInversion,
    UniqueInversion,
)
from geomae.inversion.soap_fit import SoapFit
from geomae.inversion.starts import (
    Fit,
    Problem,
    Proposer,
    Starts,
    at_random,
    by_algebra,
    by_density,
    by_distances,
    by_symmetry,
)

DISTINCT = 1e-2
"""Solutions that differ by more, as RMSD in Å, are different structures."""

CONFIRMED = 6
"""Starts that must have led to known solutions, since the last new one, to end the search."""

FAR = 1e-3
"""Relative residual beyond which a start that should be exact is none."""

EXACT, SINGLE = 1e-8, 3e-6
"""Largest relative residual of a solution, for values in double and in single precision."""

SECOND = 1e-2
"""Part of the tolerance that a solution must reach where values change at second order only along
some motions: there a residual leaves room for steps of its square root.
"""

SHARP = 2e-4
"""Distance in Å to which the residual of a crystal must tell it."""

BESIDE = 4
"""Structures beside a solution that are refined where values see some motions at second order."""

STEP = 0.1
"""How far its atoms are moved for that, in Å."""

FLAT = 1e-7
"""Singular values of the Jacobian below this, relative to the largest, count as zero."""


def invert(
    descriptor: Any,
    values: Any,
    *,
    species: Sequence[int | str] | None = None,
    n_atoms: int | None = None,
    frame: Any = None,
    n_solutions: int = 4,
    seed: int = 0,
    tolerance: float | None = None,
    n_starts: int = 256,
    starts: Proposer | None = None,
) -> Inversion:
    """All structures that have given values, as far as starts lead to them.

    Algebra gives the start where it can, then random structures do; each is refined to
    rounding against the descriptor. The search goes on after a solution is found, to see whether
    there is another, unless algebra left nothing to chance.

    Args:
        descriptor: a `Descriptor`, or a dscribe `SOAP` as it is.
        values: as the descriptor gives them.
        species: element of each atom (atomic numbers or symbols, in any order), if known.
        n_atoms: number of atoms, if known; many values tell it themselves.
        frame: vectors that turn with the structure, as `frame_of` gives them; solutions are
            turned so that theirs are these.
        n_solutions: stop when so many different ones were found. One more may come where solutions
            lie dense because there are too many atoms for the values.
        seed: of what is random.
        tolerance: largest relative residual of a solution; a hundredth of it about one centre where
            the values change at second order only along some motions of its atoms. By default 1e-8,
            and 3e-6 for values in single precision.
        n_starts: to refine, at most about so many.
        starts: what proposes structures before algebra and chance do, such as a trained network.

    Returns:
        A `UniqueInversion`, `AmbiguousInversion` or `NoInversion`.

    Raises:
        GeomaeError: the values can't be the descriptor's (length, shape, NaN), an element is
            unknown to it, or too little is known of the composition.
    """
    if tolerance is None:
        tolerance = tolerance_of(values)
    if not (tolerance > 0 and n_solutions >= 1 and n_starts >= 1):
        raise GeomaeError(
            "tolerance must be above 0, n_solutions and n_starts at least 1; got "
            f"{tolerance}, {n_solutions} and {n_starts}"
        )
    problem = pose(descriptor, values, species=species, n_atoms=n_atoms, frame=frame)
    search = _Search(problem, n_solutions, tolerance, n_starts, seed)
    routes = [by_algebra, by_distances, by_symmetry, by_density, at_random]
    routes = routes if starts is None else [starts, *routes]
    for number, route in enumerate(routes):
        if search.run(route, last=number == len(routes) - 1):
            break
    search.look_beside()
    return search.result()


def tolerance_of(values: Any) -> float:
    """Largest relative residual of a solution that values can be told to by their precision."""
    single = str(getattr(values, "dtype", "")) in ("float32", "torch.float32")
    return SINGLE if single else EXACT


def pose(
    descriptor: Any,
    values: Any,
    *,
    species: Sequence[int | str] | None = None,
    n_atoms: int | None = None,
    frame: Any = None,
) -> Problem:
    """The problem, after a check of everything that was given. Arguments as of `invert`."""
    known = as_descriptor(descriptor, values, n_atoms=len(species) if species else n_atoms)
    row = known.check(values)
    numbers = None
    if species is not None:
        single = [as_species([item])[0] for item in species]
        numbers = torch.tensor(single)
        known.weights(numbers)
        if n_atoms is not None and n_atoms != len(numbers):
            raise GeomaeError(f"species are those of {len(numbers)} atoms, not of {n_atoms}")
        n_atoms = len(numbers)
    told = known.n_atoms_of(tuple(np.shape(values)))
    if told is not None and n_atoms is not None and told != n_atoms:
        raise GeomaeError(
            f"the values are those of {told} atoms, not of {n_atoms}: expected the shape "
            f"{list(known.shape(n_atoms))}"
        )
    if n_atoms is not None and n_atoms < 1:
        raise GeomaeError(f"n_atoms must be at least 1, not {n_atoms}")
    vectors = None
    if known.lattice and frame is not None:
        raise GeomaeError("a frame turns molecules and environments; crystals are not turned")
    if frame is not None:
        vectors = torch.as_tensor(np.asarray(frame, dtype=np.float64))
        expected = (3 * len(known.species), 3)
        if tuple(vectors.shape) != expected or not bool(torch.isfinite(vectors).all()):
            raise GeomaeError(
                f"a frame has the shape {list(expected)}, three vectors for each of "
                f"{names(known.species)}, all finite; got {list(vectors.shape)}"
            )
    return Problem(known, row, numbers, n_atoms or told, vectors)


class _Search:
    """Refines starts until there are solutions enough, or no starts left."""

    def __init__(
        self, problem: Problem, n_solutions: int, tolerance: float, n_starts: int, seed: int
    ):
        self.problem, self.n_solutions, self.tolerance = problem, n_solutions, tolerance
        self.left, self.tried = n_starts, 0
        self.generator = torch.Generator().manual_seed(seed)
        self.solutions: list[Structure] = []
        self.hits = 0
        self.origin: Starts | None = None
        self.nearest: Structure | None = None
        self.fit: Fit | None = None
        self.messages: list[str] = []
        self.doubt: list[str] = []

    def run(self, route: Proposer, *, last: bool) -> bool:
        """Refine what a route proposes; whether the search is over."""
        try:
            for starts in route(self.problem, self.left, self.generator):
                if not self.problem.fits(starts.numbers):
                    continue
                self._refine(starts)
                done = self.complete or self.left <= 0
                sure = starts.certain or self.hits >= CONFIRMED
                if done or (sure and (self.solutions or starts.noisy)):
                    return True
        except GeomaeError as error:
            # chance comes last: where nothing can be tried at random, what was found stands
            if not last or self.nearest is None:
                raise
            self.messages.append(f"no random starts: {error}")
        return bool(self.solutions) and not last

    @property
    def complete(self) -> bool:
        """Whether there are as many solutions as were asked for."""
        return len(self.solutions) >= self.n_solutions

    def _refine(self, starts: Starts, *, beside: bool = False) -> None:
        descriptor, target = self.problem.descriptor, self.problem.values
        weights = descriptor.weights(starts.numbers)
        if starts.refined:
            for place in starts.positions:
                self.tried += 1
                self._consider(starts, weights, place, min(self._residuals(weights, place)))
            return
        as_they_are = self._untouched(starts, weights) if starts.exact else []
        if starts.exact and self._stand(starts, as_they_are):
            return
        many = weights.expand(len(starts.positions), -1, -1)
        fit = starts.fit
        found = refine(
            fit.jacobian if fit else descriptor.jacobian,
            fit.target if fit else target,
            many,
            starts.positions,
            enough=None if self.n_solutions > 1 or beside else 1,
            tolerance=self.tolerance / 100,
        )
        self.tried += len(starts.positions)
        self.left -= len(starts.positions)
        for index in torch.argsort(found.residual).tolist():
            if self.complete and not beside:
                break
            self._consider(starts, weights, found.positions[index], float(found.residual[index]))
        for structure in as_they_are:
            # the fit sees less than the descriptor, and may lead away
            self._take(structure, starts)

    def _untouched(self, starts: Starts, weights: Tensor) -> list[Structure]:
        return [self._made(starts, weights, place) for place in starts.positions]

    def _stand(self, starts: Starts, made: Sequence[Structure]) -> bool:
        """Whether starts are solutions as they are, or far from one; they are taken then."""
        residuals = [float(structure.residual) for structure in made]
        far = np.inf if starts.certain else FAR
        if any(starts.exact < residual < far for residual in residuals):
            return False
        self.tried += len(made)
        for structure in made:
            self._take(structure, starts)
        return True

    def _consider(self, starts: Starts, weights: Tensor, place: Tensor, rough: float) -> None:
        """Add a refined structure if it is a new solution; remember the nearest."""
        best = float("inf") if self.nearest is None else float(self.nearest.residual)
        if rough > max(1e3 * self.tolerance, best) or not bool(torch.isfinite(place).all()):
            return
        descriptor = self.problem.descriptor
        seen = descriptor.seen(place)
        if self.problem.numbers is None and self.problem.n_atoms is None and not bool(seen.all()):
            # there were too many atoms, and least squares got rid of some
            weights, place = weights[seen], place[seen]
            starts = replace(starts, numbers=starts.numbers[seen])
        made = self._made(starts, weights, place)
        fitted = starts.noisy or (starts.fit and rough <= self.tolerance)
        if made.residual > self.tolerance and fitted and not descriptor.lattice:
            polished = self._polish(weights, made.positions)
            made = min(made, self._made(starts, weights, polished), key=lambda s: s.residual)
        sure = True
        if isinstance(descriptor, Soap) and descriptor.lattice:
            made, sure = self._surely(descriptor, starts, weights, made)
        self._take(made, starts, sure)

    def _take(self, made: Structure, starts: Starts, sure: bool = True) -> None:
        """Keep a structure if it is the nearest, or a solution that is not known yet."""
        if self.nearest is None or made.residual < self.nearest.residual:
            self.nearest, self.fit = made, starts.fit
        if made.residual > self.tolerance or not made.framed or not sure:
            return
        # what algebra put in place is determined by it, and has hardly been moved
        doubtful = made.residual > SECOND * self.tolerance and not starts.exact
        if doubtful and self._is_flat(made, starts):
            return
        if not self.problem.descriptor.sees(made.positions):
            return
        for known in self.solutions:
            if self._same(known, made):
                if made.residual < known.residual:
                    self.solutions[self.solutions.index(known)] = made
                # what was not left to chance confirms nothing
                self.hits += not starts.exact
                return
        self.solutions.append(made)
        self.hits, self.origin = 1, starts

    def look_beside(self) -> None:
        """Refine from beside the only solution, along motions that values don't see at first order.

        Where there are too many atoms for the degrees, solutions lie dense there, and what ends in
        another one shows it. Algebra that left nothing to chance has excluded that.
        """
        origin = self.origin
        if len(self.solutions) != 1 or origin is None or origin.exact or not self._central:
            return
        (known,) = self.solutions
        motions = free_motions(self.problem.descriptor, known, self._jacobian(origin))
        if not len(motions):
            return
        shape = (BESIDE, len(motions))
        amounts = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        amounts = torch.nn.functional.normalize(amounts, dim=1) * STEP * known.n_atoms**0.5
        moved = known.positions + torch.einsum("kd,dna->kna", amounts, motions)
        self._refine(replace(origin, numbers=known.numbers, positions=moved), beside=True)

    @property
    def _central(self) -> bool:
        """Whether values are those about one centre, of a molecule or an environment."""
        descriptor = self.problem.descriptor
        whole = isinstance(descriptor, Soap) and descriptor.centres == "all"
        return not descriptor.lattice and not whole

    def _jacobian(self, starts: Starts) -> Jacobian:
        return starts.fit.jacobian if starts.fit else self.problem.descriptor.jacobian

    def _is_flat(self, made: Structure, starts: Starts) -> bool:
        """Whether values about one centre change at second order only, along some motions."""
        if not self._central:
            return False
        flat = len(free_motions(self.problem.descriptor, made, self._jacobian(starts)))
        if flat:
            text = (
                f"{made.formula} with a residual of {float(made.residual):.1e} is not counted: "
                f"values change at second order only along {flat} of its motions"
            )
            self.doubt = [text]
        return bool(flat)

    def _surely(
        self, soap: Soap, starts: Starts, weights: Tensor, made: Structure
    ) -> tuple[Structure, bool]:
        """A crystal, polished where its residual is no mere rounding, and whether it is sharp."""
        if not self.tolerance / 100 < made.residual <= self.tolerance:
            return made, True
        rows = torch.cat([made.positions, made.cell[0]])
        rows, error = polished(soap, self.problem.values, starts.numbers, rows)
        better = self._made(starts, weights, rows)
        return min(better, made, key=lambda s: s.residual), error < SHARP

    def _polish(self, weights: Tensor, place: Tensor) -> Tensor:
        """Refined against the whole descriptor."""
        problem = self.problem
        whole = problem.descriptor.jacobian
        return refine(whole, problem.values, weights[None], place[None], steps=30).positions[0]

    def _made(self, starts: Starts, weights: Tensor, place: Tensor) -> Structure:
        """The structure, in the better of its two hands, turned into the frame."""
        descriptor = self.problem.descriptor
        if descriptor.lattice:
            return self._made_crystal(starts, weights, place)
        if descriptor.centre == "centroid":
            place = place - place.mean(0)
        hands = [place, -place] if descriptor.handed else [place]
        residuals = self._residuals(weights, place)
        better = int(np.argmin(residuals))
        place, residual = hands[better], residuals[better]
        structure = Structure(starts.numbers, place, residual=residual, route=starts.route)
        both = max(residuals) <= max(self.tolerance, 3 * residual)
        structure.mirror = "told apart" if descriptor.handed and not both else "not told apart"
        structure.oriented, structure.framed = False, True
        if self.problem.frame is not None:
            free = structure.mirror != "told apart"
            turned = orient(weights, place, self.problem.frame, improper=free)
            structure.positions = turned.positions
            structure.oriented = turned.complete
            structure.framed = turned.mismatch <= max(1e-6, 100 * self.tolerance)
            if turned.settles_hand and free:
                structure.mirror = "told apart"
        return structure

    def _made_crystal(self, starts: Starts, weights: Tensor, rows: Tensor) -> Structure:
        """Atoms in the cell that was found, right-handed and reduced."""
        atoms, cell = reduced(rows)
        (residual,) = self._residuals(weights, torch.cat([atoms, cell]))
        structure = Structure(
            starts.numbers, atoms, cell=cell, residual=residual, route=starts.route
        )
        structure.mirror, structure.oriented, structure.framed = "not told apart", False, True
        return structure

    def _residuals(self, weights: Tensor, place: Tensor) -> list[float]:
        """Of a structure, and of its mirror image where the descriptor sees a difference."""
        target, descriptor = self.problem.values, self.problem.descriptor
        values = [descriptor.evaluate(weights, place)]
        if descriptor.handed:
            values.append(descriptor.reflected(weights, place, values[0]))
        size = target.norm().clamp(min=torch.finfo(target.dtype).tiny)
        return [float((found - target).norm() / size) for found in values]

    def _same(self, known: Structure, other: Structure) -> bool:
        return _distance(known, other, self.problem.descriptor) < DISTINCT

    def result(self) -> Inversion:
        """What was found, best first."""
        found = sorted(self.solutions, key=lambda s: float(s.residual))
        for solution in found:
            if solution.mirror == "not told apart" and self._is_achiral(solution):
                solution.mirror = "the same"
        nearest = found[0] if found else self.nearest
        kind = UniqueInversion if len(found) == 1 else AmbiguousInversion
        return (kind if found else NoInversion)(
            solutions=found,
            nearest=nearest,
            tolerance=self.tolerance,
            rmsd=self._table(found),
            n_starts=self.tried,
            route="none" if nearest is None else nearest.route,
            motions=partial(_motions, self.problem.descriptor, nearest, self.fit),
            messages=self.messages + (self._loose(found[0]) if found else self.doubt),
        )

    def _loose(self, crystal: Structure) -> list[str]:
        """What values can't tell of a crystal whose parts are out of each other's reach."""
        soap = self.problem.descriptor
        if not soap.lattice or not isinstance(soap, Soap):
            return []
        parts = parts_within(crystal, soap.r_cut + soap.padding)
        if parts == [3]:
            return []
        text = f"its parts are more than {soap.r_cut:g} Å apart"
        if min(parts) < 3:
            text = f"its parts repeat along {min(parts)} lattice vectors within {soap.r_cut:g} Å"
        return [f"{text}: how they lie to each other is not in the values"]

    def _is_achiral(self, structure: Structure) -> bool:
        if self.problem.descriptor.lattice:
            return False
        if has_mirror(structure, centre=self.problem.descriptor.centre):
            return True
        other = Structure(structure.numbers, -structure.positions)
        return align(structure, other, centre=self.problem.descriptor.centre).rmsd < DISTINCT

    def _table(self, found: list[Structure]) -> Float[Tensor, "k k"]:
        table = torch.zeros(len(found), len(found), dtype=torch.float64)
        for i, one in enumerate(found):
            for j, other in enumerate(found[:i]):
                table[i, j] = table[j, i] = _distance(one, other, self.problem.descriptor)
        return table


def _motions(
    descriptor: Descriptor, structure: Structure | None, fit: Fit | None
) -> Float[Tensor, "d n 3"]:
    """`null_space`, of the fit first: what few values see, all see."""
    if structure is None:
        return torch.zeros(0, 0, 3, dtype=torch.float64)
    if fit is not None:
        seen = free_motions(descriptor, structure, fit.jacobian)
        if not len(seen):
            return seen
    return null_space(descriptor, structure)


def _distance(one: Structure, other: Structure, descriptor: Descriptor) -> float:
    """Infinite for different compositions."""
    if sorted(one.numbers.tolist()) != sorted(other.numbers.tolist()):
        return float("inf")
    if descriptor.lattice:
        return crystal_gap(one, other)
    mirror = "not told apart" in (one.mirror, other.mirror)
    return align(one, other, mirror=mirror, centre=descriptor.centre).rmsd


def null_space(descriptor: Descriptor, structure: Structure) -> Float[Tensor, "d n 3"]:
    """Motions that change no value to first order, beside those of the structure as a whole.

    Of a crystal whose lattice is looked for, the last three rows are the lattice vectors'.

    A symmetric structure has some though nothing else shares its values: what a mirror plane
    sends to its negative changes invariants at second order only.
    """
    jacobian = descriptor.jacobian
    if descriptor.lattice and isinstance(descriptor, Soap):
        # how many images count depends on the lattice, which no batch of tangents can follow
        values = descriptor.of(structure).flatten()
        kept = len(descriptor.species) * descriptor.n_max
        jacobian = SoapFit(descriptor, values, kept=kept).jacobian
    return free_motions(descriptor, structure, jacobian)


def free_motions(
    descriptor: Descriptor, structure: Structure, jacobian: Jacobian
) -> Float[Tensor, "d n 3"]:
    """`null_space` of values whose derivatives are given."""
    weights, place = descriptor.weights(structure.numbers), structure.positions
    if descriptor.lattice:
        place = torch.cat([place, structure.cell[0]])
    _, slopes = jacobian(weights[None], place[None])
    flat = slopes[0].flatten(1)
    translated = torch.arange(len(place)) < structure.n_atoms
    whole = _rigid_motions(place, translated & (descriptor.centre == "centroid"))
    normal = flat.T @ flat
    scale = normal.diagonal().sum().clamp(min=torch.finfo(place.dtype).tiny)
    values, vectors = torch.linalg.eigh(normal + scale * whole.T @ whole)
    # eigenvalues are squares of singular values, so exact zeros come out as rounding
    free = vectors[:, values <= max(FLAT**2, 1e-14) * values[-1]]
    return free.T.unflatten(1, (-1, 3))


def _rigid_motions(
    rows: Float[Tensor, "p 3"], translated: Bool[Tensor, " p"]
) -> Float[Tensor, "d q"]:
    """Orthonormal rotations about the centre, and translations of the rows that they move."""
    moves = translated.to(rows)[:, None]
    centred = rows - moves * (moves * rows).sum(0) / moves.sum().clamp(min=1)
    axes = torch.eye(3, dtype=rows.dtype)
    motions = [torch.linalg.cross(axis.expand_as(centred), centred) for axis in axes]
    motions += [moves * axis for axis in axes if bool(translated.any())]
    flat = torch.stack([motion.flatten() for motion in motions])
    _, sizes, basis = torch.linalg.svd(flat, full_matrices=False)
    return basis[sizes > 1e-8 * sizes[0].clamp(min=1e-30)]


__all__ = ["frame_of", "invert", "null_space", "pose"]
