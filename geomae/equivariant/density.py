"""The density of labelled neighbours about each point: what a first layer sees."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.equivariant.harmonics import dim, spherical_harmonics
from geomae.equivariant.radial import RadialBasis


class Density(nn.Module):
    """Sums over neighbours their radial functions times harmonics, apart for each label.

    Where all that neighbours have is a label (their element), this is the whole of what a
    convolution can learn from them: any `Convolution` of one-hot labels is a linear map of it.
    It has no weights of its own; a `Linear` layer is the natural thing to follow. (The
    coefficients are those of SOAP's neighbour density before the power spectrum: Bartók et
    al. 2013.)

    Args:
        n_labels: number of different labels.
        lmax: highest degree.
        basis: radial functions; with an envelope, features are smooth at the cutoff.
        neighbours: expected number of neighbours; results are divided by its square root.
    """

    def __init__(self, n_labels: int, lmax: int, basis: RadialBasis, *, neighbours: float = 1.0):
        super().__init__()
        self.n_labels, self.lmax, self.basis = n_labels, lmax, basis
        self.scale = neighbours**-0.5

    @property
    def channels(self) -> int:
        """Channels of the result: labels times radial functions, the latter running fastest."""
        return self.n_labels * self.basis.n

    def forward(
        self,
        vectors: Float[Tensor, "edges 3"],
        labels: Int[Tensor, " sources"],
        edges: Int[Tensor, "2 edges"],
        n_targets: int,
    ) -> Float[Tensor, "targets m c"]:
        """Densities about the targets.

        Args:
            vectors: from the target to the source of each edge, in Å; none may vanish.
            labels: label of each source, from 0.
            edges: (source, target).
            n_targets: number of targets; one without edges gets zeros.
        """
        source, target = edges
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.n_labels:
            raise ValueError(
                f"labels must be in [0, {self.n_labels}), got {int(labels.min())} to "
                f"{int(labels.max())}"
            )
        radial = self.basis(torch.linalg.vector_norm(vectors, dim=1))
        harmonics = spherical_harmonics(self.lmax, vectors)
        shells = radial.new_zeros(n_targets * self.n_labels, dim(self.lmax), self.basis.n)
        place = target * self.n_labels + labels[source]
        shells = shells.index_add(0, place, harmonics[:, :, None] * radial[:, None] * self.scale)
        return shells.unflatten(0, (n_targets, -1)).transpose(1, 2).flatten(2)

    def extra_repr(self) -> str:
        return f"{self.n_labels} labels, lmax={self.lmax}, {self.channels} channels"
