"""What blooming gives: positions at which new points are proposed, and by whom."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.errors import GeomaeError


class PoolingError(GeomaeError):
    """Points, features or settings that a pooling step can't take."""


@dataclass(frozen=True)
class Proposals:
    """Positions of new points, before those that coincide become one.

    Attributes:
        positions: `[p, 3]`, in Å.
        source: point that made each, `[p]`; ascending.
        batch: structure of each, `[p]`; ascending.
        weights: of each, `[p]`. A point shares its weight among its proposals, so that their
            sum over a structure stays the same.

    Raises:
        PoolingError: if the sizes disagree.
    """

    positions: Float[Tensor, "p 3"]
    source: Int[Tensor, " p"]
    batch: Int[Tensor, " p"]
    weights: Float[Tensor, " p"]

    def __post_init__(self) -> None:
        sizes = {name: len(value) for name, value in vars(self).items()}
        if len(set(sizes.values())) > 1:
            raise PoolingError(f"proposals need one row each in every field, got {sizes}")

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self) -> str:
        sources = len(torch.unique(self.source))
        return f"Proposals({len(self)} from {sources} points)"


@dataclass(frozen=True)
class Points:
    """Points of one or several structures, checked and with what was left out filled in.

    Attributes:
        positions: `[n, 3]`, in Å.
        batch: structure of each, `[n]`, ascending.
        weights: of each, `[n]`, positive.
    """

    positions: Float[Tensor, "n 3"]
    batch: Int[Tensor, " n"]
    weights: Float[Tensor, " n"]

    @property
    def n_structures(self) -> int:
        return int(self.batch[-1]) + 1 if len(self.batch) else 0


def points_of(
    positions: Tensor, batch: Tensor | None = None, weights: Tensor | None = None
) -> Points:
    """Points with weights 1 and in one structure unless told otherwise.

    Raises:
        PoolingError: if shapes disagree, `batch` isn't ascending or a weight isn't positive.
    """
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise PoolingError(f"positions must be [n, 3], got {list(positions.shape)}")
    n = len(positions)
    batch = positions.new_zeros(n, dtype=torch.long) if batch is None else batch
    weights = positions.new_ones(n) if weights is None else weights.to(positions.dtype)
    for name, value in (("batch", batch), ("weights", weights)):
        if value.shape != (n,):
            raise PoolingError(f"{name} must be [{n}] like the points, got {list(value.shape)}")
    if n and (bool((batch.diff() < 0).any()) or int(batch[0]) < 0):
        raise PoolingError("batch must be ascending from 0, as PyTorch Geometric makes it")
    if bool((weights <= 0).any()):
        raise PoolingError(f"weights must be positive, the lowest is {float(weights.min()):g}")
    return Points(positions, batch, weights)


def check_features(features: Tensor | None, n: int, lmax: int, channels: int) -> Tensor:
    """The features, if there are any and they have the expected shape.

    Raises:
        PoolingError: otherwise.
    """
    shape = [n, (lmax + 1) ** 2, channels]
    if features is None:
        raise PoolingError(f"this needs features {shape}, got none")
    if list(features.shape) != shape:
        raise PoolingError(
            f"expected features {shape} (points, components up to degree {lmax}, channels), "
            f"got {list(features.shape)}"
        )
    return features
