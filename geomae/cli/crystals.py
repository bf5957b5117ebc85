"""Crystals in `geomae evaluate` and `geomae reconstruct`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from geomae.cli.outputs import label_of, print_lines, print_summary, write_json, write_xyz
from geomae.data.structure import Structure
from geomae.errors import GeomaeError

if TYPE_CHECKING:
    from geomae.autoencoder import Codec
    from geomae.crystals.evaluation import CrystalReconstruction
    from geomae.crystals.model import CrystalAutoencoder
    from geomae.plotting.report import Pair

PATTERNS = 60
"""Crystals of a page that get powder patterns, the first."""

COLUMNS = ("structure", "formula", "decoded", "RMSD / Å", "residual", "space groups", "verdict")


def _reconstruct(
    network: "CrystalAutoencoder", structures: Sequence[Structure], refine: bool, workers: int
) -> tuple[list["CrystalReconstruction"], dict]:
    """Reconstructions, and how they were made."""
    import time

    from geomae.crystals.evaluation import reconstruct_crystals

    start = time.monotonic()
    items = reconstruct_crystals(network, structures, refine=refine, workers=workers, progress=True)
    seconds = time.monotonic() - start
    return items, {
        "seconds_per_structure": seconds / max(len(items), 1),
        "workers": workers,
        "refined": refine,
    }


def _figures(items: Sequence["CrystalReconstruction"]) -> dict:
    """Figures of reconstructions; a refused crystal is a miss."""
    from geomae.metrics.certificates import residual_ranges
    from geomae.metrics.crystals import summarise_crystals

    figures = summarise_crystals([i.comparison for i in items], [i.certified for i in items])
    right = [i.status == "matched" for i in items]
    return figures | residual_ranges(right, [i.residual for i in items])


def evaluate_crystals(
    network: "CrystalAutoencoder",
    structures: Sequence[Structure],
    about: dict[str, str],
    *,
    refine: bool,
    workers: int,
    json_file: Path | None,
    failures: Path | None,
) -> None:
    """Reconstruct crystals, print the figures, and write what was asked for.

    Shares are of all crystals, those that the model refuses included.

    Args:
        network: the model.
        structures: a split.
        about: names of the model, the source and the split.
        refine, workers: see `reconstruct_crystals`.
        json_file, failures: files for the figures, and for the page of what went wrong.
    """
    items, way = _reconstruct(network, structures, refine, workers)
    refused = sum(item.status == "refused" for item in items)
    summary = _figures(items) | {"n_refused": refused} | way | about
    wrong = [item for item in items if item.status != "matched"]
    what = f"{about['model']} on {about['source']}/{about['split']}"
    print_summary(what, summary)
    if wrong:
        print_crystals(wrong, most=40)
    if json_file:
        write_json(json_file, _finite(summary) | {"failures": [_failure(i) for i in wrong]})
    if failures:
        _write_page(failures, wrong, summary, f"what {about['model']} got wrong", [])


def reconstruct_to(
    network: "CrystalAutoencoder",
    structures: Sequence[Structure],
    skipped: list[str],
    output: Path,
    refine: bool,
    workers: int,
    title: str,
    symprec: float | None = None,
) -> None:
    """Reconstruct crystals, print, and write the structures, the figures and the page.

    Figures are of those that the model takes, as they were decoded; the others are named.

    Args:
        network: the model.
        structures: to reconstruct.
        skipped: lines on what was left out before.
        output: folder.
        refine, workers: see `reconstruct_crystals`.
        title: of the page.
        symprec: write structures that are symmetrised at this tolerance in Å.
    """
    from rich import print as show

    items, way = _reconstruct(network, structures, refine, workers)
    taken = [item for item in items if item.status != "refused"]
    refused = [item for item in items if item.status == "refused"]
    skipped = skipped + [f"{label_of(item.original)}: {item.message}" for item in refused]
    summary = _figures(taken) | way | {"n_skipped": len(skipped)}
    print_crystals(taken)
    print_summary(title, summary)
    for line in skipped:
        show(f"[yellow]skipped[/yellow] {line}")
    decoded = [_named(i) for i in taken if i.decoded is not None]
    write_xyz(output / "decoded.xyz", symmetrised(network, decoded, symprec))
    write_json(output / "metrics.json", _finite(summary) | {"skipped": skipped})
    _write_page(output / "report.html", taken, summary, title, skipped)
    show(f"structures, metrics.json and report.html are in {output}")


def symmetrised(
    network: "Codec", structures: Sequence[Structure], symprec: float | None
) -> list[Structure]:
    """Crystals whose symmetry at a tolerance is exact; says what they are and how far atoms moved.

    Args:
        network: the model that decoded them.
        structures: decoded.
        symprec: in Å; None leaves them as they are.

    Raises:
        GeomaeError: the model is one of molecules.
    """
    from rich import print as show

    from geomae.crystals.symmetry import symmetrise

    if symprec is None:
        return list(structures)
    if network.config.kind != "crystals":
        raise GeomaeError("--symmetrise is for models of crystals")
    made = []
    for structure in structures:
        found = symmetrise(structure, symprec=symprec)
        own = found.structure
        for name in ("name", "latent", "residual", "certified"):
            if structure.get(name) is not None:
                own[name] = structure[name]
        own.space_group, own.moved = found.number, found.moved
        show(f"[bold]{label_of(structure)}[/bold]: " + found.report().replace("\n", "; "))
        made.append(own)
    return made


def print_crystals(items: Sequence["CrystalReconstruction"], most: int = 200) -> None:
    """One line a crystal."""
    print_lines(COLUMNS, [_row(item) for item in items], most)


def _row(item: "CrystalReconstruction") -> tuple[str, ...]:
    name, formula = label_of(item.original), item.original.formula
    if item.comparison is None:
        return name, formula, "-", "-", "-", "-", f"[dim]refused: {item.message}[/dim]"
    if item.decoded is None:
        return name, formula, "-", "-", "-", "-", "[yellow]nothing drawn[/yellow]"
    overlay = item.comparison.overlay
    before, after = next(iter(item.comparison.space_groups.values()))
    return (
        name,
        formula,
        item.decoded.formula,
        f"{overlay.rmsd:.1e}" if overlay else "-",
        f"{item.residual:.1e}",
        f"{before}" if before == after else f"{before} -> {after}",
        "[green]certified[/green]" if item.certified else "[yellow]doubtful[/yellow]",
    )


def _failure(item: "CrystalReconstruction") -> dict:
    """One failure in plain words."""
    overlay = item.comparison.overlay if item.comparison else None
    return {
        "name": label_of(item.original),
        "formula": item.original.formula,
        "decoded": None if item.decoded is None else item.decoded.formula,
        "status": item.status,
        "message": item.message,
        "max_error": overlay.max_error if overlay else None,
        "residual": item.residual if math.isfinite(item.residual) else None,
    }


def _finite(summary: dict) -> dict:
    """Figures with None for those that JSON does not have."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in summary.items()
    }


