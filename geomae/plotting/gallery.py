"""Molecules side by side."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.plotting.signals import draw_structure, new_figure, save_figure

TILT = 72
"""Elevation in degrees from which molecules are looked at; 90 is onto their flattest side."""

ROOM = 0.8
"""Å about the outermost atoms."""

FILLING = 1.62
"""Matplotlib's zoom at which a box seen from above fills its axes."""

TITLES = 0.35
"""Inches above the first row, of which the layout does not know."""


def save_gallery(
    path: str | Path, structures: Sequence[Structure], titles: Sequence[str], columns: int = 4
) -> None:
    """Write a picture of molecules in a grid, each as large as it fits, its longest axis across.

    Args:
        path: of the picture; the name's ending gives the format.
        structures: with at least one atom each.
        titles: above each.
        columns: of the grid.

    Raises:
        GeomaeError: a structure has no atoms.
        MissingExtraError: Matplotlib is not installed.
    """
    rows = -(-len(structures) // columns)
    height = 3.3 * rows
    figure = new_figure((3.0 * columns, height))
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - TITLES / height))
    for number, (structure, title) in enumerate(zip(structures, titles, strict=True)):
        ax = figure.add_subplot(rows, columns, number + 1, projection="3d")
        if not structure.n_atoms:
            raise GeomaeError("a structure without atoms can't be drawn")
        laid = Structure(structure.numbers, laid_out(structure.positions))
        draw_structure(ax, laid)
        half = float(laid.positions[:, :2].abs().max()) + ROOM
        ax.set(xlim=(-half, half), ylim=(-half, half), zlim=(-half, half))
        ax.set_proj_type("ortho")
        ax.set_box_aspect((1, 1, 1), zoom=FILLING)
        ax.view_init(TILT, -90)
        ax.set_title(title, fontsize=10)
    save_figure(figure, path)


def laid_out(positions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Positions about the middle of their extent, the longest principal axis along x, the shortest
    along z.
    """
    centred = positions - positions.mean(0)
    axes = torch.linalg.svd(centred, full_matrices=True)[2]
    turned = centred @ axes.T
    return turned - (turned.amax(0) + turned.amin(0)) / 2
