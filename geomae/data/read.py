"""Structures from files."""

from collections.abc import Iterator
from pathlib import Path

from geomae.data.structure import Structure
from geomae.errors import StructureError

SUFFIXES = (
    ".xyz", ".extxyz", ".sdf", ".mol", ".cif", ".vasp", ".poscar", ".pdb", ".xsf", ".gen", ".traj"
)  # fmt: skip
"""What a folder is searched for, beside POSCAR and CONTCAR."""

ARRAYS = (".npz", ".npy", ".pt", ".pth", ".pkl", ".pickle", ".safetensors")


def read_file(path: Path | str) -> list[Structure]:
    """All structures of a file.

    Each has the properties `source` (the file, and after # the number of the structure from 1,
    where there are several) and `name` (as in the file, else the file's with that number). It is
    seen that the file is whole, not that its structures make sense: `as_structures` checks that.

    Args:
        path: .xyz, extended .xyz, .sdf, .mol, .cif, POSCAR, CONTCAR, or whatever ASE reads.

    Raises:
        StructureError: there is no such file, or it is empty, truncated, disordered or can't be
            read; says where. Nothing is returned then.
        MissingExtraError: an .sdf or .mol file needs RDKit.
    """
    found = list(read_items(path))
    for item in found:
        if isinstance(item, StructureError):
            raise item
    return [item for item in found if isinstance(item, Structure)]


def read_items(path: Path | str) -> Iterator[Structure | StructureError]:
    """Structures of a file, and errors in the places of those that can't be read."""
    path = Path(path).expanduser()
    try:
        items = list(_parse(path))
    except StructureError as error:
        items = [error]
    if not items:
        items = [StructureError("holds no structure", source=str(path))]
    for number, item in enumerate(items, 1):
        if isinstance(item, Structure):
            several = len(items) > 1
            item["source"] = f"{path}#{number}" if several else str(path)
            if not isinstance(item.get("name"), str):
                item["name"] = f"{path.stem}-{number}" if several else path.stem
        yield item


def structure_files(folder: Path | str) -> list[Path]:
    """Files in a folder (not below it) that look like structures, by name."""
    return sorted(
        path
        for path in Path(folder).expanduser().iterdir()
        if path.is_file()
        and not path.name.startswith(".")
        and (path.suffix.lower() in SUFFIXES or _is_poscar(path))
    )


def _is_poscar(path: Path) -> bool:
    name = path.name.upper()
    return name.startswith(("POSCAR", "CONTCAR")) or name.endswith((".VASP", ".POSCAR"))


def _parse(path: Path) -> Iterator[Structure | StructureError]:
    from geomae.data.formats.cif import parse_cif
    from geomae.data.formats.sdf import parse_sdf
    from geomae.data.formats.xyz import parse_xyz

    source, suffix = str(path), path.suffix.lower()
    if not path.is_file():
        what = "this is a folder, not a file" if path.is_dir() else "there is no such file"
        raise StructureError(what, source=source)
    if suffix in ARRAYS:
        raise StructureError(f"is no structure file: {suffix} holds arrays", source=source)
    if path.stat().st_size == 0:
        raise StructureError("is empty", source=source)
    parsers = {".xyz": parse_xyz, ".extxyz": parse_xyz, ".sdf": parse_sdf, ".mol": parse_sdf}
    parser = {**parsers, ".cif": parse_cif}.get(suffix)
    if parser is None:
        yield from _by_ase(path, "vasp" if _is_poscar(path) else None)
        return
    text = _text(path)
    if not text.strip():
        raise StructureError("is empty", source=source)
    yield from parser(text, source)


def _by_ase(path: Path, form: str | None) -> Iterator[Structure]:
    from ase import Atoms
    from ase.io import read
    from ase.io.formats import UnknownFileTypeError

    from geomae.data.convert import from_ase

    try:
        images = read(path, index=":", format=form)
    except UnknownFileTypeError as error:
        raise StructureError(
            "is of no format known here: .xyz, .sdf, .mol, .cif, POSCAR, or any that ASE reads",
            source=str(path),
        ) from error
    except Exception as error:  # ASE's parsers raise of every kind
        words = " ".join(str(error).split()) or repr(error)
        kind = f"as {form} " if form else ""
        raise StructureError(f"can't be read {kind}({words:.200})", source=str(path)) from error
    for image in images:
        if isinstance(image, Atoms):
            yield from_ase(image)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise StructureError(f"can't be read: {error.strerror}", source=str(path)) from error
