"""Drawn crystals made better atom by atom, judged by what they then encode to."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geomae.crystals.batch import join, lists_of
from geomae.crystals.decoder import CrystalDecoder
from geomae.crystals.edits import (
    exchanges,
    free_places,
    removals,
    with_atoms,
    without,
)
from geomae.crystals.encoder import CrystalEncoder
from geomae.crystals.reading import AGREED, Draft, draw, lattices_of
from geomae.crystals.site_group import APART, SiteGroup
from geomae.crystals.symmetry import nearest

PLACES = 40
"""Places with the highest field where atoms are tried."""

KINDS = 4
"""Elements that are tried there, at most, beside those that the crystal has."""

MOVES = 12
"""The same, for atoms that are taken elsewhere."""

LATTICES = 8
"""Lattices that are looked at, the likeliest."""

CLOSER = 0.985
"""Part of the residual below which an edit is made."""

EDITS = 12
"""Edits at most, one after the other."""

FAR = 0.9
"""Residual beyond which nothing can be told."""

TOGETHER = 32
"""Crystals that are encoded together."""


class Editor:
    """Edits crystals drawn from one latent until its encoding comes no closer.

    Args:
        decoder: gives the fields.
        encoder: in either precision.
        latent: of the crystal that is looked for.
    """

    @torch.no_grad()
    def __init__(
        self, decoder: CrystalDecoder, encoder: CrystalEncoder, latent: Float[Tensor, "m c"]
    ):
        self.decoder, self.encoder, self.latent = decoder, encoder, latent
        self.dtype = next(decoder.parameters()).dtype
        features = decoder.features(latent[None].to(self.dtype))
        self.atoms = decoder.atoms.prepare(features)
        self.element = decoder.element.prepare(features)
        self.elements = np.array(decoder.config.elements)
        self.group = SiteGroup.of(latent)

    @torch.no_grad()
    def starts(self, most: int, fineness: int = 1) -> list[Draft]:
        """Crystals as they show clearly in the likeliest lattices that the latent's own symmetry
        allows, made symmetric.

        Args:
            most: lattices at most.
            fineness: of the grids where the search for peaks starts.
        """
        latents = self.latent[None]
        seen = lattices_of(self.decoder, latents, LATTICES, fineness)[0]
        if seen and seen[0].agreement > AGREED:
            seen = seen[:1]
        cells = [self.group.lattice(own.cell) for own in seen]
        found: list[Draft] = []
        for cell in [own for own in cells if own is not None][:most]:
            (sketch,) = draw(self.decoder, latents, fineness, [cell])
            symmetrised = self.group.symmetrised(sketch)
            if symmetrised is not None:
                found.append(symmetrised.clear())
        return found

    @torch.no_grad()
    def edited(self, draft: Draft) -> Draft | None:
        """The crystal after the edits that bring its encoding closest, the best first; None if
        there is none.

        An edit takes an orbit of atoms out, puts one in, or exchanges elements. Orbits are
        those of the operations about the anchor that the latent has. Where two peaks of a field run
        together, one is too faint or one is false, the field alone can't tell; the encoder can.
        """
        residual = float(self.residuals([draft])[0])
        if residual > FAR:
            return None
        before = draft
        for _ in range(EDITS):
            better = self._best(self._options(draft), residual) or self._best(
                self._moves(draft), residual
            )
            if better is None:
                break
            draft, residual = better
        return None if draft is before else draft

    def _best(self, options: list[Draft], residual: float) -> tuple[Draft, float] | None:
        """The option that encodes closest, if it is closer than a residual, and its own."""
        residuals = self.residuals(options)
        if not len(residuals) or residuals.min() > CLOSER * residual:
            return None
        best = int(residuals.argmin())
        return options[best], float(residuals[best])

    def _moves(self, draft: Draft) -> list[Draft]:
        """The crystal with an orbit taken from where it is to where the field is high."""
        orbits = [orbit for orbit in self.group.orbits(draft) if 0 not in orbit]
        options: list[Draft] = []
        for orbit in orbits:
            rest, number = without(draft, orbit), int(draft.numbers[orbit[0]])
            own = draft.positions[orbit]
            for images in self._places(rest, MOVES):
                away = nearest(images[:, None] - own, draft.cell)[1].min()
                if len(images) <= len(orbit) and away > APART:
                    options.append(with_atoms(rest, number, images))
        return options

    def _options(self, draft: Draft) -> list[Draft]:
        orbits = self.group.orbits(draft)
        likelihood = self._likelihood(draft.positions)
        options = removals(draft, orbits) + exchanges(draft, orbits, likelihood, self.elements)
        if len(draft.numbers) < self.decoder.config.max_atoms:
            options += self._insertions(draft)
        return [own for own in options if len(own.numbers) <= self.decoder.config.max_atoms]

    def _insertions(self, draft: Draft) -> list[Draft]:
        """The crystal with atoms put in where the field is highest."""
        options: list[Draft] = []
        for images in self._places(draft, PLACES):
            likely = self._likelihood(images[:1])[0]
            kinds = set(draft.numbers.tolist())
            kinds |= set(self.elements[np.argsort(-likely)[:KINDS]].tolist())
            more = with_atoms(draft, int(draft.numbers[0]), images)
            others = [
                np.append(draft.numbers, np.full(len(images), kind)) for kind in sorted(kinds)
            ]
            options += [replace(more, numbers=numbers) for numbers in others]
        return options

    def _places(self, draft: Draft, most: int) -> list[Float[np.ndarray, "_ 3"]]:
        """Orbits of free places where the field is highest."""
        places = free_places(draft)
        if not len(places):
            return []
        field = self.decoder.atoms.on_points(self.atoms, self._column(places))[0, :, 0].numpy()
        found: list[np.ndarray] = []
        taken = np.zeros((0, 3))
        for k in np.argsort(-field, kind="stable"):
            images = self.group.images(places[k], draft.cell)
            if not len(taken) or np.abs(taken - images[0]).sum(1).min() > 1e-3:
                found.append(images)
                taken = np.concatenate([taken, images])
            if len(taken) >= most:
                break
        return found

    def _likelihood(self, places: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n e"]:
        """Log-probability of each element at places."""
        logits = self.decoder.element.on_points(self.element, self._column(places))
        return logits[0].log_softmax(-1).double().numpy()

    def _column(self, places: np.ndarray) -> Tensor:
        return torch.from_numpy(places)[None].to(self.dtype)

    def residuals(self, drafts: Sequence[Draft]) -> Float[np.ndarray, " k"]:
        """|E(X) - z| / |z| of crystals."""
        target = self.latent.double()
        errors = (self.encodings(drafts) - target).flatten(1).norm(dim=1)
        return (errors / target.norm()).numpy()

    @torch.no_grad()
    def encodings(self, drafts: Sequence[Draft]) -> Float[Tensor, "k m c"]:
        """Latents of crystals, in float64; those that share an array of positions share lists."""
        dtype, config = next(self.encoder.parameters()).dtype, self.encoder.config
        found = [torch.zeros(0, *self.encoder.latent_shape, dtype=torch.float64)]
        lists: dict[int, dict[str, np.ndarray]] = {}
        for start in range(0, len(drafts), TOGETHER):
            part = drafts[start : start + TOGETHER]
            crystals = [
                tuple(map(torch.from_numpy, (own.numbers, own.positions, own.cell))) for own in part
            ]
            for own, crystal in zip(part, crystals, strict=True):
                if id(own.positions) not in lists:
                    lists[id(own.positions)] = lists_of(*crystal, config)
            batch = join(crystals, [lists[id(own.positions)] for own in part], dtype)
            found.append(self.encoder(batch).double())
        return torch.cat(found)
