"""`geomae encode` and `geomae decode`."""

from pathlib import Path
from typing import Annotated

import typer

from geomae.cli.inputs import gather
from geomae.cli.options import Device, Errors, Files, Model, OnError, Refine


def encode(
    files: Files,
    output: Annotated[Path, typer.Option("-o", "--output", help="File for the latents.")] = Path(
        "latents.safetensors"
    ),
    model: Model = "qm9",
    on_error: Errors = OnError.RAISE,
    device: Device = "cpu",
) -> None:
    """Write the latents of structures to a safetensors file.

    Example: geomae encode benzene.xyz water.sdf -o latents.safetensors
    """
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


def decode(
    latents: Annotated[Path, typer.Argument(help="File that `geomae encode` wrote.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Extended .xyz file for the structures.")
    ] = Path("decoded.xyz"),
    model: Model = "qm9",
    refine: Refine = True,
    device: Device = "cpu",
) -> None:
    """Draw the structures of latents, and nothing but the latents.

    Each frame has its `residual` (distance between the latent and the structure's own encoding)
    and whether that certifies it.

    Example: geomae decode latents.safetensors -o decoded.xyz
    """
    from rich import print as show

    from geomae.autoencoder import Latents, load
    from geomae.cli.outputs import write_xyz

    network = load(model, device=device)
    structures = network.decode(Latents.load(latents), refine=refine, progress=True)
    write_xyz(output, structures)
    doubtful = sum(not s.certified for s in structures)
    show(f"{len(structures)} structures in {output}, {len(structures) - doubtful} certified")
