"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Files = Annotated[
    list[str],
    typer.Argument(
        help="Files (.xyz, .sdf, .mol, .cif, POSCAR, what ASE reads), folders, or names of data "
        "sources (see `geomae data`).",
    ),
]
Model = Annotated[str, typer.Option("--model", "-m", help="Name or path of a model.")]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")]
Refine = Annotated[
    bool, typer.Option(help="Sharpen decoded positions against the encoder, to machine precision.")
]
Symmetrise = Annotated[
    float | None,
    typer.Option(
        metavar="Å",
        min=0.0,
        help="Crystals: write them with the symmetry that they have at this tolerance made exact.",
    ),
]
Workers = Annotated[int, typer.Option(min=1, help="Processes.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]


class OnError(StrEnum):
    """What to do with a structure that can't be used."""

    RAISE = "raise"
    SKIP = "skip"


Errors = Annotated[
    OnError, typer.Option("--on-error", help="Stop at a bad structure, or leave it out and say so.")
]
