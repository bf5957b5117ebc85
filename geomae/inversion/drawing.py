"""Pictures of an inversion: the signals of a structure, their peaks, and the structures found."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from geomae.data.structure import Structure
from geomae.equivariant import spherical_harmonics
from geomae.inversion.descriptors.base import Descriptor
from geomae.sphere import find_peaks

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d.axes3d import Axes3D

LMAX = 8

SHOWN = 0.3
"""Height of a peak that is drawn, of the highest."""


def signal_of(
    structure: Structure, descriptor: Descriptor, *, lmax: int = LMAX
) -> Float[Tensor, " m"]:
    """The atoms about the centre as one signal on the sphere: a peak towards each.

    Atoms within 0.3 Å of the centre have no direction, and are left out.
    """
    place = structure.positions.double()
    if descriptor.centre == "centroid":
        place = place - place.mean(0)
    away = place[place.norm(dim=1) > 0.3]
    return spherical_harmonics(lmax, away).sum(0)


def draw_peaks(ax: "Axes3D", signal: Float[Tensor, " m"]) -> "Axes3D":
    """A signal, and a pin in each of its peaks."""
    from geomae.plotting import draw_signal

    draw_signal(ax, signal)
    peaks = find_peaks(signal[None])
    high = peaks.values > SHOWN * peaks.values.max() if len(peaks) else peaks.values > 0
    for direction, value in zip(peaks.directions[high], peaks.values[high], strict=True):
        foot, head = (float(value) * direction).tolist(), (1.2 * float(value) * direction).tolist()
        ax.plot(*zip(foot, head, strict=True), color="black", linewidth=1)
        ax.plot(*([x] for x in head), "o", color="black", markersize=4)
    return ax


def save_route(path: str | Path, structures: Sequence[Structure], descriptor: Descriptor) -> None:
    """A row for each structure: its signal with peaks, and its atoms.

    Args:
        path: of the picture.
        structures: solutions of an inversion.
        descriptor: about whose centre they are drawn.
    """
    from matplotlib.figure import Figure

    from geomae.plotting import draw_structure

    figure = Figure(figsize=(7, 3.4 * len(structures)), layout="constrained")
    for row, structure in enumerate(structures):
        left, right = (
            figure.add_subplot(len(structures), 2, 2 * row + k + 1, projection="3d") for k in (0, 1)
        )
        if bool((structure.positions.norm(dim=1) > 0.3).any()):
            draw_peaks(left, signal_of(structure, descriptor))
        draw_structure(right, structure)
        left.set_title("signal about the centre, peaks")
        right.set_title(f"{structure.formula}, residual {float(structure.residual):.0e}")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
