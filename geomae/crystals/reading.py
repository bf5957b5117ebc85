"""Reading a crystal from the fields around its anchor: lattice first, then the atoms in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from geomae.crystals.decoder import CrystalDecoder
from geomae.crystals.lattice import change_of_basis, niggli, shortest_independent, voronoi_vectors
from geomae.crystals.peaks import field_peaks
from geomae.crystals.symmetry import nearest
from geomae.errors import GeomaeError

VECTORS = 28
"""Peaks of a lattice's field that are followed: a lattice has at most 26 relevant vectors."""

IMAGES = 6
"""Peaks that are followed for each atom of a cell: images may be tied."""

SEEN = 0.2
"""Least probability of a peak."""

FITS = 0.15
"""Largest deviation from whole numbers of a lattice's vectors in another's basis for both to be
one."""

TOGETHER = 0.7
"""Distance in Å within which peaks are images of one atom."""

CLEAR = 0.5
"""Probability of a peak above which it is taken for an atom where the formula is not believed."""

AGREED = 0.8
"""Agreement of a lattice with peaks beyond which no other is looked for; 1 is perfect."""

SAME = 1e-3
"""Distance in Å within which peaks are one: those of an even field come with their images."""

DOUBTED = 4
"""Least clear readings that alternatives are made of."""

REACHES = (12.0, 20.0, inf)
"""Distances in Å within which a lattice is looked for, one after the other."""

SHORTEST = 12
"""Peaks of a lattice's field, the shortest, of which three may be its basis."""


@dataclass(frozen=True)
class Draft:
    """A crystal as the fields show it.

    Attributes:
        numbers: `[n]`, the anchor first.
        positions: about the anchor, `[n, 3]` in Å.
        cell: Niggli-reduced, `[3, 3]` in Å.
        confidence: probability of each atom, `[n]`.
    """

    numbers: Int[np.ndarray, " n"]
    positions: Float[np.ndarray, "n 3"]
    cell: Float[np.ndarray, "3 3"]
    confidence: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Sketch:
    """What the fields of one latent show, before it is decided which elements it is.

    Attributes:
        cell: Niggli-reduced, in Å; None if no lattice shows.
        places: of atoms that are not images of one another, the anchor first, then by falling
            confidence, `[k, 3]` in Å.
        confidence: probability of each, `[k]`; infinite for the anchor.
        likelihood: log-probability of each element at each place, `[k, elements]`.
        formula: log-probability of each number of atoms of each element, `[elements, most + 1]`.
        elements: atomic numbers.
    """

    cell: Float[np.ndarray, "3 3"] | None
    places: Float[np.ndarray, "k 3"]
    confidence: Float[np.ndarray, " k"]
    likelihood: Float[np.ndarray, "k e"]
    formula: Float[np.ndarray, "e counts"]
    elements: tuple[int, ...]

    def clear(self, least: float = CLEAR) -> Draft:
        """The crystal of what shows clearly, each place with its likeliest element; the lattice
        must be there.

        Args:
            least: probability of an atom.
        """
        n = int((self.confidence > least).sum())
        return self._draft(tuple(self.likelihood[:n].argmax(1).tolist()))

    def drafts(self, most: int) -> list[Draft]:
        """Crystals that this may be, the likeliest first: the formula that the invariants tell,
        the elements that the places tell, and those with one of them, or a number of atoms of one
        element, read otherwise.

        Args:
            most: how many, at most.
        """
        if self.cell is None:
            return []
        ranked = sorted(self._assignments(), key=self._score, reverse=True)
        distinct = list(dict.fromkeys(ranked))[:most]
        return [self._draft(kinds) for kinds in distinct]

    def _assignments(self) -> list[tuple[int, ...]]:
        """Elements, by number among those known, for the first places."""
        told = self.formula.argmax(1)
        found = [self._filled(told)]
        second = np.sort(self.formula, axis=1)[:, -2]
        for kind in np.argsort(self.formula.max(1) - second)[:DOUBTED]:
            other = told.copy()
            other[kind] = np.argsort(self.formula[kind])[-2]
            found.append(self._filled(other))
        clear = int((self.confidence > CLEAR).sum())
        sizes = {clear, int(told.sum())}
        for n in sizes:
            if not 0 < n <= len(self.places):
                continue
            plain = self.likelihood[:n].argmax(1)
            found.append(tuple(plain.tolist()))
            if len(self.elements) == 1:
                continue
            ordered = np.sort(self.likelihood[:n], axis=1)
            for place in np.argsort(ordered[:, -1] - ordered[:, -2])[:DOUBTED]:
                other = plain.copy()
                other[place] = np.argsort(self.likelihood[place])[-2]
                found.append(tuple(other.tolist()))
        return [kinds for kinds in found if kinds]

    def _filled(self, counts: np.ndarray) -> tuple[int, ...]:
        """The likeliest way to give the first places these elements; empty if they are too few."""
        slots = np.repeat(np.arange(len(counts)), counts)
        if not 0 < len(slots) <= len(self.places):
            return ()
        rows, columns = linear_sum_assignment(-self.likelihood[: len(slots)][:, slots])
        kinds = np.zeros(len(slots), dtype=int)
        kinds[rows] = slots[columns]
        return tuple(kinds.tolist())

    def _score(self, kinds: tuple[int, ...]) -> float:
        """Log-probability, as if formula, places and elements were independent."""
        n, own = len(kinds), np.array(kinds)
        counts = np.bincount(own, minlength=len(self.formula)).clip(max=self.formula.shape[1] - 1)
        there = np.log(self.confidence[1:n].clip(1e-6, 1 - 1e-6)).sum()
        absent = np.log1p(-self.confidence[n:].clip(1e-6, 1 - 1e-6)).sum()
        elements = self.likelihood[np.arange(n), own].sum()
        return float(self.formula[np.arange(len(counts)), counts].sum() + elements + there + absent)

    def _draft(self, kinds: tuple[int, ...]) -> Draft:
        n = len(kinds)
        assert self.cell is not None
        return Draft(
            np.array(self.elements)[list(kinds)],
            self.places[:n],
            self.cell,
            np.minimum(self.confidence[:n], 1.0),
        )


