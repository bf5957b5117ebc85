"""What the autoencoders of molecules and of crystals have in common."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geomae.autoencoder.config import Config
from geomae.autoencoder.latents import Latents
from geomae.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from geomae.equivariant.layout import Layout
from geomae.errors import GeomaeError

Model = TypeVar("Model", bound="PointAutoencoder")


class PointAutoencoder(nn.Module):
    """A model with one point between its encoder and its decoder.

    Args:
        config: sizes of everything; the subclass makes `encoder` and `decoder` of it.
    """

    kind: ClassVar[str]
    config_type: ClassVar[type[Config]]
    encoder: Any

    def __init__(self, config: Any):
        super().__init__()
        self.config = config

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

    def exact_encoder(self) -> Any:
        """The encoder in float64."""
        return deepcopy(self.encoder).double().eval()

    def save(self, path: Path | str) -> None:
        """Write weights and configuration to a safetensors file."""
        config = self.config.model_dump(mode="json")
        write_checkpoint(path, Checkpoint(self.kind, config, dict(self.named_parameters())))

    @classmethod
    def from_file(
        cls: type[Model], path: Path | str, *, device: torch.device | str = "cpu"
    ) -> Model:
        """Read what `save` or a released training wrote."""
        content = read_checkpoint(path, cls.kind)
        with torch.random.fork_rng(devices=[]):
            model = cls(cls.config_type.model_validate(content.config))
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

    def joined(self, parts: Sequence[Latents]) -> Latents:
        """Latents of batches in a row; none at all in this model's shape if there are none."""
        if parts:
            return Latents.join(parts)
        shape = (0, *self.encoder.latent_shape)
        empty = torch.zeros(shape, dtype=self.dtype, device=self.device)
        return Latents(empty, torch.zeros(0, 3, dtype=torch.float64, device=self.device))

    def check_latents(self, latents: Latents) -> None:
        """See that latents can be decoded.

        Raises:
            GeomaeError: they have another shape than this model's, or are not finite.
        """
        expected = self.encoder.latent_shape
        if tuple(latents.array.shape[1:]) != expected:
            raise GeomaeError(
                f"the model's latents have the shape [n, {expected[0]}, {expected[1]}], "
                f"not {list(latents.array.shape)}"
            )
        if not bool(torch.isfinite(latents.array).all()):
            raise GeomaeError("latents must be finite numbers")

    def _with_noise(self, latents: Tensor, generator: torch.Generator) -> Tensor:
        """Latents with the configuration's noise, in parts of their spread at each degree."""
        if not (self.config.latent and self.config.latent.noise):
            return latents
        noise = torch.randn(latents.shape, generator=generator, dtype=latents.dtype)
        return latents + self.config.latent.noise * spread(latents) * noise.to(latents)


def spread(latents: Float[Tensor, "n m c"]) -> Float[Tensor, "m c"]:
    """Root mean square of latents, of each degree and channel; of scalars about their mean."""
    centred = latents.detach().clone()
    centred[:, 0] -= centred[:, 0].mean(0)
    layout = Layout(round(latents.shape[1] ** 0.5) - 1)
    mean = layout.mean_over_components.to(centred)
    power = (mean.T @ centred.square().mean(0))[layout.index.to(centred.device)]
    return power.sqrt()


def chunks(items: Sequence, size: int, label: str | None) -> Iterable:
    """Pieces of a sequence, with a progress bar if there is a label."""
    pieces = [items[start : start + size] for start in range(0, len(items), size)]
    if label is None:
        return pieces
    from rich.progress import track

    return track(pieces, label, transient=True)
