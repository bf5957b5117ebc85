"""Normalisation and dropout that rotations don't notice."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geomae.equivariant.constants import Constant
from geomae.equivariant.layout import Layout


class Norm(nn.Module):
    """Divides features by the root mean square of all of them, every degree counting the same.

    All degrees share the divisor. If each had its own, a degree that vanishes by symmetry would be
    blown up beside the symmetric point, and the layer steep there.

    Args:
        channels: number of channels, each with a learned scale for each degree.
        lmax: highest degree.
        epsilon: mean square that is added, so that weak features are not blown up.
        parity: features have both parities.
    """

    def __init__(self, channels: int, lmax: int, *, epsilon: float = 1e-3, parity: bool = False):
        super().__init__()
        self.layout, self.epsilon = Layout(lmax, parity), epsilon
        self.scale = nn.Parameter(torch.ones(self.layout.multiplets, channels))
        self.multiplet = Constant(self.layout.index)
        self.share = Constant(self.layout.mean_over_components.mean(1) / channels)

    def forward(self, features: Float[Tensor, "n *parity m c"]) -> Float[Tensor, "n *parity m c"]:
        flat = self.layout.flatten(features)
        power = flat.square().sum(-1) @ self.share(flat)
        factor = (power + self.epsilon).rsqrt()[:, None, None] * self.scale
        return self.layout.unflatten(flat * factor.index_select(1, self.multiplet(flat)))

    def extra_repr(self) -> str:
        return f"{self.scale.shape[1]}, {self.layout}, epsilon={self.epsilon}"


class Dropout(nn.Module):
    """Drops whole multiplets in training: all components of a degree and channel, or none.

    Args:
        p: probability for a multiplet to be dropped; the others grow by 1 / (1 - p).
        lmax: highest degree.
        parity: features have both parities.
    """

    def __init__(self, p: float, lmax: int, *, parity: bool = False):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p must be in [0, 1), got {p}")
        self.p, self.layout = p, Layout(lmax, parity)
        self.multiplet = Constant(self.layout.index)

    def forward(self, features: Float[Tensor, "n *parity m c"]) -> Float[Tensor, "n *parity m c"]:
        if not self.training or self.p == 0:
            return features
        flat = self.layout.flatten(features)
        shape = (flat.shape[0], self.layout.multiplets, flat.shape[2])
        keep = nn.functional.dropout(flat.new_ones(shape), self.p)
        return self.layout.unflatten(flat * keep.index_select(1, self.multiplet(flat)))

    def extra_repr(self) -> str:
        return f"p={self.p}, {self.layout}"
