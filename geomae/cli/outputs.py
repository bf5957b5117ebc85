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
        table.add_row(name, _readable(name, value))
    Console().print(table)


def _readable(name: str, value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if name in ("composition_accuracy", "reconstructed", "exact", "certified"):
        return f"{100 * value:.3f} %"
    unit = " Å" if name in ("rmsd", "max_error", "median_error") else ""
    return f"{value:.3g}{unit}"


def print_reconstructions(items: Sequence[Reconstruction], most: int = 200) -> None:
    """One line a structure."""
    table = Table()
    for column, justify in (
        ("structure", "left"),
        ("formula", "left"),
        ("decoded", "left"),
        ("RMSD / Å", "right"),
        ("residual", "right"),
        ("certificate", "left"),
    ):
        table.add_column(column, justify=justify)
    for item in items[:most]:
        table.add_row(*_row(item))
    Console().print(table)
    if len(items) > most:
        Console().print(f"... and {len(items) - most} more")


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
