"""`geomae generate`."""

import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geomae.cli.options import Model
from geomae.errors import GeomaeError

if TYPE_CHECKING:
    from geomae.data import Structure
    from geomae.generation import Generated
    from geomae.generation.generate import Sampler

SHOWN = 300
"""Samples on the page at most."""


def generate(
    model: Model = "qm9",
    n: Annotated[int, typer.Option("-n", min=0, help="Samples.")] = 100,
    formula: Annotated[str | None, typer.Option(help="Formula, such as C6H6.")] = None,
    n_atoms: Annotated[int | None, typer.Option(help="Number of atoms.")] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", help="NAME=VALUE that the flow was trained on; repeatable."),
    ] = None,
    symmetry: Annotated[
        str | None,
        typer.Option(
            help="Point group that every sample has at least, such as D6h; of crystals the space "
            "group, such as Fm-3m or 225."
        ),
    ] = None,
    fragment: Annotated[
        Path | None, typer.Option(help="File with a fragment that every sample completes.")
    ] = None,
    inventories: Annotated[
        str | None,
        typer.Option(
            help="What samples are made of: sets of atoms that the 'data' has; 'learned' (default, "
            "but with a symmetry), which makes others as well; 'new' for these others alone; or a "
            "model's path."
        ),
    ] = None,
    tries: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Sets of atoms of each sample that are tried in a few steps, the best of them "
            "taken; 24 with a fragment, 4 where all are new, or else 1.",
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Of learned sets of atoms: below 1 usual ones are preferred; 0.9 by default, 1 "
            "where all are new."
        ),
    ] = None,
    near: Annotated[
        Path | None, typer.Option(help="File with a structure to sample around, without a flow.")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(help="Around it: noise in parts of the latents' spread; 0.3 by default."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Evaluations of the flow; 50 of atoms', 20 of latents'."),
    ] = None,
    revise: Annotated[
        bool, typer.Option("--revise", help="Draw, encode, and finish the flow again, in passes.")
    ] = False,
    reject_doubtful: Annotated[
        bool, typer.Option("--reject-doubtful", help="Leave out what its latent hardly explains.")
    ] = False,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Compare with these: a file, a folder, or SOURCE/SPLIT such as qm9/test."
        ),
    ] = None,
    posebusters: Annotated[
        bool, typer.Option("--posebusters", help="Run PoseBusters' tests, too.")
    ] = False,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for everything that is written.")
    ] = Path("generated"),
) -> None:
    """Generate structures: from a model's flow, with a symmetry, or around a structure.

    Writes samples.xyz, latents.safetensors, metrics.json and report.html. The same command goes on
    where an interruption ended, and a larger -n adds to what is there. Sample i depends on the
    seed and i alone.

    Example: geomae generate --model qm9 -n 1000 --seed 7 -o generated

    Example: geomae generate --formula C6H6 --symmetry D6h -n 20 -o benzenes

    Example: geomae generate --model crystals --symmetry Fm-3m -n 20 -o cubic

    Example: geomae generate --fragment benzene.xyz -n 50 -o with-a-ring

    Example: geomae generate --inventories new -n 1000 -o new

    Example: geomae generate --near benzene.xyz --noise 0.3 -n 50 -o around
    """
    from geomae.generation.folder import GenerationFolder
    from geomae.generation.generate import Sampler
    from geomae.generation.request import Asked
    from geomae.generation.revision import TIMES

    asked = Asked(formula, n_atoms, _properties(properties or []), symmetry)
    # read before anything is sampled, for it may be missing
    known = None if reference is None else _reference(reference)
    sampler = Sampler(
        model,
        asked,
        fragment=fragment,
        inventories=inventories,
        tries=tries,
        temperature=temperature,
        near=near,
        noise=noise,
        seed=seed,
        steps=steps,
        revisions=TIMES if revise else (),
        reject_doubtful=reject_doubtful,
    )
    folder = GenerationFolder(
        output,
        _settings(sampler, model, {"near": near, "fragment": fragment}),
    )
    folder.open()
    start = time.monotonic()
    made = _fill(folder, sampler, n)
    seconds = time.monotonic() - start
    figures = _figures(made, sampler, known, posebusters)
    figures |= {"seconds_per_sample_this_time": seconds / max(n, 1)}
    _write(output, made, sampler, figures, folder.settings)
    _tell(made, figures, output)


def _properties(given: list[str]) -> dict[str, float]:
    found = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError as error:
            raise GeomaeError(
                f"--property expects NAME=VALUE with a number, such as gap=0.2, not '{text}'"
            ) from error
    return found


def _reference(text: str) -> list["Structure"]:
    from geomae.data import as_structures, load_source, source_names

    source, _, split = text.partition("/")
    if source in source_names() and not Path(text).exists():
        return load_source(source, split=split or "test")
    return as_structures(text)


def _settings(
    sampler: "Sampler",
    model: str,
    files: dict[str, Path | None],
) -> dict:
    """What decides about samples, in plain words and digests."""
    from geomae.autoencoder.zoo import weights_of

    names = [sampler.name] + (
        [] if sampler.flow is None else [model, f"{model}-atoms", f"{model}-flow"]
    )
    inventories = sampler.maker.inventories
    if inventories not in (None, "data"):
        released = inventories in ("learned", "new")
        names.append(f"{sampler.name}-inventories" if released else inventories)
    weights = []
    for name in dict.fromkeys(names):
        try:
            weights.append(_digest(weights_of(name)))
        except GeomaeError:
            continue
    return {
        "model": model,
        "weights": weights,
        "formula": sampler.asked.formula,
        "n_atoms": sampler.asked.n_atoms,
        "properties": dict(sampler.asked.properties),
        "symmetry": sampler.asked.symmetry,
        **{name: None if own is None else _digest(own) for name, own in files.items()},
        "inventories": inventories,
        "tries": sampler.maker.tries,
        "temperature": sampler.maker.temperature,
        "noise": sampler.options.noise,
        "seed": sampler.seed,
        "steps": sampler.maker.steps,
        "revisions": list(sampler.options.revisions),
        "reject_doubtful": sampler.reject_doubtful,
    }


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()[:16]


