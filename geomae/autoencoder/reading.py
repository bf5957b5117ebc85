"""Reading latents: draw, refine, certify, and try again where the certificate is missing."""

import math
from copy import deepcopy
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.autoencoder.counts import Alternative
from geomae.autoencoder.decoder import Decoder, Drawing
from geomae.autoencoder.encoder import Encoder
from geomae.autoencoder.mending import Mender, Sketch, tree_of
from geomae.autoencoder.refinement import Refined, refine
from geomae.pooling.tree import Tree, same_groups

CERTIFIED = {torch.float32: 1e-5, torch.float64: 1e-8}
"""Residuals below which a refined structure encodes to the latent, by the latent's precision."""

ROUNDING = 1e-6
"""Distance from a symmetric place, in widths of the density, that a latent's rounding explains."""

CERTIFIED_UNREFINED = 0.13
"""The same straight from the peaks: on QM9 right ones have up to 0.11, wrong ones from 0.15."""

RETRIES, SETTLED = 40, 4
"""Other readings that are drawn where the likeliest has no certificate, and how many of them are
settled: those of the formula that the latent tells, and that encode closest to it."""

HOPELESS, FEW = 0.8, 6
"""Residual of a drawing that is not like the latent at all, and atoms of one that is edited all
the same."""

EDITED = 40
"""Atoms of the largest structure that is edited; with more the edits take minutes."""

EDITS = 3
"""Atoms that are changed one by one at most, where nothing else gives a certificate."""

ROUNDS = 5
"""Jacobians of a refinement at most."""

DRAWN_TOGETHER = 128
"""Latents drawn in one batch."""


@dataclass(frozen=True)
class Reading:
    """One decoded structure.

    Attributes:
        numbers: atomic numbers `[n]`.
        positions: about the latent's point, `[n, 3]` in Å.
        confidence: the field's probability of each atom, `[n]`.
        residual: |E(X) - z| / |z|.
        certified: the residual vanishes within the precision.
    """

    numbers: Tensor
    positions: Tensor
    confidence: Tensor
    residual: float
    certified: bool


@torch.no_grad()
def read(
    decoder: Decoder,
    encoder: Encoder,
    latents: Float[Tensor, "n m c"],
    *,
    refined: bool = True,
    retries: int = RETRIES,
) -> list[Reading]:
    """The structure of each latent.

    Args:
        decoder: in the precision of the drawing.
        encoder: in float64; it certifies, and refines.
        latents: about their points.
        refined: sharpen each drawing against the encoder.
        retries: other readings of the counts, the likeliest first, that are drawn where the
            first is not certified, nor when drawn with more care. 0 tries nothing again.
    """
    reader = Reader(decoder, encoder, refined)
    # refinement leads from any maximum of a bump to the same structure
    drawing = draw(decoder, latents, to_top=not refined)
    best = reader.settle(drawing, latents)
    for again in (
        reader.again_carefully,
        reader.again_mended,
        reader.again_otherwise,
        reader.again_mended_freely,
    ):
        doubtful = [i for i, reading in enumerate(best) if not reading.certified]
        if not doubtful or not retries:
            break
        for i in doubtful:
            if i not in reader.closest:
                reader.keep(i, drawing, i, latents[i])
        lacking = reader.lacking(drawing, latents)
        others = {i: drawing.doubts.alternatives(i, retries, lacking[i].tolist()) for i in doubtful}
        for i, reading in again(latents, others):
            if reading.certified:
                best[i] = reading
    return best


Alternatives = dict[int, list[Alternative]]
"""Latents in doubt, by their numbers, and what else each could be read as."""


def draw(
    decoder: Decoder,
    latents: Tensor,
    readings: list[Alternative] | None = None,
    fineness: int = 1,
    to_top: bool = False,
) -> Drawing:
    """Drawings of any number of latents, in the decoder's precision; see `Decoder`."""
    latents = latents.to(next(decoder.parameters()).dtype)
    parts = []
    for start in range(0, len(latents), DRAWN_TOGETHER):
        rows = slice(start, start + DRAWN_TOGETHER)
        own = None if readings is None else readings[rows]
        parts.append(decoder(latents[rows], own, fineness, to_top))
    return Drawing.join(parts)


