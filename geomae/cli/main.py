"""The application: its commands, and errors told in a line."""

import sys
from collections.abc import Callable
from functools import wraps

import typer

from geomae.cli.coding import decode, encode
from geomae.cli.evaluation import demo, evaluate, reconstruct
from geomae.cli.generation import generate
from geomae.cli.inversion import invert
from geomae.cli.listing import data, models
from geomae.cli.symmetry import symmetry
from geomae.cli.training import train
from geomae.errors import GeomaeError
from geomae.memory import keep_memory

app = typer.Typer(
    help="Molecules and crystals to one equivariant latent at a single point, and back.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def told(command: Callable) -> Callable:
    """The command in a process that keeps memory, errors of input as one line and exit status 2."""

    @wraps(command)
    def wrapped(*args: object, **kwargs: object) -> None:
        keep_memory()
        try:
            command(*args, **kwargs)
        except GeomaeError as error:
            print(f"geomae: {error}", file=sys.stderr)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error

    return wrapped


for command in (
    reconstruct,
    encode,
    decode,
    evaluate,
    generate,
    train,
    invert,
    models,
    data,
    symmetry,
    demo,
):
    app.command()(told(command))


@app.callback(invoke_without_command=True)
def main(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """Molecules and crystals to one equivariant latent at a single point, and back."""
    if version:
        from geomae import __version__

        print(f"geomae {__version__}")
        raise typer.Exit
