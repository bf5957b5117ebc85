"""`geomae invert`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np

    from geomae.inversion import Descriptor, Inversion


def invert(
    values: Annotated[
        Path,
        typer.Argument(
            help="Invariants: .npy, or .npz with `values` and, where known, `species` and `frame`."
        ),
    ],
    descriptor: Annotated[
        Path, typer.Option("-d", "--descriptor", help="YAML file with the descriptor's options.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path(
        "inverted"
    ),
    species: Annotated[
        str | None, typer.Option(help="Elements of the atoms, where known: a formula like C2H6O.")
    ] = None,
    n_atoms: Annotated[int | None, typer.Option(min=1, help="Number of atoms, if known.")] = None,
    solutions: Annotated[int, typer.Option(min=1, help="Stop after so many different ones.")] = 4,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Largest relative residual: 1e-8, or 3e-6 for single precision."),
    ] = None,
    starts: Annotated[int, typer.Option(min=1, help="Starts that are refined, at most.")] = 256,
    seed: Annotated[int, typer.Option(help="Of random starts.")] = 0,
    network: Annotated[
        str | None,
        typer.Option(help="Network that draws starts for one SOAP vector, like 'inversion-qm9'."),
    ] = None,
) -> None:
    """Draw the structures that have given invariants.

    Writes `solutions.xyz`, `result.json`, `report.html`, and `signals.png` where matplotlib is
    installed. No structure within the tolerance is a result, too: `nearest.xyz` has the
    nearest then.

    Example: geomae invert values.npz --descriptor soap.yaml -o inverted
    """
    from rich import print as show

    from geomae.inversion import NetworkStarts, load_inverter, read_descriptor
    from geomae.inversion import invert as find

    known = read_descriptor(descriptor)
    content = read_values(values)
    elements = atoms_of(species) if species else content.get("species")
    result = find(
        known,
        content["values"],
        species=None if elements is None else list(elements),
        n_atoms=n_atoms,
        frame=content.get("frame"),
        n_solutions=solutions,
        seed=seed,
        tolerance=tolerance,
        n_starts=starts,
        starts=None if network is None else NetworkStarts(load_inverter(network)),
    )
    write_result(output, result, known, title=f"Structures of {values.name}")
    show(f"{result.outcome}: {result}")
    show(f"results in {output}")


def read_values(path: Path) -> dict[str, "np.ndarray"]:
    """Arrays of a file: `values`, and `species` and `frame` if it has them.

    Raises:
        GeomaeError: it can't be read, or has no `values`.
    """
    import numpy as np

    from geomae.errors import GeomaeError

    try:
        content = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise GeomaeError(f"can't read arrays from {path}: {error}") from error
    if isinstance(content, np.ndarray):
        return {"values": content}
    arrays = {key: content[key] for key in content.files}
    if "values" not in arrays:
        raise GeomaeError(f"{path} has no array `values`, only {', '.join(arrays) or 'nothing'}")
    if "species" in arrays:
        arrays["species"] = np.array([_plain(item) for item in arrays["species"]], dtype=object)
    return arrays


def _plain(item: object) -> int | str:
    text = str(item)
    return int(text) if text.isdigit() else text


def atoms_of(formula: str) -> list[str]:
    """Symbols of the atoms of a formula.

    Raises:
        GeomaeError: it is none.
    """
    from ase.formula import Formula

    from geomae.errors import GeomaeError

    try:
        counts = Formula(formula, strict=True).count()
    except ValueError as error:
        raise GeomaeError(f"'{formula}' is no formula like C2H6O") from error
    return [symbol for symbol, count in counts.items() for _ in range(count)]


def write_result(
    folder: Path, result: "Inversion", descriptor: "Descriptor", *, title: str
) -> None:
    """Structures, figures, the page and, where matplotlib is installed, pictures."""
    from importlib.util import find_spec

    from geomae.cli.outputs import write_json, write_xyz
    from geomae.plotting import Pair, write_report

    folder.mkdir(parents=True, exist_ok=True)
    shown = result.solutions or ([result.nearest] if result.nearest is not None else [])
    if shown:
        write_xyz(folder / ("solutions.xyz" if result.solutions else "nearest.xyz"), shown)
    figures = {
        "outcome": result.outcome,
        "n_solutions": len(result.solutions),
        "residual": result.residual,
        "tolerance": result.tolerance,
        "n_starts": result.n_starts,
        "route": result.route,
        "free_motions": len(result.null_space),
    }
    solutions = [
        {"formula": s.formula, "residual": float(s.residual), "mirror": s.mirror}
        for s in result.solutions
    ]
    write_json(
        folder / "result.json",
        {**figures, "solutions": solutions, "rmsd": result.rmsd.tolist(), "summary": str(result)},
    )
    pairs = [
        Pair(f"solution {k + 1}", shown[0], s, metrics={"residual": float(s.residual)})
        for k, s in enumerate(shown)
    ]
    write_report(folder / "report.html", pairs, figures, title=title, notes=str(result))
    if shown and find_spec("matplotlib"):
        from geomae.inversion.drawing import save_route

        save_route(folder / "signals.png", shown, descriptor)
