"""Maps between channels: one matrix a degree."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geomae.equivariant.constants import Constant
from geomae.equivariant.layout import Layout


class Linear(nn.Module):
    """Mixes channels with a matrix of its own for every degree; a bias on scalars only.

    Args:
        channels_in, channels_out: numbers of channels.
        lmax: highest degree of the features.
        bias: learned shift of the scalars.
        parity: features have both parities, `[n, 2, components, channels]`; each has matrices
            of its own, and only scalars of even parity a bias.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        lmax: int,
        *,
        bias: bool = True,
        parity: bool = False,
    ):
        super().__init__()
        self.layout = Layout(lmax, parity)
        self.multiplet = Constant(self.layout.index)
        self.scalar = Constant((self.layout.index == 0).double()[:, None, None])
        self.weight = nn.Parameter(torch.randn(self.layout.multiplets, channels_in, channels_out))
        nn.init.normal_(self.weight, std=channels_in**-0.5)
        self.bias = nn.Parameter(torch.zeros(channels_out)) if bias else None

    def forward(
        self, features: Float[Tensor, "n *parity m c_in"]
    ) -> Float[Tensor, "n *parity m c_out"]:
        by_component = self.layout.flatten(features).transpose(0, 1)
        weight = self.weight.index_select(0, self.multiplet(features))
        if self.bias is None:
            mixed = torch.bmm(by_component, weight)
        else:
            mixed = torch.baddbmm(self.scalar(weight) * self.bias, by_component, weight)
        return self.layout.unflatten(mixed.transpose(0, 1))

    def extra_repr(self) -> str:
        _, channels_in, channels_out = self.weight.shape
        return f"{channels_in}, {channels_out}, {self.layout}, bias={self.bias is not None}"
