"""Where the atoms of a crystal meet: sums over images and atoms first, couplings afterwards."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.equivariant import Transport, soften, spherical_harmonics
from geomae.equivariant.depthwise import Fan
from geomae.equivariant.slots import slots_by


def sums_of_products(
    first: Float[Tensor, "e m"], second: Float[Tensor, "e c"], group: Int[Tensor, " e"], n: int
) -> Float[Tensor, "n m c"]:
    """Outer products, summed over each group, as products of matrices.

    Args:
        first, second: factors of each.
        group: of each, 0 to n - 1.
        n: groups; one without members gets zeros.
    """
    zeros = first.new_zeros(n, first.shape[1], second.shape[1])
    if not len(group):
        return zeros
    table = slots_by(group, n)
    padded = table.spread(first) * table.filled[:, None]
    rows = (part.view(table.n_rows, table.width, -1) for part in (padded, table.spread(second)))
    own, other = rows
    sums = torch.bmm(own.transpose(1, 2), other)
    return sums if table.whole else zeros.index_add(0, table.point, sums)


class Meeting(Transport):
    """Carries atoms, at all their images, to the anchor of their crystal.

    The same sum as a `Transport` along an edge from each image with radial functions times its
    weight, in another order: filters are summed over the images of an atom, their products with
    features over the atoms of a crystal, and only these moments are coupled. What costs most is
    done once a crystal, however many atoms and images it has.
    """

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        features: Float[Tensor, "atoms m_in c_in"],
        vectors: Float[Tensor, "images 3"],
        weights: Float[Tensor, " images"],
        image_atom: Int[Tensor, " images"],
        batch: Int[Tensor, " atoms"],
        n: int,
    ) -> Float[Tensor, "n m_out c_out"]:
        """Features at the anchors.

        Args:
            features: of the atoms.
            vectors, weights: from the anchor to each image, in Å, and how much it counts.
            image_atom: atom of each image.
            batch: crystal of each atom.
            n: crystals.
        """
        directions, lengths = soften(vectors, self.softening)
        harmonics = spherical_harmonics(self.lmax_filter, directions, normalize=False)
        radial = self.basis(lengths) * weights[:, None]
        filters = sums_of_products(radial, harmonics, image_atom, len(features))
        return self.after(self._coupled(filters, self.before(features), batch, n))

    def _coupled(
        self,
        filters: Float[Tensor, "atoms g f"],
        features: Float[Tensor, "atoms m c"],
        batch: Int[Tensor, " atoms"],
        n: int,
    ) -> Float[Tensor, "n o c"]:
        """Sums over the atoms of each crystal of their features coupled with their filters."""
        convolution = self.convolution
        groups = filters.shape[1]
        owner = (batch[:, None] * groups + torch.arange(groups, device=batch.device)).flatten()
        sums: list[Tensor | None] = [None] * convolution.layout_out.multiplets
        for degree, part in enumerate(convolution.layout_in.split(features)):
            columns = part.unflatten(2, (groups, -1)).transpose(1, 2).flatten(0, 1).flatten(1)
            moments = sums_of_products(filters.flatten(0, 1), columns, owner, n * groups)
            moments = moments.view(n, groups, moments.shape[1], part.shape[1], -1)
            own = moments.permute(2, 3, 0, 1, 4).contiguous().split(convolution.filter_sizes)
            for fan in convolution.fans_out:
                if fan.degree == degree:
                    self._couple(fan, own[fan.degree_filter], sums)
        parts = [
            features.new_zeros(size, n, features.shape[2]) if own is None else own.flatten(2)
            for own, size in zip(sums, convolution.layout_out.sizes, strict=True)
        ]
        return torch.cat(parts).transpose(0, 1)

    def _couple(
        self, fan: Fan, moments: Float[Tensor, "f m n g c"], sums: list[Tensor | None]
    ) -> None:
        """Add what moments of one degree of the filter and one of the features give."""
        table = fan.table(moments).view(moments.shape[0] * moments.shape[1], -1)
        weight = self.convolution.weight.T[fan.path(moments)]
        coupled = (table.T @ moments.flatten(0, 1).flatten(1)).view(-1, *moments.shape[2:])
        weighed = coupled * weight[:, None, :, None]
        sizes = [2 * degree + 1 for degree in fan.others]
        for degree, piece in zip(fan.others, weighed.split(sizes), strict=True):
            total = sums[degree]
            sums[degree] = piece if total is None else total + piece
