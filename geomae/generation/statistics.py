"""What a flow knows of its data beside weights: spreads of latents, compositions, properties."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.equivariant.layout import Layout
from geomae.generation.data import LatentSet
from geomae.known import Known


@dataclass(frozen=True)
class Contents(Known):
    """What structures of a data set are made of, and which properties go with it.

    Attributes:
        kinds: of heavy atoms, `[kinds, 3]`; see `geomae.generation.inventory`.
        inventories: the different ones that occur, heavy atoms of each kind, `[rows, kinds]`.
        shares: of the structures that have each, `[rows]`.
        property_mean, property_spread: of each property among the structures with each inventory,
            `[rows, properties]`.
        property_range: mean and spread of each property over all, `[2, properties]`.
    """

    whole = ("kinds", "inventories")

    kinds: Int[Tensor, "kinds 3"]
    inventories: Int[Tensor, "rows kinds"]
    shares: Float[Tensor, " rows"]
    property_mean: Float[Tensor, "rows properties"]
    property_spread: Float[Tensor, "rows properties"]
    property_range: Float[Tensor, "2 properties"]

    @staticmethod
    def of(
        kinds: Int[Tensor, "kinds 3"],
        inventory: Int[Tensor, "n kinds"],
        properties: dict[str, Float[Tensor, " n"]],
    ) -> "Contents":
        """Contents of a data set."""
        rows, owner, sizes = inventory.unique(dim=0, return_inverse=True, return_counts=True)
        values = torch.zeros(len(inventory), len(properties), dtype=torch.float64)
        for column, own in enumerate(properties.values()):
            values[:, column] = own
        mean = values.mean(0)
        whole = torch.stack([mean, (values - mean).square().mean(0).sqrt()])
        means, spreads = _moments(values, owner, sizes, whole[1])
        return Contents(kinds, rows, sizes / len(inventory), means, spreads, whole)


@dataclass(frozen=True)
class Statistics(Contents):
    """Statistics of a set of latents, and of what they are conditioned on.

    Attributes:
        mean: of the scalars, `[c]`; all else has mean zero over orientations.
        axes: principal axes of the channels of each degree, in columns by falling spread,
            `[degrees, c, c]`.
        spread: root mean square along each of them, `[degrees, c]`.
    """

    mean: Float[Tensor, " c"]
    axes: Float[Tensor, "degrees c c"]
    spread: Float[Tensor, "degrees c"]

    @staticmethod
    def of_latents(data: LatentSet) -> "Statistics":
        """Statistics of a data set."""
        contents = Contents.of(data.kinds, data.inventory, data.properties)
        return Statistics(*contents.tensors().values(), *_principal_axes(data.latents))


def _principal_axes(latents: Float[Tensor, "n m c"]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of the scalars; axes and spreads of the channels of each degree."""
    mean, axes, spreads = latents[:, 0].double().mean(0), [], []
    for degree, block in enumerate(Layout(round(latents.shape[1] ** 0.5) - 1).split(latents)):
        flat = block.double().flatten(0, 1)
        flat = flat - mean if degree == 0 else flat
        values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
        axes.append(vectors.flip(1))
        spreads.append(values.flip(0).clamp(min=0).sqrt())
    return mean.float(), torch.stack(axes).float(), torch.stack(spreads).float()


def _moments(
    values: Float[Tensor, "n properties"],
    owner: Int[Tensor, " n"],
    sizes: Int[Tensor, " rows"],
    whole: Float[Tensor, " properties"],
) -> tuple[Tensor, Tensor]:
    """Mean and spread of values in each row; a row's spread is drawn towards that of all
    structures as if it had one structure more.
    """
    zeros = values.new_zeros(len(sizes), values.shape[1])
    means = zeros.index_add(0, owner, values) / sizes[:, None]
    squares = zeros.index_add(0, owner, (values - means[owner]).square())
    return means, ((squares + whole.square()) / (sizes[:, None] + 1)).sqrt()
