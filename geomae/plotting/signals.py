"""Still pictures with Matplotlib: spherical signals, levels of a pooling hierarchy, structures."""

from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geomae.data.structure import Structure
from geomae.equivariant import spherical_harmonics
from geomae.errors import GeomaeError, MissingExtraError
from geomae.plotting.drawing import ball_radii, bonds_of, element_colours
from geomae.pooling.tree import Tree

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mpl_toolkits.mplot3d.axes3d import Axes3D

POSITIVE, NEGATIVE = (0.10, 0.34, 0.86), (0.85, 0.33, 0.05)
"""Colours of a signal where it is above and below zero."""

INK = "#3d4a5a"


def draw_signal(
    ax: "Axes3D | None", coefficients: Float[Tensor, " components"], *, resolution: int = 60
) -> "Axes3D":
    """A spherical signal as a surface: its value is the radius, its sign the colour.

    Blue is positive, orange negative; a place where the signal is zero lies at the origin.

    Args:
        ax: 3D axes to draw on; None makes a figure for it.
        coefficients: `(lmax + 1)^2` of them, e3nn's order, 'component' normalisation.
        resolution: points from pole to pole; twice as many around.

    Raises:
        GeomaeError: the number of coefficients is not a square.
        MissingExtraError: Matplotlib is not installed.
    """
    points, values = signal_surface(coefficients, resolution)
    ax = ax or new_axes()
    colours = np.where(values[..., None] >= 0, POSITIVE, NEGATIVE)
    ax.plot_surface(
        *points.transpose(2, 0, 1),
        facecolors=colours,
        rstride=1,
        cstride=1,
        linewidth=0,
        shade=True,
    )
    return _frame(ax, points.reshape(-1, 3))


def signal_surface(
    coefficients: Float[Tensor, " components"], resolution: int
) -> tuple[Float[np.ndarray, "polar around 3"], Float[np.ndarray, "polar around"]]:
    """Points at the distance |value| from the origin in every direction, and the values.

    Raises:
        GeomaeError: the number of coefficients is not a square.
    """
    lmax = isqrt(len(coefficients)) - 1
    if lmax < 0 or (lmax + 1) ** 2 != len(coefficients):
        raise GeomaeError(f"a signal has (lmax + 1)^2 coefficients, got {len(coefficients)}")
    polar = torch.linspace(0, torch.pi, resolution, dtype=torch.float64)[:, None]
    around = torch.linspace(0, 2 * torch.pi, 2 * resolution, dtype=torch.float64)
    parts = polar.sin() * around.cos(), polar.sin() * around.sin(), polar.cos()
    directions = torch.stack(torch.broadcast_tensors(*parts), dim=-1)
    values = spherical_harmonics(lmax, directions) @ coefficients.detach().cpu().double()
    return (values.abs()[..., None] * directions).numpy(), values.numpy()


def draw_levels(ax: "Axes3D | None", tree: Tree, *, structure: int = 0) -> "Axes3D":
    """Points of every level of one structure's hierarchy, with lines from members to points.

    Atoms have their elements' colours; the points above grow from level to level.

    Args:
        ax: 3D axes to draw on; None makes a figure for it.
        tree: of one structure or more.
        structure: which of them.

    Raises:
        GeomaeError: there is no such structure in the tree.
        MissingExtraError: Matplotlib is not installed.
    """
    if not 0 <= structure < tree.n_structures:
        raise GeomaeError(f"tree has {tree.n_structures} structures, got number {structure}")
    ax = ax or new_axes()
    from matplotlib import colormaps

    one = tree.to("cpu").select(torch.tensor([structure]))
    levels = [positions.detach().double().numpy() for positions in one.positions]
    shades = colormaps["viridis"](np.linspace(0.15, 0.75, max(len(levels) - 1, 1)))
    for level, points in enumerate(levels):
        colours = element_colours()[one.numbers.numpy()] if level == 0 else [shades[level - 1]]
        name = "atoms" if level == 0 else f"level {level}"
        ax.scatter(
            *points.T, s=70 + 60 * level, c=colours, edgecolors=INK, depthshade=False, label=name,
            alpha=1 if level == 0 else 0.75,
        )  # fmt: skip
    for level, (member, point) in enumerate(m.numpy() for m in one.memberships):
        _lines(ax, levels[level][member], levels[level + 1][point], shades[level])
    ax.legend(frameon=False, loc="upper left")
    return _frame(ax, np.concatenate(levels))


