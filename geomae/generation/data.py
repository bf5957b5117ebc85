"""Latents of a data set, encoded once and kept, with what a flow is conditioned on."""

import hashlib
import json
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from geomae.autoencoder.model import Autoencoder
from geomae.autoencoder.zoo import load, weights_of
from geomae.data.cache import cache_directory, replacing
from geomae.data.sources.qm9 import QM9, load_qm9, split_indices
from geomae.errors import GeomaeError
from geomae.generation.inventory import compositions_of, inventories
from geomae.training.forest import segments

FORMAT = 1
"""Of the kept latents; part of their files' names."""

ENCODED_TOGETHER = 256


@dataclass(frozen=True)
class LatentSet:
    """Latents of a data set.

    Attributes:
        latents: `[n, m, c]`, about the structures' points, float32.
        counts: atoms of each element of the autoencoder, `[n, elements]`.
        kinds: kinds of heavy atoms that occur; see `geomae.generation.inventory`.
        inventory: heavy atoms of each kind, `[n, kinds]`.
        properties: scalar properties by name, `[n]`, in the data set's units.
    """

    latents: Float[Tensor, "n m c"]
    counts: Int[Tensor, "n elements"]
    kinds: Int[Tensor, "kinds 3"]
    inventory: Int[Tensor, "n kinds"]
    properties: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.latents)

    def select(self, ids: Int[Tensor, " k"]) -> "LatentSet":
        """Some of the structures, in the order given."""
        properties = {name: values[ids] for name, values in self.properties.items()}
        return LatentSet(
            self.latents[ids], self.counts[ids], self.kinds, self.inventory[ids], properties
        )


def latents_of_qm9(autoencoder: str, split: str, properties: tuple[str, ...] = ()) -> LatentSet:
    """Latents of a split of QM9, from the cache where they are.

    Args:
        autoencoder: name or path of the model that encodes.
        split: 'train', 'valid', 'test' or 'all'.
        properties: scalars of the molecules to give along.

    Raises:
        GeomaeError: the model does not encode molecules, or QM9 has no such property.
    """
    model = load(autoencoder)
    if not isinstance(model, Autoencoder):
        raise GeomaeError(f"'{autoencoder}' is no autoencoder of molecules")
    data, ids = load_qm9(), torch.from_numpy(split_indices(split))
    scalars = scalars_of(data, ids, properties)
    weights = hashlib.sha256(weights_of(autoencoder).read_bytes()).hexdigest()
    key = hashlib.sha256(json.dumps([FORMAT, weights, split]).encode()).hexdigest()[:12]
    path = cache_directory() / f"qm9-latents-{key}.safetensors"
    if not path.exists():
        with replacing(path) as temporary:
            save_file({"latents": _encode(model, data, ids)}, temporary)
    kinds, inventory = inventories(data.numbers, data.positions, data.offsets, ids)
    return LatentSet(
        load_file(path)["latents"],
        compositions_of(kinds, inventory, model.elements),
        kinds,
        inventory,
        scalars,
    )


def scalars_of(
    data: QM9, ids: Int[Tensor, " n"], properties: tuple[str, ...]
) -> dict[str, Float[Tensor, " n"]]:
    """Scalar properties of some molecules, by name.

    Raises:
        GeomaeError: QM9 has no such property.
    """
    scalars = {name for name, values in data.properties.items() if values.ndim == 1}
    if strange := sorted(set(properties) - scalars):
        raise GeomaeError(
            f"QM9 has no scalar property '{strange[0]}'; it has: {', '.join(sorted(scalars))}"
        )
    return {name: data.properties[name][ids] for name in properties}


@torch.no_grad()
def _encode(model: Autoencoder, data: QM9, ids: Tensor) -> Tensor:
    """Latents in the model's precision; molecules of one size are encoded together."""
    from rich.progress import track

    order = ids[torch.argsort(data.offsets[ids + 1] - data.offsets[ids], stable=True)]
    where = torch.full((len(data),), -1)
    where[ids] = torch.arange(len(ids))
    latents = torch.empty(len(ids), *model.encoder.latent_shape)
    for part in track(order.split(ENCODED_TOGETHER), "encoding QM9", transient=True):
        atoms = segments(data.offsets, part)
        batch = torch.repeat_interleave(
            torch.arange(len(part)), data.offsets[part + 1] - data.offsets[part]
        )
        tree = model.encoder.grow(data.numbers[atoms].long(), data.positions[atoms], batch)
        latents[where[part]] = model.encoder(tree.to(model.dtype)).float()
    return latents
