"""How degrees couple, and the kernel that carries it along edges: geometry only, no weights."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import torch
from e3nn import o3
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.equivariant.constants import Constant
from geomae.equivariant.harmonics import dim
from geomae.equivariant.slots import Slots, slots_by


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
class EdgeRows:
    """Blocks of single edges, those of a source under each other: for sums as matrix products.

    Attributes:
        edges: the edges that it was made for.
        table: where each edge is.
        blocks: for each degree of the result `[rows, slots * out, in]` or, with radial functions,
            `[rows, slots * out, in * radial]`, where `in` counts the components of all paths
            that end in the degree, in their order; None for degrees that no path reaches.
    """

    edges: Int[Tensor, "2 edges"]
    table: Slots
    blocks: tuple[Tensor | None, ...]

    def at_rows(self, values: Float[Tensor, "sources *rest"]) -> Float[Tensor, "rows *rest"]:
        """Values of the sources of the rows."""
        return values if self.table.whole else values.index_select(0, self.table.point)

    def places(self, n_targets: int) -> Int[Tensor, " slots"]:
        """Target of each slot; `n_targets` for free ones."""
        target = self.table.spread(self.edges[1])
        return target.masked_fill(~self.table.filled, n_targets)


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
    _rows: dict[bool, EdgeRows] = field(default_factory=dict, repr=False, compare=False)

    def rows(self, edges: Int[Tensor, "2 edges"], n_sources: int, *, with_radial: bool) -> EdgeRows:
        """Blocks by source, kept for the next layer that asks with the same tensor of edges.

        Args:
            edges: (source, target).
            n_sources: number of sources.
            with_radial: multiply by the radial functions.
        """
        known = self._rows.get(with_radial)
        if known is not None and known.edges is edges and known.table.n_points == n_sources:
            return known
        table = slots_by(edges[0], n_sources, slack=0.4)
        with torch.enable_grad():
            blocks = [
                self._block(degree, table, with_radial)
                for degree in range(self.coupling.degrees[2] + 1)
            ]
        self._rows[with_radial] = EdgeRows(edges, table, tuple(blocks))
        return self._rows[with_radial]

    def _block(self, degree: int, table: Slots, with_radial: bool) -> Tensor | None:
        """Block of one degree of the result, None if no path reaches it."""
        numbers = self.coupling.paths_into(degree)
        if not numbers:
            return None
        block = table.spread(torch.cat([self.angular[number] for number in numbers], 2))
        if with_radial:
            block = (block[..., None] * table.spread(self.radial)[:, None, None]).flatten(2)
        return block.view(table.n_rows, table.width * (2 * degree + 1), block.shape[-1])


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
        with torch.enable_grad():
            return tuple(
                (block[..., None] * radial).contiguous().flatten(3).flatten(1, 2)
                for block in self.angular
            )

    @cached_property
    def group_blocks(self) -> tuple[Tensor, ...]:
        """For each path `[structures * groups, targets * out, sources * in]`."""
        radial = self.radial.permute(0, 3, 1, 2).contiguous()[:, :, :, None, :, None]
        with torch.enable_grad():
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

    def paths_into(self, degree: int) -> list[int]:
        """Numbers of the paths that end in a degree."""
        return [n for n, path in enumerate(self.paths) if path.degree_out == degree]

    def coefficients(self, number: int) -> Float[Tensor, "filter out in"]:
        """Coefficients of one path, float64, such that all paths together give size 1."""
        path = self.paths[number]
        return path.coefficients() / self._into[path.degree_out] ** 0.5

    @property
    def _key(self) -> tuple:
        return self.degrees, self.parity
