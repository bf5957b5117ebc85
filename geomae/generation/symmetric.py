"""Decoding with a point group that is guaranteed: whole orbits at every level.

The field around a point whose features are invariant under a group is invariant, too. So its peaks
come in orbits, and one point of an orbit stands for all: only representatives are taken apart,
each about its own site symmetry, and what is found is brought to the other points by the group's
operations. Symmetry therefore holds by construction, to rounding; nothing is averaged afterwards.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geomae.autoencoder.decoder import Decoder
from geomae.autoencoder.peaks import climb_field, grid_maxima
from geomae.autoencoder.unpooling import Unpooling
from geomae.generation.choices import Candidate, best_sums, best_totals, site_options
from geomae.pooling import Tree
from geomae.symmetry import PointGroup, projector
from geomae.symmetry.orbits import Operations, Orbits
from geomae.symmetry.representations import representation

SEEDS = 24
"""Grid maxima of each kind around a point from which peaks are climbed."""

POSSIBLE = 1e-3
"""Probability of a kind's children below which none is sought."""

FLOOR = -5.0
"""Logit of a grid maximum below which no peak is sought."""

CLOSEST_ATOMS = 0.5
"""Least distance in Å of two atoms that can both be there."""

KEPT = 3
"""Drawings of a latent that go on to the next level, the likeliest ones."""

FINENESS = 2
"""Of the grids on which the search for peaks starts."""


@dataclass(frozen=True)
class Site:
    """A point of a level that stands for its whole orbit.

    Attributes:
        position: about the latent's point, `[3]` in Å, exactly on its special position.
        stabilizer: operations that leave it where it is.
        parent: number of the site of the level above whose child it is.
        kind: of child; the element of an atom.
        probability: the field's, that it is there.
    """

    position: Float[np.ndarray, "3"]
    stabilizer: Operations
    parent: int
    kind: int
    probability: float


@dataclass(frozen=True)
class SymmetricDrawing:
    """One way to read one latent: sites level by level, the one point first.

    Attributes:
        levels: representatives of the orbits of each level.
        score: logarithm of its likelihood, relative to others of the same latent.
    """

    levels: tuple[tuple[Site, ...], ...]
    score: float


Wanted = Callable[[tuple[int, ...]], bool]
"""Whether numbers of atoms of each element are what was asked for."""


