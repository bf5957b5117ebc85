"""`geomae symmetry`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geomae.cli.options import JsonFile

if TYPE_CHECKING:
    from geomae.data.structure import Structure
    from geomae.symmetry import Allowed


def symmetry(
    file: Annotated[
        str, typer.Argument(help="File with one molecule or crystal, or a group's symbol.")
    ],
    properties: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            "-p",
            help="A property or irreps; give it again for another. 'list' lists.",
        ),
    ] = None,
    site: Annotated[
        int | None, typer.Option(help="Atom whose own property is meant, from 0.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Distance in Å within which symmetry is meant [0.01].")
    ] = None,
    symmetrise: Annotated[
        Path | None, typer.Option(help="Write the structure with exact symmetry to this file.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the (first) property's independent components.")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Tell the symmetry of a molecule or crystal, and what it allows and forbids.

    Example: geomae symmetry benzene.xyz --property polarizability --property dipole
    """
    from rich import print as show

    from geomae.cli.outputs import write_json
    from geomae.symmetry import allowed, property_names

    if properties and "list" in properties:
        show("\n".join(property_names()))
        return
    thing, lines, content = _look(file, tolerance)
    results = [allowed(thing, name, site=site, tolerance=tolerance) for name in properties or []]
    for line in lines + [result.words for result in results]:
        print(line)
    content["properties"] = [_plain(result) for result in results]
    if symmetrise is not None:
        content["symmetrised"] = _symmetrise(thing, tolerance, symmetrise)
    if picture is not None:
        _draw(picture, results, thing)
    if json_file is not None:
        write_json(json_file, content)


def _look(file: str, tolerance: float | None):
    """The structure or group, what its symmetry is in words, and in plain numbers."""
    from geomae.symmetry import PointGroup, space_group
    from geomae.symmetry.detect import one_structure, point_group
    from geomae.symmetry.errors import GroupError

    if not Path(file).expanduser().exists():
        try:
            group = PointGroup.named(file)
        except GroupError as error:
            raise GroupError(f"there is no file '{file}', and {error}") from error
        return group, _group_lines(group), _group_content(group)
    structure = one_structure(file)
    if not structure.periodic:
        group = point_group(structure, tolerance)
        lines = [f"{structure.formula}, a molecule of {structure.n_atoms} atoms"]
        return structure, lines + _group_lines(group), _group_content(group)
    found = space_group(structure, tolerance)
    lines = [
        f"{structure.formula}, a crystal with {structure.n_atoms} atoms a cell",
        f"space group {found.symbol} ({found.number})",
        *_site_lines(structure, found),
    ]
    content = _group_content(found.point_group) | {
        "space_group": found.symbol,
        "space_group_number": found.number,
        "wyckoffs": list(found.wyckoffs),
        "site_symmetries": list(found.site_symmetries),
    }
    return structure, lines + _group_lines(found.point_group), content


def _group_lines(group) -> list[str]:
    order = "infinitely many" if group.infinite else str(len(group))
    chiral = "chiral" if group.proper else "achiral"
    return [f"point group {group.name} ({group.hermann_mauguin}), {order} operations, {chiral}"]


def _site_lines(structure: "Structure", found) -> list[str]:
    from geomae.data.elements import SYMBOLS

    orbits = found.orbits.tolist()
    return [
        f"  {SYMBOLS[int(structure.numbers[k])]}: {orbits.count(k)} of them, Wyckoff position "
        f"{found.wyckoffs[k]}, site symmetry {found.site_symmetries[k]} ({found.sites[k].name})"
        for k in sorted(set(orbits))
    ]


def _group_content(group) -> dict:
    return {
        "point_group": group.name,
        "hermann_mauguin": group.hermann_mauguin,
        "order": None if group.infinite else len(group),
        "operations": None if group.infinite else group.operations.tolist(),
        "frame": group.frame.tolist(),
    }


def _plain(result: "Allowed") -> dict:
    cartesian = result.cartesian_basis
    return {
        "property": result.name,
        "irreps": None if result.irreps is None else str(result.irreps),
        "group": result.group.name,
        "n_components": result.n_components,
        "decomposition": result.decomposition,
        "basis": result.basis.tolist(),
        "cartesian_basis": None if cartesian is None else cartesian.tolist(),
        "labels": list(result.labels),
        "words": result.words,
    }


def _symmetrise(thing, tolerance: float | None, path: Path) -> dict:
    from rich import print as show

    from geomae.data.cache import replacing
    from geomae.data.convert import to_ase
    from geomae.symmetry import PointGroup, PropertyError, symmetrise

    if isinstance(thing, PointGroup):
        raise PropertyError("--symmetrise needs a file with a structure, not a group")
    made = symmetrise(thing, tolerance=tolerance)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        to_ase(made.structure).write(temporary, format="extxyz")
    strain = f", the lattice by {made.strain:.2g}" if made.structure.periodic else ""
    show(f"symmetrised: atoms moved by up to {made.largest_move:.2g} Å{strain}; in {path}")
    return {"largest_move": made.largest_move, "strain": made.strain, "group": made.group.name}


def _draw(path: Path, results: list, thing) -> None:
    from rich import print as show

    from geomae.data.structure import Structure
    from geomae.plotting.symmetry import save_allowed
    from geomae.symmetry import PropertyError

    if not results:
        raise PropertyError("--picture draws a property: expected --property as well")
    save_allowed(path, results[0], structure=thing if isinstance(thing, Structure) else None)
    show(f"picture in {path}")
