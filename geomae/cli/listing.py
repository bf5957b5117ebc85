"""`geomae models` and `geomae data`."""

from pathlib import Path
from typing import Annotated

import typer


def models() -> None:
    """List the released models.

    Example: geomae models
    """
    from rich.console import Console
    from rich.table import Table

    from geomae.autoencoder import released_models

    table = Table()
    for column in ("model", "what", "elements", "atoms", "latent", "parameters", "weights"):
        table.add_column(column)
    for name, path in released_models().items():
        table.add_row(name, *_description(path), str(path))
    Console().print(table)


def _description(path: Path) -> tuple[str, ...]:
    """What a model is, its elements, sizes, latents and parameters, in words."""
    from geomae.autoencoder import load
    from geomae.checkpoint import checkpoint_kind
    from geomae.data.elements import SYMBOLS
    from geomae.generation.flow import LatentFlow
    from geomae.generation.request import load_any_flow

    kind = checkpoint_kind(path)
    if kind == "inversion":
        from geomae.inversion import load_inverter

        network = load_inverter(path)
        elements, parameters = network.config.elements, network.parameters()
        what, atoms, latent = "draws atoms from SOAP vectors", "", ""
    elif kind == "inventories":
        from geomae.generation import load_inventories

        model = load_inventories(path)
        elements, parameters = model.config.elements, model.parameters()
        what, latent = "draws what molecules are made of", ""
        atoms = f"1 to {model.config.max_atoms}"
    elif (flow := load_any_flow(str(path))) is not None:
        elements, parameters = flow.elements, flow.network_parameters
        what, atoms = f"generates, for {flow.autoencoder}", f"1 to {flow.config.max_atoms}"
        latent = "{} x {}".format(*flow.latent_shape) if isinstance(flow, LatentFlow) else ""
    else:
        model = load(path)
        elements, parameters = model.elements, model.parameters()
        what = "crystals" if model.config.kind == "crystals" else "molecules"
        atoms = f"1 to {model.config.max_atoms}"
        latent = "{} x {}".format(*model.encoder.latent_shape)
    symbols = " ".join(SYMBOLS[z] for z in elements)
    return what, symbols, atoms, latent, f"{sum(p.numel() for p in parameters):,}"


def data(
    source: Annotated[str | None, typer.Argument(help="A source or folder to look into.")] = None,
    split: Annotated[str | None, typer.Option(help="Part of it.")] = None,
    n: Annotated[int, typer.Option("-n", help="Structures to list.")] = 10,
) -> None:
    """List the data sources, or the first structures of one.

    Example: geomae data qm9 --split test -n 5
    """
    from rich.console import Console
    from rich.table import Table

    from geomae.cli.outputs import label_of
    from geomae.data import load_source, source_names

    if source is None:
        Console().print("sources: " + ", ".join(source_names()) + ", or a folder of files")
        return
    table = Table()
    for column in ("name", "formula", "atoms", "periodic", "properties"):
        table.add_column(column)
    for structure in load_source(source, split=split, n=n):
        table.add_row(
            label_of(structure),
            structure.formula,
            str(structure.n_atoms),
            "yes" if structure.periodic else "no",
            ", ".join(structure.properties),
        )
    Console().print(table)
