"""Pooling steps one after another, from the points to a single one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.pooling.config import PoolConfig
from geomae.pooling.pool import Pool
from geomae.pooling.proposals import PoolingError, Proposals, points_of


@dataclass(frozen=True)
class Level:
    """The points of one level.

    Attributes:
        positions: `[n, 3]`, in Å.
        features: `[n, components, channels]`.
        batch: structure of each point, `[n]`.
        weights: of each point, `[n]`.
        membership: edges (point of the level below, point), `[2, edges]`; None at the lowest.
        proposals: what the points of the level below bloomed to; None at the lowest.
    """

    positions: Float[Tensor, "n 3"]
    features: Float[Tensor, "n m c"]
    batch: Int[Tensor, " n"]
    weights: Float[Tensor, " n"]
    membership: Int[Tensor, "2 edges"] | None = None
    proposals: Proposals | None = None

    def __len__(self) -> int:
        return len(self.batch)


@dataclass(frozen=True)
class Levels:
    """All levels of a hierarchy, the given points first and one point a structure last."""

    levels: tuple[Level, ...]

    @property
    def top(self) -> Level:
        """The last level: one point a structure."""
        return self.levels[-1]

    def __getitem__(self, index: int) -> Level:
        return self.levels[index]

    def __iter__(self) -> Iterator[Level]:
        return iter(self.levels)

    def __len__(self) -> int:
        return len(self.levels)

    def __repr__(self) -> str:
        return f"Levels({' -> '.join(str(len(level)) for level in self)} points)"


class Hierarchy(nn.Module):
    """Pools, level by level, until one point is left: the weighted centroid.

    Args:
        configs: of the steps, as configurations or their dictionaries. The last, and only it,
            has the bloom 'centroid'.
        channels, lmax: size of the features that come in.

    Raises:
        PoolingError: if there are no steps, or they don't end in one point.
    """

    def __init__(self, configs: Sequence[PoolConfig | dict], channels: int, lmax: int):
        super().__init__()
        self.configs = tuple(PoolConfig.model_validate(config) for config in configs)
        kinds = [config.bloom for config in self.configs]
        if kinds.count("centroid") != 1 or kinds[-1] != "centroid":
            raise PoolingError(
                "the last step, and only it, must have bloom='centroid', so that one point is "
                f"left; got {kinds}"
            )
        sizes = [(channels, lmax), *((config.channels, config.lmax) for config in self.configs)]
        self.pools = nn.ModuleList(
            Pool(config, *size) for config, size in zip(self.configs, sizes[:-1], strict=True)
        )

    def forward(
        self,
        positions: Float[Tensor, "n 3"],
        features: Float[Tensor, "n m c"],
        batch: Int[Tensor, " n"] | None = None,
        weights: Float[Tensor, " n"] | None = None,
    ) -> Levels:
        """Every level.

        Args:
            positions: in Å.
            features: of the points.
            batch: structure of each point, ascending; one structure by default.
            weights: of the points in centres and densities; 1 by default.
        """
        points = points_of(positions, batch, weights)
        levels = [Level(positions, features, points.batch, points.weights)]
        for pool in self.pools:
            last = levels[-1]
            pooled = pool(last.positions, last.features, last.batch, last.weights)
            levels.append(
                Level(
                    pooled.positions,
                    pooled.features,
                    pooled.batch,
                    pooled.weights,
                    pooled.membership,
                    pooled.proposals,
                )
            )
        return Levels(tuple(levels))

    def extra_repr(self) -> str:
        return " -> ".join(config.bloom for config in self.configs)
