"""Latents: what a structure is at its one point."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from geomae.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from geomae.equivariant import wigner_matrices
from geomae.errors import GeomaeError


@dataclass(frozen=True)
class Latents:
    """Features of structures, one point each.

    Attributes:
        array: `[n, (lmax + 1)^2, channels]`, natural parity, e3nn's order of components.
        centres: positions of the points, `[n, 3]` in Å.
    """

    array: Tensor
    centres: Tensor

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or (self.lmax + 1) ** 2 != self.array.shape[1]:
            raise GeomaeError(
                "latents must have the shape [n, (lmax + 1)^2, channels], "
                f"not {tuple(self.array.shape)}"
            )
        if self.centres.shape != (len(self.array), 3):
            raise GeomaeError(
                f"centres must have the shape [{len(self.array)}, 3], "
                f"not {tuple(self.centres.shape)}"
            )

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> "Latents":
        """Some of the latents; a single number gives a batch of one."""
        if isinstance(index, int):
            index = slice(index, None if index == -1 else index + 1)
        return Latents(self.array[index], self.centres[index])

    @property
    def lmax(self) -> int:
        return round(self.array.shape[1] ** 0.5) - 1

    @property
    def channels(self) -> int:
        return self.array.shape[2]

    def to(self, target: torch.device | torch.dtype | str) -> "Latents":
        """The same on another device or in another precision."""
        return Latents(self.array.to(target), self.centres.to(target))

    def rotate(self, matrix: Float[Tensor, "3 3"]) -> "Latents":
        """The latents of the structures `positions @ matrix.T`.

        Args:
            matrix: orthogonal; a determinant of -1 reflects.
        """
        matrix = torch.as_tensor(matrix, dtype=torch.float64)
        if not torch.allclose(matrix @ matrix.T, torch.eye(3, dtype=torch.float64), atol=1e-6):
            raise GeomaeError("a rotation must be an orthogonal matrix [3, 3]")
        turn = torch.block_diag(*wigner_matrices(self.lmax, matrix)).to(self.array)
        return Latents(
            torch.einsum("ij,njc->nic", turn, self.array), self.centres @ matrix.to(self.centres).T
        )

    def invariants(self) -> Float[Tensor, "n f"]:
        """Numbers that don't change when the structure turns or is reflected.

        The scalars, and for each degree the root mean square of every channel and of its
        products with the next: `channels * (1 + 2 * lmax)` features.
        """
        parts = [self.array[:, 0]]
        for degree in range(1, self.lmax + 1):
            block = self.array[:, degree**2 : (degree + 1) ** 2]
            power = block.square().mean(1)
            parts += [power.sqrt(), (block * block.roll(1, 2)).mean(1)]
        return torch.cat(parts, 1)

    def to_e3nn(self) -> tuple[Float[Tensor, "n flat"], o3.Irreps]:
        """The flat layout of e3nn, and its irreps such as `64x0e+64x1o+...`."""
        irreps: o3.Irreps = o3.Irreps(
            [(self.channels, (d, (-1) ** d)) for d in range(self.lmax + 1)]
        )  # type: ignore[assignment]
        parts = [
            self.array[:, d**2 : (d + 1) ** 2].transpose(1, 2).flatten(1)
            for d in range(self.lmax + 1)
        ]
        return torch.cat(parts, 1), irreps

    @classmethod
    def from_e3nn(
        cls, flat: Float[Tensor, "n flat"], irreps: o3.Irreps | str, centres: Tensor | None = None
    ) -> "Latents":
        """From e3nn's flat layout; every degree must have the same number of channels."""
        given = o3.Irreps(irreps)
        channels = given[0].mul
        expected = o3.Irreps([(channels, (d, (-1) ** d)) for d in range(len(given))])
        if given != expected:
            raise GeomaeError(f"expected irreps like {expected}, not {given}")
        parts = [
            flat[:, part].unflatten(1, (channels, -1)).transpose(1, 2) for part in given.slices()
        ]
        array = torch.cat(parts, 1)
        return cls(array, flat.new_zeros(len(flat), 3) if centres is None else centres)

    @staticmethod
    def join(latents: Sequence["Latents"]) -> "Latents":
        """Several in a row."""
        return Latents(
            torch.cat([each.array for each in latents]),
            torch.cat([each.centres for each in latents]),
        )

    def save(self, path: Path | str) -> None:
        """Write to a safetensors file."""
        tensors = {"array": self.array, "centres": self.centres}
        write_checkpoint(path, Checkpoint("latents", {}, tensors))

    @classmethod
    def load(cls, path: Path | str) -> "Latents":
        """Read what `save` wrote.

        Raises:
            CheckpointError: the file is damaged or holds something else.
        """
        tensors = read_checkpoint(path, "latents").tensors
        return cls(tensors["array"], tensors["centres"])