def _named(item: "CrystalReconstruction") -> Structure:
    """The decoded crystal with the name of its original."""
    assert item.decoded is not None
    item.decoded.name = label_of(item.original)
    return item.decoded


def _write_page(
    path: Path,
    items: Sequence["CrystalReconstruction"],
    summary: dict,
    title: str,
    notes: list[str],
) -> None:
    from geomae.plotting.report import write_report

    pairs = [_pair(item, powder=k < PATTERNS) for k, item in enumerate(items)]
    write_report(path, pairs, summary, title=title, notes=notes)


def _pair(item: "CrystalReconstruction", *, powder: bool) -> "Pair":
    """A crystal and its reconstruction, in the original's cell where they fit, for the page."""
    from geomae.metrics.crystals import in_cell_of
    from geomae.plotting.crystal import crystal_details
    from geomae.plotting.report import Pair

    original, decoded = item.original, item.decoded
    crystal = None
    if item.status != "refused":
        crystal = crystal_details(original, decoded, powder=powder)
    if decoded is not None:
        decoded = in_cell_of(original, decoded) or decoded
    return Pair(
        name=label_of(original),
        original=original,
        decoded=decoded,
        metrics=_page_figures(item),
        status=item.status,
        message=item.message,
        crystal=crystal,
    )


def _page_figures(item: "CrystalReconstruction") -> dict[str, float | str | bool]:
    figures: dict[str, float | str | bool] = {
        "residual": item.residual,
        "certified": item.certified,
    }
    if item.comparison is None:
        return figures
    if overlay := item.comparison.overlay:
        figures |= {"rmsd": overlay.rmsd, "max_error": overlay.max_error, "strain": overlay.strain}
    for symprec, (before, after) in item.comparison.space_groups.items():
        figures[f"space groups at {symprec} Å"] = f"{before}, {after}"
    return figures
