"""The autoencoder: structures to latents at one point, and back."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geomae.autoencoder.config import AutoencoderConfig
from geomae.autoencoder.decoder import Decoder, Drawing
from geomae.autoencoder.encoder import Encoder
from geomae.autoencoder.latents import Latents
from geomae.autoencoder.reading import Reading, read
from geomae.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from geomae.data.elements import SYMBOLS
from geomae.data.structure import Structure
from geomae.equivariant.layout import Layout
from geomae.errors import GeomaeError, StructureError, UnsupportedStructureError
from geomae.pooling import Tree

LOSS_WEIGHTS = {"field": 10.0, "slope": 1.0, "count": 0.3, "formula": 0.1}
"""Weights of the kinds of losses; what a field misses is small in nats but decides positions."""


class Autoencoder(nn.Module):
    """Recursive encoder and decoder with one point between them.

    Args:
        config: sizes of everything, and the elements and sizes of the structures that it takes.
    """

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that it was trained for."""
        return self.config.elements

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def loss(self, tree: Tree, generator: torch.Generator) -> dict[str, Tensor]:
        """Training losses of a batch: each by its name, and their weighted sum as `loss`."""
        latents = self._with_noise(self.encoder(tree), generator)
        losses = self.decoder.losses(latents, tree, generator)
        weighted = [LOSS_WEIGHTS[name.rsplit("_", 1)[0]] * value for name, value in losses.items()]
        return {"loss": torch.stack(weighted).sum(), **losses}

    def _with_noise(self, latents: Tensor, generator: torch.Generator) -> Tensor:
        """Latents with the configuration's noise, in parts of their spread at each degree."""
        if not (self.config.latent and self.config.latent.noise):
            return latents
        noise = torch.randn(
            latents.shape, generator=generator, dtype=latents.dtype, device=latents.device
        )
        return latents + self.config.latent.noise * spread(latents) * noise

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
        for chunk in _chunks(structures, batch_size, "encoding" if progress else None):
            tree = self.tree_of(chunk)
            with torch.no_grad():
                array = exact(tree)
            parts.append(Latents(array.to(self.dtype), tree.positions[-1]))
        if not parts:
            shape = (0, *self.encoder.latent_shape)
            empty = torch.zeros(shape, dtype=self.dtype, device=self.device)
            return Latents(empty, torch.zeros(0, 3, dtype=torch.float64, device=self.device))
        return Latents.join(parts)

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
            batch_size: latents at a time.
            progress: show a bar.
        """
        expected = self.encoder.latent_shape
        if tuple(latents.array.shape[1:]) != expected:
            raise GeomaeError(
                f"the model's latents have the shape [n, {expected[0]}, {expected[1]}], "
                f"not {list(latents.array.shape)}"
            )
        if not bool(torch.isfinite(latents.array).all()):
            raise GeomaeError("latents must be finite numbers")
        exact, decoded = self.exact_encoder(), []
        self.eval()
        latents = latents.to(self.device)
        for ids in _chunks(range(len(latents)), batch_size, "decoding" if progress else None):
            part = latents[ids]
            for reading, centre in zip(
                read(self.decoder, exact, part.array, refined=refine), part.centres, strict=True
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

    def exact_encoder(self) -> Encoder:
        """The encoder in float64."""
        return deepcopy(self.encoder).double().eval()

    def save(self, path: Path | str) -> None:
        """Write weights and configuration to a safetensors file."""
        config = self.config.model_dump(mode="json")
        write_checkpoint(path, Checkpoint("autoencoder", config, dict(self.named_parameters())))

    @classmethod
    def from_file(cls, path: Path | str, *, device: torch.device | str = "cpu") -> "Autoencoder":
        """Read what `save` or a released training wrote."""
        content = read_checkpoint(path, "autoencoder")
        with torch.random.fork_rng(devices=[]):
            model = cls(AutoencoderConfig.model_validate(content.config))
        own = dict(model.named_parameters())
        if own.keys() != content.tensors.keys():
            strange = sorted(own.keys() ^ content.tensors.keys())
            raise GeomaeError(
                f"{path} does not fit its own configuration: {', '.join(strange[:5])}"
            )
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(content.tensors[name])
        return model.to(device).eval()


def spread(latents: Float[Tensor, "n m c"]) -> Float[Tensor, "m c"]:
    """Root mean square of latents, of each degree and channel; of scalars about their mean."""
    centred = latents.detach().clone()
    centred[:, 0] -= centred[:, 0].mean(0)
    layout = Layout(round(latents.shape[1] ** 0.5) - 1)
    mean = layout.mean_over_components.to(centred)
    power = (mean.T @ centred.square().mean(0))[layout.index.to(centred.device)]
    return power.sqrt()


def _structure(reading: Reading, centre: Tensor) -> Structure:
    """A decoded structure about its centre, on the CPU."""
    return Structure(
        reading.numbers.cpu(),
        (reading.positions + centre).double().cpu(),
        confidence=reading.confidence.cpu(),
        residual=reading.residual,
        certified=reading.certified,
    )


def _chunks(items: Sequence, size: int, label: str | None) -> Iterable:
    """Pieces of a sequence, with a progress bar if there is a label."""
    pieces = [items[start : start + size] for start in range(0, len(items), size)]
    if label is None:
        return pieces
    from rich.progress import track

    return track(pieces, label, transient=True)
