"""Reading sampled latents: freely, or with a point group that is guaranteed and checked."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.autoencoder import Autoencoder
from geomae.autoencoder.reading import CERTIFIED, ROUNDS, Reader, draw
from geomae.autoencoder.refinement import refine
from geomae.data.structure import Structure
from geomae.data.validate import find_fault
from geomae.generation.symmetric import SymmetricDecoder, SymmetricDrawing, Wanted
from geomae.generation.symmetric_refinement import refine_symmetric
from geomae.generation.verify import TOLERANCE, contains, found_by_pymatgen
from geomae.symmetry import PointGroup

DOUBTFUL = 0.25
"""Residual from which on a decoding says little about its latent."""

CLEAR = 0.05
"""Residual below which no other reading of a symmetric latent is tried."""

UNLIKELY = 12.0
"""Log-likelihood that another reading may lack to the first, and still be tried."""


@dataclass(frozen=True)
class Decoded:
    """What was made of one sampled latent.

    Attributes:
        structure: about the latent's point; None if there is none to return.
        residual: |E(X) - z| / |z|, the part of the latent that the structure does not explain,
            along the memberships that were drawn: who belongs to whom is discrete, and a structure
            close to a decision may be encoded from scratch along others.
        certified: encoded from scratch, the structure has that very latent.
        group: what pymatgen found at 0.001 Å, where a group was asked for.
        fault: why there is no structure, or why it is doubtful; None if nothing is wrong.
    """

    structure: Structure | None
    residual: float
    certified: bool
    group: str | None = None
    fault: str | None = None

    @property
    def doubtful(self) -> bool:
        """There is a structure, but it should not be trusted."""
        return self.structure is not None and self.fault is not None


class FreeReader:
    """Reads latents of a model that need not be those of structures.

    Other readings of the counts are not tried: a sample seldom has a structure that encodes to it
    exactly, so no certificate tells when to stop.

    Args:
        model: an autoencoder of molecules.
    """

    def __init__(self, model: Autoencoder):
        self.decoder, self.encoder = model.decoder, model.exact_encoder()
        self.reader = Reader(model.decoder, self.encoder, refined=True)
        self.precision = model.dtype

    @torch.no_grad()
    def __call__(self, latents: Float[Tensor, "n m c"]) -> list[Decoded]:
        """The structure of each latent: drawn, then moved to where it encodes closest."""
        drawing, target = draw(self.decoder, latents), latents.to(self.precision)
        tree = drawing.tree.to(torch.float64)
        refined = refine(self.encoder, self.reader.rough, tree, target.double(), rounds=ROUNDS)
        fresh = self.reader.fresh_residuals(tree, refined, target).tolist()
        found = []
        for number, (along, anew) in enumerate(zip(refined.residual.tolist(), fresh, strict=True)):
            own = tree.batch[0] == number
            found.append(
                _decoded(
                    tree.numbers[own],
                    refined.positions[own],
                    drawing.confidence[own],
                    min(along, anew),
                    anew < CERTIFIED[self.precision],
                )
            )
        return found


class SymmetricReader:
    """Reads latents of a model to structures with a point group.

    Args:
        model: an autoencoder of molecules.
        group: about the latents' points, as it stands.
        wanted: which formulas will do; any if None.
    """

    def __init__(self, model: Autoencoder, group: PointGroup, wanted: Wanted | None = None):
        self.draw, self.group, self.wanted = SymmetricDecoder(model.decoder, group), group, wanted
        self.encoder = model.exact_encoder()
        self.reader = Reader(deepcopy(model.decoder).double(), self.encoder, refined=False)
        self.precision = model.dtype

    @torch.no_grad()
    def __call__(self, latents: Float[Tensor, "n m c"]) -> list[Decoded]:
        """The best structure of each latent that has the group, as pymatgen confirms at 0.001 Å.

        Where the likeliest drawing leaves much of the latent unexplained, the next ones are
        tried. What pymatgen does not confirm is not returned, and said to be so.
        """
        return [
            self._best(own, latent)
            for own, latent in zip(self.draw(latents, self.wanted), latents, strict=True)
        ]

    def _best(self, drawings: Sequence[SymmetricDrawing], latent: Tensor) -> Decoded:
        if not drawings:
            return Decoded(None, float("inf"), False, fault=self._nothing())
        tried: list[Decoded] = []
        for drawing in drawings:
            done = any(own.structure is not None for own in tried)
            if done and drawing.score < drawings[0].score - UNLIKELY:
                break
            tried.append(self._settled(drawing, latent))
            if tried[-1].structure is not None and tried[-1].residual < CLEAR:
                break
        return min(tried, key=lambda d: (d.structure is None, d.residual))

    def _settled(self, drawing: SymmetricDrawing, latent: Tensor) -> Decoded:
        """A drawing refined, certified and checked."""
        made = self.draw.assembled(drawing)
        refined = refine_symmetric(self.encoder, made.tree, made.coordinates, latent)
        # the reader's certificate depends on the precision that the latent had
        target = latent[None].to(self.precision)
        fresh = float(self.reader.fresh_residuals(made.tree, refined, target)[0])
        decoded = _decoded(
            made.tree.numbers,
            refined.positions,
            made.confidence,
            min(float(refined.residual[0]), fresh),
            fresh < CERTIFIED[self.precision],
        )
        return checked(decoded, self.group)

    def _nothing(self) -> str:
        what = "of the formula asked for" if self.wanted else "at all"
        return f"no whole orbits of {self.group.name} {what} in the latent's field"


def structure_or_fault(structure: Structure) -> Decoded:
    """A structure that was made as one: its latent is its own, if it can be a structure."""
    fault = find_fault(structure)
    if fault is not None:
        return Decoded(None, 0.0, False, fault=f"the structure {fault}")
    structure.confidence = torch.ones(structure.n_atoms, dtype=torch.float64)
    structure.residual, structure.certified = 0.0, True
    return Decoded(structure, 0.0, True)


def checked(decoded: Decoded, group: PointGroup) -> Decoded:
    """A reading whose structure has a group, as pymatgen confirms; without one if it has not."""
    if decoded.structure is None:
        return decoded
    found = found_by_pymatgen(decoded.structure)
    if found is not None and contains(found, group.name):
        decoded.structure.point_group = found
        return replace(decoded, group=found)
    fault = f"pymatgen finds {found or 'no group'} instead of {group.name} at {TOLERANCE:g} Å"
    return Decoded(None, decoded.residual, False, found, fault)


def _decoded(
    numbers: Tensor, positions: Tensor, confidence: Tensor, residual: float, certified: bool
) -> Decoded:
    """A reading as a structure; None in its place if it can't be one."""
    structure = Structure(
        numbers.cpu(),
        positions.double().cpu(),
        confidence=confidence.cpu(),
        residual=residual,
        certified=certified,
    )
    fault = find_fault(structure)
    if fault is not None:
        return Decoded(None, residual, False, fault=f"the decoded structure {fault}")
    if residual > DOUBTFUL:
        fault = f"the latent is {residual:.2g} of its length from that of the decoded structure"
    return Decoded(structure, residual, certified, fault=fault)


def symmetry_error(structure: Structure, group: PointGroup) -> float:
    """Largest distance in Å of an atom's image, under any operation, to the nearest like atom."""
    positions, numbers = structure.positions, structure.numbers
    other = numbers[:, None] != numbers
    worst = 0.0
    for operation in group.operations:
        gaps = torch.cdist(
            positions @ operation.T, positions, compute_mode="donot_use_mm_for_euclid_dist"
        )
        worst = max(worst, float(gaps.masked_fill(other, torch.inf).min(1).values.max()))
    return worst
