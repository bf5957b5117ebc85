"""`geomae train`."""

import os
from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(help="YAML file: data, model and training.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the checkpoint and the log.")
    ] = Path("runs/model"),
    release: Annotated[
        Path | None, typer.Option(help="Write the averaged weights here at the end.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where to compute: cpu, or cuda for one GPU a rank.")
    ] = "cpu",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard's event files, too.")
    ] = False,
) -> None:
    """Train a model of molecules or of crystals, or go on where the folder's checkpoint ends.

    Which one, `model.kind` in the file says: autoencoder, crystals, flow, which generates, or
    inversion, which draws atoms from invariants. Ctrl-C saves and stops; the same command goes
    on. Processes that torchrun starts share each batch.

    Example: geomae train models/qm9/config.yaml -o runs/qm9

    Example: geomae train models/perov5/config.yaml -o runs/perov5

    Example: torchrun --nproc-per-node 2 -m geomae train models/qm9/config.yaml -o runs/qm9
    """
    from rich import print as show
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from geomae.training.config import read_config
    from geomae.training.run import release as write_release
    from geomae.training.run import train as run

    settings, first = read_config(config), os.environ.get("RANK", "0") == "0"
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=not first,
    ) as bar:
        task = bar.add_task("training", total=settings.training.steps)

        def report(step: int, row: dict[str, float]) -> None:
            if "loss" in row:
                label = f"loss {row['loss']:.4f}, {row['structures_per_second']:.0f} structures/s"
                bar.update(task, completed=step, description=label)
            elif "reconstructed" in row:
                bar.console.print(
                    f"step {step}: {100 * row['reconstructed']:.1f} % of held-out structures "
                    f"reconstructed, RMSD {row['rmsd']:.3f} Å"
                )
            else:
                figures = ", ".join(f"{name} {value:.4f}" for name, value in row.items())
                bar.console.print(f"step {step}: {figures}")

        trainer = run(settings, output, report, device=device, tensorboard=tensorboard)
    if not trainer.ranks.leads:
        return
    finished = trainer.step >= settings.training.steps
    show(f"step {trainer.step} of {settings.training.steps}; the state is in {output}")
    if release and finished:
        write_release(trainer, release)
        show(f"released weights in {release}")
    elif release:
        show("not released: the training is not over; the same command goes on")
