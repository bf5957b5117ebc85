"""What the inversion benchmarks share: figures to a file, and success against size as a picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

Curve = Mapping[float, tuple[int, int]]
"""Successes and attempts at each size."""


def write_rows(path: str | None, rows: Sequence[Any]) -> None:
    """Dataclasses as a list of JSON; nothing where no path is given."""
    if path:
        listed = [asdict(row) for row in rows]
        Path(path).write_text(json.dumps(listed, indent=1) + "\n")


def read_rows(path: str | None, kind: type) -> list[Any]:
    """Dataclasses that `write_rows` wrote; none where there is no file."""
    if not path or not Path(path).exists():
        return []
    return [kind(**entry) for entry in json.loads(Path(path).read_text())]


def draw_success(
    path: str | None,
    panels: Mapping[str, Mapping[str, Curve]],
    *,
    sizes: str,
    legend: str | None = None,
) -> None:
    """Share of successes against size, a panel for each title and a line for each label.

    Args:
        path: of the picture; None draws nothing.
        panels: curves by label, by title.
        sizes: what the sizes are.
        legend: what the labels are.
    """
    if not path:
        return
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    width = max(3.2 * len(panels), 6.4)
    figure = Figure(figsize=(width, 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        for label, curve in curves.items():
            places = sorted(curve)
            shares = [100 * curve[n][0] / curve[n][1] for n in places]
            ax.plot(places, shares, "o-", markersize=3, label=label)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel(sizes)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_ylim(-3, 103)
        ax.legend(title=legend, frameon=False, fontsize=8)
    axes[0].set_ylabel("inverted to 1e-3 Å, %")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