class SymmetricDecoder:
    """Draws structures that have a point group, from latents that it leaves as they are.

    Args:
        decoder: of the autoencoder; a copy in float64 is used.
        group: about the latents' points, as it stands in space.
    """

    def __init__(self, decoder: Decoder, group: PointGroup):
        self.decoder = deepcopy(decoder).double().eval()
        self.config = decoder.config
        self.group, self.orbits = group, Orbits(group)
        self._projectors: dict[tuple[Operations, int], Tensor] = {}

    @torch.no_grad()
    def __call__(
        self, latents: Float[Tensor, "n m c"], wanted: Wanted | None = None
    ) -> list[list[SymmetricDrawing]]:
        """Drawings of each latent, the likeliest first; none where nothing whole can be drawn.

        Args:
            latents: about their points; what the group does not leave as it is is taken off.
            wanted: which formulas will do; any if None.
        """
        size = latents.shape[1]
        invariant = projector(self.group, round(size**0.5) - 1)
        features = self.decoder.root(torch.einsum("ij,njc->nic", invariant, latents.double()))
        formula = torch.log_softmax(self.decoder.formula(features), -1).numpy()
        origin = Site(np.zeros(3), self.orbits.everything, 0, 0, 1.0)
        open_ = [_Open(n, ((origin,),), 0.0, features[n][None]) for n in range(len(latents))]
        for unpooling in self.decoder.unpoolings:
            open_ = self._unpooled(unpooling, open_, formula, wanted)
        found: list[list[SymmetricDrawing]] = [[] for _ in range(len(latents))]
        for drawing in sorted(open_, key=lambda d: -d.score):
            found[drawing.latent].append(SymmetricDrawing(drawing.levels, drawing.score))
        return found

    def _unpooled(
        self,
        unpooling: Unpooling,
        drawings: Sequence["_Open"],
        formula: Float[np.ndarray, "n kinds counts"],
        wanted: Wanted | None,
    ) -> list["_Open"]:
        """The likeliest drawings, one level further."""
        if not drawings:
            return []
        sites = [site for drawing in drawings for site in drawing.levels[-1]]
        features = torch.cat([drawing.features for drawing in drawings])
        states = unpooling.states(self._made_invariant(features, sites))
        log_counts = torch.log_softmax(unpooling.counter(states), -1).numpy()
        candidates = self._candidates(unpooling, states, sites, log_counts)
        apart = CLOSEST_ATOMS if unpooling.combine is None else unpooling.level.width
        options = [
            site_options(own, counts, apart)
            for own, counts in zip(candidates, log_counts, strict=True)
        ]
        grown, start = [], 0
        for drawing in drawings:
            rows = range(start, start + len(drawing.levels[-1]))
            start = rows.stop
            own = [options[row] for row in rows]
            if unpooling.combine is None:
                number = [self._multiplicity(sites[row].stabilizer) for row in rows]
                choices = best_totals(own, number, formula[drawing.latent], wanted, KEPT)
            else:
                choices = best_sums(own, KEPT)
            for score, chosen in choices:
                grown.append(self._extended(unpooling, drawing, states[rows], score, chosen))
        return _likeliest(grown)

    def _extended(
        self,
        unpooling: Unpooling,
        drawing: "_Open",
        states: Float[Tensor, "p m c"],
        score: float,
        chosen: Sequence[Sequence[Candidate]],
    ) -> "_Open":
        """A drawing with the children that are chosen for each of its sites."""
        pairs = [(n, child) for n, own in enumerate(chosen) for child in own]
        parents = drawing.levels[-1]
        children = tuple(
            Site(
                parents[n].position + child.position,
                child.stabilizer,
                n,
                child.kind,
                child.probability,
            )
            for n, child in pairs
        )
        features = states[:0]
        if unpooling.combine is not None and children:
            offsets = torch.from_numpy(np.stack([child.position for _, child in pairs]))
            edges = torch.stack([torch.tensor([n for n, _ in pairs]), torch.arange(len(children))])
            features = unpooling.combine(states, -offsets, edges, len(children))
        return _Open(drawing.latent, (*drawing.levels, children), drawing.score + score, features)

    def _candidates(
        self,
        unpooling: Unpooling,
        states: Float[Tensor, "p m c"],
        sites: Sequence[Site],
        log_counts: Float[np.ndarray, "p kinds counts"],
    ) -> list[list[Candidate]]:
        """Orbits of peaks around each site, under its own symmetry."""
        level, field = unpooling.level, unpooling.field
        coefficients = field.prepare(states)
        none = torch.from_numpy(log_counts[..., 0])
        sought = torch.where(none < np.log1p(-POSSIBLE), SEEDS, 0)
        spacing = level.spacing / FINENESS
        seeds, owner, kind = grid_maxima(field, coefficients, sought, level.radius, spacing, 0)
        logits = field.at(coefficients, seeds, owner).gather(1, kind[:, None])[:, 0]
        kept = logits > FLOOR
        for number, site in enumerate(sites):
            own = owner == number
            kept[own] &= self.orbits.asymmetric(seeds[own], site.stabilizer, spacing)
        maxima = climb_field(field, coefficients, seeds[kept], owner[kept], kind[kept], level)
        slots, places = maxima.owner.numpy(), maxima.positions.numpy()
        heights = maxima.values.exp().numpy()
        found: list[list[Candidate]] = [[] for _ in sites]
        for row in np.argsort(-heights, kind="stable"):
            number, own_kind = divmod(int(slots[row]), field.kinds)
            candidate = self._orbit_of(
                places[row], own_kind, float(heights[row]), sites[number].stabilizer, level.width
            )
            if candidate is not None and not any(candidate.same_as(c) for c in found[number]):
                found[number].append(candidate)
        return found

    def _orbit_of(
        self,
        place: Float[np.ndarray, "3"],
        kind: int,
        probability: float,
        within: Operations,
        width: float,
    ) -> Candidate | None:
        """The orbit of a peak; None if its points would be nearer than a bump is wide."""
        place, stabilizer = self.orbits.snapped(place, within, width)
        images = self.orbits.images(place, self.orbits.cosets(stabilizer, within).representatives)
        gaps = np.linalg.norm(images[1:] - place, axis=1)
        if len(gaps) and gaps.min() < width:
            return None
        return Candidate(kind, place, stabilizer, images, probability)

    def _multiplicity(self, stabilizer: Operations) -> int:
        return len(self.orbits.everything) // len(stabilizer)

    def _made_invariant(
        self, features: Float[Tensor, "p m c"], sites: Sequence[Site]
    ) -> Float[Tensor, "p m c"]:
        """Features without what rounding added that the sites' symmetry forbids."""
        lmax = round(features.shape[1] ** 0.5) - 1
        matrices = torch.stack([self._projector(site.stabilizer, lmax) for site in sites])
        return matrices @ features

    def _projector(self, operations: Operations, lmax: int) -> Float[Tensor, "m m"]:
        key = operations, lmax
        if key not in self._projectors:
            chosen = self.group.operations[list(operations)]
            self._projectors[key] = representation(chosen, lmax).mean(0)
        return self._projectors[key]

    def assembled(self, drawing: SymmetricDrawing) -> "Assembled":
        """All points of a drawing, as a tree; those without an atom are left out."""
        everything = self.orbits.everything
        drawing = replace(drawing, levels=_with_children(drawing.levels))
        positions, parents = [], []
        starts: list[int] = [0]
        for depth, sites in enumerate(drawing.levels):
            above = drawing.levels[depth - 1] if depth else ()
            points, owners, begun = [], [], []
            for site in sites:
                begun.append(sum(map(len, points)))
                chosen = self.orbits.cosets(site.stabilizer, everything).representatives
                points.append(self.orbits.images(site.position, chosen))
                if depth:
                    held = above[site.parent].stabilizer
                    own = self.orbits.cosets(held, everything).of[list(chosen)]
                    owners.append(starts[site.parent] + own)
            positions.append(torch.from_numpy(np.concatenate(points)))
            parents.append(torch.from_numpy(np.concatenate(owners)) if depth else None)
            starts = begun
        sizes = [self._multiplicity(site.stabilizer) for site in drawing.levels[-1]]
        kinds = torch.tensor([site.kind for site in drawing.levels[-1]])
        kind = kinds.repeat_interleave(torch.tensor(sizes))
        numbers = torch.tensor(self.config.elements)[kind]
        edges = [torch.stack([torch.arange(len(p)), p]) for p in parents[:0:-1] if p is not None]
        batch = [torch.zeros(len(p), dtype=torch.long) for p in positions]
        tree = self.decoder.assemble(numbers, positions[::-1], batch[::-1], edges)
        probability = [site.probability for site in drawing.levels[-1]]
        confidence = torch.tensor(probability).repeat_interleave(torch.tensor(sizes))
        return Assembled(tree, self._coordinates(drawing.levels[-1]), confidence)

    def _coordinates(self, sites: Sequence[Site]) -> Float[Tensor, "coordinates free"]:
        """How the coordinates of all atoms depend on those that the symmetry leaves free."""
        blocks = []
        for site in sites:
            mean = self.orbits.operations[list(site.stabilizer)].mean(0)
            values, vectors = np.linalg.eigh((mean + mean.T) / 2)
            free = vectors[:, values > 0.5]
            chosen = self.orbits.cosets(site.stabilizer, self.orbits.everything).representatives
            moves = self.orbits.operations[list(chosen)] @ free
            blocks.append(torch.from_numpy(moves.reshape(3 * len(chosen), free.shape[1])))
        return torch.block_diag(*blocks)


