"""The field around a point that says where its children are."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.autoencoder.jets import HarmonicJet, gaussian_jet, product, silu, softened_square
from geomae.equivariant import Linear, RadialBasis, soften, spherical_harmonics

GRID_ROWS = 1024
"""Places of a grid that are evaluated together."""


class Field(nn.Module):
    """Scalar fields in the ball around a point, read from the point's features.

    At a displacement r from the point, each hidden unit is the value of one function,
    `u_h(r) = (sum_lm Y_lm(r) x_lm,h) (sum_n B_nh R_n(|r|))`; a perceptron on these values gives
    the logits. The values are scalars, so the perceptron keeps equivariance exactly, and it makes
    the field far sharper than the degree of the features alone would. Directions are softened,
    which makes the field smooth at the point itself.

    Args:
        channels, lmax: size of the point's features.
        hidden: hidden units.
        n_radial: radial functions.
        radius: radius of the ball in Å.
        softening: length in Å below which directions fade.
        kinds: logits at each place: kinds of children that can be there.
    """

    def __init__(
        self,
        channels: int,
        lmax: int,
        *,
        hidden: int,
        n_radial: int,
        radius: float,
        softening: float,
        kinds: int,
    ):
        super().__init__()
        self.lmax, self.softening, self.kinds = lmax, softening, kinds
        self.harmonic_jet = HarmonicJet(lmax)
        self.angular = Linear(channels, hidden, lmax, bias=True)
        self.basis = RadialBasis(n_radial, radius + 2 * softening, kind="gaussian", envelope=False)
        self.radial = nn.Parameter(torch.randn(n_radial, hidden))
        self.mlp = nn.Sequential(
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, kinds),
        )
        nn.init.constant_(self.mlp[-1].bias, -2.0)

    def prepare(self, features: Float[Tensor, "n m c"]) -> Float[Tensor, "n m h"]:
        """The angular coefficients of every hidden unit, from the features of the points."""
        return self.angular(features)

    def basis_at(
        self, displacements: Float[Tensor, "*points 3"]
    ) -> tuple[Float[Tensor, "*points m"], Float[Tensor, "*points r"]]:
        """Softened harmonics and radial functions at displacements from the point, in Å."""
        vectors, lengths = soften(displacements, self.softening)
        return spherical_harmonics(self.lmax, vectors, normalize=False), self.basis(lengths)

    def on_points(
        self,
        coefficients: Float[Tensor, "n m h"],
        displacements: Float[Tensor, "n q 3"],
    ) -> Float[Tensor, "n q k"]:
        """Logits at `q` displacements around each of `n` points."""
        harmonics, radial = self.basis_at(displacements)
        return self._read_out(torch.bmm(harmonics, coefficients), radial)

    def on_grid(
        self, coefficients: Float[Tensor, "n m h"], grid: Float[Tensor, "g 3"]
    ) -> Float[Tensor, "n g k"]:
        """Logits on one grid of displacements, the same around each of `n` points.

        Goes through the grid in pieces small enough to stay in a core's cache.
        """
        harmonics, radial = self.basis_at(grid)
        envelope = self._envelope(radial)
        values = coefficients.new_empty(len(coefficients), len(grid), self.kinds)
        for point, own in enumerate(coefficients):
            for start in range(0, len(grid), GRID_ROWS):
                rows = slice(start, start + GRID_ROWS)
                values[point, rows] = self.mlp((harmonics[rows] @ own).mul_(envelope[rows]))
        return values

    def at(
        self,
        coefficients: Float[Tensor, "n m h"],
        displacements: Float[Tensor, "p 3"],
        owner: Int[Tensor, " p"],
    ) -> Float[Tensor, "p k"]:
        """Logits at single displacements, each around its own point `owner`."""
        harmonics, radial = self.basis_at(displacements)
        angular = _by_owner(harmonics[:, None], coefficients, owner)[:, 0]
        return self._read_out(angular, radial)

    def jets_at(
        self,
        coefficients: Float[Tensor, "n m h"],
        displacements: Float[Tensor, "p 3"],
        owner: Int[Tensor, " p"],
    ) -> Float[Tensor, "p 10 k"]:
        """Logits as `at`, with their gradients and Hessians: jets, in closed form."""
        square = softened_square(displacements, self.softening)
        spacing = self.basis.cutoff / max(self.basis.n - 1, 1)
        radial = gaussian_jet(square, self.basis.steps(displacements), spacing)
        harmonics = self.harmonic_jet(displacements, square)
        angular = _by_owner(harmonics, coefficients, owner)
        hidden = product(angular, self._envelope(radial))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                values = hidden @ layer.weight.T
                values[:, 0] += layer.bias
                hidden = values
            else:
                hidden = silu(hidden)
        return hidden

    def _read_out(self, angular: Tensor, radial: Tensor) -> Tensor:
        return self.mlp(angular * self._envelope(radial))

    def _envelope(self, radial: Tensor) -> Tensor:
        """Radial part of every hidden unit."""
        return radial @ self.radial * self.radial.shape[0] ** -0.5


def _by_owner(
    rows: Float[Tensor, "p j m"], matrices: Float[Tensor, "n m h"], owner: Int[Tensor, " p"]
) -> Float[Tensor, "p j h"]:
    """Each row times its owner's matrix; rows that follow each other share the matrix's copy."""
    names, place, count = torch.unique_consecutive(owner, return_inverse=True, return_counts=True)
    column = torch.arange(len(owner), device=owner.device)
    column = column - (torch.cumsum(count, 0) - count)[place]
    padded = rows.new_zeros(len(names), int(count.max()), *rows.shape[1:])
    padded[place, column] = rows
    made = torch.bmm(padded.flatten(1, 2), matrices[names])
    return made.unflatten(1, padded.shape[1:3])[place, column]
