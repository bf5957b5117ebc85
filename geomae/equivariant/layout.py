"""The layout of features: which components belong together."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.equivariant.harmonics import degrees, dim


@dataclass(frozen=True)
class Layout:
    """Order of the components of features `[points, components, channels]`.

    With one parity the degrees 0 to lmax follow each other. With both there is an axis before
    them, `[points, 2, components, channels]`, even parity first; flattened, multiplets follow
    each other in the order of (parity, degree).

    Attributes:
        lmax: highest degree.
        parity: whether features have an axis for both parities; otherwise they have natural
            parity, (-1)^l.
    """

    lmax: int
    parity: bool = False

    @property
    def components(self) -> int:
        """Components of the flattened features."""
        return dim(self.lmax) * (2 if self.parity else 1)

    @property
    def multiplets(self) -> int:
        """Number of multiplets: degrees, times parities."""
        return (self.lmax + 1) * (2 if self.parity else 1)

    @property
    def sizes(self) -> list[int]:
        """Number of components of each multiplet."""
        sizes = [2 * degree + 1 for degree in range(self.lmax + 1)]
        return sizes * 2 if self.parity else sizes

    @cached_property
    def index(self) -> Int[Tensor, " components"]:
        """Multiplet of each component."""
        one = degrees(self.lmax)
        return torch.cat([one, one + self.lmax + 1]) if self.parity else one

    @property
    def mean_over_components(self) -> Float[Tensor, "components multiplets"]:
        """Matrix that averages over the components of each multiplet, float64."""
        member = torch.nn.functional.one_hot(self.index).double()
        return member / member.sum(0)

    def multiplet(self, degree: int, parity: int = 0) -> int:
        """Number of a multiplet.

        Args:
            degree: its degree.
            parity: 0 for even, 1 for odd; must be 0 where there is no parity axis.
        """
        if not 0 <= degree <= self.lmax or parity not in ((0, 1) if self.parity else (0,)):
            raise ValueError(f"no multiplet of degree {degree} and parity {parity} in {self}")
        return parity * (self.lmax + 1) + degree

    def flatten(self, features: Float[Tensor, "n *parity m c"]) -> Float[Tensor, "n components c"]:
        """Features without the parity axis."""
        axes = 4 if self.parity else 3
        if features.ndim != axes or features.shape[-2] != dim(self.lmax):
            shape = (
                "[points, 2, components, channels]"
                if self.parity
                else "[points, components, channels]"
            )
            raise ValueError(
                f"expected features {shape} with {dim(self.lmax)} components (degree "
                f"{self.lmax}), got {list(features.shape)}"
            )
        return features.flatten(1, 2) if self.parity else features

    def unflatten(
        self, features: Float[Tensor, "n components c"]
    ) -> Float[Tensor, "n *parity m c"]:
        """Features with their parity axis, if they have one."""
        return features.unflatten(1, (2, -1)) if self.parity else features

    def split(self, features: Float[Tensor, "n *parity m c"]) -> tuple[Tensor, ...]:
        """The multiplets, each `[points, 2l + 1, channels]`."""
        return self.flatten(features).split(self.sizes, 1)
