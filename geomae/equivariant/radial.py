"""Radial functions, and envelopes that end them smoothly."""

from math import pi, sqrt
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geomae.equivariant.constants import Constant


class RadialBasis(nn.Module):
    """Fixed radial functions of a distance in Å.

    Args:
        n: number of functions.
        cutoff: range, in Å.
        kind: 'bessel', sin(k pi r / cutoff) / r (Gasteiger et al. 2020), or 'gaussian',
            evenly spaced and as wide as their spacing.
        envelope: multiply by a polynomial that is 1 at the origin and reaches 0 at the cutoff
            with three derivatives, so that what enters the range does so smoothly.
    """

    def __init__(
        self,
        n: int,
        cutoff: float,
        *,
        kind: Literal["bessel", "gaussian"] = "bessel",
        envelope: bool = True,
    ):
        super().__init__()
        self.n, self.cutoff, self.kind, self.envelope = n, cutoff, kind, envelope
        steps = torch.arange(n, dtype=torch.float64)
        self.steps = Constant((steps + 1) * pi if kind == "bessel" else steps)

    def forward(self, lengths: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch n"]:
        fraction = (lengths / self.cutoff)[..., None]
        if self.kind == "bessel":
            values = torch.sin(self.steps(lengths) * fraction) * (sqrt(8) / (3 * fraction))
        else:
            offset = fraction * max(self.n - 1, 1) - self.steps(lengths)
            values = torch.exp(-offset.square() / 2)
        return values * polynomial_envelope(fraction) if self.envelope else values

    def extra_repr(self) -> str:
        return f"{self.n}, cutoff={self.cutoff}, kind={self.kind!r}, envelope={self.envelope}"


def polynomial_envelope(fraction: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """(1 - x)^4 (1 + 4x + 10x^2 + 20x^3) for x < 1, else 0: flat at 0, three derivatives at 1."""
    x = fraction.clamp(max=1)
    return (1 - x) ** 4 * (1 + x * (4 + x * (10 + 20 * x)))


def polynomial_envelope_slope(fraction: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Derivative of `polynomial_envelope`."""
    x = fraction.clamp(max=1)
    return -140 * (x * (1 - x)) ** 3
