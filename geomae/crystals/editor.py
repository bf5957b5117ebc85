"""Drawn crystals made better atom by atom, judged by what they then encode to."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geomae.crystals.batch import join, lists_of
from geomae.crystals.decoder import CrystalDecoder
from geomae.crystals.edits import (
    exchanges,
    places_of,
    removals,
    with_atoms,
    without,
)
from geomae.crystals.encoder import CrystalEncoder
from geomae.crystals.reading import AGREED, Draft, Sketch, draw, lattices_of
from geomae.crystals.site_group import APART, SiteGroup
from geomae.crystals.symmetry import nearest

PLACES = 40
"""Places with the highest field where atoms are tried."""

KINDS = 4
"""Elements that are tried there, at most, beside those that the crystal has."""

MOVES = 24
"""The same, for atoms that are taken elsewhere."""

NEAR = 0.5
"""Distance in Å beyond which an atom that is taken elsewhere is put; refinement does the rest."""

LATTICES = 8
"""Lattices that are looked at, the likeliest."""

CLOSER = 0.985
"""Part of the residual below which an edit is made."""

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
        self.ranked: dict[bytes, tuple[list[np.ndarray], Iterator[np.ndarray]]] = {}

    @torch.no_grad()
    def sketches(self, most: int, fineness: int = 1) -> list[Sketch]:
        """What shows in the likeliest lattices that the latent's symmetry allows, made symmetric.

        Args:
            most: lattices at most.
            fineness: of the grids where the search for peaks starts.
        """
        latents = self.latent[None]
        seen = lattices_of(self.decoder, latents, LATTICES, fineness)[0]
        if seen and seen[0].agreement > AGREED:
            seen = seen[:1]
        cells = [self.group.lattice(own.cell) for own in seen]
        found: list[Sketch] = []
        for cell in [own for own in cells if own is not None][:most]:
            (sketch,) = draw(self.decoder, latents, fineness, [cell])
            symmetrised = self.group.symmetrised(sketch)
            if symmetrised is not None:
                found.append(symmetrised)
        return found

    @torch.no_grad()
    def edited(self, draft: Draft, most: int) -> Draft | None:
        """The crystal after the edits that bring its encoding closest, the best first; None if
        there is none.

        An edit takes an orbit of atoms out, puts one in, or exchanges elements. Orbits are
        those of the operations about the anchor that the latent has. Where two peaks of a field run
        together, one is too faint or one is false, the field alone can't tell; the encoder can.

        Args:
            draft: to start from.
            most: edits at most.
        """
        residual = float(self.residuals([draft])[0])
        if residual > FAR:
            return None
        before = draft
        for _ in range(most):
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
        options: list[Draft] = []
        for orbit in self.group.orbits(draft):
            if 0 in orbit:
                continue
            rest, number = without(draft, orbit), int(draft.numbers[orbit[0]])
            for images in self._free(rest, MOVES):
                away = nearest(images[0] - draft.positions[orbit], draft.cell)[1].min()
                if len(images) <= 2 * len(orbit) and away > NEAR:
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
        for images in self._free(draft, PLACES):
            likely = self._likelihood(images[:1])[0]
            kinds = set(draft.numbers.tolist())
            kinds |= set(self.elements[np.argsort(-likely)[:KINDS]].tolist())
            more = with_atoms(draft, int(draft.numbers[0]), images)
            others = [
                np.append(draft.numbers, np.full(len(images), kind)) for kind in sorted(kinds)
            ]
            options += [replace(more, numbers=numbers) for numbers in others]
        return options

    def _free(self, draft: Draft, most: int) -> Iterator[Float[np.ndarray, "_ 3"]]:
        """Orbits apart from a crystal's atoms where the field is highest."""
        found = 0
        for images in self._ranked(draft.cell):
            if nearest(images[0] - draft.positions, draft.cell)[1].min() > APART:
                yield images
                found += len(images)
            if found >= most:
                break

    def _ranked(self, cell: Float[np.ndarray, "3 3"]) -> Iterator[Float[np.ndarray, "_ 3"]]:
        """Orbits of places by falling field, those of a lattice kept as far as they were asked
        for.
        """
        key = cell.tobytes()
        if key not in self.ranked:
            self.ranked[key] = [], self._orbits(cell)
        known, rest = self.ranked[key]
        yield from known
        for images in rest:
            known.append(images)
            yield images

    def _orbits(self, cell: Float[np.ndarray, "3 3"]) -> Iterator[Float[np.ndarray, "_ 3"]]:
        places = places_of(cell)
        field = self.decoder.atoms.on_points(self.atoms, self._column(places))[0, :, 0].numpy()
        taken = np.full((1, 3), np.inf)
        for k in np.argsort(-field, kind="stable"):
            images = self.group.images(places[k], cell)
            if np.abs(taken - images[0]).sum(1).min() > 1e-3:
                taken = np.concatenate([taken, images])
                yield images

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
