"""From and to e3nn's flat layout: features of any irreps at the core's border."""

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor, nn

from geomae.equivariant.layout import Layout
from geomae.errors import GeomaeError


class IrrepsError(GeomaeError):
    """Irreps can't be read, or don't fit the features they are meant for."""


def irreps_of(layout: Layout, channels: int) -> o3.Irreps:
    """Irreps of features of a layout, multiplet by multiplet in its order.

    With one parity and degree 1 that is `8x0e + 8x1o`; with both, even ones come first:
    `8x0e + 8x1e + 8x0o + 8x1o`.
    """
    degrees = range(layout.lmax + 1)
    if layout.parity:
        kinds = [f"{degree}{sign}" for sign in "eo" for degree in degrees]
    else:
        kinds = [f"{degree}{'eo'[degree % 2]}" for degree in degrees]
    return read_irreps(" + ".join(f"{channels}x{kind}" for kind in kinds))


def to_flat(
    features: Float[Tensor, "n *parity m c"], irreps: str | o3.Irreps, *, parity: bool = False
) -> Float[Tensor, "n flat"]:
    """Features in e3nn's flat layout, each multiplet from the first channels of its degree.

    Where a kind of irrep comes up several times, as in `2x0e + 1x1o + 3x0e`, later ones go on
    with the channels after those already taken.

    Args:
        features: of the degrees 0 to lmax, as many as they have components.
        irreps: what to read, up to as many of each kind as there are channels.
        parity: features have both parities, `[n, 2, components, channels]`.

    Raises:
        IrrepsError: if irreps have degrees, parities or multiplicities that features lack.
    """
    layout = Layout(round(features.shape[-2] ** 0.5) - 1, parity)
    blocks = layout.split(features)
    parts, taken = [], [0] * layout.multiplets
    for mul, number in multiplets_of(irreps, layout):
        start, taken[number] = taken[number], taken[number] + mul
        parts.append(blocks[number][..., start : start + mul].transpose(1, 2).flatten(1))
    _check_channels(irreps, taken, features.shape[-1])
    return torch.cat(parts, 1) if parts else features.new_zeros(features.shape[0], 0)


def from_flat(
    flat: Float[Tensor, "n flat"],
    irreps: str | o3.Irreps,
    *,
    lmax: int | None = None,
    channels: int | None = None,
    parity: bool = False,
) -> Float[Tensor, "n *parity m c"]:
    """Features from e3nn's flat layout: the inverse of `to_flat`, channels left over being zero.

    Args:
        flat: values in the irreps' order, each multiplet's components together.
        irreps: of the values, with any multiplicities.
        lmax: highest degree of the result; that of the irreps by default.
        channels: channels of the result; the largest number of multiplets of a kind by default.
        parity: give the result an axis for both parities; without it, only natural parity,
            (-1)^l, has a place.

    Raises:
        IrrepsError: if the values or the result have no room for the irreps.
    """
    layout = Layout(lmax_of(irreps) if lmax is None else lmax, parity)
    blocks = gather(flat, irreps, layout)
    widths = [block.shape[2] for block in blocks]
    channels = max(widths, default=0) if channels is None else channels
    _check_channels(irreps, widths, channels)
    padded = [nn.functional.pad(block, (0, channels - block.shape[2])) for block in blocks]
    return layout.unflatten(torch.cat(padded, 1))


def read_irreps(irreps: str | o3.Irreps) -> o3.Irreps:
    """Irreps from a string such as `4x0e + 1x1o`.

    Raises:
        IrrepsError: if the string can't be read.
    """
    try:
        return o3.Irreps(irreps)  # pyright: ignore[reportReturnType]
    except (ValueError, AssertionError, TypeError) as error:
        raise IrrepsError(f"can't read irreps {irreps!r}, expected '4x0e + 1x1o', say") from error


def lmax_of(irreps: str | o3.Irreps) -> int:
    """Highest degree; 0 if there are none."""
    return max((ir.l for mul, ir in read_irreps(irreps) if mul), default=0)


def multiplets_of(irreps: str | o3.Irreps, layout: Layout) -> list[tuple[int, int]]:
    """Multiplicity of each part of the irreps, and number of its multiplet in the layout."""
    result = []
    for mul, ir in read_irreps(irreps):
        if ir.l > layout.lmax:
            raise IrrepsError(f"{mul}x{ir} of {irreps} exceeds the highest degree {layout.lmax}")
        if not layout.parity and ir.p != (-1) ** ir.l:
            raise IrrepsError(
                f"{mul}x{ir} of {irreps} has no natural parity, (-1)^l: it needs features with "
                f"both parities (parity=True)"
            )
        result.append((mul, layout.multiplet(ir.l, int(layout.parity and ir.p < 0))))
    return result


def gather(flat: Tensor, irreps: str | o3.Irreps, layout: Layout) -> list[Tensor]:
    """Values of each multiplet of the layout, `[n, 2l + 1, multiplicity]`, which may be 0."""
    irreps = read_irreps(irreps)
    if flat.ndim != 2 or flat.shape[1] != irreps.dim:
        raise IrrepsError(
            f"expected values [points, {irreps.dim}] for {irreps}, got {list(flat.shape)}"
        )
    found: list[list[Tensor]] = [[] for _ in range(layout.multiplets)]
    parts = flat.split([mul * ir.dim for mul, ir in irreps], 1)
    for part, (mul, number) in zip(parts, multiplets_of(irreps, layout), strict=True):
        block = part.reshape(len(flat), mul, layout.sizes[number])
        found[number].append(block.transpose(1, 2))
    return [
        torch.cat(blocks, 2) if blocks else flat.new_zeros(len(flat), size, 0)
        for blocks, size in zip(found, layout.sizes, strict=True)
    ]


def _check_channels(irreps: str | o3.Irreps, widths: list[int], channels: int) -> None:
    if max(widths, default=0) > channels:
        raise IrrepsError(
            f"{irreps} has up to {max(widths)} multiplets of a kind, but there are {channels} "
            f"channels"
        )
