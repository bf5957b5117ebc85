"""XYZ and extended XYZ, frame by frame and with line numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO

import numpy as np

from geomae.data.convert import from_ase
from geomae.data.convert.properties import put
from geomae.data.elements import NUMBERS
from geomae.data.structure import Structure
from geomae.errors import StructureError

HEAVY_HYDROGENS = {"D": 2, "T": 3}
USUAL_COLUMNS = "Properties=species:S:1:pos:R:3"


@dataclass(frozen=True)
class Frame:
    """Lines of one structure.

    Attributes:
        start: number of its first line, from 1.
        lines: the count, the comment, and one line an atom.
    """

    start: int
    lines: list[str]


def parse_xyz(text: str, source: str) -> Iterator[Structure | StructureError]:
    """Structures of a file's frames.

    The first four columns are an element (symbol or number; D and T are hydrogen with `isotopes`)
    and a position in Å. A plain frame's further numbers become `columns` `[n, k]` and its comment
    `comment`; an extended one has the properties that its comment names.

    Args:
        text: of the file.
        source: of the file, for messages.
    """
    for frame in _frames(text.splitlines(), source):
        if isinstance(frame, StructureError):
            yield frame
            continue
        try:
            yield _parse(frame, source)
        except StructureError as error:
            yield error


def _frames(lines: list[str], source: str) -> Iterator[Frame | StructureError]:
    """The frames; after a line that should be a count and isn't, nothing more can be told."""
    start = 0
    while start < len(lines):
        count = lines[start].strip()
        if not count:
            start += 1
            continue
        where = f"{source}:{start + 1}"
        if not (count.isascii() and count.isdigit()):
            yield StructureError(
                f"expected the number of atoms, found '{_cut(count)}'", source=where
            )
            return
        end = start + 2 + int(count)
        if end > len(lines):
            there = max(len(lines) - start - 2, 0)
            fault = f"is truncated: {int(count)} atoms announced, {there} lines follow"
            yield StructureError(fault, source=where)
            return
        if int(count) == 0:
            yield StructureError("has no atoms", source=where)
        else:
            yield Frame(start + 1, lines[start:end])
        start = end


def _parse(frame: Frame, source: str) -> Structure:
    comment = frame.lines[1]
    extended = "Properties=" in comment or "Lattice=" in comment
    usual = not extended or USUAL_COLUMNS in comment or "Properties=" not in comment
    rows = [line.split() for line in frame.lines[2:]]
    if not usual:
        return _extended(frame.lines, f"{source}:{frame.start}")
    symbols, isotopes = [], []
    for offset, row in enumerate(rows):
        symbol, isotope = _element(row, f"{source}:{frame.start + 2 + offset}")
        symbols.append(symbol)
        isotopes.append(isotope)
    if extended:
        atoms = [" ".join([s, *row[1:]]) for s, row in zip(symbols, rows, strict=True)]
        structure = _extended([*frame.lines[:2], *atoms], f"{source}:{frame.start}")
    else:
        structure = _plain(symbols, rows, comment)
    if any(isotopes):
        put(structure, "atoms", "isotopes", np.array(isotopes), "arrays")
    return structure


def _element(row: list[str], where: str) -> tuple[str, int]:
    """Symbol and isotope of an atom's line, whose numbers are seen to be such."""
    if len(row) < 4:
        raise StructureError(
            f"expected an element and three coordinates, found '{_cut(' '.join(row))}'",
            source=where,
        )
    for word in row[1:4]:
        if _number(word) is None:
            raise StructureError(f"expected a coordinate, found '{_cut(word)}'", source=where)
    name = row[0].capitalize()
    symbols = {str(number): symbol for symbol, number in NUMBERS.items()}
    symbol = "H" if name in HEAVY_HYDROGENS else symbols.get(name, name)
    if symbol not in NUMBERS:
        raise StructureError(f"expected an element, found '{_cut(row[0])}'", source=where)
    return symbol, HEAVY_HYDROGENS.get(name, 0)


def _plain(symbols: list[str], rows: list[list[str]], comment: str) -> Structure:
    structure = Structure(
        [NUMBERS[symbol] for symbol in symbols],
        [[_number(word) for word in row[1:4]] for row in rows],
    )
    if comment.strip():
        put(structure, "whole", "comment", comment.strip(), "info")
    more = [[_number(word) for word in row[4:]] for row in rows]
    if more[0] and len({len(row) for row in more}) == 1 and all(None not in row for row in more):
        put(structure, "atoms", "columns", np.array(more), "arrays")
    return structure


def _extended(lines: list[str], where: str) -> Structure:
    from ase.io import read

    try:
        return from_ase(read(StringIO("\n".join(lines) + "\n"), format="extxyz"))
    except Exception as error:  # ASE's parsers raise of every kind
        raise StructureError(
            f"can't be read as extended XYZ: {error!r:.200}", source=where
        ) from error


def _number(word: str) -> float | None:
    """A number, in Fortran's notation too."""
    try:
        return float(word.replace("D", "e").replace("d", "e"))
    except ValueError:
        return None


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"
