"""The convolution: every channel to every channel, along every path of degrees."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.equivariant.coupling import EdgeCoupling, EdgeKernel, EdgeRows, PairKernel
from geomae.equivariant.layout import Layout


@dataclass(frozen=True)
class Route:
    """A path between given parities: where it starts, what couples it, where it ends.

    Attributes:
        path: number of the path in the coupling.
        source, target: number of the multiplet it takes, and of that which it adds to.
    """

    path: int
    source: int
    target: int


class Convolution(nn.Module):
    """Sums, over the neighbours of a point, their features times a filter of the edge.

    The filter of a path (in, filter, out) is `sum_b W_path,b R_b(r) Y_filter(r)`, with a matrix
    W between channels for each path and radial function. Channels are mixed at the points, before
    the sum over neighbours, so that nothing large exists for each edge; the kernel that then
    couples the degrees holds geometry only (`EdgeCoupling`).

    The result is that of e3nn's FullyConnectedTensorProduct with weights that are linear in the
    radial functions. In the channel-group form (`groups`) the channels of the result fall into
    groups, and the g-th sees the g-th radial function only: a low-rank form of the same.

    Args:
        channels_in, channels_out: numbers of channels, the latter a multiple of `groups`.
        lmax_in, lmax_filter, lmax_out: highest degrees.
        n_radial: radial functions.
        groups: number of channel groups, equal to `n_radial`; None lets every channel see every
            radial function.
        parity: features have both parities, `[points, 2, components, channels]`.
        neighbours: expected number of neighbours; results are divided by its square root.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        lmax_in: int,
        lmax_filter: int,
        lmax_out: int,
        *,
        n_radial: int,
        groups: int | None = None,
        parity: bool = False,
        neighbours: float = 1.0,
    ):
        super().__init__()
        if groups is not None and (groups != n_radial or channels_out % groups):
            raise ValueError(
                f"groups ({groups}) must equal n_radial ({n_radial}) and divide "
                f"channels_out ({channels_out})"
            )
        self.channels_in, self.channels_out = channels_in, channels_out
        self.n_radial, self.groups, self.scale = n_radial, groups, neighbours**-0.5
        self.coupling = EdgeCoupling(lmax_in, lmax_filter, lmax_out, parity=parity)
        self.layout_in, self.layout_out = Layout(lmax_in, parity), Layout(lmax_out, parity)
        self.routes = self._routes()
        fan_in = channels_in * (1 if groups else n_radial)
        width = channels_out * (1 if groups else n_radial)
        self.weight = nn.Parameter(torch.empty(len(self.routes), channels_in, width))
        nn.init.normal_(self.weight, std=fan_in**-0.5)

    def forward(
        self,
        features: Float[Tensor, "sources *parity m_in c_in"],
        kernel: EdgeKernel,
        edges: Int[Tensor, "2 edges"],
        n_targets: int,
    ) -> Float[Tensor, "targets *parity m_out c_out"]:
        """Sum over the edges into each target.

        Args:
            features: at the sources.
            kernel: of the edges, from `EdgeCoupling`.
            edges: (source, target).
            n_targets: number of targets; one without edges gets zeros.
        """
        self._check(kernel)
        rows = kernel.rows(edges, features.shape[0], with_radial=not self.groups)
        radial = rows.table.spread(kernel.radial)[:, None, :, None] if self.groups else None
        mixed, places = self._mixed(features), rows.places(n_targets)
        parts = []
        for number, size in enumerate(self.layout_out.sizes):
            # the last row takes what free slots hold
            part = features.new_zeros(n_targets + 1, size, self.channels_out)
            if mixed[number]:
                messages = self._messages(number, rows, torch.cat(mixed[number], 1))
                if radial is not None:
                    messages = (messages.unflatten(2, (self.n_radial, -1)) * radial).flatten(2)
                part = part.index_add(0, places, messages)
            parts.append(part[:n_targets])
        return self.layout_out.unflatten(torch.cat(parts, 1) * self.scale)

    def dense(
        self, features: Float[Tensor, "structures sources *parity m_in c_in"], kernel: PairKernel
    ) -> Float[Tensor, "structures targets *parity m_out c_out"]:
        """The same for all pairs of points of padded structures, as batched matrix products.

        Args:
            features: of the points of each structure; padded ones may hold anything finite.
            kernel: of the pairs, from `EdgeCoupling.pairs`.
        """
        self._check(kernel)
        n = features.shape[0]
        blocks = self.layout_in.split(features.flatten(0, 1))
        inputs = [block.reshape(n, -1, self.channels_in) for block in blocks]
        parts = self._group_dense(inputs, kernel) if self.groups else self._dense(inputs, kernel)
        summed = torch.cat(parts, 2).flatten(0, 1)
        return self.layout_out.unflatten(summed * self.scale).unflatten(0, (n, -1))

    def extra_repr(self) -> str:
        return (
            f"{self.channels_in}, {self.channels_out}, degrees={self.coupling.degrees}, "
            f"n_radial={self.n_radial}, groups={self.groups}, routes={len(self.routes)}"
        )

    def _routes(self) -> list[Route]:
        """Routes of every path; with both parities a path starts from either."""
        starts = (0, 1) if self.coupling.parity else (0,)
        routes = []
        for index, path in enumerate(self.coupling.paths):
            for start in starts:
                end = (start + path.degree_filter) % 2 if self.coupling.parity else 0
                source = self.layout_in.multiplet(path.degree_in, start)
                routes.append(Route(index, source, self.layout_out.multiplet(path.degree_out, end)))
        return routes

    def _check(self, kernel: EdgeKernel | PairKernel) -> None:
        if kernel.coupling != self.coupling:
            raise ValueError(f"kernel is of {kernel.coupling}, expected {self.coupling}")
        if kernel.radial.shape[-1] != self.n_radial:
            raise ValueError(
                f"kernel has {kernel.radial.shape[-1]} radial functions, expected {self.n_radial}"
            )

    def _dense(self, inputs: list[Tensor], kernel: PairKernel) -> list[Tensor]:
        """Multiplets of the result `[structures, targets, out, channels]`."""
        n, width = inputs[0].shape[0], self.channels_out
        sums: list[Tensor | None] = [None] * self.layout_out.multiplets
        for route, weight in zip(self.routes, self.weight.unbind(0), strict=True):
            mixed = (inputs[route.source].flatten(0, 1) @ weight).view(n, -1, width)
            sums[route.target] = add_bmm(sums[route.target], kernel.blocks[route.path], mixed)
        n_targets = kernel.radial.shape[1]
        return [
            inputs[0].new_zeros(n, n_targets, size, width)
            if part is None
            else part.unflatten(1, (n_targets, -1))
            for part, size in zip(sums, self.layout_out.sizes, strict=True)
        ]

    def _group_dense(self, inputs: list[Tensor], kernel: PairKernel) -> list[Tensor]:
        """The same for channel groups. Channels come first here: rows of the small products."""
        n, n_targets = inputs[0].shape[0], kernel.radial.shape[1]
        width = self.channels_out // self.n_radial
        sums: list[Tensor | None] = [None] * self.layout_out.multiplets
        for route, weight in zip(self.routes, self.weight.unbind(0), strict=True):
            mixed = weight.T.expand(n, -1, -1) @ inputs[route.source].transpose(1, 2)
            block = kernel.group_blocks[route.path].transpose(1, 2)
            grouped = mixed.view(n * self.n_radial, width, -1)
            sums[route.target] = add_bmm(sums[route.target], grouped, block)
        return [
            inputs[0].new_zeros(n, n_targets, size, self.channels_out)
            if part is None
            else part.view(n, self.channels_out, n_targets, -1).permute(0, 2, 3, 1)
            for part, size in zip(sums, self.layout_out.sizes, strict=True)
        ]

    def _mixed(self, features: Tensor) -> list[list[Tensor]]:
        """For each multiplet of the result what its routes bring, `[sources, in, channels]`.

        Where every channel sees all radial functions, `in` counts components times those.
        """
        n, inputs = features.shape[0], self.layout_in.split(features)
        mixed: list[list[Tensor]] = [[] for _ in range(self.layout_out.multiplets)]
        for route, weight in zip(self.routes, self.weight.unbind(0), strict=True):
            source = inputs[route.source]
            shape = (n, source.shape[1] * (1 if self.groups else self.n_radial), self.channels_out)
            mixed[route.target].append((source.flatten(0, 1) @ weight).view(shape))
        return mixed

    def _messages(self, number: int, rows: EdgeRows, mixed: Tensor) -> Float[Tensor, "slots m c"]:
        """What goes along each edge into one multiplet of the result."""
        block = rows.blocks[number % (self.layout_out.lmax + 1)]
        messages = torch.bmm(block, rows.at_rows(mixed))
        size = self.layout_out.sizes[number]
        return messages.view(len(rows.table.content), size, self.channels_out)


def add_bmm(total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    """`total + left @ right`, batched."""
    return torch.bmm(left, right) if total is None else torch.baddbmm(total, left, right)
