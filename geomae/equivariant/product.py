"""Products of signals on the sphere, exact."""

from jaxtyping import Float
from torch import Tensor, nn

from geomae.equivariant.constants import Constant
from geomae.equivariant.harmonics import dim, spherical_harmonics
from geomae.equivariant.linear import Linear
from geomae.equivariant.quadrature import sphere_quadrature


class GridProduct(nn.Module):
    """Pointwise product of two learned mixtures of signals, (A f)(x) (B f)(x), projected back.

    The quadrature is exact for the degrees that occur, so the product is equivariant to machine
    precision. It couples degrees whose sum with the result's is even: natural parity.

    Args:
        channels: number of channels.
        lmax_in, lmax_out: highest degrees before and after.
    """

    def __init__(self, channels: int, lmax_in: int, lmax_out: int):
        super().__init__()
        self.left = Linear(channels, channels, lmax_in)
        self.right = Linear(channels, channels, lmax_in)
        points, weights = sphere_quadrature(2 * lmax_in + lmax_out)
        harmonics = spherical_harmonics(max(lmax_in, lmax_out), points)
        self.to_grid = Constant(harmonics[:, : dim(lmax_in)].contiguous())
        self.from_grid = Constant((weights[:, None] * harmonics[:, : dim(lmax_out)]).T.contiguous())

    def forward(self, features: Float[Tensor, "n m_in c"]) -> Float[Tensor, "n m_out c"]:
        to_grid, from_grid = self.to_grid(features), self.from_grid(features)
        product = (to_grid @ self.left(features)) * (to_grid @ self.right(features))
        return from_grid @ product

    def extra_repr(self) -> str:
        return f"{self.to_grid.values.shape[0]} points"