def draw_structure(ax: "Axes3D | None", structure: Structure) -> "Axes3D":
    """Balls and sticks: CPK colours, sizes by covalent radii, and the unit cell of a crystal.

    Args:
        ax: 3D axes to draw on; None makes a figure for it.
        structure: with at least one atom.

    Raises:
        GeomaeError: there are no atoms.
        MissingExtraError: Matplotlib is not installed.
    """
    if not structure.n_atoms:
        raise GeomaeError("a structure without atoms can't be drawn")
    ax = ax or new_axes()
    numbers, points = structure.numbers.numpy(), structure.positions.detach().numpy()
    for a, b, order in bonds_of(structure):
        _lines(ax, points[[a]], points[[b]], INK, width=1.0 + 1.5 * order)
    extent = [points]
    cell = structure.get("cell")
    if cell is not None:
        starts, ends = _cell_edges(cell[0].numpy())
        _lines(ax, starts, ends, INK, width=1.0)
        extent += [starts, ends]
    corners = np.concatenate(extent)
    scale = 150 / max(np.ptp(corners, axis=0).max(), 3.0)
    ax.scatter(
        *points.T, s=(2 * scale * ball_radii(numbers)) ** 2, c=element_colours()[numbers],
        edgecolors=INK, depthshade=False, alpha=1,
    )  # fmt: skip
    return _frame(ax, corners)


def save_signal(path: str | Path, coefficients: Float[Tensor, " components"]) -> None:
    """Write the picture that `draw_signal` makes; the name's ending gives the format."""
    _save(draw_signal(None, coefficients), path)


def save_levels(path: str | Path, tree: Tree, *, structure: int = 0) -> None:
    """Write the picture that `draw_levels` makes; the name's ending gives the format."""
    _save(draw_levels(None, tree, structure=structure), path)


def save_structure(path: str | Path, structure: Structure) -> None:
    """Write the picture that `draw_structure` makes; the name's ending gives the format."""
    _save(draw_structure(None, structure), path)


def new_axes() -> "Axes3D":
    """3D axes on a figure of their own.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    return new_figure((5.0, 5.0)).add_subplot(projection="3d")


def new_figure(size: tuple[float, float]) -> "Figure":
    """A figure, of a size in inches, which no window or global state knows.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "viz") from error
    return Figure(figsize=size, layout="constrained")


def _save(ax: "Axes3D", path: str | Path) -> None:
    save_figure(ax.figure, path)


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure; the name's ending gives the format."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _lines(ax: "Axes3D", starts: np.ndarray, ends: np.ndarray, colour, width: float = 1.5) -> None:
    """Straight lines between points of `[n, 3]`, as one artist."""
    from mpl_toolkits.mplot3d.art3d import Line3DCollection

    ax.add_collection3d(
        Line3DCollection(np.stack([starts, ends], 1), colors=[colour], linewidths=width, zorder=0)
    )


def _cell_edges(cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both ends, `[12, 3]`, of a cell's edges."""
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(-1, 3)
    pairs = [(a, a + step) for step in np.eye(3, dtype=int) for a in corners if not a @ step]
    starts, ends = (np.array(side) @ cell for side in zip(*pairs, strict=True))
    return starts, ends


def _frame(ax: "Axes3D", points: np.ndarray) -> "Axes3D":
    """Equal scales around all points, and nothing else on the axes."""
    low, high = points.min(0), points.max(0)
    centre = (low + high) / 2
    half = max(np.linalg.norm(points - centre, axis=1).max(), 1e-6)
    ax.set(**{f"{k}lim": (c - half, c + half) for k, c in zip("xyz", centre, strict=True)})
    ax.set_box_aspect((1, 1, 1), zoom=1.5)
    ax.set_axis_off()
    return ax
