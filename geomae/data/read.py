"""Structures from files."""

from pathlib import Path
from typing import Any

from geomae.data.convert import from_ase, from_pymatgen, from_rdkit
from geomae.data.structure import Structure
from geomae.errors import MissingExtraError, StructureError

SUFFIXES = (".xyz", ".extxyz", ".sdf", ".mol", ".cif", ".vasp", ".poscar")
"""What a folder is searched for, beside POSCAR and CONTCAR."""


def read_file(path: Path | str) -> list[Structure]:
    """All structures of a file.

    Each has the properties `name` (the file's, with a number where there are several) and
    `source` (file, and the number of the frame from 1). Nothing is checked but that it can be
    read; `as_structures` checks.

    Args:
        path: .xyz, extended .xyz, .sdf, .mol, .cif, POSCAR, or whatever ASE reads.

    Raises:
        StructureError: there is no such file, or it is unreadable, truncated, or empty.
    """
    path = Path(path)
    if not path.is_file():
        raise StructureError("there is no such file", source=str(path))
    reader = {".sdf": _read_sdf, ".mol": _read_sdf, ".cif": _read_cif, ".xyz": _read_xyz}
    found = reader.get(path.suffix.lower(), _read_ase)(path)
    if not found:
        raise StructureError("holds no structure", source=str(path))
    for number, structure in enumerate(found, 1):
        several = len(found) > 1
        structure.source = f"{path}#{number}" if several else str(path)
        if structure.get("name") is None:
            structure.name = f"{path.stem}-{number}" if several else path.stem
    return found


def structure_files(folder: Path | str) -> list[Path]:
    """Files in a folder (not below it) that look like structures, by name."""
    return sorted(
        path
        for path in Path(folder).iterdir()
        if path.is_file()
        and (path.suffix.lower() in SUFFIXES or path.name.upper().startswith(("POSCAR", "CONTCAR")))
    )


def _read_xyz(path: Path) -> list[Structure]:
    """Frame by frame, counting lines: what is missing is named by its line."""
    lines = _text(path).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    start, frames = 0, []
    while start < len(lines):
        count = lines[start].strip()
        if not count.isdigit():
            raise StructureError(
                f"expected the number of atoms, found '{count[:40]}'", source=f"{path}:{start + 1}"
            )
        end = start + 2 + int(count)
        if end > len(lines):
            raise StructureError(
                f"is truncated: {count} atoms announced, {max(len(lines) - start - 2, 0)} there",
                source=f"{path}:{start + 1}",
            )
        for number in range(start + 2, end):
            fields = lines[number].split()
            if len(fields) < 4:
                raise StructureError(
                    f"expected an element and three numbers, found '{lines[number][:40]}'",
                    source=f"{path}:{number + 1}",
                )
        frames.append((start, "\n".join(lines[start:end]) + "\n"))
        start = end
    return [_parse_xyz(text, f"{path}:{line + 1}") for line, text in frames]


def _parse_xyz(text: str, where: str) -> Structure:
    from io import StringIO

    from ase.io import read

    extended = "Properties=" in text.split("\n", 2)[1] or "Lattice=" in text.split("\n", 2)[1]
    try:
        return from_ase(read(StringIO(text), format="extxyz" if extended else "xyz"))
    except Exception as error:  # ASE's parsers raise of every kind
        raise StructureError(f"can't be read: {_words(error)}", source=where) from error


def _read_ase(path: Path) -> list[Structure]:
    from ase.io import read

    try:
        images: Any = read(path, index=":")
    except Exception as error:  # ASE's parsers raise of every kind
        raise StructureError(f"can't be read: {_words(error)}", source=str(path)) from error
    return [from_ase(image) for image in images]


def _read_sdf(path: Path) -> list[Structure]:
    try:
        from rdkit import Chem, rdBase
    except ImportError as error:
        raise MissingExtraError("rdkit", "rdkit") from error
    if not _text(path).strip():
        raise StructureError("is empty", source=str(path))
    with rdBase.BlockLogs():
        molecules = list(Chem.SDMolSupplier(str(path), sanitize=False, removeHs=False))
    structures = []
    for number, molecule in enumerate(molecules, 1):
        if molecule is None:
            raise StructureError("is not a readable mol block", source=f"{path}#{number}")
        try:
            structures.append(from_rdkit(molecule))
        except StructureError as error:
            raise StructureError(error.fault, source=f"{path}#{number}") from error
    return structures


def _read_cif(path: Path) -> list[Structure]:
    """By pymatgen, which tells disorder; by ASE where it is not installed."""
    import warnings

    try:
        from pymatgen.io.cif import CifParser
    except ImportError:
        return _read_ase(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = CifParser(str(path)).parse_structures(primitive=False, on_error="raise")
    except Exception as error:  # the parser raises of every kind
        raise StructureError(f"can't be read: {_words(error)}", source=str(path)) from error
    try:
        return [from_pymatgen(structure) for structure in parsed]
    except StructureError as error:
        raise StructureError(error.fault, source=str(path)) from error


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise StructureError(f"can't be read: {_words(error)}", source=str(path)) from error


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
