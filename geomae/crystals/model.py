"""The autoencoder of crystals: structures to latents at their anchors, and back."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor

from geomae.autoencoder.base import PointAutoencoder, chunks
from geomae.autoencoder.latents import Latents
from geomae.crystals.batch import CrystalBatch, batch_of
from geomae.crystals.canonical import Canonical, canonical
from geomae.crystals.config import CrystalConfig
from geomae.crystals.decoder import CrystalDecoder
from geomae.crystals.encoder import CrystalEncoder
from geomae.crystals.reading import Draft, draw
from geomae.crystals.refinement import RefinedCrystal, refine
from geomae.crystals.symmetry import require_crystal
from geomae.data.elements import SYMBOLS
from geomae.data.structure import Structure
from geomae.data.validate import check_structure, find_fault
from geomae.errors import StructureError, UnsupportedStructureError

LOSS_WEIGHTS = {"atoms": 10.0, "lattice": 10.0, "element": 0.3, "formula": 0.1}
"""Weights of the losses; what a field misses is small in nats but decides positions."""

CERTIFIED = {torch.float32: 1e-5, torch.float64: 1e-8}
"""Residuals below which a refined crystal encodes to the latent, by the latent's precision."""

CERTIFIED_UNREFINED = 0.13
"""The same straight from the fields."""

RETRIES = 8
"""Readings of a latent that are refined where the likeliest is not certified."""


