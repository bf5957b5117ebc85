"""What every model does, of molecules or of crystals."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from geomae.autoencoder.latents import Latents
from geomae.data.structure import Structure


@runtime_checkable
class Codec(Protocol):
    """A model that takes structures to latents at one point each, and back.

    Attributes:
        config: its configuration; `config.kind` is 'autoencoder' for molecules and 'crystals' for
            crystals, `config.max_atoms` the size of the largest structure.
        encoder: `encoder.latent_shape` is components and channels of a latent.
    """

    config: Any
    encoder: Any

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that it was trained for."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def check(self, structures: Sequence[Structure]) -> None:
        """See that the model was trained for such structures."""
        ...

    def encode(
        self, structures: Sequence[Structure], *, batch_size: int = ..., progress: bool = ...
    ) -> Latents:
        """Latents of structures, in their order."""
        ...

    def decode(
        self, latents: Latents, *, refine: bool = ..., batch_size: int = ..., progress: bool = ...
    ) -> Sequence[Structure | None]:
        """Structures of latents, in their order; None where nothing could be drawn."""
        ...

    def save(self, path: Path | str) -> None:
        """Write weights and configuration to a safetensors file."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]: ...
