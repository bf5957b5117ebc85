"""The autoencoder of crystals: structures to latents at their anchors, and back."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from geomae.autoencoder.base import PointAutoencoder, chunks
from geomae.autoencoder.latents import Latents
from geomae.checkpoint import Checkpoint
from geomae.crystals.batch import CrystalBatch, batch_of
from geomae.crystals.canonical import Canonical, canonical
from geomae.crystals.config import CrystalConfig
from geomae.crystals.decoder import CrystalDecoder
from geomae.crystals.encoder import CrystalEncoder
from geomae.crystals.reach import extended
from geomae.crystals.reader import Reader
from geomae.crystals.symmetry import require_crystal
from geomae.data.elements import SYMBOLS
from geomae.data.structure import Structure
from geomae.data.validate import check_structure
from geomae.errors import GeomaeError, StructureError, UnsupportedStructureError

LOSS_WEIGHTS = {"atoms": 10.0, "lattice": 10.0, "element": 0.3, "formula": 0.1}
"""Weights of the losses; what a field misses is small in nats but decides positions."""


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

    def adapted(self, content: Checkpoint) -> dict[str, Tensor]:
        """Weights of a released model that training may go on from; the lattice's field may reach
        farther than that model's.

        Raises:
            GeomaeError: it is another kind of model, or differs otherwise.
        """
        if content.kind != self.kind:
            raise GeomaeError(f"a training of crystals can't start from {content.kind}")
        return extended(content.tensors, CrystalConfig.model_validate(content.config), self.config)

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
            form = canonical(structure, symprec=self.config.symprec, checked=True)
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
            parts.append(self._encoded(exact, self.forms_of(chunk)))
        return self.joined(parts)

    @torch.no_grad()
    def encode_forms(self, exact: CrystalEncoder, forms: Sequence[Canonical]) -> Latents:
        """Latents of canonical forms that `forms_of` gave, by the encoder in float64."""
        return self.joined([self._encoded(exact, forms)] if forms else [])

    def _encoded(self, exact: CrystalEncoder, forms: Sequence[Canonical]) -> Latents:
        crystals = batch_of([form.structure for form in forms], self.config)
        array = exact(_on(crystals, next(exact.parameters()).device))
        centres = torch.from_numpy(np.array([form.centre for form in forms]))
        return Latents(array.to(self.dtype), centres.to(self.device))

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
        reader = Reader(self, refine)
        for ids in chunks(range(len(latents)), batch_size, "decoding" if progress else None):
            decoded += reader.read(latents[ids])
        return decoded


def _on(crystals: CrystalBatch, device: torch.device) -> CrystalBatch:
    return crystals if device.type == "cpu" else crystals.to(device)
