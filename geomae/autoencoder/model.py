"""The autoencoder: structures to latents at one point, and back."""

from collections.abc import Sequence

import torch
from torch import Tensor

from geomae.autoencoder.base import PointAutoencoder, chunks
from geomae.autoencoder.config import AutoencoderConfig
from geomae.autoencoder.decoder import Decoder, Drawing
from geomae.autoencoder.encoder import Encoder
from geomae.autoencoder.growing import grown
from geomae.autoencoder.latents import Latents
from geomae.autoencoder.reading import RETRIES, Reading, read
from geomae.checkpoint import Checkpoint
from geomae.data.elements import SYMBOLS
from geomae.data.structure import Structure
from geomae.errors import GeomaeError, StructureError, UnsupportedStructureError
from geomae.pooling import Tree

LOSS_WEIGHTS = {"field": 10.0, "slope": 1.0, "count": 0.3, "formula": 0.1, "match": 0.3}
"""Weights of the kinds of losses; what a field misses is small in nats but decides positions."""


class Autoencoder(PointAutoencoder):
    """Recursive encoder and decoder with one point between them.

    Args:
        config: sizes of everything, and the elements and sizes of the structures that it takes.
    """

    kind = "autoencoder"
    config_type = AutoencoderConfig

    def __init__(self, config: AutoencoderConfig):
        super().__init__(config)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.decoder.undoes(self.encoder)

    def loss(self, tree: Tree, generator: torch.Generator) -> dict[str, Tensor]:
        """Training losses of a batch: each by its name, and their weighted sum as `loss`."""
        tree = tree if self.device.type == "cpu" else tree.to(self.device)
        encoded = self.encoder.levels(tree)
        latents = self._with_noise(encoded[-1], generator)
        losses = self.decoder.losses(latents, tree, generator, encoded)
        weighted = [LOSS_WEIGHTS[name.rsplit("_", 1)[0]] * value for name, value in losses.items()]
        return {"loss": torch.stack(weighted).sum(), **losses}

    def adapted(self, content: Checkpoint) -> dict[str, Tensor]:
        """Weights of a released model that training may go on from; this one may have more
        elements, larger counts and one more level.

        Raises:
            GeomaeError: it is another kind of model, or differs otherwise.
        """
        if content.kind != self.kind:
            raise GeomaeError(f"a training of molecules can't start from {content.kind}")
        old = AutoencoderConfig.model_validate(content.config)
        own = {name: p.detach() for name, p in self.named_parameters()}
        return grown(content.tensors, old, own, self.config, _typical(content.tensors, old))

    def check(self, structures: Sequence[Structure]) -> None:
        """See that the model was trained for such structures.

        Raises:
            UnsupportedStructureError: names the first that has another element, more atoms than
                the largest, or is periodic.
        """
        allowed = ", ".join(SYMBOLS[z] for z in self.elements)
        for index, structure in enumerate(structures):
            source = structure.get("source")
            if structure.periodic:
                raise UnsupportedStructureError(
                    "is periodic; the model takes molecules. Crystals are for models of crystals, "
                    "such as 'perov5'",
                    index=index,
                    source=source,
                )
            strange = sorted(set(structure.numbers.tolist()) - set(self.elements))
            if strange:
                names = ", ".join(SYMBOLS[z] for z in strange)
                raise UnsupportedStructureError(
                    f"has {names}; the model takes {allowed}", index=index, source=source
                )
            if not 1 <= structure.n_atoms <= self.config.max_atoms:
                raise UnsupportedStructureError(
                    f"has {structure.n_atoms} atoms; the model takes 1 to {self.config.max_atoms}",
                    index=index,
                    source=source,
                )
            if not bool(torch.isfinite(structure.positions).all()):
                raise StructureError(
                    "has positions that are not finite", index=index, source=source
                )

    def encode(
        self, structures: Sequence[Structure], *, batch_size: int = 256, progress: bool = False
    ) -> Latents:
        """Latents of structures, in their order.

        The arithmetic is float64, whatever the model's precision, so that the latents are exact
        to the last digit of the precision in which they are kept: the model's.

        Args:
            structures: to encode; `geomae.as_structures` makes them of anything.
            batch_size: structures at a time.
            progress: show a bar.
        """
        self.check(structures)
        exact, parts = self.exact_encoder(), []
        for chunk in chunks(structures, batch_size, "encoding" if progress else None):
            tree = self.tree_of(chunk)
            with torch.no_grad():
                array = exact(tree)
            parts.append(Latents(array.to(self.dtype), tree.positions[-1]))
        return self.joined(parts)

    def encode_levels(self, structures: Sequence[Structure]) -> tuple[Tree, list[Tensor]]:
        """The tree, and features `[n_l, m, c]` of its points level by level, atoms first."""
        self.check(structures)
        tree = self.tree_of(structures)
        with torch.no_grad():
            return tree, self.exact_encoder().levels(tree)

    def decode(
        self,
        latents: Latents,
        *,
        refine: bool = True,
        retries: int = RETRIES,
        batch_size: int = 256,
        progress: bool = False,
    ) -> list[Structure]:
        """Structures of latents, in their order, from the latents alone.

        Each carries `confidence` (`[n]`, probability of each atom), `residual` (relative
        distance between the latent and the structure's own encoding) and `certified` (the
        residual vanishes, so the structure encodes to what was given).

        Args:
            latents: to decode.
            refine: end with Gauss-Newton on the distance between encoding and latent.
            retries: other readings that are tried, and edits, where there is no certificate; each
                such latent takes seconds. 0 for latents that no structure has.
            batch_size: latents at a time.
            progress: show a bar.
        """
        self.check_latents(latents)
        exact, decoded = self.exact_encoder(), []
        self.eval()
        latents = latents.to(self.device)
        for ids in chunks(range(len(latents)), batch_size, "decoding" if progress else None):
            part = latents[ids]
            for reading, centre in zip(
                read(self.decoder, exact, part.array, refined=refine, retries=retries),
                part.centres,
                strict=True,
            ):
                decoded.append(_structure(reading, centre))
        return decoded

    def decode_levels(self, latents: Latents) -> Drawing:
        """What the decoder draws of latents before refinement: points and features of each level.

        Positions are about the latents' points, in the decoder's precision.
        """
        return self.decoder.eval()(latents.to(self.device).array.to(self.dtype))

    def tree_of(self, structures: Sequence[Structure]) -> Tree:
        """The hierarchy of structures in float64, without features."""
        numbers = torch.cat([structure.numbers for structure in structures]).to(self.device)
        positions = torch.cat([structure.positions for structure in structures]).to(self.device)
        sizes = torch.tensor([structure.n_atoms for structure in structures])
        batch = torch.repeat_interleave(torch.arange(len(structures)), sizes).to(self.device)
        return self.encoder.grow(numbers, positions.double(), batch)


def _structure(reading: Reading, centre: Tensor) -> Structure:
    """A decoded structure about its centre, on the CPU."""
    return Structure(
        reading.numbers.cpu(),
        (reading.positions + centre).double().cpu(),
        confidence=reading.confidence.cpu(),
        residual=reading.residual,
        certified=reading.certified,
    )


def _typical(tensors: dict[str, Tensor], config: AutoencoderConfig) -> Tensor:
    """Latents of the molecules of ASE's g2 set that a model takes."""
    from geomae.data.sources.g2 import structures

    model = Autoencoder(config)
    model.load_state_dict(tensors)
    known = set(config.elements)
    own = [s for s in structures() if set(s.numbers.tolist()) <= known and s.n_atoms >= 3]
    return model.encode([s for s in own if s.n_atoms <= config.max_atoms]).array