@torch.no_grad()
def draw(
    decoder: CrystalDecoder,
    latents: Float[Tensor, "n m c"],
    fineness: int = 1,
    cells: Sequence[np.ndarray | None] | None = None,
) -> list[Sketch]:
    """What the fields of latents show.

    Args:
        decoder: in the precision of the drawing.
        latents: of crystals.
        fineness: of the grids where the search for peaks starts.
        cells: lattices, if they are known, `[3, 3]` each in Å; else those that the fields show.
    """
    features = decoder.features(latents.to(next(decoder.parameters()).dtype))
    config = decoder.config
    formula = decoder.formula(features).log_softmax(-1)
    if cells is None:
        seen = _lattices(decoder, features, fineness)
        cells = [None if own is None else own.cell for own in seen]
    largest = int(formula.argmax(-1).sum(1).clamp(1, config.max_atoms).max()) if len(formula) else 1
    walls = [
        None if own is None else torch.from_numpy(voronoi_vectors(own).vectors) for own in cells
    ]
    atoms = field_peaks(
        decoder.atoms, features, config.atoms, IMAGES * largest, fineness, walls=walls
    )
    prepared = decoder.element.prepare(features)
    logits = decoder.element.at(prepared, atoms.positions, atoms.owner).log_softmax(-1)
    origin = features.new_zeros(len(features), 1, 3)
    at_anchor = decoder.element.on_points(prepared, origin)[:, 0].log_softmax(-1)
    sketches = []
    for i, cell in enumerate(cells):
        own = atoms.owner == i
        peaks = _Peaks(
            torch.cat([origin[0], atoms.positions[own]]).double().numpy(),
            torch.cat([origin.new_full((1,), torch.inf), atoms.confidence[own]]).double().numpy(),
            torch.cat([at_anchor[i : i + 1], logits[own]]).double().numpy(),
        )
        if cell is not None:
            peaks = _merged(peaks, cell)
        told = formula[i].double().numpy()
        columns = (peaks.places, peaks.confidence, peaks.elements)
        sketches.append(Sketch(cell, *columns, told, config.elements))
    return sketches


