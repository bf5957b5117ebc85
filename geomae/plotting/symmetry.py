"""Pictures of what symmetry allows: tensors as matrices, signals on the sphere, moves of atoms."""

from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from geomae.data.structure import Structure
from geomae.errors import MissingExtraError
from geomae.plotting.signals import INK, draw_signal, draw_structure
from geomae.symmetry.allowed import Allowed
from geomae.symmetry.errors import PropertyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Pairs of indices in Voigt's order."""

MOST = 12
"""Panels in a picture; more independent components are cut off, and that is said."""


def draw_allowed(result: Allowed, *, structure: Structure | None = None) -> "Figure":
    """One panel for each independent component.

    Tensors of rank 1 to 4 are matrices, of rank 3 and 4 with Voigt's pairs of indices where these
    are symmetric; blocks between orbitals are matrices; other irreps are signals on the sphere
    whose value is the radius (those of unnatural parity are marked "pseudo"); displacements and
    vibrations are arrows on the atoms.

    Args:
        result: of `geomae.symmetry.allowed`.
        structure: to draw displacements and vibrations on.

    Raises:
        PropertyError: displacements without a structure.
        MissingExtraError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "viz") from error
    count = min(max(result.n_components, 1), MOST)
    columns = min(count, 4)
    rows = ceil(count / columns)
    figure = Figure(figsize=(3.1 * columns, _height(result) * rows + 0.6), layout="constrained")
    figure.suptitle(_title(result), fontsize=11, color=INK)
    if result.forbidden:
        _forbidden(figure)
    for k in range(min(result.n_components, MOST)):
        _panel(figure, (rows, columns, k + 1), result, k, structure)
    return figure


def save_allowed(path: str | Path, result: Allowed, *, structure: Structure | None = None) -> None:
    """Write the picture that `draw_allowed` makes; the name's ending gives the format."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_allowed(result, structure=structure).savefig(path, dpi=150)


def _height(result: Allowed) -> float:
    """Of a panel, in inches: matrices with few rows are not given the room of square ones."""
    basis = result.cartesian_basis
    if result.irreps is None or basis is None or basis.ndim < 3 or not len(basis):
        return 3.1
    matrix = as_matrix(basis[0])[0]
    return max(1.2, 0.5 + 2.6 * matrix.shape[0] / max(matrix.shape))


def _title(result: Allowed) -> str:
    group = f"{result.group.name} ({result.group.hermann_mauguin})"
    cut = f", the first {MOST} shown" if result.n_components > MOST else ""
    return f"{result.name} in {group}: {result.n_components} independent{cut}"


def _forbidden(figure: "Figure") -> None:
    ax = figure.add_subplot()
    ax.set_axis_off()
    ax.text(0.5, 0.5, "zero by symmetry", ha="center", va="center", color=INK, fontsize=14)


def _panel(figure: "Figure", place: tuple, result: Allowed, k: int, structure) -> None:
    if result.irreps is None or result.basis.ndim == 3:
        if result.basis.shape[-1] != 3:
            raise PropertyError(f"there is no picture of {result.name}: expected vectors")
        if structure is None:
            raise PropertyError(f"a picture of {result.name} needs the structure")
        _draw_moves(figure.add_subplot(*place, projection="3d"), result, k, structure)
    elif result.block_basis is not None:
        _draw_matrix(figure.add_subplot(*place), result.block_basis[k], None, None)
    elif result.cartesian_basis is not None and result.cartesian_basis.ndim > 1:
        _draw_matrix(figure.add_subplot(*place), *as_matrix(result.cartesian_basis[k]))
    else:
        ax = figure.add_subplot(*place, projection="3d")
        signal, pseudo = as_signal(result, k)
        draw_signal(ax, signal)
        ax.set_title("pseudo" * pseudo, fontsize=9, color=INK)


def as_matrix(tensor: Tensor) -> tuple[Tensor, list[str], list[str]]:
    """A Cartesian tensor as a matrix, with names of its rows and columns.

    Pairs of indices that are symmetric are one index in Voigt's order, components as they are
    (no factors of two); other pairs are nine.
    """
    if tensor.ndim == 1:
        return tensor[:, None], list("xyz"), [""]
    if tensor.ndim == 2:
        return tensor, list("xyz"), list("xyz")
    last = _pairs(bool(torch.allclose(tensor, tensor.transpose(-1, -2), atol=1e-9)))
    columns = torch.stack([tensor[..., i, j] for i, j in last], -1)
    names = ["xyz"[i] + "xyz"[j] for i, j in last]
    if tensor.ndim == 3:
        return columns, list("xyz"), names
    first = _pairs(bool(torch.allclose(tensor, tensor.transpose(0, 1), atol=1e-9)))
    rows = torch.stack([columns[i, j] for i, j in first])
    return rows, ["xyz"[i] + "xyz"[j] for i, j in first], names


def _pairs(symmetric: bool) -> tuple[tuple[int, int], ...]:
    return VOIGT if symmetric else tuple((i, j) for i in range(3) for j in range(3))


def as_signal(result: Allowed, k: int) -> tuple[Tensor, bool]:
    """A row of the basis as a signal on the sphere, and whether a part has unnatural parity."""
    assert result.irreps is not None
    signal = torch.zeros((result.irreps.lmax + 1) ** 2, dtype=torch.float64)
    start, pseudo = 0, False
    for mul, ir in result.irreps:
        for _ in range(mul):
            own = result.basis[k, start : start + ir.dim]
            signal[ir.l**2 : (ir.l + 1) ** 2] += own
            pseudo |= ir.p != (-1) ** ir.l and bool(own.abs().max() > 1e-9)
            start += ir.dim
    return signal, pseudo


def _draw_matrix(ax, matrix: Tensor, rows: list[str] | None, columns: list[str] | None) -> None:
    values = matrix.numpy()
    top = max(float(np.abs(values).max()), 1e-12)
    ax.imshow(values, cmap="PuOr", vmin=-top, vmax=top)
    for (i, j), value in np.ndenumerate(values):
        if abs(value) > 1e-9:
            colour = "white" if abs(value) > 0.6 * top else INK
            ax.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize=7, color=colour)
    for axis, names in ((ax.yaxis, rows), (ax.xaxis, columns)):
        axis.set_ticks([] if names is None else range(len(names)), labels=names or [])
    ax.tick_params(length=0, labelsize=8, colors=INK)
    for spine in ax.spines.values():
        spine.set_color("#c8d0d8")


def _draw_moves(ax, result: Allowed, k: int, structure: Structure) -> None:
    draw_structure(ax, structure)
    moves = result.basis[k].numpy()
    scale = 0.9 / max(float(np.linalg.norm(moves, axis=1).max()), 1e-12)
    points = structure.positions.detach().numpy()
    ends = points + scale * moves
    ax.quiver(*points.T, *(scale * moves).T, color="#d1540d", linewidth=1.8)
    for axis, low, high in zip("xyz", ends.min(0), ends.max(0), strict=True):
        start, stop = getattr(ax, f"get_{axis}lim")()
        ax.set(**{f"{axis}lim": (min(start, low), max(stop, high))})
    ax.set_aspect("equal")
    ax.set_title(result.labels[k] if result.labels else "", fontsize=9, color=INK)
