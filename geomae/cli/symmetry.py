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
            help="A property, irreps, or a block such as 'block p-d' or 'p-p of atoms 0 and 1'; "
            "give it again for another. 'list' lists.",
        ),
    ] = None,
    site: Annotated[
        int | None, typer.Option(help="Atom whose own property is meant, from 0.")
    ] = None,
    each_atom: Annotated[
        bool, typer.Option("--each-atom", help="A value on every atom is meant.")
    ] = False,
    magnetic: Annotated[
        bool,
        typer.Option(
            "--magnetic",
            help="Take time reversal into account, with the magnetic moments in the file, or none.",
        ),
    ] = False,
    tolerance: Annotated[
        float | None, typer.Option(help="Distance in Å within which symmetry is meant [0.01].")
    ] = None,
    symmetrise: Annotated[
        Path | None, typer.Option(help="Write the structure with exact symmetry to this file.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Group to symmetrise to instead of the one found: a point group (C2v) or, of a "
            "crystal, a space group (62, Pnma) as well."
        ),
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
    from geomae.symmetry import MagneticGroup, PropertyError, allowed, property_names

    if properties and "list" in properties:
        show("\n".join(property_names()))
        return
    if group is not None and symmetrise is None:
        raise PropertyError("--group is the one to symmetrise to: expected --symmetrise as well")
    thing, lines, content = _look(file, tolerance)
    if magnetic or isinstance(thing, MagneticGroup):
        lines += _magnetic_lines(thing, site, tolerance, content)
    results = [
        allowed(thing, name, site=site, each_atom=each_atom, time_reversal=magnetic,
                tolerance=tolerance)
        for name in properties or []
    ]  # fmt: skip
    for line in lines + [result.words for result in results]:
        print(line)
    content["properties"] = [_plain(result) for result in results]
    if symmetrise is not None:
        content["symmetrised"] = _symmetrise(thing, group, tolerance, symmetrise)
    if picture is not None:
        _draw(picture, results, thing)
    if json_file is not None:
        write_json(json_file, content)


def _look(file: str, tolerance: float | None):
    """The structure or group, what its symmetry is in words, and in plain numbers."""
    from geomae.symmetry import MagneticGroup, space_group
    from geomae.symmetry.allowed import group_of
    from geomae.symmetry.detect import one_structure, point_group

    if not Path(file).expanduser().exists():
        group = group_of(file)
        plain = group.group if isinstance(group, MagneticGroup) else group
        return group, _group_lines(plain), _group_content(plain)
    structure = one_structure(file)
    if not structure.periodic:
        group = point_group(structure, tolerance)
        lines = [f"{structure.formula}, a molecule of {structure.n_atoms} atoms"]
        lines += _group_lines(group) + _hint(structure, tolerance)
        return structure, lines, _group_content(group)
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
    lines += _group_lines(found.point_group) + _hint(structure, tolerance)
    return structure, lines, content


def _group_lines(group) -> list[str]:
    order = "infinitely many" if group.infinite else str(len(group))
    chiral = "chiral" if group.proper else "achiral"
    operations = f"{order} operation{'s' * (order != '1')}"
    return [f"point group {group.name} ({group.hermann_mauguin}), {operations}, {chiral}"]


def _hint(structure: "Structure", tolerance: float | None) -> list[str]:
    """The symmetry at a somewhat larger tolerance, where there is more."""
    from geomae.symmetry.detect import TOLERANCE, larger_symmetries

    found = larger_symmetries(structure, TOLERANCE if tolerance is None else tolerance, 0.1)
    return [f"  with --tolerance {larger:g}: {name}" for larger, name in found[:1]]


def _magnetic_lines(thing, site: int | None, tolerance: float | None, content: dict) -> list[str]:
    from geomae.symmetry import MagneticGroup, PointGroup, magnetic_group

    if isinstance(thing, PointGroup):
        found = MagneticGroup(thing, thing.irreps[0].name, True)
    elif isinstance(thing, MagneticGroup):
        found = thing
    else:
        found = magnetic_group(thing, site=site, tolerance=tolerance)
    content["magnetic_group"] = found.hermann_mauguin
    how = "no magnetic moments" if found.grey else f"{int(found.reversed.sum())} of its operations"
    rest = ", with time reversal alone" if found.grey else " come with time reversal"
    return [f"magnetic point group {found.hermann_mauguin} ({found.name}): {how}{rest}"]


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
        "magnetic_group": None if result.magnetic is None else result.magnetic.hermann_mauguin,
        "n_components": result.n_components,
        "decomposition": result.decomposition,
        "basis": result.basis.tolist(),
        "cartesian_basis": None if cartesian is None else cartesian.tolist(),
        "labels": list(result.labels),
        "words": result.words,
    }


def _symmetrise(thing, group: str | None, tolerance: float | None, path: Path) -> dict:
    from rich import print as show

    from geomae.data.cache import replacing
    from geomae.data.convert import to_ase
    from geomae.data.structure import Structure
    from geomae.symmetry import PropertyError, symmetrise

    if not isinstance(thing, Structure):
        raise PropertyError("--symmetrise needs a file with a structure, not a group")
    made = symmetrise(thing, group, tolerance)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        to_ase(made.structure).write(temporary, format="extxyz")
    strain = f", the lattice by {made.strain:.2g}" if made.structure.periodic else ""
    name = made.group.name if made.number is None else f"space group {made.number}"
    show(
        f"symmetrised to {name}: atoms moved by up to {made.largest_move:.2g} Å{strain}; in {path}"
    )
    return {
        "largest_move": made.largest_move,
        "strain": made.strain,
        "group": made.group.name,
        "space_group_number": made.number,
    }


def _draw(path: Path, results: list, thing) -> None:
    from rich import print as show

    from geomae.data.structure import Structure
    from geomae.plotting.symmetry import save_allowed
    from geomae.symmetry import PropertyError

    if not results:
        raise PropertyError("--picture draws a property: expected --property as well")
    save_allowed(path, results[0], structure=thing if isinstance(thing, Structure) else None)
    show(f"picture in {path}")
