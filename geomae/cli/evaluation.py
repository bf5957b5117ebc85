"""`geomae reconstruct`, `geomae evaluate` and `geomae demo`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from geomae.cli.options import (
    Device,
    Errors,
    Files,
    JsonFile,
    Model,
    OnError,
    Refine,
    Symmetrise,
    Workers,
)
from geomae.errors import GeomaeError, MissingExtraError, StructureError


def reconstruct(
    files: Files,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for everything that is written.")
    ] = Path("reconstructed"),
    model: Model = "qm9",
    refine: Refine = True,
    on_error: Errors = OnError.SKIP,
    symmetrise: Symmetrise = None,
    workers: Workers = 1,
    device: Device = "cpu",
) -> None:
    """Encode structures, decode them again, and show both side by side.

    Writes decoded.xyz, metrics.json and report.html, a page that works offline.

    Example: geomae reconstruct benzene.xyz my-molecules/ -o reconstructed
    """
    from geomae.autoencoder import load
    from geomae.cli.inputs import gather

    network = load(model, device=device)
    structures, skipped = gather(files, on_error, network if on_error is OnError.RAISE else None)
    if symmetrise is not None and network.config.kind != "crystals":
        raise GeomaeError("--symmetrise is for models of crystals")
    title = f"geomae {model}"
    _reconstruct(network, structures, skipped, output, refine, workers, title, symmetrise)


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the report.")] = Path(
        "demo"
    ),
    model: Model = "qm9",
    crystals: Annotated[
        int, typer.Option(min=0, help="Crystals at most, spread over all that there are.")
    ] = 10,
    workers: Workers = 2,
) -> None:
    """Reconstruct ASE's g2 molecules of the model's elements, and crystals, and write the reports.

    Radicals, diatomics and atoms among the molecules are unlike anything that the model has
    learned; their certificates say whether they came back. The crystals are prototypes of the AFLOW
    library within the range of the released model, in the folder `crystals` within the other.

    Example: geomae demo -o demo
    """
    from geomae.autoencoder import load
    from geomae.data import load_source

    network = load(model)
    known = set(network.elements)
    structures = [s for s in load_source("g2") if set(s.numbers.tolist()) <= known]
    _reconstruct(network, structures, [], output, True, workers, f"g2 molecules through {model}")
    if crystals:
        _demo_of_crystals(output / "crystals", crystals, workers)


def _demo_of_crystals(output: Path, most: int, workers: int) -> None:
    """Reconstruct prototypes of crystals by the general model, or the one of perovskites."""
    from rich import print as show

    from geomae.autoencoder import load, released_models
    from geomae.crystals.model import CrystalAutoencoder
    from geomae.data import load_source

    name = next((own for own in ("crystals", "perov5") if own in released_models()), None)
    if name is None:
        show("[yellow]no model of crystals is released, so none are shown[/yellow]")
        return
    network = load(name)
    assert isinstance(network, CrystalAutoencoder)
    try:
        within = [s for s in load_source("aflow") if _takes(network, s)]
    except MissingExtraError as error:
        show(f"[yellow]no crystals are shown: {error}[/yellow]")
        return
    chosen = within[:: max(1, -(-len(within) // most))]
    title = f"prototypes of crystals through {name}"
    _reconstruct(network, chosen, [], output, True, workers, title)


def _takes(network, structure) -> bool:
    """Whether a model takes a structure."""
    try:
        network.forms_of([structure])
    except StructureError:
        return False
    return True


def evaluate(
    model: Model = "qm9",
    source: Annotated[
        str | None,
        typer.Option(help="Data source (see `geomae data`); the model's own by default."),
    ] = None,
    split: Annotated[str, typer.Option(help="Part of it.")] = "test",
    n: Annotated[int | None, typer.Option("-n", help="Only the first N structures.")] = None,
    refine: Refine = True,
    retries: Annotated[
        int | None,
        typer.Option(min=0, help="Molecules: other readings where a certificate is missing."),
    ] = None,
    sizes: Annotated[
        list[int] | None,
        typer.Option(help="Molecules: figures up to so many heavy atoms, too; may be repeated."),
    ] = None,
    json_file: JsonFile = None,
    failures: Annotated[
        Path | None, typer.Option(help="Write originals and decodings that differ to this page.")
    ] = None,
    workers: Workers = 1,
    device: Device = "cpu",
) -> None:
    """Reconstruct a whole split and print the figures.

    A molecule counts as reconstructed when its composition is right and every atom, matched
    by element, is within 0.5 Å; as exact when EDM's distance rules also give the same bonds.
    A crystal counts as matched when pymatgen's StructureMatcher says so, with the tolerances of
    most papers (stol 0.5, angle 10, ltol 0.3) and with its own, with and without reducing the
    cells; whether the space group is kept is told at 0.01 and 0.1 Å.
    The decoder gets the latent alone.

    Example: geomae evaluate --model qm9 --split test -n 1000 --json figures.json

    Example: geomae evaluate --model perov5 --split test
    """
    import time

    from geomae.autoencoder import home_source, load
    from geomae.cli.outputs import print_reconstructions, print_summary, write_json
    from geomae.data import load_source
    from geomae.metrics.certificates import residual_ranges
    from geomae.metrics.evaluation import reconstruct as run
    from geomae.metrics.reconstruction import summarise, summarise_by_size

    network = load(model, device=device)
    source = source or home_source(model)
    if source is None:
        raise GeomaeError(f"nothing says what data the model '{model}' is for: expected --source")
    structures = load_source(source, split=split, n=n)
    if network.config.kind == "crystals":
        from geomae.cli.crystals import evaluate_crystals

        evaluate_crystals(
            network, structures, {"model": model, "source": source, "split": split},
            refine=refine, workers=workers, json_file=json_file, failures=failures,
        )  # fmt: skip
        return
    start = time.monotonic()
    items = run(network, structures, refine=refine, retries=retries, workers=workers, progress=True)
    seconds = time.monotonic() - start
    judged = [i.comparison for i in items], [i.certified for i in items]
    summary: dict = summarise(*judged)
    right = [i.status in ("exact", "reconstructed") for i in items]
    summary |= residual_ranges(right, [i.residual for i in items])
    summary |= {
        "seconds_per_structure": seconds / max(len(items), 1),
        "workers": workers,
        "refined": refine,
        "model": model,
        "source": source,
        "split": split,
    }
    wrong = [i for i in items if i.status not in ("exact", "reconstructed")]
    print_summary(f"{model} on {source}/{split}", summary)
    if sizes:
        by_size = summarise_by_size(structures, *judged, sorted(set(sizes)))
        for name, own in by_size.items():
            print_summary(f"{name} heavy atoms", own)
        summary["by_heavy_atoms"] = by_size
    if wrong:
        print_reconstructions(wrong, most=40)
    if json_file:
        write_json(json_file, summary | {"failures": [_failure(i) for i in wrong]})
    if failures:
        _write_page(failures, wrong, summary, f"what {model} got wrong on {source}/{split}", [])


def _plain(value: float) -> float | None:
    """A number that JSON has, or None."""
    return value if math.isfinite(value) else None


def _failure(item) -> dict:
    """One failure in plain words."""
    from geomae.cli.outputs import label_of

    return {
        "name": label_of(item.original),
        "smiles": item.original.get("smiles"),
        "formula": item.original.formula,
        "decoded": None if item.decoded is None else item.decoded.formula,
        "status": item.status,
        "max_error": _plain(item.comparison.max_error) if item.comparison else None,
        "residual": _plain(item.residual),
    }


def _reconstruct(
    network,
    structures: Sequence,
    skipped: list[str],
    output: Path,
    refine: bool,
    workers: int,
    title: str,
    symprec: float | None = None,
) -> None:
    """Reconstruct, print, and write everything."""
    if network.config.kind == "crystals":
        from geomae.cli.crystals import reconstruct_to

        reconstruct_to(network, structures, skipped, output, refine, workers, title, symprec)
        return
    from rich import print as show

    from geomae.cli.outputs import print_reconstructions, print_summary, write_json, write_xyz
    from geomae.metrics.evaluation import reconstruct as run
    from geomae.metrics.reconstruction import summarise

    items = run(network, structures, refine=refine, workers=workers, progress=True)
    skipped = skipped + [
        f"{i.original.get('source') or i.original.formula}: {i.message}"
        for i in items
        if i.decoded is None
    ]
    taken = [i for i in items if i.decoded is not None]
    summary: dict = summarise([i.comparison for i in taken], [i.certified for i in taken])
    summary["n_skipped"] = len(skipped)
    print_reconstructions(taken)
    print_summary(title, summary)
    for line in skipped:
        show(f"[yellow]skipped[/yellow] {line}")
    write_xyz(output / "decoded.xyz", [_named(i) for i in taken])
    write_json(output / "metrics.json", summary | {"skipped": skipped})
    _write_page(output / "report.html", taken, summary, title, skipped)
    show(f"structures, metrics.json and report.html are in {output}")


def _named(item):
    """The decoded structure with the name of its original."""
    from geomae.cli.outputs import label_of

    item.decoded.name = label_of(item.original)
    return item.decoded


def _write_page(path: Path, items: Sequence, summary: dict, title: str, notes: list[str]) -> None:
    from geomae.cli.outputs import label_of
    from geomae.plotting.report import Pair, write_report

    pairs = [
        Pair(
            name=label_of(item.original),
            original=item.original,
            decoded=item.decoded,
            metrics={
                "rmsd": item.comparison.rmsd if item.comparison else float("nan"),
                "max_error": item.comparison.max_error if item.comparison else float("nan"),
                "residual": item.residual,
                "certified": item.certified,
            },
            status=item.status,
            message=item.message,
            matching=list(item.comparison.matching)
            if item.comparison and item.comparison.matching
            else None,
        )
        for item in items
    ]
    write_report(path, pairs, summary, title=title, notes=notes)
