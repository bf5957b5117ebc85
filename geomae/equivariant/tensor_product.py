"""Products of features at the points, along every Clebsch-Gordan path."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geomae.equivariant.constants import Constant
from geomae.equivariant.coupling import paths_between
from geomae.equivariant.layout import Layout
from geomae.equivariant.linear import Linear


class TensorProduct(nn.Module):
    """Product of two learned mixtures of features, channel by channel, along every path.

    A path takes degree l1 of one factor and l2 of the other to every degree between |l1 - l2| and
    l1 + l2, and has a learned weight for each channel. With both parities that includes the paths
    of odd sum, such as the cross product of two vectors, and both parities of either factor:
    what `GridProduct`, which is cheaper, can't reach. (It is e3nn's 'uuu' tensor product between
    `Linear` layers.)

    Args:
        channels: number of channels.
        lmax_in, lmax_out: highest degrees before and after.
        parity: features have both parities, `[n, 2, components, channels]`; without, they have
            natural parity, (-1)^l, and only paths of even sum exist.
    """

    def __init__(self, channels: int, lmax_in: int, lmax_out: int, *, parity: bool = True):
        super().__init__()
        self.channels = channels
        self.left = Linear(channels, channels, lmax_in, parity=parity)
        self.right = Linear(channels, channels, lmax_in, parity=parity)
        self.layout_in, self.layout_out = Layout(lmax_in, parity), Layout(lmax_out, parity)
        self.paths = paths_between(lmax_in, lmax_in, lmax_out, parity=parity)
        self.n_parities = 2 if parity else 1
        self._tables = [Constant(path.coefficients().permute(1, 2, 0)) for path in self.paths]
        self.weight = nn.Parameter(
            torch.randn(len(self.paths), self.n_parities, self.n_parities, channels)
        )
        self._scale = Constant(self._path_scale())

    def forward(
        self,
        features: Float[Tensor, "n *parity m_in c"],
        other: Float[Tensor, "n *parity m_in c"] | None = None,
    ) -> Float[Tensor, "n *parity m_out c"]:
        """The product.

        Args:
            features: the first factor.
            other: the second; the same again by default.
        """
        left = self._by_degree(self.left(features))
        right = self._by_degree(self.right(features if other is None else other))
        scaled = self.weight * self._scale(self.weight)[:, None, None, None]
        sums: list[Tensor | None] = [None] * (self.layout_out.lmax + 1)
        for path, table, weight in zip(self.paths, self._tables, scaled.unbind(0), strict=True):
            part = self._path(left[path.degree_in], right[path.degree_filter], table, weight)
            total = sums[path.degree_out]
            sums[path.degree_out] = part if total is None else total + part
        result = torch.cat(
            [
                part if part is not None else self._zeros(features, degree)
                for degree, part in enumerate(sums)
            ],
            2,
        )
        return result if self.layout_out.parity else result.squeeze(1)

    def extra_repr(self) -> str:
        return f"{self.channels}, {self.layout_in} -> {self.layout_out}, {len(self.paths)} paths"

    def _by_degree(self, features: Tensor) -> tuple[Tensor, ...]:
        """Components of each degree, `[n, parities, 2l + 1, channels]`."""
        features = features if self.layout_in.parity else features[:, None]
        return features.split(Layout(self.layout_in.lmax).sizes, 2)

    def _path(self, left: Tensor, right: Tensor, table: Constant, weight: Tensor) -> Tensor:
        """What one path gives, `[n, parities, out, channels]`: first by the parities' product."""
        outer = left[:, :, None, :, None] * right[:, None, :, None, :]
        coefficients = table(left).flatten(1)
        made = (coefficients @ outer.flatten(3, 4)) * weight[:, :, None]
        if self.n_parities == 1:
            return made[:, 0]
        even, odd = made[:, 0, 0] + made[:, 1, 1], made[:, 0, 1] + made[:, 1, 0]
        return torch.stack([even, odd], 1)

    def _zeros(self, like: Tensor, degree: int) -> Tensor:
        return like.new_zeros(len(like), self.n_parities, 2 * degree + 1, self.channels)

    def _path_scale(self) -> Float[Tensor, " paths"]:
        """Share of each path, such that all that end in a multiplet together give size 1."""
        ends = [path.degree_out for path in self.paths]
        return torch.tensor(
            [(ends.count(end) * self.n_parities) ** -0.5 for end in ends], dtype=torch.float64
        )
