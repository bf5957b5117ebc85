"""A network on points: from features of any irreps to others, along the edges of neighbours."""

import torch
from e3nn import o3
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from geomae.data.neighbours import Neighbours, neighbours
from geomae.equivariant.convolution import Convolution
from geomae.equivariant.coupling import EdgeCoupling, EdgeKernel
from geomae.equivariant.flat import IrrepsError, lmax_of, read_irreps
from geomae.equivariant.gate import Gate
from geomae.equivariant.harmonics import spherical_harmonics
from geomae.equivariant.irreps_layers import IrrepsIn, IrrepsOut
from geomae.equivariant.linear import Linear
from geomae.equivariant.norm import Norm
from geomae.equivariant.radial import RadialBasis
from geomae.equivariant.tensor_product import TensorProduct
from geomae.errors import GeomaeError


class PointNetwork(nn.Module):
    """Equivariant features of points from features of points, in molecules and crystals.

    Blocks of convolution, product and gate with a way around each, between `IrrepsIn` and
    `IrrepsOut`. All products are Clebsch-Gordan's, so outputs turn and mirror with the inputs to
    machine precision, and none is less symmetric than its inputs: what breaks a symmetry has to
    come in as a feature. With both parities, cross products and pseudovectors are within reach.

    Args:
        irreps_in: of the points' features, in e3nn's flat layout, for example `4x0e + 1x1o`.
        irreps_out: of the result.
        channels: channels of the hidden features, for every degree and parity.
        lmax: highest degree of hidden features and filters; not below those of the irreps.
        layers: number of blocks; information travels `layers * cutoff` far.
        cutoff: range of neighbours, in Å.
        n_radial: radial functions.
        parity: hidden features have both parities; without, they have natural parity, (-1)^l, and
            so must the irreps.
        n_neighbours: expected number of neighbours; sums over them are divided by its root.
        reduce: 'sum' or 'mean' of hidden features over the points of each structure, before the
            last layer; None for a result a point.

    Raises:
        IrrepsError: if irreps don't fit `lmax` or `parity`.
        GeomaeError: if a size isn't positive or `reduce` is none of these.
    """

    def __init__(
        self,
        irreps_in: str | o3.Irreps,
        irreps_out: str | o3.Irreps,
        *,
        channels: int = 16,
        lmax: int = 2,
        layers: int = 2,
        cutoff: float = 4.0,
        n_radial: int = 8,
        parity: bool = True,
        n_neighbours: float = 6.0,
        reduce: str | None = None,
    ):
        super().__init__()
        sizes = {"channels": channels, "layers": layers, "cutoff": cutoff, "n_radial": n_radial}
        for name, value in sizes.items():
            if not value > 0:
                raise GeomaeError(f"{name} must be above 0, not {value}")
        if reduce not in (None, "sum", "mean"):
            raise GeomaeError(f"reduce must be 'sum', 'mean' or None, not {reduce!r}")
        self.irreps_in, self.irreps_out = read_irreps(irreps_in), read_irreps(irreps_out)
        highest = max(lmax_of(self.irreps_in), lmax_of(self.irreps_out))
        if lmax < highest:
            raise IrrepsError(
                f"{self.irreps_in} -> {self.irreps_out} needs lmax >= {highest}, got {lmax}"
            )
        self.cutoff, self.lmax, self.reduce = cutoff, lmax, reduce
        self.basis = RadialBasis(n_radial, cutoff)
        self.coupling = EdgeCoupling(lmax, lmax, lmax, parity=parity)
        self.embed = IrrepsIn(self.irreps_in, channels, lmax=lmax, parity=parity)
        self.blocks = nn.ModuleList(
            PointBlock(channels, lmax, n_radial=n_radial, parity=parity, n_neighbours=n_neighbours)
            for _ in range(layers)
        )
        self.norm = Norm(channels, lmax, parity=parity)
        self.read = IrrepsOut(channels, lmax, self.irreps_out, parity=parity)

    def forward(
        self,
        features: Float[Tensor, "n flat_in"],
        positions: Float[Tensor, "n 3"],
        batch: Int[Tensor, " n"] | None = None,
        cell: Float[Tensor, "*structures 3 3"] | None = None,
        pbc: Bool[Tensor, "*structures 3"] | None = None,
    ) -> Float[Tensor, "rows flat_out"]:
        """Values of `irreps_out`: a row a point, or a row a structure with `reduce`.

        Args:
            features: values of `irreps_in` at the points.
            positions: in Å.
            batch: structure of each point, ascending; one structure by default.
            cell: lattice vectors as rows in Å, of one structure or of each.
            pbc: periodicity along each lattice vector; all True if only a cell is given.

        Raises:
            GeomaeError: cells or cutoff don't fit, as `neighbours` says.
        """
        return self.read(self.hidden(features, positions, batch, cell, pbc))

    def hidden(
        self,
        features: Float[Tensor, "n flat_in"],
        positions: Float[Tensor, "n 3"],
        batch: Int[Tensor, " n"] | None = None,
        cell: Float[Tensor, "*structures 3 3"] | None = None,
        pbc: Bool[Tensor, "*structures 3"] | None = None,
    ) -> Float[Tensor, "rows *parity m c"]:
        """Features before the last layer; arguments are those of `forward`."""
        found = neighbours(positions, self.cutoff, batch, cell, pbc)
        hidden, kernel = self.embed(features), self.kernel(found)
        for block in self.blocks:
            hidden = block(hidden, kernel, found.edges)
        hidden = self.norm(hidden)
        return hidden if self.reduce is None else self._reduced(hidden, batch)

    @torch.no_grad()
    def solve_readout(
        self,
        hidden: Float[Tensor, "rows *parity m c"],
        target: Float[Tensor, "rows flat_out"],
        *,
        rtol: float = 1e-10,
    ) -> None:
        """Sets the last layer, which is linear, to the shortest least squares solution.

        Args:
            hidden: from `hidden`.
            target: what the network should give.
            rtol: singular values below this share of the size of all features count as zero, so
                that a degree that vanishes by symmetry is not blown up from its rounding.

        Raises:
            IrrepsError: if the target does not have the rows or columns of the output.
        """
        if target.shape != (len(hidden), self.irreps_out.dim):
            raise IrrepsError(
                f"expected a target [{len(hidden)}, {self.irreps_out.dim}] for "
                f"{self.irreps_out}, got {list(target.shape)}"
            )
        blocks = self.read.layout.split(hidden)
        columns = target.split([mul * ir.dim for mul, ir in self.irreps_out], 1)
        used, floor = 0, rtol * float(hidden.norm())
        for (mul, number), weight, part in zip(
            self.read.parts, self.read.weight, columns, strict=True
        ):
            known = blocks[number].flatten(0, 1)
            wanted = part.unflatten(1, (mul, -1)).transpose(1, 2).flatten(0, 1)
            bias = self.read.bias if number == 0 else None
            if bias is not None:
                known = torch.cat([known, known.new_ones(len(known), 1)], 1)
            solution = torch.linalg.pinv(known, atol=floor, rtol=0.0) @ wanted
            if bias is not None:
                bias[used : used + mul] = solution[-1]
                used += mul
            weight.copy_(solution[: len(weight)])

    def kernel(self, found: Neighbours) -> EdgeKernel:
        """What carries features along the edges, for every block."""
        harmonics = spherical_harmonics(self.lmax, found.vectors)
        return self.coupling(harmonics, self.basis(found.lengths))

    def _reduced(self, values: Tensor, batch: Tensor | None) -> Tensor:
        if batch is None:
            batch = values.new_zeros(len(values), dtype=torch.long)
        counts = torch.bincount(batch)
        sums = values.new_zeros(len(counts), *values.shape[1:]).index_add(0, batch, values)
        if self.reduce == "sum":
            return sums
        return sums / counts.clamp(min=1).to(values).view(-1, *[1] * (sums.ndim - 1))

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}, reduce={self.reduce!r}"