class CrystalAutoencoder(PointAutoencoder):
    """Encoder and decoder of crystals with one point between them.

    Args:
        config: sizes of everything, and the elements and sizes of the crystals that it takes.
    """

    kind = "crystals"
    config_type = CrystalConfig

    def __init__(self, config: CrystalConfig):
        super().__init__(config)
        self.encoder = CrystalEncoder(config)
        self.decoder = CrystalDecoder(config)

    def loss(self, crystals: CrystalBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Training losses of a batch: each by its name, and their weighted sum as `loss`."""
        crystals = _on(crystals, self.device)
        latents = self._with_noise(self.encoder(crystals), generator)
        losses = self.decoder.losses(latents, crystals, generator)
        weighted = [LOSS_WEIGHTS[name] * value for name, value in losses.items()]
        return {"loss": torch.stack(weighted).sum(), **losses}

    def check(self, structures: Sequence[Structure]) -> None:
        """See that the model was trained for such structures.

        The number of atoms is that of the primitive cell, which is known only after reduction:
        `encode` checks it.

        Raises:
            UnsupportedStructureError: names the first that has another element or is not periodic
                along all three lattice vectors.
            StructureError: it can't be used at all.
        """
        for index, structure in enumerate(structures):
            source = structure.get("source")
            try:
                check_structure(structure)
                if not structure.periodic:
                    raise UnsupportedStructureError(
                        "is finite; the model takes crystals, periodic along three vectors. "
                        "Molecules are for models of molecules, such as 'qm9'"
                    )
                require_crystal(structure)
            except StructureError as error:
                raise type(error)(error.fault, index=index, source=source) from error
            strange = sorted(set(structure.numbers.tolist()) - set(self.elements))
            if strange:
                names = ", ".join(SYMBOLS[z] for z in strange)
                raise UnsupportedStructureError(
                    f"has {names}; the model takes {len(self.elements)} elements: "
                    + ", ".join(SYMBOLS[z] for z in self.elements),
                    index=index,
                    source=source,
                )

    def forms_of(self, structures: Sequence[Structure]) -> list[Canonical]:
        """Canonical forms, of which the number of atoms is checked.

        Raises:
            UnsupportedStructureError: a primitive cell has more atoms than the model takes.
        """
        self.check(structures)
        forms = []
        for index, structure in enumerate(structures):
            form = canonical(structure, symprec=self.config.symprec)
            if form.structure.n_atoms > self.config.max_atoms:
                raise UnsupportedStructureError(
                    f"has {form.structure.n_atoms} atoms in its primitive cell; the model takes 1 "
                    f"to {self.config.max_atoms}",
                    index=index,
                    source=structure.get("source"),
                )
            forms.append(form)
        return forms

    @torch.no_grad()
    def encode(
        self, structures: Sequence[Structure], *, batch_size: int = 64, progress: bool = False
    ) -> Latents:
        """Latents of crystals, in their order; their centres are the anchors' positions.

        The arithmetic is float64, whatever the model's precision.

        Args:
            structures: to encode, each in any cell.
            batch_size: crystals at a time.
            progress: show a bar.
        """
        exact, parts = self.exact_encoder(), []
        for chunk in chunks(structures, batch_size, "encoding" if progress else None):
            forms = self.forms_of(chunk)
            crystals = batch_of([form.structure for form in forms], self.config)
            array = exact(_on(crystals, self.device))
            centres = torch.from_numpy(np.array([form.centre for form in forms]))
            parts.append(Latents(array.to(self.dtype), centres.to(self.device)))
        return self.joined(parts)

    @torch.no_grad()
    def decode(
        self,
        latents: Latents,
        *,
        refine: bool = True,
        batch_size: int = 64,
        progress: bool = False,
    ) -> list[Structure | None]:
        """Crystals of latents, in their order, from the latents alone; None where no draft
        could be drawn.

        Each is primitive, with the anchor first, and carries `confidence` (`[n]`, probability of
        each atom), `residual` (relative distance between the latent and the crystal's own encoding)
        and `certified` (the residual vanishes, and the crystal's canonical form has this anchor).

        Args:
            latents: to decode.
            refine: end with Gauss-Newton on the distance between encoding and latent.
            batch_size: latents at a time.
            progress: show a bar.
        """
        self.check_latents(latents)
        self.eval()
        latents, decoded = latents.to("cpu"), []
        reader = _Reader(self, refine)
        for ids in chunks(range(len(latents)), batch_size, "decoding" if progress else None):
            decoded += reader.read(latents[ids])
        return decoded


class _Reader:
    """Draws, refines and certifies on the CPU; draws again with more care where one is in doubt."""

    def __init__(self, model: CrystalAutoencoder, refined: bool):
        self.decoder = deepcopy(model.decoder).cpu().eval()
        self.encoder = model.exact_encoder().cpu()
        self.rough = deepcopy(self.encoder).to(model.dtype)
        self.refined, self.config = refined, model.config

    def read(self, latents: Latents) -> list[Structure | None]:
        array = latents.array
        best: list[tuple[RefinedCrystal, bool] | None] = [None] * len(array)
        for fineness, most in ((1, 1), (1, RETRIES), (2, RETRIES)):
            doubtful = [i for i, own in enumerate(best) if own is None or not own[1]]
            if not doubtful:
                break
            sketches = draw(self.decoder, array[doubtful], fineness)
            skipped = 1 if fineness == 1 and most > 1 else 0
            jobs = [
                (i, draft)
                for i, sketch in zip(doubtful, sketches, strict=True)
                for draft in sketch.drafts(most)[skipped:]
            ]
            for (i, _), again in zip(jobs, self._settle(jobs, array), strict=True):
                own = best[i]
                if own is None or _rank(again) > _rank(own):
                    best[i] = again
        return [
            None if own is None else _structure(*own, centre)
            for own, centre in zip(best, latents.centres, strict=True)
        ]

    def _settle(
        self, jobs: list[tuple[int, Draft]], array: Tensor
    ) -> list[tuple[RefinedCrystal, bool]]:
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
            form = canonical(structure, symprec=self.config.symprec)
        except StructureError:
            return False
        symmetrised = form.symmetrised
        if form.structure.n_atoms != structure.n_atoms:
            return False
        place = {int(parent): i for i, parent in enumerate(symmetrised.parents)}
        orbits = symmetrised.orbits
        return bool(orbits[place[0]] == orbits[place[form.anchor]])


def _rank(own: tuple[RefinedCrystal, bool]) -> tuple[bool, float]:
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


def _on(crystals: CrystalBatch, device: torch.device) -> CrystalBatch:
    return crystals if device.type == "cpu" else crystals.to(device)
