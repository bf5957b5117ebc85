"""Values, gradients and Hessians of functions of a point in space, carried along together.

A jet is a tensor `[points, 10, ...]`: the value, three first derivatives and the second ones in
the order xx, xy, xz, yy, yz, zz.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.equivariant import Constant, degrees, derivative_matrices, spherical_harmonics

PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
"""Axes of each second derivative."""


def chain(
    jet: Float[Tensor, "p 10 *rest"], value: Tensor, first: Tensor, second: Tensor
) -> Float[Tensor, "p 10 *rest"]:
    """The jet of f(u) from that of u, and f, f' and f'' at u."""
    result = jet * first[:, None]
    result[:, 0] = value
    slope = jet[:, 1:4]
    bent = slope * second[:, None]
    for k, (i, j) in enumerate(PAIRS, 4):
        result[:, k].addcmul_(bent[:, i], slope[:, j])
    return result


def product(
    left: Float[Tensor, "p 10 *rest"], right: Float[Tensor, "p 10 *rest"]
) -> Float[Tensor, "p 10 *rest"]:
    """The jet of a product, by Leibniz."""
    result = left * right[:, :1]
    result[:, 1:].addcmul_(left[:, :1], right[:, 1:])
    one, two = left[:, 1:4], right[:, 1:4]
    for k, (i, j) in enumerate(PAIRS, 4):
        result[:, k].addcmul_(one[:, i], two[:, j]).addcmul_(one[:, j], two[:, i])
    return result


def silu(jet: Float[Tensor, "p 10 *rest"]) -> Float[Tensor, "p 10 *rest"]:
    """The jet of SiLU(u)."""
    u = jet[:, 0]
    s = torch.sigmoid(u)
    d = s * (1 - s)
    return chain(jet, u * s, s + u * d, d * (2 + u * (1 - 2 * s)))


def log_sigmoid(jet: Float[Tensor, "p 10 *rest"]) -> Float[Tensor, "p 10 *rest"]:
    """The jet of log(1 / (1 + exp(-u)))."""
    u = jet[:, 0]
    rest = torch.sigmoid(-u)
    return chain(jet, torch.nn.functional.logsigmoid(u), rest, rest * (rest - 1))


def softened_square(points: Float[Tensor, "p 3"], softening: float) -> Float[Tensor, "p 10"]:
    """The jet of |v|^2 + softening^2."""
    square = points.square().sum(1, keepdim=True) + softening**2
    bend = points.new_tensor([2.0, 0, 0, 2, 0, 2]).expand(len(points), 6)
    return torch.cat([square, 2 * points, bend], 1)


class HarmonicJet:
    """Jets of softened spherical harmonics, those of `soften` and `spherical_harmonics`.

    Args:
        lmax: highest degree.
    """

    def __init__(self, lmax: int):
        self.lmax = lmax
        matrices = derivative_matrices(lmax)
        one = torch.eye(matrices.shape[1], dtype=torch.float64)
        seconds = [matrices[i] @ matrices[j] for i, j in PAIRS]
        self.table = Constant(torch.stack([one, *matrices, *seconds]).flatten(0, 1).T.contiguous())
        self.power = Constant(-degrees(lmax).double() / 2)

    def __call__(
        self, points: Float[Tensor, "p 3"], square: Float[Tensor, "p 10"]
    ) -> Float[Tensor, "p 10 m"]:
        """Jets at places, given those of their softened squares."""
        solid = spherical_harmonics(self.lmax, points, normalize=False)
        jets = (solid @ self.table(solid)).unflatten(1, (10, -1))
        power, t = self.power(solid), square[:, :1]
        value = t**power
        first = power * value / t
        scale = chain(
            square[..., None].expand(-1, -1, len(power)), value, first, (power - 1) * first / t
        )
        return product(jets, scale)


def gaussian_jet(
    square: Float[Tensor, "p 10"], steps: Float[Tensor, " n"], spacing: float
) -> Float[Tensor, "p 10 n"]:
    """Jets of exp(-(s / spacing - k)^2 / 2) for every step k, where s^2 is the given square."""
    length = square[:, 0].sqrt()
    half = 0.5 / length
    s = chain(square, length, half, -half / (2 * square[:, 0]))
    offset = length[:, None] / spacing - steps
    value = torch.exp(-offset.square() / 2)
    wide = s[..., None].expand(-1, -1, len(steps))
    return chain(wide, value, -offset * value / spacing, (offset.square() - 1) * value / spacing**2)
