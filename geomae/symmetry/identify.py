"""From operations that are nearly a group to the exact one: which it is, how it stands."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.symmetry.errors import GroupError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.standard import locate, standard_operations

Preference = Callable[[Float[Tensor, "3 3"]], float]
"""How well a frame suits what has the symmetry; larger is better."""


def identify(
    operations: Float[Tensor, "g 3 3"],
    *,
    near: Float[Tensor, "3 3"] | None = None,
    prefer: Preference | None = None,
) -> PointGroup:
    """The point group of operations, made exact.

    Where several frames fit (which of two sets of C2' is on x, say), it is `near` if that is one
    of them; else that which `prefer` rates highest; among equals the one with the least rotation
    from `near`.

    Args:
        operations: all of them, each off by less than half of what separates two of them.
        near: a frame, the identity by default.
        prefer: rates frames.

    Raises:
        GroupError: they are not, even nearly, a group.
    """
    near = torch.eye(3, dtype=torch.float64) if near is None else near
    u, _, v = torch.linalg.svd(operations)
    operations = u @ v
    name = name_of(operations)
    fitted = [_fitted(name, frame, operations) for frame in _frames(name, operations, near)]
    frames = [frame for frame in fitted if frame is not None]
    if not frames:
        raise GroupError(f"{len(operations)} operations that look like {name} are not that group")
    turns = torch.stack([(near.T @ frame).diagonal().sum() for frame in frames])
    if turns.max() > 3 - 1e-4:
        frame = _moved(name, frames[int(turns.argmax())], operations)
        return PointGroup.named(name, _settled(frame, near))
    score = torch.tensor([prefer(frame) if prefer else 0.0 for frame in frames]).double()
    best = (score > score.max() - 1e-6) & (turns > turns[score > score.max() - 1e-6].max() - 1e-6)
    frame = frames[int(best.to(torch.int8).argmax())]
    return PointGroup.named(name, _moved(name, frame, operations))


def _settled(frame: Tensor, near: Tensor) -> Tensor:
    """The frame, or `near` where it is that one up to rounding."""
    return near.clone() if (frame - near).abs().max() < 1e-9 else frame


def name_of(operations: Float[Tensor, "g 3 3"]) -> str:
    """Schoenflies symbol of a finite group, from the kinds and axes of its operations."""
    proper = torch.linalg.det(operations) > 0
    rotations, rest = operations[proper], operations[~proper]
    g, inverted = len(rotations), bool(_has_inversion(rest))
    axes = axes_with_orders(rotations)
    high = [order for _, order in axes if order > 2]
    if len(high) > 1:
        letter = "I" if max(high) == 5 else "O" if max(high) == 4 else "T"
        suffix = "" if not len(rest) else "h" if inverted or letter != "T" else "d"
        return letter + suffix
    if g == 1:
        return "C1" if not len(rest) else "Ci" if inverted else "Cs"
    n = max(order for _, order in axes)
    if g == 2 * n:
        return f"D{n}" + _dihedral_suffix(rest, axes, n)
    if not len(rest):
        return f"C{n}"
    axis = max(axes, key=lambda item: item[1])[0]
    along = torch.einsum("i,gij,j->g", axis, rest, axis)
    if bool((along > 0.5).any()):
        return f"C{n}v"
    mirror = rest.diagonal(dim1=1, dim2=2).sum(1) > 1 - 1e-2
    return f"C{n}h" if bool(mirror.any()) else f"S{2 * n}"


def _has_inversion(operations: Tensor) -> bool:
    traces = operations.diagonal(dim1=1, dim2=2).sum(1)
    return bool((traces < -3 + 1e-2).any())


def _dihedral_suffix(rest: Tensor, axes: list, n: int) -> str:
    if not len(rest):
        return ""
    mirrors = rest[rest.diagonal(dim1=1, dim2=2).sum(1) > 1 - 1e-2]
    for axis, order in axes:
        if order == n and bool((torch.einsum("i,gij,j->g", axis, mirrors, axis) < -0.9).any()):
            return "h"
    return "d"


def axes_with_orders(rotations: Float[Tensor, "g 3 3"]) -> list[tuple[Tensor, int]]:
    """Axes of rotations, as unit vectors, and how many rotations, the identity too, have each."""
    found: list[tuple[Tensor, int]] = []
    traces = rotations.diagonal(dim1=1, dim2=2).sum(1)
    turning = rotations[torch.arange(len(rotations)) != traces.argmax()]
    axes = _axes(turning)
    left = torch.ones(len(axes), dtype=torch.bool)
    gap = _least_gap(axes)
    while left.any():
        first = axes[int(left.to(torch.int8).argmax())]
        same = left & ((axes @ first).abs() > gap)
        aligned = axes[same] * (axes[same] @ first).sign()[:, None]
        mean = aligned.mean(0)
        found.append((mean / mean.norm(), int(same.sum()) + 1))
        left &= ~same
    return found


def _least_gap(axes: Tensor) -> float:
    """Cosine above which axes are one: half the angle at which a group of that size has two."""
    angle = torch.pi / max(4, len(axes) + 1) / 2
    return float(torch.cos(torch.tensor(angle)))


def _axes(rotations: Tensor) -> Tensor:
    """Axis of each rotation: the eigenvector of its symmetric part with the largest projection."""
    if not len(rotations):
        return rotations.new_zeros(0, 3)
    # R + R^T - (tr R - 1) I = 2 (1 - cos) n n^T: exact, for half turns as well
    trace = rotations.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    outer = rotations + rotations.transpose(1, 2) - (trace - 1) * torch.eye(3).to(rotations)
    return torch.linalg.eigh(outer).eigenvectors[:, :, -1]


def _frames(name: str, operations: Tensor, near: Tensor) -> Iterator[Tensor]:
    """Frames in which the operations may be a group's standard ones, several where they differ."""
    proper = torch.linalg.det(operations) > 0
    axes = axes_with_orders(operations[proper])
    if name in ("C1", "Ci"):
        yield near
    elif name == "Cs":
        normal = _axes(-operations[~proper])[0]
        yield from _with_any_x(normal, near)
    elif name[0] in "TOI":
        yield from _polyhedral_frames(name, axes)
    else:
        yield from _axial_frames(name, operations, axes, near)


def _axial_frames(name: str, operations: Tensor, axes: list, near: Tensor) -> Iterator[Tensor]:
    n = max(order for _, order in axes)
    for z in (axis for axis, order in axes if order == n):
        normal = [axis for axis, order in axes if order == 2 and abs(float(axis @ z)) < 0.1]
        if name.endswith("v"):
            mirrors = operations[operations.diagonal(dim1=1, dim2=2).sum(1) > 1 - 1e-2]
            mirrors = mirrors[torch.linalg.det(mirrors) < 0]
            normal = [torch.linalg.cross(_axes(-m[None])[0], z) for m in mirrors]
        if name[0] == "D" or name.endswith("v"):
            for x in normal:
                for sign in (1, -1):
                    for end in (1, -1):
                        yield _frame(sign * x, end * z)
        else:
            yield from _with_any_x(z, near)


def _with_any_x(z: Tensor, near: Tensor) -> Iterator[Tensor]:
    """Frames with a given z, which one does not matter: those turned least from `near`."""
    for end in (z, -z):
        local = near.T @ end
        if local[2] < -1 + 1e-12:
            yield near @ torch.diag(torch.tensor([1.0, -1.0, -1.0]).double())
            continue
        # the shortest rotation that brings z of `near` to the axis
        v = torch.stack([-local[1], local[0], torch.zeros_like(local[0])])
        cross = torch.zeros(3, 3, dtype=torch.float64)
        cross[0, 1], cross[0, 2], cross[1, 0] = -v[2], v[1], v[2]
        cross[1, 2], cross[2, 0], cross[2, 1] = -v[0], -v[1], v[0]
        yield near @ (torch.eye(3).double() + cross + cross @ cross / (1 + local[2]))


def _polyhedral_frames(name: str, axes: list) -> Iterator[Tensor]:
    order = {"T": 2, "O": 4, "I": 2}[name[0]]
    special = [axis for axis, n in axes if n == order]
    threes = [(z, x) for z in special for x in special if abs(float(x @ z)) < 0.1]
    for z, x in threes:
        for sign in (1, -1):
            for end in (1, -1):
                yield _frame(sign * x, end * z)


def _frame(x: Tensor, z: Tensor) -> Tensor:
    x = x - (x @ z) * z
    x = x / x.norm()
    return torch.stack([x, torch.linalg.cross(z, x), z], 1)


def _fitted(name: str, frame: Tensor, operations: Tensor) -> Tensor | None:
    """The frame moved to where the operations are the standard ones as nearly as can be; None if
    they are not.
    """
    standard = standard_operations(name)
    if len(standard) != len(operations):
        return None
    number, gaps = locate(frame.T @ operations @ frame, standard)
    if gaps.max() > _separation(name) / 4 or len(torch.unique(number)) < len(number):
        return None
    return _moved(name, frame, operations)


def _moved(name: str, frame: Tensor, operations: Tensor) -> Tensor:
    """The frame in which the operations are nearest to the standard ones: the mean of what carries
    one group to the other, which commutes with all.
    """
    standard = standard_operations(name)
    number, _ = locate(frame.T @ operations @ frame, standard)
    u, _, v = torch.linalg.svd((operations @ frame @ standard[number].transpose(1, 2)).mean(0))
    return u @ v


@lru_cache(maxsize=256)
def _separation(name: str) -> float:
    """Least distance between two operations."""
    operations = standard_operations(name)
    if len(operations) == 1:
        return 1.0
    gaps = torch.cdist(operations.flatten(1), operations.flatten(1))
    return float(gaps.fill_diagonal_(torch.inf).min())


def with_axis(name: str, axis: Float[Tensor, "3"]) -> PointGroup:
    """An axial group with its principal axis along a vector, turned least from the input's axes."""
    frames = list(_with_any_x(axis / axis.norm(), torch.eye(3, dtype=torch.float64)))
    frame = frames[0] if _trace(frames[0]) >= _trace(frames[1]) else frames[1]
    return PointGroup.named(name, frame)


def _trace(matrix: Tensor) -> float:
    return float(matrix.diagonal().sum())