def _lattices(
    decoder: CrystalDecoder, features: Float[Tensor, "n m c"], fineness: int
) -> list["SeenLattice | None"]:
    """The lattice of each latent: close to the anchor first, and farther out where what is seen
    there does not make one.
    """
    found: list[SeenLattice | None] = [None] * len(features)
    for reach in REACHES:
        left = [i for i, own in enumerate(found) if own is None or own.agreement < AGREED]
        if not left:
            break
        seen = _lattices_within(decoder, features[left], reach, fineness, most=1, enough=AGREED)
        for i, lattices in zip(left, seen, strict=True):
            own = found[i]
            if lattices and (own is None or own.agreement < lattices[0].agreement):
                found[i] = lattices[0]
    return found


@torch.no_grad()
def lattices_of(
    decoder: CrystalDecoder, latents: Float[Tensor, "n m c"], most: int, fineness: int = 1
) -> list[list["SeenLattice"]]:
    """Different lattices that the fields of latents may mean, the likeliest first.

    Args:
        decoder: in the precision of the drawing.
        latents: of crystals.
        most: lattices of each at most.
        fineness: of the grid where the search for peaks starts.
    """
    features = decoder.features(latents.to(next(decoder.parameters()).dtype))
    found: list[list[SeenLattice]] = [[] for _ in features]
    for reach in REACHES:
        seen = _lattices_within(decoder, features, reach, fineness, most=most, enough=2.0)
        for own, lattices in zip(found, seen, strict=True):
            own += [new for new in lattices if not any(new.like(old) for old in own)]
    return [sorted(own, key=lambda lattice: -lattice.agreement)[:most] for own in found]


def _lattices_within(
    decoder: CrystalDecoder,
    features: Float[Tensor, "n m c"],
    reach: float,
    fineness: int,
    *,
    most: int,
    enough: float,
) -> list[list["SeenLattice"]]:
    """Lattices that the peaks within a distance in Å show; see `likely_lattices`."""
    config = decoder.config.lattice
    vectors = field_peaks(
        decoder.lattice, decoder.even(features), config, VECTORS, fineness,
        even=True, share=min(reach / config.radius, 1.0),
    )  # fmt: skip
    found = []
    for i in range(len(features)):
        own = vectors.owner == i
        positions = vectors.positions[own].double().numpy()
        confidence = vectors.confidence[own].double().numpy()
        found.append(
            likely_lattices(positions, confidence, reach=config.width, most=most, enough=enough)
        )
    return found


@dataclass(frozen=True)
class _Peaks:
    """Places, their confidence, and the log-probabilities of elements there; the anchor first."""

    places: np.ndarray
    confidence: np.ndarray
    elements: np.ndarray


@dataclass(frozen=True)
class SeenLattice:
    """A lattice that peaks show.

    Attributes:
        cell: Niggli-reduced, in Å.
        agreement: of its relevant vectors with the peaks; 1 is perfect.
    """

    cell: Float[np.ndarray, "3 3"]
    agreement: float

    def like(self, other: "SeenLattice") -> bool:
        """Whether both are nearly one lattice: each has nearly the other's vectors."""
        return change_of_basis(self.cell, other.cell, FITS) is not None


def best_lattice(
    vectors: Float[np.ndarray, "k 3"], confidence: Float[np.ndarray, " k"], *, reach: float
) -> SeenLattice | None:
    """The lattice that explains peaks best; None if there is none.

    Of the lattices spanned by three of the shortest peaks the one whose relevant vectors and the
    peaks agree best: a vector without a peak counts against it, and so does a peak without
    a lattice point.

    Args:
        vectors, confidence: peaks.
        reach: distance in Å up to which a vector and a peak are one.
    """
    found = likely_lattices(vectors, confidence, reach=reach, most=1, enough=AGREED)
    return found[0] if found else None


