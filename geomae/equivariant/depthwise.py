"""A convolution whose filters act on whole channels, in groups: cheap at high degrees."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.equivariant.constants import Constant
from geomae.equivariant.convolution import add_bmm
from geomae.equivariant.coupling import EdgeCoupling
from geomae.equivariant.layout import Layout
from geomae.equivariant.slots import Slots, slots_by


@dataclass(frozen=True)
class Fan:
    """Paths that share the filter's degree and one end, side by side in one table.

    Attributes:
        degree_filter: the shared degree of the filter.
        degree: the shared degree at one end.
        others: the degrees at the other end.
        table: coefficients `[filter, shared end * other ends]`.
        path: path of each component of the other ends.
    """

    degree_filter: int
    degree: int
    others: tuple[int, ...]
    table: Constant
    path: Constant


class DepthwiseConvolution(nn.Module):
    """Carries features along edges without mixing channels.

    Along an edge, channel group g is multiplied by the matrix
    `K_g = R_g(r) sum_paths w_g,path CG_path Y(r)`, where a path is a triple of degrees
    (in, filter, out) of even sum. Wrapped between two `Linear` layers it is the cheap
    alternative to `Convolution`: the cost of mixing channels is paid once a point, not once a
    path and edge.

    What every path gives alone depends on geometry and features; weights are applied where
    there are fewer points, at the targets after the sum over edges, or at the sources before.

    Args:
        channels: channels in and out, a multiple of `groups`.
        lmax_in, lmax_filter, lmax_out: highest degrees.
        groups: channel groups, each with its own path weights and radial function.
    """

    def __init__(
        self, channels: int, lmax_in: int, lmax_filter: int, lmax_out: int, *, groups: int
    ):
        super().__init__()
        if channels % groups:
            raise ValueError(f"channels ({channels}) must be a multiple of groups ({groups})")
        self.channels, self.groups = channels, groups
        self.layout_in, self.layout_out = Layout(lmax_in), Layout(lmax_out)
        self.filter_sizes = Layout(lmax_filter).sizes
        coupling = EdgeCoupling(lmax_in, lmax_filter, lmax_out)
        self.coupling = coupling
        self.weight = nn.Parameter(torch.randn(groups, len(coupling.paths)))
        self.fans_out = fans_of(coupling, from_input=True)
        self.fans_in = fans_of(coupling, from_input=False)

    def forward(
        self,
        features: Float[Tensor, "sources i c"],
        harmonics: Float[Tensor, "e f"],
        radial: Float[Tensor, "e g"],
        edges: Int[Tensor, "2 e"],
        n_targets: int,
    ) -> Float[Tensor, "targets o c"]:
        """Sum over the edges into each target.

        Args:
            features: at the sources.
            harmonics: of the edges' directions, 'component' normalised.
            radial: radial function of each group at the edges' lengths.
            edges: (source, target).
            n_targets: number of targets; one without edges gets zeros.
        """
        # many small products: rounding them to bfloat16 costs more time than it saves
        with torch.autocast(features.device.type, enabled=False):
            return self._sums(features.to(harmonics), harmonics, radial, edges, n_targets)

    def _sums(
        self, features: Tensor, harmonics: Tensor, radial: Tensor, edges: Tensor, n_targets: int
    ) -> Float[Tensor, "targets o c"]:
        """As `forward`, all in one precision."""
        source, target = edges
        if not len(source):
            return features.new_zeros(n_targets, self.layout_out.components, self.channels)
        weight = self.weight.T.repeat_interleave(self.channels // self.groups, 1)
        share = radial.repeat_interleave(self.channels // self.groups, 1)[:, None]
        if n_targets <= features.shape[0]:
            table = slots_by(target, n_targets)
            carried = features.index_select(0, table.spread(source)) * table.spread(share)
            carried = carried * table.filled[:, None, None]
            result, place = self._gather(carried, harmonics, weight, table), table.point
        else:
            table = slots_by(source, features.shape[0])
            result = self._spread(features, harmonics, weight, table) * share[table.edge]
            place = target[table.edge]
        zeros = result.new_zeros(n_targets, *result.shape[1:])
        return zeros.index_add(0, place, result)

    def matrices(
        self, harmonics: Float[Tensor, "e f"], radial: Float[Tensor, "e g"]
    ) -> Float[Tensor, "e g o i"]:
        """What every edge multiplies the features of each channel group by, as in `forward`.

        Cheaper than `forward` where many features go along the same edge.
        """
        table, path = self._dense
        number = path(harmonics)
        spread = self.weight.T.index_select(0, number.flatten()).unflatten(0, number.shape)
        weighed = (spread * table(harmonics)[..., None]).permute(0, 3, 1, 2).contiguous()
        matrices = (harmonics @ weighed.flatten(1)).unflatten(1, weighed.shape[1:])
        return matrices * radial[..., None, None]

    @cached_property
    def _dense(self) -> tuple[Constant, Constant]:
        """Coefficients `[filter, out, in]` of all paths, and which path each belongs to."""
        layouts = self.layout_out, self.layout_in
        shape = (sum(self.filter_sizes), *(layout.components for layout in layouts))
        table, number = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape).long()
        for n, path in enumerate(self.coupling.paths):
            degrees = path.degree_filter, path.degree_out, path.degree_in
            block = tuple(slice(degree**2, (degree + 1) ** 2) for degree in degrees)
            table[block], number[block] = self.coupling.coefficients(n), n
        return Constant(table), Constant(number)

    def extra_repr(self) -> str:
        paths = self.weight.shape[1]
        return (
            f"{self.channels}, groups={self.groups}, {self.layout_in} -> {self.layout_out}, "
            f"{paths} paths"
        )

    def _gather(
        self, carried: Tensor, harmonics: Tensor, weight: Tensor, table: Slots
    ) -> Float[Tensor, "rows o c"]:
        """Sums over the slots of each row for every path alone, then weighs the paths."""
        filters = table.spread(harmonics).split(self.filter_sizes, 1)
        inputs = [
            part.reshape(table.n_rows, -1, self.channels) for part in self.layout_in.split(carried)
        ]
        sums: list[Tensor | None] = [None] * self.layout_out.multiplets
        for fan in self.fans_out:
            block = filters[fan.degree_filter] @ fan.table(harmonics)
            block = block.view(table.n_rows, inputs[fan.degree].shape[1], -1).transpose(1, 2)
            weighed = torch.bmm(block, inputs[fan.degree]) * weight[fan.path(weight)]
            parts = weighed.split([2 * degree + 1 for degree in fan.others], 1)
            for degree, part in zip(fan.others, parts, strict=True):
                total = sums[degree]
                sums[degree] = part if total is None else total + part
        return self._join(sums, carried)

    def _spread(
        self, features: Tensor, harmonics: Tensor, weight: Tensor, table: Slots
    ) -> Float[Tensor, "edges o c"]:
        """Weighs the paths at the sources, then sends the sums along the edges."""
        filters = table.spread(harmonics).split(self.filter_sizes, 1)
        inputs = self.layout_in.split(features)
        sums: list[Tensor | None] = [None] * self.layout_out.multiplets
        for fan in self.fans_in:
            block = filters[fan.degree_filter] @ fan.table(harmonics)
            block = block.view(table.n_rows, table.width * (2 * fan.degree + 1), -1)
            weighed = torch.cat([inputs[i] for i in fan.others], 1) * weight[fan.path(weight)]
            rows = weighed.index_select(0, table.point)
            sums[fan.degree] = add_bmm(sums[fan.degree], block, rows)
        slots = [
            None if part is None else part.reshape(len(table.content), -1, self.channels)
            for part in sums
        ]
        return table.collect(self._join(slots, features))

    def _join(self, sums: list[Tensor | None], like: Tensor) -> Float[Tensor, "n o c"]:
        """All degrees of the result in a row; zeros for those that no path reaches."""
        n = next(len(part) for part in sums if part is not None)
        return torch.cat(
            [
                like.new_zeros(n, size, self.channels) if part is None else part
                for part, size in zip(sums, self.layout_out.sizes, strict=True)
            ],
            1,
        )


def fans_of(coupling: EdgeCoupling, *, from_input: bool) -> list[Fan]:
    """The coupling's paths as fans that share the input's degree, or else the result's."""
    members: dict[tuple[int, int], list[int]] = {}
    for number, path in enumerate(coupling.paths):
        shared = path.degree_in if from_input else path.degree_out
        members.setdefault((path.degree_filter, shared), []).append(number)
    fans = []
    for (degree_filter, shared), numbers in members.items():
        paths = [coupling.paths[number] for number in numbers]
        others = tuple(path.degree_out if from_input else path.degree_in for path in paths)
        tables = [coupling.coefficients(number) for number in numbers]
        table = torch.cat([t.transpose(1, 2) if from_input else t for t in tables], 2).flatten(1)
        sizes = torch.tensor([2 * degree + 1 for degree in others])
        index = torch.repeat_interleave(torch.tensor(numbers), sizes)
        fans.append(Fan(degree_filter, shared, others, Constant(table), Constant(index)))
    return fans
