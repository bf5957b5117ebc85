"""What commands write and print."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from geomae.data import to_ase
from geomae.data.cache import replacing
from geomae.data.structure import Structure
from geomae.metrics.evaluation import Reconstruction

SHARES = ("composition_accuracy", "reconstructed", "exact", "certified", "valid", "overlaid")
"""Figures that are printed in per cent, beside matches and space groups."""

CERTIFICATES = tuple(
    [f"n_{flag}_{word}" for flag in ("certified", "uncertified") for word in ("right", "wrong")]
    + [f"residual_{kind}" for kind in ("right_median", "right_highest")]
    + [f"residual_{kind}" for kind in ("wrong_lowest", "wrong_median")]
)
"""Figures that are printed in a table of their own."""


def write_json(path: Path, content: dict) -> None:
    """Write plain numbers and strings; the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def write_xyz(path: Path, structures: Sequence[Structure]) -> None:
    """Write structures to one extended .xyz file, with confidence, residual and certificate."""
    from ase.io import write

    frames = [to_ase(structure) for structure in structures]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        write(temporary, frames, format="extxyz")


def print_summary(title: str, summary: dict) -> None:
    """The figures of a reconstruction as a table."""
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in summary.items():
        if name not in CERTIFICATES:
            table.add_row(name, _readable(name, value))
    Console().print(table)
    if "n_certified_right" in summary:
        _print_certificates(summary)


def _print_certificates(summary: dict) -> None:
    """Right and wrong decodings against certified and doubtful ones, with their residuals."""
    table = Table()
    for column in ("", "certified", "doubtful", "median residual", "its end"):
        table.add_column(column, justify="right" if column else "left")
    for word, end in (("right", "highest"), ("wrong", "lowest")):
        counts = [str(summary[f"n_{flag}_{word}"]) for flag in ("certified", "uncertified")]
        median = summary.get(f"residual_{word}_median")
        if median is None:
            table.add_row(word, *counts, "-", "-")
            continue
        limit = summary[f"residual_{word}_{end}"]
        table.add_row(word, *counts, f"{median:.2g}", f"{end} {limit:.2g}")
    Console().print(table)


def _readable(name: str, value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if name in SHARES or name.startswith(("match (", "space group kept")):
        return f"{100 * value:.3f} %"
    unit = " Å" if name in ("rmsd", "max_error", "median_error") else ""
    return f"{value:.3g}{unit}"


def print_reconstructions(items: Sequence[Reconstruction], most: int = 200) -> None:
    """One line a structure."""
    columns = ("structure", "formula", "decoded", "RMSD / Å", "residual", "certificate")
    print_lines(columns, [_row(item) for item in items], most)


def print_lines(columns: Sequence[str], rows: Sequence[Sequence[str]], most: int) -> None:
    """A table of at most so many rows; RMSD and residual stand to the right."""
    table = Table()
    for column in columns:
        table.add_column(column, justify="right" if column in ("RMSD / Å", "residual") else "left")
    for row in rows[:most]:
        table.add_row(*row)
    Console().print(table)
    if len(rows) > most:
        Console().print(f"... and {len(rows) - most} more")


def _row(item: Reconstruction) -> tuple[str, ...]:
    name = label_of(item.original)
    if item.decoded is None or item.comparison is None:
        return name, item.original.formula, "-", "-", "-", f"[dim]refused: {item.message}[/dim]"
    rmsd = f"{item.comparison.rmsd:.1e}" if item.comparison.composition else "-"
    verdict = "[green]certified[/green]" if item.certified else "[yellow]doubtful[/yellow]"
    return (
        name,
        item.original.formula,
        item.decoded.formula,
        rmsd,
        f"{item.residual:.1e}",
        verdict,
    )


def label_of(structure: Structure) -> str:
    """The name of a structure, or where it came from, or its formula."""
    return str(structure.get("name") or structure.get("source") or structure.formula)