class PointBlock(nn.Module):
    """Neighbours' features, their products with the point's own and a gate, beside a way around.

    Args:
        channels: number of channels.
        lmax: highest degree of features and filters.
        n_radial: radial functions.
        parity: features have both parities.
        n_neighbours: expected number of neighbours.
    """

    def __init__(
        self, channels: int, lmax: int, *, n_radial: int, parity: bool, n_neighbours: float
    ):
        super().__init__()
        self.norm = Norm(channels, lmax, parity=parity)
        self.convolution = Convolution(
            channels,
            channels,
            lmax,
            lmax,
            lmax,
            n_radial=n_radial,
            parity=parity,
            neighbours=n_neighbours,
        )
        self.own = Linear(channels, channels, lmax, parity=parity)
        self.product = TensorProduct(channels, lmax, lmax, parity=parity)
        self.gate = Gate(channels, lmax, parity=parity)
        self.out = Linear(channels, channels, lmax, parity=parity)

    def forward(
        self,
        features: Float[Tensor, "n *parity m c"],
        kernel: EdgeKernel,
        edges: Int[Tensor, "2 edges"],
    ) -> Float[Tensor, "n *parity m c"]:
        own = self.norm(features)
        seen = self.own(own) + self.convolution(own, kernel, edges, len(features))
        return features + self.out(self.gate(seen + self.product(seen)))
