"""How degrees couple, and the kernel that carries it along edges: geometry only, no weights."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import torch
from e3nn import o3
from jaxtyping import Bool, Float
from torch import Tensor

from geomae.equivariant.constants import Constant
from geomae.equivariant.harmonics import dim


@dataclass(frozen=True)
class Path:
    """One way in which a degree of the features, with one of the filter, gives one of the result.

    Attributes:
        degree_in, degree_filter, degree_out: the three degrees.
    """

    degree_in: int
    degree_filter: int
    degree_out: int

    @property
    def is_even(self) -> bool:
        """Whether the sum of degrees is even, as natural parity asks."""
        return (self.degree_in + self.degree_filter + self.degree_out) % 2 == 0

    def coefficients(self) -> Float[Tensor, "filter out in"]:
        """Clebsch-Gordan coefficients in e3nn's convention, float64.

        Scaled such that features of size 1 and harmonics of 'component' normalisation give a
        result of size 1.
        """
        table = o3.wigner_3j(
            self.degree_in, self.degree_filter, self.degree_out, dtype=torch.float64
        )
        return table.permute(1, 2, 0) * (2 * self.degree_out + 1) ** 0.5


def paths_between(
    lmax_in: int, lmax_filter: int, lmax_out: int, *, parity: bool = False
) -> list[Path]:
    """Every path between degrees up to the given ones, by ascending (out, filter, in).

    Args:
        lmax_in, lmax_filter, lmax_out: highest degrees.
        parity: also the paths of odd sum, which lead to the other parity.
    """
    paths = (
        Path(i, f, o)
        for o in range(lmax_out + 1)
        for f in range(lmax_filter + 1)
        for i in range(lmax_in + 1)
        if abs(i - f) <= o <= i + f
    )
    return [path for path in paths if parity or path.is_even]


@dataclass(frozen=True)
class EdgeKernel:
    """What carries features along single edges: geometry, no weights.

    Attributes:
        coupling: what made it, and names its paths.
        angular: for each path `[edges, out, in]`: coefficients times harmonics, the components
            being those of the path's degrees.
        radial: radial functions `[edges, radial]`.
    """

    coupling: "EdgeCoupling"
    angular: tuple[Tensor, ...]
    radial: Tensor

    @cached_property
    def blocks(self) -> tuple[Tensor, ...]:
        """For each path `[edges, out, in * radial]`: angular part times radial functions."""
        radial = self.radial[:, None, None]
        return tuple((block[..., None] * radial).flatten(2) for block in self.angular)


@dataclass(frozen=True)
class PairKernel:
    """What carries features between all pairs of points of padded structures.

    Attributes:
        coupling: what made it, and names its paths.
        angular: for each path `[structures, targets, out, sources, in]`: coefficients times
            harmonics, where `targets` and `sources` count the points of a structure.
        radial: radial functions `[structures, targets, sources, radial]`, zero where a pair is
            none of neighbours.
    """

    coupling: "EdgeCoupling"
    angular: tuple[Tensor, ...]
    radial: Tensor

    @cached_property
    def blocks(self) -> tuple[Tensor, ...]:
        """For each path `[structures, targets * out, sources * in * radial]`."""
        radial = self.radial[:, :, None, :, None]
        return tuple(
            (block[..., None] * radial).contiguous().flatten(3).flatten(1, 2)
            for block in self.angular
        )

    @cached_property
    def group_blocks(self) -> tuple[Tensor, ...]:
        """For each path `[structures * groups, targets * out, sources * in]`."""
        radial = self.radial.permute(0, 3, 1, 2).contiguous()[:, :, :, None, :, None]
        return tuple(
            (block[:, None] * radial).contiguous().flatten(4).flatten(2, 3).flatten(0, 1)
            for block in self.angular
        )


class EdgeCoupling:
    """Makes the kernels of convolutions between given degrees.

    A kernel holds the geometry alone, so it is made once for a batch and serves every layer of
    the same degrees. It has one block for each path (in, filter, out),
    `R_b(r) sum_m CG[m_out, m_in, m] Y_m(r)`.

    Args:
        lmax_in, lmax_filter, lmax_out: highest degrees.
        parity: include paths of odd sum, for features with both parities.
    """

    def __init__(self, lmax_in: int, lmax_filter: int, lmax_out: int, *, parity: bool = False):
        self.degrees = (lmax_in, lmax_filter, lmax_out)
        self.parity = parity
        self.paths = paths_between(lmax_in, lmax_filter, lmax_out, parity=parity)
        self._into = Counter(path.degree_out for path in self.paths)
        self._tables = [
            Constant(self.coefficients(number).flatten(1)) for number in range(len(self.paths))
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EdgeCoupling) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"EdgeCoupling{self.degrees}" + (" with both parities" if self.parity else "")

    def __call__(
        self, harmonics: Float[Tensor, "edges f"], radial: Float[Tensor, "edges b"]
    ) -> EdgeKernel:
        """Kernel of single edges.

        Args:
            harmonics: of the edges' directions, 'component' normalised.
            radial: radial functions of the edges' lengths; column g is that of group g in the
                channel-group form.
        """
        return EdgeKernel(self, tuple(self.angular(harmonics)), radial)

    def pairs(
        self,
        harmonics: Float[Tensor, "structures targets sources f"],
        radial: Float[Tensor, "structures targets sources b"],
        mask: Bool[Tensor, "structures targets sources"] | None = None,
    ) -> PairKernel:
        """Kernel of all pairs of padded structures.

        Args:
            harmonics, radial: of the vectors from each target to each source.
            mask: which pairs are neighbours; None if `radial` vanishes for the others.
        """
        if mask is not None:
            radial = radial * mask[..., None]
        angular = [block.transpose(2, 3).contiguous() for block in self.angular(harmonics)]
        return PairKernel(self, tuple(angular), radial)

    def angular(self, harmonics: Float[Tensor, "*edges f"]) -> list[Tensor]:
        """Coefficients times harmonics for each path, `[*edges, out, in]`."""
        lmax = self.degrees[1]
        if harmonics.shape[-1] != dim(lmax):
            raise ValueError(
                f"harmonics have {harmonics.shape[-1]} components, but a filter of degree "
                f"{lmax} needs {dim(lmax)}"
            )
        by_degree = harmonics.split([2 * degree + 1 for degree in range(lmax + 1)], -1)
        return [
            (by_degree[path.degree_filter] @ table(harmonics)).unflatten(
                -1, (2 * path.degree_out + 1, 2 * path.degree_in + 1)
            )
            for path, table in zip(self.paths, self._tables, strict=True)
        ]

    def coefficients(self, number: int) -> Float[Tensor, "filter out in"]:
        """Coefficients of one path, float64, such that all paths together give size 1."""
        path = self.paths[number]
        return path.coefficients() / self._into[path.degree_out] ** 0.5

    @property
    def _key(self) -> tuple:
        return self.degrees, self.parity
