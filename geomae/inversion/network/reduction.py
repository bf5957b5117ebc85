"""From SOAP vectors to the few numbers that a perceptron sees."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.equivariant import spherical_harmonics
from geomae.inversion.descriptors.soap import Soap

FLOOR = 1e-6
"""Relative variance below which directions are not blown up any further."""


class Reduction(nn.Module):
    """Gram matrices in leading directions of channel space, then principal components of these.

    All of it is read off a sample of environments before training and then stays.

    Args:
        channels, degrees: of the Gram matrices.
        directions: kept in each degree.
        components: kept of what is left.
    """

    def __init__(self, channels: int, degrees: int, directions: int, components: int):
        super().__init__()
        kept = min(directions, channels)
        self.first, self.second = torch.triu_indices(kept, kept).unbind()
        size = degrees * len(self.first)
        self.mixing = _fixed(degrees, channels, kept)
        self.shift = _fixed(size)
        self.basis = _fixed(size, components)

    def forward(self, grams: Float[Tensor, "b degrees c c"]) -> Float[Tensor, "b components"]:
        return (self._squeezed(grams) - self.shift) @ self.basis

    def _squeezed(self, grams: Tensor) -> Float[Tensor, "b f"]:
        mixed = self.mixing.mT @ grams.to(self.mixing) @ self.mixing
        packed = mixed[..., self.first, self.second].flatten(1)
        return packed / (1 + packed.abs()).sqrt()

    @torch.no_grad()
    def fit(self, grams: Float[Tensor, "b degrees c c"]) -> None:
        """Read directions, means and spreads off a sample."""
        values, vectors = torch.linalg.eigh(grams.double().mean(0))
        kept = self.mixing.shape[2]
        values, vectors = values[:, -kept:], vectors[:, :, -kept:]
        floor = FLOOR * values[:, -1:]
        self.mixing.copy_(vectors / torch.maximum(values, floor).sqrt()[:, None])
        rows = self._squeezed(grams).double()
        self.shift.copy_(rows.mean(0))
        centred = rows - rows.mean(0)
        spread, axes = torch.linalg.eigh(centred.T @ centred / len(rows))
        spread, axes = spread.flip(0), axes.flip(1)
        components = self.basis.shape[1]
        scale = torch.maximum(spread, FLOOR * spread[0]).sqrt()
        self.basis.copy_((axes / scale)[:, :components])


def _fixed(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape), requires_grad=False)


def grams_of(
    soap: Soap, numbers: Int[Tensor, "b n"], vectors: Float[Tensor, "b n 3"]
) -> Float[Tensor, "b degrees c c"]:
    """Gram matrices of the coefficients about centres, of atoms padded with number 0."""
    member = (numbers[..., None] == torch.tensor(soap.species)).to(vectors)
    harmonics = spherical_harmonics(soap.l_max, vectors, normalize=False)
    radial = soap.radial(vectors.square().sum(-1))
    grams = []
    for degree in range(soap.l_max + 1):
        own = slice(degree**2, (degree + 1) ** 2)
        channels = (member[..., None] * radial[:, :, None, degree]).flatten(2)
        coefficients = harmonics[..., own].mT @ channels
        grams.append(coefficients.mT @ coefficients)
    return torch.stack(grams, 1)