def likely_lattices(
    vectors: Float[np.ndarray, "k 3"],
    confidence: Float[np.ndarray, " k"],
    *,
    reach: float,
    most: int,
    enough: float = 2.0,
) -> list[SeenLattice]:
    """Different lattices that explain peaks, the best first; see `best_lattice`.

    Args:
        vectors, confidence: peaks.
        reach: distance in Å up to which a vector and a peak are one.
        most: lattices at most.
        enough: agreement beyond which no other is looked for.
    """
    seen = confidence > SEEN
    if seen.sum() < 3:
        seen = confidence > SEEN / 4
    both = np.concatenate([vectors[seen], -vectors[seen]])
    weight = np.concatenate([confidence[seen], confidence[seen]])
    gaps = np.linalg.norm(both[:, None] - both, axis=2)
    first = ~np.tril(gaps < SAME, -1).any(1)
    both, weight = both[first], weight[first]
    candidates = []
    lengths = np.linalg.norm(both, axis=1)
    half = np.argsort(lengths, kind="stable")[: 2 * SHORTEST]
    half = [i for i in half if tuple(np.sign(np.round(both[i], 3))) > (0, 0, 0)]
    triples = sorted(combinations(half, 3), key=lambda three: lengths[list(three)].sum())
    for three in triples:
        basis = both[list(three)]
        sides = np.prod(lengths[list(three)])
        if abs(np.linalg.det(basis)) < 0.2 * sides:
            continue
        score = _score(basis, both, weight, reach)
        if score is not None:
            candidates.append((score, three))
            if score > enough:
                break
    found: list[SeenLattice] = []
    for score, three in sorted(candidates, reverse=True):
        if len(found) == most:
            break
        try:
            own = SeenLattice(_fitted(both[list(three)], both, weight, reach), score)
        except GeomaeError:
            continue
        if not any(own.like(other) for other in found):
            found.append(own)
    return found


def _score(basis: np.ndarray, peaks: np.ndarray, weight: np.ndarray, reach: float) -> float | None:
    """Agreement of a lattice with peaks: shared weight over all weight; None for no lattice."""
    try:
        relevant = voronoi_vectors(basis, tolerance=0.03).vectors
    except GeomaeError:
        return None
    gaps = np.linalg.norm(relevant[:, None] - peaks[None], axis=2)
    close = gaps < 2 * reach
    explained = weight[close.any(0)].sum()
    found = np.where(close, weight[None], 0.0).max(1).sum() if len(peaks) else 0.0
    return float((explained + found) / (weight.sum() + len(relevant)))


def _fitted(
    basis: np.ndarray, peaks: np.ndarray, weight: np.ndarray, reach: float
) -> Float[np.ndarray, "3 3"]:
    """Least-squares fit of a basis to the peaks that are its lattice's points, whose errors are
    taken to grow with their distance, as directions are blurred.
    """
    precision = np.sqrt(weight) / np.linalg.norm(peaks, axis=1)
    basis = shortest_independent(voronoi_vectors(basis).vectors)
    for _ in range(2):
        whole = np.round(peaks @ np.linalg.inv(basis))
        near = np.linalg.norm(peaks - whole @ basis, axis=1) < 2 * reach
        if np.linalg.matrix_rank(whole[near]) < 3:
            break
        root = precision[near][:, None]
        basis, *_ = np.linalg.lstsq(root * whole[near], root * peaks[near], rcond=None)
    return niggli(basis)


def _merged(peaks: _Peaks, cell: np.ndarray) -> _Peaks:
    """Peaks that are images of one another as one: in their mean place, the anchor where it is."""
    order = np.argsort(-peaks.confidence, kind="stable")
    places, confidence = peaks.places[order], peaks.confidence[order]
    elements, left = peaks.elements[order], np.ones(len(order), dtype=bool)
    rows: list[tuple[np.ndarray, float, np.ndarray]] = []
    for i in range(len(order)):
        if not left[i]:
            continue
        gaps, lengths = nearest(places - places[i], cell)
        own = left & (lengths < TOGETHER)
        left &= ~own
        share = np.minimum(confidence[own], 1.0)
        mean = (share[:, None] * gaps[own]).sum(0) / share.sum()
        if i == 0:
            rows.append((np.zeros(3), confidence[0], elements[0]))
        else:
            rows.append((places[i] + mean, confidence[i], elements[own].mean(0)))
    return _Peaks(*(np.array(column) for column in zip(*rows, strict=True)))
