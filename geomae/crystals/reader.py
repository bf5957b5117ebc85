"""From latents to crystals: drawn, refined, certified, and read otherwise where in doubt."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geomae.autoencoder.latents import Latents
from geomae.crystals.canonical import canonical
from geomae.crystals.editor import Editor
from geomae.crystals.reading import Draft, draw
from geomae.crystals.refinement import RefinedCrystal, refine
from geomae.data.structure import Structure
from geomae.data.validate import find_fault
from geomae.errors import StructureError

if TYPE_CHECKING:
    from geomae.crystals.model import CrystalAutoencoder

CERTIFIED = {torch.float32: 1e-5, torch.float64: 1e-8}
"""Residuals below which a refined crystal encodes to the latent, by the latent's precision."""

CERTIFIED_UNREFINED = 0.13
"""The same straight from the fields."""

READINGS = 4
"""Readings of a sketch that are tried, one after the other, until one is certified."""

LATTICES = 3
"""Lattices in which crystals in doubt are mended, at most."""

CLEAR = (0.5, 0.8)
"""Least probabilities of the atoms that mending starts from, one after the other."""

TURNS, EDITS = 3, 12
"""Turns of editing and refining a crystal, and edits a turn, at most."""

Settled = tuple[RefinedCrystal, bool]
"""A crystal, and whether it is certified."""


class Reader:
    """Draws, refines and certifies on the CPU.

    Where the likeliest reading is not certified, it is drawn again in other lattices and with the
    symmetry that the latent tells, and edited atom by atom; other readings are tried, and the
    fields are searched again on finer grids.
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
            sketches = draw(self.decoder, array[doubtful], fineness)
            readings = {
                i: iter(sketch.drafts(READINGS))
                for i, sketch in zip(doubtful, sketches, strict=True)
            }
            self._try(best, array, readings)
            if self.refined:
                self._mend(best, array, fineness)
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
        jobs = [(i, next(readings[i], None)) for i in _doubtful(best)]
        self._keep_better(best, array, [(i, draft) for i, draft in jobs if draft is not None])

    def _mend(self, best: list[Settled | None], array: Tensor, fineness: int) -> None:
        """Edit what the fields show in each lattice that they may mean, and what refinement makes
        of it, as long as that brings it closer.
        """
        for i in _doubtful(best):
            editor = Editor(self.decoder, self.rough, array[i])
            sketches = editor.sketches(LATTICES, fineness)
            for least, sketch in product(CLEAR, sketches):
                self._mend_one(best, array, i, editor, sketch.clear(least))
                own = best[i]
                if own is not None and own[1]:
                    break

    def _mend_one(
        self,
        best: list[Settled | None],
        array: Tensor,
        i: int,
        editor: Editor,
        draft: Draft,
    ) -> None:
        """Edit and refine a crystal by turns; the best one stays."""
        for turn in range(TURNS):
            edited = editor.edited(draft, EDITS)
            if edited is None and turn:
                break
            (settled,) = self._settle([(i, draft if edited is None else edited)], array)
            self._keep(best, i, settled)
            if settled[1]:
                return
            draft = settled[0].draft

    @staticmethod
    def _keep(best: list[Settled | None], i: int, found: Settled) -> None:
        """Keep the better one of a crystal."""
        own = best[i]
        if own is None or _rank(found) > _rank(own):
            best[i] = found

    def _keep_better(
        self, best: list[Settled | None], array: Tensor, jobs: Sequence[tuple[int, Draft]]
    ) -> None:
        if not jobs:
            return
        for (i, _), again in zip(jobs, self._settle(jobs, array), strict=True):
            self._keep(best, i, again)

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
