"""Nonlinearities that act through scalars."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geomae.equivariant.constants import Constant
from geomae.equivariant.layout import Layout


class Gate(nn.Module):
    """Scalars through SiLU; every other multiplet times the sigmoid of a learned scalar.

    The gate of 3D steerable CNNs (Weiler et al. 2018).

    Args:
        channels: number of channels.
        lmax: highest degree.
        parity: features have both parities; scalars of odd parity are gated like the rest.
    """

    def __init__(self, channels: int, lmax: int, *, parity: bool = False):
        super().__init__()
        self.channels, self.layout = channels, Layout(lmax, parity)
        self.gates = nn.Linear(channels, (self.layout.multiplets - 1) * channels)
        self.multiplet = Constant(self.layout.index)

    def forward(self, features: Float[Tensor, "n *parity m c"]) -> Float[Tensor, "n *parity m c"]:
        flat = self.layout.flatten(features)
        scalars = flat[:, 0]
        gates = torch.sigmoid(torch.cat([scalars, self.gates(scalars)], 1))
        gates = gates.unflatten(1, (-1, self.channels))
        return self.layout.unflatten(flat * gates.index_select(1, self.multiplet(flat)))

    def extra_repr(self) -> str:
        return f"{self.channels}, {self.layout}"


class NormActivation(nn.Module):
    """Every multiplet times a function of its length, the nonlinearity of tensor field networks.

    A multiplet of root mean square s becomes SiLU(a s + b) / s times itself, with learned a and b
    for each degree and channel, softened so that it stays smooth where s vanishes (Thomas et
    al. 2018).

    Args:
        channels: number of channels.
        lmax: highest degree.
        parity: features have both parities.
        epsilon: mean square that is added under the root.
    """

    def __init__(self, channels: int, lmax: int, *, parity: bool = False, epsilon: float = 1e-3):
        super().__init__()
        self.channels, self.layout, self.epsilon = channels, Layout(lmax, parity), epsilon
        self.slope = nn.Parameter(torch.ones(self.layout.multiplets, channels))
        self.shift = nn.Parameter(torch.zeros(self.layout.multiplets, channels))
        self.multiplet = Constant(self.layout.index)
        self.share = Constant(self.layout.mean_over_components)

    def forward(self, features: Float[Tensor, "n *parity m c"]) -> Float[Tensor, "n *parity m c"]:
        flat = self.layout.flatten(features)
        size = (self.share(flat).T @ flat.square() + self.epsilon).sqrt()
        factor = nn.functional.silu(self.slope * size + self.shift) / size
        return self.layout.unflatten(flat * factor.index_select(1, self.multiplet(flat)))

    def extra_repr(self) -> str:
        return f"{self.channels}, {self.layout}, epsilon={self.epsilon}"