def _fill(folder, sampler: "Sampler", n: int) -> "Generated":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("generating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("generating", total=n)
        return folder.fill(sampler, n, lambda done: bar.advance(task, done))


def _figures(made: "Generated", sampler: "Sampler", known, posebusters: bool) -> dict:
    from geomae.metrics import crystal_generation_metrics, generation_metrics

    figures: dict
    if _makes_crystals(sampler):
        if posebusters:
            raise GeomaeError("PoseBusters tests molecules, and this is a model of crystals")
        figures = crystal_generation_metrics(made.structures, known)
    else:
        figures = generation_metrics(made.structures, known, posebusters=posebusters)
    n = max(len(made), 1)
    finite = made.residuals[made.residuals.isfinite()]
    figures |= {
        "returned": len(made.kept) / n,
        "doubtful": len(made.doubtful) / n,
        "certified": float(made.certified.double().sum()) / n,
        "median_residual": float(finite.median()) if len(finite) else None,
    }
    if sampler.maker.group is not None:
        figures["symmetry_verified"] = sum(g is not None for g in made.groups) / n
        figures["symmetry_verified_of_returned"] = _share_with_group(made)
    if sampler.maker.counts is not None:
        right = [s for s in made.kept if _is_multiple(_counts(s), sampler.maker.counts, s.periodic)]
        figures["formula_right"] = len(right) / n
    return figures


def _share_with_group(made: "Generated") -> float | None:
    names = ("point_group", "space_group")
    named = [any(s.get(name) is not None for name in names) for s in made.kept]
    return sum(named) / len(named) if named else None


def _makes_crystals(sampler: "Sampler") -> bool:
    from geomae.generation.crystals.flow import CrystalFlow

    return isinstance(sampler.flow, CrystalFlow)


def _is_multiple(counts: dict[str, int], unit: dict[str, int], crystal: bool) -> bool:
    """Whether a formula is the one asked for; of a crystal it may be several of it."""
    units = sum(counts.values()) // sum(unit.values()) if crystal else 1
    return counts == {symbol: units * count for symbol, count in unit.items()}


def _counts(structure: "Structure") -> dict[str, int]:
    from geomae.generation.request import parse_formula

    return parse_formula(structure.formula)


def _write(
    output: Path, made: "Generated", sampler: "Sampler", figures: dict, settings: dict
) -> None:
    from geomae.cli.outputs import write_json, write_xyz
    from geomae.plotting.report import write_report

    kept = []
    for number, structure in enumerate(made.structures):
        if structure is not None:
            structure.sample = number
            kept.append(structure)
    write_xyz(output / "samples.xyz", kept)
    made.latents.save(output / "latents.safetensors")
    faults = {str(i): f for i, f in enumerate(made.faults) if f is not None}
    write_json(output / "metrics.json", figures | {"settings": settings, "faults": faults})
    notes = [f"sample {number}: {fault}" for number, fault in faults.items()]
    asked = ", ".join(
        f"{k} {v}" for k, v in settings.items() if v and k not in ("weights", "near", "fragment")
    )
    pairs = _pairs(made, sampler)
    write_report(output / "report.html", pairs, figures, title=f"generated: {asked}", notes=notes)


def _pairs(made: "Generated", sampler: "Sampler") -> list:
    """Samples as the page shows them; those around a structure beside it."""
    from geomae.plotting.report import Pair

    pairs = []
    for number, structure in list(enumerate(made.structures))[:SHOWN]:
        fault = made.faults[number]
        status = "unstable" if structure is None else _judged(structure)
        status = "error" if structure is None else "doubtful" if fault else status
        metrics: dict = {"residual": float(made.residuals[number])}
        metrics["certified"] = bool(made.certified[number])
        if made.groups[number] is not None:
            kind = "space group" if _makes_crystals(sampler) else "point group"
            metrics[kind] = made.groups[number]
        pairs.append(
            Pair(
                f"sample {number}",
                sampler.maker.around,
                structure,
                metrics,
                status,
                message=fault,
            )
        )
    return pairs


def _judged(structure: "Structure") -> str:
    """What the page calls a sample with nothing wrong."""
    from geomae.metrics.crystal_generation import is_neutral
    from geomae.metrics.generation import judge

    if structure.periodic:
        return "valid" if is_neutral(structure) else "not neutral"
    return "stable" if judge(structure).stable else "unstable"


def _tell(made: "Generated", figures: dict, output: Path) -> None:
    from rich import print as show

    from geomae.cli.outputs import print_summary

    print_summary(f"{len(made)} samples", figures)
    lost = [f"sample {i}: {f}" for i, f in enumerate(made.faults) if f is not None]
    for line in lost[:10]:
        show(f"  [yellow]{line}[/yellow]")
    if len(lost) > 10:
        show(f"  ... and {len(lost) - 10} more in metrics.json")
    show(f"samples.xyz, latents.safetensors, metrics.json and report.html are in {output}")
