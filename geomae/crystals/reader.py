"""From latents to crystals: drawn, refined, certified, and read otherwise where in doubt."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geomae.autoencoder.latents import Latents
from geomae.crystals.canonical import canonical
from geomae.crystals.insertion import inserted
from geomae.crystals.reading import Draft, Sketch, draw
from geomae.crystals.refinement import RefinedCrystal, refine
from geomae.crystals.substitution import substituted
from geomae.data.structure import Structure
from geomae.data.validate import find_fault
from geomae.errors import StructureError

if TYPE_CHECKING:
    from geomae.crystals.model import CrystalAutoencoder

CERTIFIED = {torch.float32: 1e-5, torch.float64: 1e-8}
"""Residuals below which a refined crystal encodes to the latent, by the latent's precision."""

CERTIFIED_UNREFINED = 0.13
"""The same straight from the fields."""

READINGS = 8
"""Readings of a sketch that are tried, one after the other, until one is certified."""

EARLY = 2
"""Of these, those that are tried before elements are exchanged in the best one."""

SUBSTITUTIONS = 4
"""Times that elements are exchanged in the best crystal so far."""

INSERTIONS = 4
"""Atoms that are put in at most, one after the other."""

Settled = tuple[RefinedCrystal, bool]
"""A crystal, and whether it is certified."""


class Reader:
    """Draws, refines and certifies on the CPU.

    Where the likeliest reading is not certified, atoms that it lacks are put in, elements are
    exchanged in it, other readings are tried, and the fields are searched again on finer grids.
    """

    def __init__(self, model: "CrystalAutoencoder", refined: bool):
        self.decoder = deepcopy(model.decoder).cpu().eval()
        self.encoder = model.exact_encoder().cpu()
        self.rough = deepcopy(self.encoder).to(model.dtype)
        self.refined, self.config = refined, model.config

    def read(self, latents: Latents) -> list[Structure | None]:
        """Crystals of latents; None where nothing could be drawn."""
        array = latents.array
        best: list[Settled | None] = [None] * len(array)
        for fineness in (1, 2):
            doubtful = _doubtful(best)
            if not doubtful:
                break
            sketches = dict(
                zip(doubtful, draw(self.decoder, array[doubtful], fineness), strict=True)
            )
            readings = {i: iter(sketch.drafts(READINGS)) for i, sketch in sketches.items()}
            self._try(best, array, readings)
            if self.refined:
                self._insert(best, array, sketches)
                self._exchange(best, array, sketches)
            for _ in range(READINGS - 1):
                self._try(best, array, readings)
        return [
            None if own is None else _structure(*own, centre)
            for own, centre in zip(best, latents.centres, strict=True)
        ]

    def _try(
        self, best: list[Settled | None], array: Tensor, readings: dict[int, Iterator[Draft]]
    ) -> None:
        """The next reading of each crystal in doubt; the better one stays."""
        jobs = [(i, next(readings[i], None)) for i in _doubtful(best) if i in readings]
        self._keep_better(best, array, [(i, draft) for i, draft in jobs if draft is not None])

    def _exchange(
        self, best: list[Settled | None], array: Tensor, sketches: dict[int, Sketch]
    ) -> None:
        """Exchange elements in the best crystals as long as that brings them closer."""
        going = [i for i in _doubtful(best) if i in sketches]
        for _ in range(SUBSTITUTIONS):
            before, jobs = {i: best[i] for i in going}, []
            for i, own in before.items():
                if own is not None:
                    draft = substituted(self.rough, own[0], sketches[i], array[i])
                    if draft is not None:
                        jobs.append((i, draft))
            self._keep_better(best, array, jobs)
            going = [i for i in _doubtful(best) if i in before and best[i] is not before[i]]

    def _insert(
        self, best: list[Settled | None], array: Tensor, sketches: dict[int, Sketch]
    ) -> None:
        """Put in atoms that are missing as long as that brings crystals closer; from where the
        fields show the others and from where refinement has moved them.
        """
        drawn = {i: sketches[i].drafts(1) for i in _doubtful(best) if i in sketches}
        for _ in range(INSERTIONS):
            jobs, before = [], {i: best[i] for i in drawn}
            for i, own in before.items():
                drafts = drawn[i] + ([] if own is None else [own[0].draft])
                drawn[i] = inserted(self.decoder, self.rough, drafts, sketches[i], array[i])
                jobs += [(i, draft) for draft in drawn[i]]
            self._keep_better(best, array, jobs)
            going = {i for i in _doubtful(best) if i in before and best[i] is not before[i]}
            drawn = {i: drafts[:1] for i, drafts in drawn.items() if i in going}

    def _keep_better(
        self, best: list[Settled | None], array: Tensor, jobs: Sequence[tuple[int, Draft]]
    ) -> None:
        if not jobs:
            return
        for (i, _), again in zip(jobs, self._settle(jobs, array), strict=True):
            own = best[i]
            if own is None or _rank(again) > _rank(own):
                best[i] = again

    def _settle(self, jobs: Sequence[tuple[int, Draft]], array: Tensor) -> list[Settled]:
        """Refine drafts, each towards its latent, and say whether that certifies them."""
        rounds = {} if self.refined else {"rounds": 0}
        targets = array[[i for i, _ in jobs]]
        refined = refine(self.encoder, self.rough, [draft for _, draft in jobs], targets, **rounds)
        bound = CERTIFIED[array.dtype] if self.refined else CERTIFIED_UNREFINED
        return [
            (own, own.residual < bound and (not self.refined or self._is_canonical(own.draft)))
            for own in refined
        ]

    def _is_canonical(self, draft: Draft) -> bool:
        """Whether a crystal's own canonical form is primitive like it, about the same orbit."""
        structure = Structure(draft.numbers, draft.positions, cell=draft.cell)
        if find_fault(structure) is not None:
            return False
        try:
            form = canonical(structure, symprec=self.config.symprec, checked=True)
        except StructureError:
            return False
        symmetrised = form.symmetrised
        if form.structure.n_atoms != structure.n_atoms:
            return False
        place = {int(parent): i for i, parent in enumerate(symmetrised.parents)}
        orbits = symmetrised.orbits
        return bool(orbits[place[0]] == orbits[place[form.anchor]])


def _doubtful(best: Sequence[Settled | None]) -> list[int]:
    return [i for i, own in enumerate(best) if own is None or not own[1]]


def _rank(own: Settled) -> tuple[bool, float]:
    """Certified ones first, then by how close their encodings are."""
    return own[1], -own[0].residual


def _structure(own: RefinedCrystal, certified: bool, centre: Tensor) -> Structure:
    draft = own.draft
    return Structure(
        draft.numbers,
        draft.positions + centre.double().numpy(),
        cell=draft.cell,
        confidence=torch.from_numpy(draft.confidence),
        residual=own.residual,
        certified=bool(certified),
    )