@dataclass(frozen=True)
class Assembled:
    """A drawing with all its points.

    Attributes:
        tree: atoms and the points above them, the latent's point at the origin.
        coordinates: `[3 atoms, free]`: columns are the moves of all atoms that keep the symmetry,
            orthogonal to each other.
        confidence: of every atom.
    """

    tree: Tree
    coordinates: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class _Open:
    """A drawing that is not finished.

    Attributes:
        latent: number of the latent.
        levels: sites so far.
        score: so far.
        features: of the sites of the last level.
    """

    latent: int
    levels: tuple[tuple[Site, ...], ...]
    score: float
    features: Tensor


def _with_children(levels: tuple[tuple[Site, ...], ...]) -> tuple[tuple[Site, ...], ...]:
    """Levels without the sites that no atom belongs to."""
    kept = [levels[-1]]
    for sites in levels[-2::-1]:
        used = sorted({child.parent for child in kept[0]})
        number = {old: new for new, old in enumerate(used)}
        kept[0] = tuple(replace(child, parent=number[child.parent]) for child in kept[0])
        kept.insert(0, tuple(sites[old] for old in used))
    return tuple(kept)


def _likeliest(drawings: Sequence[_Open]) -> list[_Open]:
    """The best few of each latent that have any point, in the order of the latents."""
    kept: dict[int, list[_Open]] = {}
    for drawing in sorted(drawings, key=lambda d: (d.latent, -d.score)):
        own = kept.setdefault(drawing.latent, [])
        if len(own) < KEPT and drawing.levels[-1]:
            own.append(drawing)
    return [drawing for own in kept.values() for drawing in own]
