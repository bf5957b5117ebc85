"""A convolution whose filters act on whole channels, in groups: cheap at high degrees."""

import torch
from e3nn import o3
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.equivariant.constants import Constant


class DepthwiseConvolution(nn.Module):
    """Carries features along edges without mixing channels.

    Along an edge, channel group g is multiplied by the matrix
    `K_g = R_g(r) sum_paths w_g,path CG_path Y(r)`, where a path is a triple of degrees
    (in, filter, out) of even sum. Wrapped between two `Linear` layers it is the cheap
    alternative to `Convolution`: the cost of mixing channels is paid once a point, not once a
    path and edge. Channels of a group share weights, which makes one small matrix for each
    edge and group.

    Args:
        channels: channels in and out, a multiple of `groups`.
        lmax_in, lmax_filter, lmax_out: highest degrees.
        groups: channel groups, each with its own path weights and radial function.
    """

    def __init__(
        self, channels: int, lmax_in: int, lmax_filter: int, lmax_out: int, *, groups: int
    ):
        super().__init__()
        if channels % groups:
            raise ValueError(f"channels ({channels}) must be a multiple of groups ({groups})")
        self.channels, self.groups = channels, groups
        paths, index, values = coupling_table(lmax_in, lmax_filter, lmax_out)
        self.weight = nn.Parameter(torch.randn(groups, len(paths)))
        self.path, self.coefficients = Constant(index), Constant(values)

    def kernel(self, harmonics: Float[Tensor, "e f"]) -> Float[Tensor, "e g o i"]:
        """The matrix of every edge and channel group, without its radial function."""
        table = self.weight[:, self.path(harmonics)] * self.coefficients(harmonics)
        return torch.einsum("ef,gfoi->egoi", harmonics, table)

    def forward(
        self,
        features: Float[Tensor, "sources i c"],
        harmonics: Float[Tensor, "e f"],
        radial: Float[Tensor, "e g"],
        edges: Int[Tensor, "2 e"],
        n_targets: int,
    ) -> Float[Tensor, "targets o c"]:
        """Sum over the edges into each target.

        Args:
            features: at the sources.
            harmonics: of the edges' directions, 'component' normalised.
            radial: radial function of each group at the edges' lengths.
            edges: (source, target).
            n_targets: number of targets.
        """
        source, target = edges
        share = radial.repeat_interleave(self.channels // self.groups, 1)
        grouped = (features[source] * share[:, None]).unflatten(-1, (self.groups, -1))
        carried = (self.kernel(harmonics) @ grouped.transpose(1, 2)).transpose(1, 2).flatten(-2)
        zeros = carried.new_zeros(n_targets, *carried.shape[1:])
        return zeros.index_add(0, target, carried)


def coupling_table(
    lmax_in: int, lmax_filter: int, lmax_out: int
) -> tuple[list[tuple[int, int, int]], Int[Tensor, "f o i"], Float[Tensor, "f o i"]]:
    """Every natural-parity path (in, filter, out) in one table.

    Returns the paths, the path of each triple of components, and the Clebsch-Gordan
    coefficient there (e3nn's, float64), scaled so that outputs keep the inputs' size.
    """
    shape = ((lmax_filter + 1) ** 2, (lmax_out + 1) ** 2, (lmax_in + 1) ** 2)
    index = torch.zeros(shape, dtype=torch.long)
    values = torch.zeros(shape, dtype=torch.float64)
    paths = [
        (i, f, o)
        for o in range(lmax_out + 1)
        for f in range(lmax_filter + 1)
        for i in range(lmax_in + 1)
        if abs(i - f) <= o <= i + f and (i + f + o) % 2 == 0
    ]
    into = [sum(path[2] == o for path in paths) for o in range(lmax_out + 1)]
    for number, (i, f, o) in enumerate(paths):
        block = tuple(slice(degree**2, (degree + 1) ** 2) for degree in (f, o, i))
        index[block] = number
        scale = ((2 * o + 1) / into[o]) ** 0.5
        values[block] = scale * o3.wigner_3j(f, o, i, dtype=torch.float64)
    return paths, index, values
