"""Layers at the core's border: from features of any irreps, and to them."""

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor, nn

from geomae.equivariant.flat import gather, lmax_of, multiplets_of, read_irreps
from geomae.equivariant.layout import Layout


class IrrepsIn(nn.Module):
    """Takes features of any irreps into the core's layout, by one learned matrix a multiplet.

    Kinds of irreps that the input lacks are zero in the result.

    Args:
        irreps: of the input, in e3nn's flat layout, for example `4x0e + 1x1o + 1x2e`.
        channels: channels of the result.
        lmax: highest degree of the result; that of the irreps by default.
        parity: give the result an axis for both parities.
        bias: learned shift of the even scalars, if the irreps have any.

    Raises:
        IrrepsError: if the irreps have degrees or parities without a place in the result.
    """

    def __init__(
        self,
        irreps: str | o3.Irreps,
        channels: int,
        *,
        lmax: int | None = None,
        parity: bool = False,
        bias: bool = True,
    ):
        super().__init__()
        self.irreps, self.channels = read_irreps(irreps), channels
        self.layout = Layout(lmax_of(irreps) if lmax is None else lmax, parity)
        self.widths = [0] * self.layout.multiplets
        for mul, number in multiplets_of(self.irreps, self.layout):
            self.widths[number] += mul
        self.weight = nn.ParameterDict(
            {
                str(number): nn.Parameter(torch.randn(width, channels) * width**-0.5)
                for number, width in enumerate(self.widths)
                if width
            }
        )
        scalars = bias and self.widths[0] > 0
        self.bias = nn.Parameter(torch.zeros(channels)) if scalars else None

    def forward(self, flat: Float[Tensor, "n flat"]) -> Float[Tensor, "n *parity m c"]:
        blocks = gather(flat, self.irreps, self.layout)
        parts = [
            block @ self.weight[str(number)]
            if self.widths[number]
            else block.new_zeros(*block.shape[:2], self.channels)
            for number, block in enumerate(blocks)
        ]
        if self.bias is not None:
            parts[0] = parts[0] + self.bias
        return self.layout.unflatten(torch.cat(parts, 1))

    def extra_repr(self) -> str:
        return f"{self.irreps} -> {self.channels}, {self.layout}, bias={self.bias is not None}"


class IrrepsOut(nn.Module):
    """Reads any irreps from features, each multiplet a learned mixture of the channels.

    Args:
        channels: channels of the features.
        lmax: highest degree of the features.
        irreps: of the result, in e3nn's flat layout.
        parity: features have both parities, `[n, 2, components, channels]`.
        bias: learned shift of the even scalars, if the irreps have any.

    Raises:
        IrrepsError: if the irreps have degrees or parities that the features lack.
    """

    def __init__(
        self,
        channels: int,
        lmax: int,
        irreps: str | o3.Irreps,
        *,
        parity: bool = False,
        bias: bool = True,
    ):
        super().__init__()
        self.channels, self.layout = channels, Layout(lmax, parity)
        self.irreps = read_irreps(irreps)
        self.parts = multiplets_of(self.irreps, self.layout)
        self.weight = nn.ParameterList(
            nn.Parameter(torch.randn(channels, mul) * channels**-0.5) for mul, _ in self.parts
        )
        self.scalars = sum(mul for mul, number in self.parts if number == 0)
        self.bias = nn.Parameter(torch.zeros(self.scalars)) if bias and self.scalars else None

    def forward(self, features: Float[Tensor, "n *parity m c"]) -> Float[Tensor, "n flat"]:
        blocks = self.layout.split(features)
        result, used = [], 0
        for (mul, number), weight in zip(self.parts, self.weight, strict=True):
            part = blocks[number] @ weight
            if number == 0 and self.bias is not None:
                part, used = part + self.bias[used : used + mul], used + mul
            result.append(part.transpose(1, 2).flatten(1))
        return torch.cat(result, 1) if result else features.new_zeros(features.shape[0], 0)

    def extra_repr(self) -> str:
        return f"{self.channels}, {self.layout} -> {self.irreps}, bias={self.bias is not None}"
