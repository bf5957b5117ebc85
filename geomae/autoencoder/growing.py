"""Weights of an autoencoder as the beginning of one for more elements, and of one more level."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.autoencoder.config import AutoencoderConfig
from geomae.data.elements import SYMBOLS
from geomae.equivariant.layout import Layout
from geomae.errors import GeomaeError

ALIKE = {5: 6, 14: 6, 15: 7, 16: 8, 17: 9, 35: 9, 53: 9}
"""Elements that begin as another one, but for some noise."""

STRANGE = 0.5
"""Size of that noise, in parts of the spread of what an element begins as."""

UNSEEN = -4.0
"""Logit that a new element, or a larger number of children than before, begins with."""


def grown(
    tensors: dict[str, Tensor],
    old: AutoencoderConfig,
    own: dict[str, Tensor],
    new: AutoencoderConfig,
    typical: Float[Tensor, "n m c"],
) -> dict[str, Tensor]:
    """Weights to begin with: those of a smaller model where it has them, else one's own.

    A model of one more level keeps what the other did with its one point at the level before its
    last, which must have the other's latent as its code.

    Args:
        tensors, old: of the smaller model.
        own, new: of the model that begins.
        typical: latents of the smaller model, for their mean and spread.

    Raises:
        GeomaeError: the other is no part of it; says what differs.
    """
    added = len(new.levels) - len(old.levels)
    missing = [SYMBOLS[z] for z in old.elements if z not in new.elements]
    if missing:
        raise GeomaeError(f"the model to start from has other elements: {', '.join(missing)}")
    if added not in (0, 1):
        raise GeomaeError(
            f"the model to start from has {len(old.levels)} levels; expected {len(new.levels)}, "
            "or one less"
        )
    given = dict(tensors)
    if added:
        _latent_as_code(given, len(old.levels), typical)
        given = {_renamed(name): value for name, value in given.items()}
    result = {name: value.clone() for name, value in own.items()}
    generator = torch.Generator().manual_seed(0)
    for name, value in given.items():
        if name.startswith("decoder.formula"):
            continue
        if name not in own:
            raise GeomaeError(f"the model to start from has {name}, which this one lacks")
        value = _enlarged(name, value, own[name], old, new, generator)
        if value.shape != own[name].shape:
            raise GeomaeError(
                f"{name} is {list(value.shape)} in the model to start from, "
                f"expected {list(own[name].shape)}"
            )
        result[name] = value.to(own[name])
    return result


def _latent_as_code(
    tensors: dict[str, Tensor], level: int, typical: Float[Tensor, "n m c"]
) -> None:
    """Make the latent a code of its level, with a mean of zero and a spread of one."""
    inward, outward = "encoder.narrow.linear", "decoder.widen.linear"
    if f"{inward}.weight" not in tensors:
        raise GeomaeError("the model to start from has no latent narrower than its last level")
    mean = typical[:, 0].mean(0)
    centred = typical.clone()
    centred[:, 0] -= mean
    layout = Layout(round(typical.shape[1] ** 0.5) - 1)
    size = (layout.mean_over_components.T.to(centred) @ centred.square().mean(0)).sqrt()
    weight, bias = tensors.pop(f"{inward}.weight"), tensors.pop(f"{inward}.bias")
    tensors[f"encoder.codes.{level}.linear.weight"] = weight / size[:, None]
    tensors[f"encoder.codes.{level}.linear.bias"] = (bias - mean) / size[0]
    weight, bias = tensors.pop(f"{outward}.weight"), tensors.pop(f"{outward}.bias")
    tensors["decoder.unpoolings.0.widen.linear.weight"] = weight * size[:, :, None]
    tensors["decoder.unpoolings.0.widen.linear.bias"] = bias + mean @ weight[0]


def _renamed(name: str) -> str:
    """The name in a model of one more level, which is taken apart first."""
    head = "decoder.unpoolings."
    if not name.startswith(head):
        return name
    number, _, rest = name.removeprefix(head).partition(".")
    return f"{head}{int(number) + 1}.{rest}"


def _enlarged(
    name: str,
    value: Tensor,
    own: Tensor,
    old: AutoencoderConfig,
    new: AutoencoderConfig,
    generator: torch.Generator,
) -> Tensor:
    """What depends on the elements or the largest number of children, for more of these."""
    places = torch.tensor([new.elements.index(z) for z in old.elements])
    if name in ("encoder.embedding.scale", "encoder.embedding.shift"):
        return _of_elements(value, places, new.elements, generator)
    if name == "encoder.embedding.mix.weight":
        by_element = value.unflatten(1, (-1, len(places))).permute(2, 0, 1, 3)
        more = _of_elements(by_element, places, new.elements, generator)
        return more.permute(1, 2, 0, 3).flatten(1, 2)
    last = name.startswith(f"decoder.unpoolings.{len(new.levels) - 1}.")
    kinds = len(new.elements) if last else 1
    places = places if last else torch.zeros(1, dtype=torch.long)
    if ".counter.mlp.3." in name:
        return _of_counts(value, places, kinds, len(own) // kinds)
    if last and ".field.mlp.4." in name:
        more = value.new_full(own.shape, UNSEEN if value.ndim == 1 else 0.0)
        more[places] = value
        return more
    return value


def _of_elements(
    rows: Float[Tensor, "old *rest"],
    places: Int[Tensor, " old"],
    elements: Sequence[int],
    generator: torch.Generator,
) -> Float[Tensor, "new *rest"]:
    """A row for every element: the old ones, and others like the one each is alike."""
    more = rows.new_zeros(len(elements), *rows.shape[1:])
    more[places] = rows
    for place, number in enumerate(elements):
        if place not in places.tolist():
            kin = elements.index(ALIKE.get(number, 6))
            noise = torch.randn(rows.shape[1:], generator=generator).to(rows)
            more[place] = more[kin] + STRANGE * rows.std(0) * noise
    return more


def _of_counts(
    rows: Float[Tensor, "old *rest"], places: Int[Tensor, " kinds"], kinds: int, counts: int
) -> Float[Tensor, "new *rest"]:
    """Rows of the logits of every kind's counts; of new kinds none is likeliest."""
    given = rows.unflatten(0, (len(places), -1))
    more = rows.new_zeros(kinds, counts, *rows.shape[1:])
    if rows.ndim == 1:
        more[:, 1:] = UNSEEN
    more[places, : given.shape[1]] = given
    return more.flatten(0, 1)