class Reader:
    """Settles drawings, and draws again where one is in doubt."""

    def __init__(self, decoder: Decoder, encoder: Encoder, refined: bool):
        self.decoder, self.encoder, self.refined = decoder, encoder, refined
        self.precision = next(decoder.parameters()).dtype
        self.rough = deepcopy(encoder).to(self.precision)
        config = decoder.config
        self.mender = Mender(self.rough, config.elements, config.max_atoms)
        self.closest: dict[int, Sketch] = {}

    def again_carefully(self, latents: Tensor, others: Alternatives) -> list[tuple[int, Reading]]:
        """The same readings drawn in float64, from finer grids.

        A symmetric latent then gives a structure whose symmetry is exact far beyond float32, and
        refinement keeps to it.
        """
        doubtful = latents[list(others)]
        again = draw(deepcopy(self.decoder).double(), doubtful, fineness=2)
        return list(zip(others, self.settle(again, doubtful), strict=True))

    def again_otherwise(self, latents: Tensor, others: Alternatives) -> list[tuple[int, Reading]]:
        """The least clear counts read otherwise; the best last."""
        owners = [i for i, readings in others.items() for _ in readings]
        owner = torch.tensor(owners, device=latents.device)
        drawn = draw(self.decoder, latents[owner], [r for own in others.values() for r in own])
        close = self._rough_residuals(drawn.tree, latents[owner]).tolist()
        strange = self.lacking(drawn, latents[owner]).any(1).tolist()
        promising = []
        for i in others:
            own = [n for n, it in enumerate(owners) if it == i]
            if own:
                self.keep(i, drawn, min(own, key=lambda n: close[n]), latents[i])
            own = sorted(own, key=lambda n: (strange[n], close[n]))[:SETTLED]
            promising += sorted(n for n in own if math.isfinite(close[n]))
        best = torch.tensor(promising, dtype=torch.long, device=latents.device)
        settled = self.settle(drawn.select(best), latents[owner[best]])
        found = zip(owner[best].tolist(), settled, strict=True)
        return sorted(found, key=lambda item: -item[1].residual)

    def keep(self, i: int, drawing: Drawing, n: int, latent: Tensor) -> None:
        """Remember a drawing of a latent if it is the closest so far."""
        sketch = Sketch.of(drawing.tree, drawing.confidence, n)
        sketch = next(iter(self.mender.scored([sketch], latent)), sketch)
        if i not in self.closest or sketch.residual < self.closest[i].residual:
            self.closest[i] = sketch

    def mendable(self, others: Alternatives) -> list[int]:
        """Latents whose closest drawing edits could bring to them."""
        if not self.refined:
            return []
        return [
            i
            for i in others
            if (self.closest[i].residual < HOPELESS and len(self.closest[i].numbers) <= EDITED)
            or len(self.closest[i].numbers) <= FEW
        ]

    def again_mended(self, latents: Tensor, others: Alternatives) -> list[tuple[int, Reading]]:
        """The first drawings with one atom elsewhere, added, removed or of another element, if that
        gives the formula told; only where atoms are refined.
        """
        told = self.decoder.formula_of(latents.to(self.precision))
        found = []
        for i in self.mendable(others):
            edits = self.mender.edits(self.closest[i], latents[i], told[i])
            found += [(i, reading) for reading in self._settle_sketches(edits, latents[i])]
        return found

    def again_mended_freely(
        self, latents: Tensor, others: Alternatives
    ) -> list[tuple[int, Reading]]:
        """The closest drawings with several atoms changed one by one, as the residual tells."""
        found = []
        for i in self.mendable(others):
            sketch = self.closest[i]
            for _ in range(EDITS):
                edits = self.mender.edits(sketch, latents[i], None)
                readings = self._settle_sketches(edits, latents[i])
                found += [(i, reading) for reading in readings]
                done = any(reading.certified for reading in readings)
                if done or not edits or edits[0].residual > 0.95 * sketch.residual:
                    break
                sketch = edits[0]
        return found

    def _settle_sketches(self, sketches: list[Sketch], latent: Tensor) -> list[Reading]:
        """Refine and certify the first of some sketches of one latent."""
        if not sketches:
            return []
        sketches = sketches[:SETTLED]
        tree = tree_of(sketches, self.decoder.config.heavy_weight)
        confidence = torch.cat([s.confidence for s in sketches])
        return self._settle(tree, confidence, latent.expand(len(sketches), *latent.shape))

    def settle(self, drawing: Drawing, latents: Tensor) -> list[Reading]:
        """Refine drawings, and certify them.

        Refined atoms are encoded from scratch, without what was drawn above them. Atoms straight
        from the peaks are not exact enough for that, where the points that they belong to are
        close to a decision; they are encoded along the memberships that were drawn, and must have
        the formula that the latent tells.
        """
        tree = drawing.tree.to(torch.float64)
        strange = None if self.refined else self.lacking(drawing, latents).any(1)
        return self._settle(tree, drawing.confidence, latents, strange)

    def _settle(
        self, tree: Tree, confidence: Tensor, latents: Tensor, strange: Tensor | None = None
    ) -> list[Reading]:
        """Settle trees in float64; those that are strange get no certificate."""
        if self.refined:
            refined = refine(self.encoder, self.rough, tree, latents.double(), rounds=ROUNDS)
            positions, bound = refined.positions, CERTIFIED
            residual = self.fresh_residuals(tree, refined, latents)
        else:
            positions = tree.positions[0]
            residual = self._rough_residuals(tree, latents)
            bound = dict.fromkeys(CERTIFIED, CERTIFIED_UNREFINED)
        if strange is not None:
            residual = residual.masked_fill(strange, torch.inf)
        readings = []
        for i, own_residual in enumerate(residual.tolist()):
            own = tree.batch[0] == i
            certified = own_residual < bound[latents.dtype]
            parts = tree.numbers[own], positions[own], confidence[own]
            readings.append(Reading(*parts, own_residual, certified))
        return readings

    def lacking(self, drawing: Drawing, latents: Tensor) -> Int[Tensor, "structures elements"]:
        """Atoms of each element that drawings lack of the formulas that their latents tell."""
        told = self.decoder.formula_of(latents.to(self.precision))
        return told - drawing.formula(self.decoder.config.elements)

    def fresh_residuals(
        self, tree: Tree, refined: Refined, latents: Tensor
    ) -> Float[Tensor, " structures"]:
        """Relative distances of encodings from scratch to latents; infinite without atoms.

        Where atoms group as they were drawn that is what refinement has found. A structure that
        is symmetric but for the rounding of its latent is also encoded as symmetric.
        """
        n, batch, positions = len(latents), tree.batch[0], refined.positions
        size = torch.bincount(batch, minlength=n)
        sound = torch.bincount(batch[torch.isfinite(positions).all(1)], minlength=n) == size
        residual = torch.full((n,), torch.inf, dtype=torch.float64, device=latents.device)
        for ridge in (0.0, ROUNDING):
            todo = sound & (size > 0) & (residual >= CERTIFIED[latents.dtype])
            if not bool(todo.any()):
                break
            own, number = todo[batch], torch.cumsum(todo, 0) - 1
            fresh = self.encoder.grow(
                tree.numbers[own], positions[own], number[batch[own]], ridge=ridge
            )
            ids = torch.nonzero(todo)[:, 0]
            found = refined.residual[ids].clone()
            strange = torch.nonzero(~same_groups(fresh, tree.select(ids)))[:, 0]
            if len(strange):
                latent = latents[ids[strange]]
                found[strange] = self._residuals(fresh.select(strange), latent)
            residual[ids] = torch.minimum(residual[ids], found)
        return residual

    def _rough_residuals(self, tree: Tree, latents: Tensor) -> Float[Tensor, " structures"]:
        """Relative distances of a drawn tree's encodings, in the drawing's precision."""
        tree = tree.to(self.precision)
        return self._residuals(tree.with_atoms_at(tree.positions[0]), latents, self.rough)

    def _residuals(
        self, tree: Tree, latents: Tensor, encoder: Encoder | None = None
    ) -> Float[Tensor, " structures"]:
        """Relative distances of a tree's encodings to latents; infinite without atoms."""
        target = latents.double().flatten(1)
        if not len(tree.numbers):
            return torch.full_like(target[:, 0], torch.inf)
        error = ((encoder or self.encoder)(tree).flatten(1).double() - target).norm(dim=1)
        size = target.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
        empty = torch.bincount(tree.batch[0], minlength=len(target)) == 0
        return (error / size).nan_to_num(nan=torch.inf).masked_fill(empty, torch.inf)
