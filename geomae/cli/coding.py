"""`geomae encode` and `geomae decode`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from geomae.cli.inputs import gather
from geomae.cli.options import Device, Errors, Files, Model, OnError, Refine, Symmetrise, Workers
from geomae.errors import GeomaeError


class ShardForm(StrEnum):
    """How shards are written."""

    SAFETENSORS = "safetensors"
    PARQUET = "parquet"


def encode(
    files: Files,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="File for the latents; without an ending, a folder for shards."
        ),
    ] = Path("latents.safetensors"),
    model: Model = "qm9",
    on_error: Errors = OnError.RAISE,
    device: Device = "cpu",
    split: Annotated[str | None, typer.Option(help="Shards: part of the data sources.")] = None,
    n: Annotated[
        int | None, typer.Option("-n", help="Shards: only the first N structures.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Do part i of n, 0/n to n-1/n; else what torchrun or SLURM say."),
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Structures of a shard.")] = 4096,
    form: Annotated[
        ShardForm, typer.Option("--format", help="Form of the shards.")
    ] = ShardForm.SAFETENSORS,
    workers: Workers = 1,
) -> None:
    """Write the latents of structures to a safetensors file, or to a folder of shards.

    A folder takes any number of structures: memory stays constant, the same command goes on
    where an interruption ended, and several processes or machines share the work.

    Example: geomae encode benzene.xyz water.sdf -o latents.safetensors

    Example: geomae encode perovskites/ --model perov5 -o perovskites.safetensors

    Example: geomae encode qm9 -o latents/qm9 --workers 4
    """
    if output.is_dir() or not output.suffix:
        _encode_shards(
            files, output, split, n, shard, workers,
            model=model, on_error=on_error.value, device=device, shard_size=shard_size,
            form=form.value,
        )  # fmt: skip
        return
    asked = {"--split": split, "-n": n, "--shard": shard}
    asked |= {"--workers": workers > 1, "--format": form is not ShardForm.SAFETENSORS}
    strange = [option for option, value in asked.items() if value]
    if strange:
        raise GeomaeError(
            f"{', '.join(strange)} goes with a folder: -o needs a name without ending"
        )
    _encode_file(files, output, model, on_error, device)


def _encode_file(
    files: list[str], output: Path, model: str, on_error: OnError, device: str
) -> None:
    from rich import print as show

    from geomae.autoencoder import load

    network = load(model, device=device)
    structures, skipped = gather(files, on_error, network)
    latents = network.encode(structures, progress=True)
    latents.save(output)
    show(
        f"{len(latents)} latents of shape {list(latents.array.shape[1:])} in {output}"
        + (f"; {len(skipped)} skipped" if skipped else "")
    )
    for line in skipped:
        show(f"  skipped: {line}")


def _encode_shards(
    files: list[str],
    output: Path,
    split: str | None,
    n: int | None,
    shard: str | None,
    workers: int,
    **options: object,
) -> None:
    from rich import print as show
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from geomae.bulk import Inputs, Part
    from geomae.bulk.workers import encode_with_workers

    inputs = Inputs(files, split=split, n=n)
    part = None if shard is None else Part.parse(shard)
    columns = TextColumn("encoding"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("encoding", total=None)
        outcome = encode_with_workers(
            inputs, output, workers=workers, part=part,
            progress=lambda done: bar.advance(task, done), **options,
        )  # fmt: skip
    show(
        f"{outcome.encoded} latents encoded in {output}"
        + (f", {outcome.kept} were there" if outcome.kept else "")
        + (f"; {len(outcome.skipped)} skipped" if outcome.skipped else "")
    )
    for _, name, fault in outcome.skipped[:20]:
        show(f"  skipped: {name}: {fault}")
    if outcome.missing:
        show(f"not complete yet: {len(outcome.missing)} shards of other parts are missing")


def decode(
    latents: Annotated[Path, typer.Argument(help="File that `geomae encode` wrote.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Extended .xyz file for the structures.")
    ] = Path("decoded.xyz"),
    model: Model = "qm9",
    refine: Refine = True,
    symmetrise: Symmetrise = None,
    device: Device = "cpu",
) -> None:
    """Draw the structures of latents, and nothing but the latents.

    Each frame has the number of its `latent` in the file, from 0, its `residual` (distance between
    the latent and the structure's own encoding) and whether that certifies it. Latents of which
    nothing could be drawn are named and have no frame.

    Example: geomae decode latents.safetensors -o decoded.xyz

    Example: geomae decode perovskites.safetensors --model perov5 -o decoded.xyz
    """
    from rich import print as show

    from geomae.autoencoder import Latents, load
    from geomae.cli.crystals import symmetrised
    from geomae.cli.outputs import write_xyz

    network = load(model, device=device)
    drawn = network.decode(Latents.load(latents), refine=refine, progress=True)
    structures = [structure for structure in drawn if structure is not None]
    for index, structure in enumerate(drawn):
        if structure is not None:
            structure.latent = index
    structures = symmetrised(network, structures, symmetrise)
    write_xyz(output, structures)
    certified = sum(bool(structure.certified) for structure in structures)
    show(f"{len(structures)} structures in {output}, {certified} certified")
    for index, structure in enumerate(drawn):
        if structure is None:
            show(f"  [yellow]doubtful[/yellow]: nothing could be drawn of latent {index}")
