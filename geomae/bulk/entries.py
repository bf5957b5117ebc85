"""What is to be encoded, entry by entry: nothing is opened before it is wanted."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from geomae.data import Structure, as_structures, load_source, source_names
from geomae.data.formats.sdf import parse_sdf
from geomae.data.formats.xyz import parse_xyz
from geomae.data.read import read_items, structure_files
from geomae.errors import GeomaeError, StructureError

Parser = Callable[[str, str], Iterator[Structure | StructureError]]


@dataclass(frozen=True)
class Entry:
    """A place where a structure is.

    Attributes:
        name: what it is called, or where it stands.
        open: gives the structure, or raises a StructureError.
    """

    name: str
    open: Callable[[], Structure]


class Inputs:
    """Structures of files, folders and data sources, or of a list, one after the other.

    Memory does not grow with their number: .xyz and .sdf files are read frame by frame, other
    files one at a time, QM9 from its flat arrays.

    Args:
        what: names of files, folders and data sources, or a list of anything that
            `geomae.as_structures` takes.
        split: part of the data sources.
        n: only the first n of all.

    Raises:
        GeomaeError: there is no such file, folder or data source.
    """

    def __init__(
        self, what: str | Path | Sequence[Any], *, split: str | None = None, n: int | None = None
    ):
        self.what: list[Any] = [what] if isinstance(what, str | Path) else list(what)
        self.split, self.n = split, n
        for item in self.what:
            if isinstance(item, str | Path) and not (_is_source(item) or _path(item).exists()):
                raise GeomaeError(
                    f"there is no data source, folder or file '{item}'; "
                    f"sources: {', '.join(source_names())}"
                )

    def __iter__(self) -> Iterator[Entry]:
        entries = (entry for item in self.what for entry in self._entries(item))
        return islice(entries, self.n)

    def description(self) -> dict:
        """What tells whether these are the same inputs: names, and digests of what they hold."""
        given = [
            {"name": str(item), "digest": _digest(item)}
            for item in self.what
            if isinstance(item, str | Path)
        ]
        others = [item for item in self.what if not isinstance(item, str | Path)]
        if others:
            given.append({"name": f"{len(others)} structures", "digest": _content(others)})
        return {"inputs": given, "split": self.split, "n": self.n}

    def _entries(self, item: Any) -> Iterator[Entry]:
        if not isinstance(item, str | Path):
            yield _entry_of(item)
        elif _is_source(item):
            yield from _of_source(str(item), self.split)
        elif _path(item).is_dir():
            files = structure_files(_path(item))
            if not files:
                error = StructureError(
                    "there is no structure file in this folder", source=str(item)
                )
                yield _failing(str(item), error)
            for file in files:
                yield from _of_file(file)
        else:
            yield from _of_file(_path(item))


def _path(item: str | Path) -> Path:
    return Path(item).expanduser()


def _is_source(item: str | Path) -> bool:
    """As on the command line: a file or folder of that name goes first."""
    return str(item) in source_names() and not Path(item).exists()


def _of_source(name: str, split: str | None) -> Iterator[Entry]:
    if name == "qm9":
        from geomae.data.sources.qm9 import load_qm9, split_indices

        data = load_qm9()
        for i in split_indices(split or "all").tolist():
            yield Entry(f"qm9-{int(data.index[i]):06d}", lambda i=i: data.structure(i))
        return
    for number, structure in enumerate(load_source(name, split=split)):
        yield Entry(_name_of(structure, f"{name}#{number + 1}"), lambda it=structure: it)


def _of_file(path: Path) -> Iterator[Entry]:
    """Entries of a file, called by its name, with their numbers if there are several."""
    blocks = _blocks(path)
    first, second = next(blocks, None), next(blocks, None)
    if first is None:
        yield _failing(str(path), StructureError("is empty", source=str(path)))
        return
    if second is None:
        yield _named(first, str(path), path.stem)
        return
    number = 0
    for group in ((first, second), blocks):
        for opened in group:
            number += 1
            yield _named(opened, f"{path}#{number}", f"{path.stem}-{number}")


def _blocks(path: Path) -> Iterator[Callable[[], Structure]]:
    """What opens each structure of a file."""
    splitters = {".xyz": (_xyz_blocks, parse_xyz), ".extxyz": (_xyz_blocks, parse_xyz)}
    splitters |= {".sdf": (_sdf_blocks, parse_sdf), ".mol": (_sdf_blocks, parse_sdf)}
    found = splitters.get(path.suffix.lower())
    if found is None or not path.is_file() or not path.stat().st_size:
        for item in read_items(path):
            yield lambda item=item: _checked(item)
        return
    split, parse = found
    with open(path, encoding="utf-8", errors="replace") as file:
        for start, text in split(file):
            yield lambda start=start, text=text: _parsed(parse, text, str(path), start)


def _xyz_blocks(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Number of the first line, from 1, and text of each frame; the rest after a broken one."""
    stream, start = iter(lines), 0
    for count in stream:
        start += 1
        if not count.strip():
            continue
        whole = count.strip().isascii() and count.strip().isdigit()
        more = list(islice(stream, 1 + int(count) if whole else 0))
        yield start, count + "".join(more)
        if not whole:
            return
        start += len(more)


def _sdf_blocks(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Number of the first line, from 1, and text of each record."""
    record, start = [], 1
    for line in lines:
        record.append(line)
        if line.startswith("$$$$"):
            yield start, "".join(record)
            record, start = [], start + len(record)
    if any(line.strip() for line in record):
        yield start, "".join(record)


def _parsed(parse: Parser, text: str, path: str, start: int) -> Structure:
    """The structure of a block that starts at a line of a file; errors name the file's line."""
    item = next(parse(text, path), StructureError("holds no structure", source=path))
    if isinstance(item, StructureError) and item.source:
        inner = re.fullmatch(re.escape(path) + r":(\d+)", item.source)
        line = int(inner[1]) + start - 1 if inner else start
        raise StructureError(item.fault, source=f"{path}:{line}")
    return _checked(item)


def _checked(item: Any) -> Structure:
    if isinstance(item, StructureError):
        raise item
    structures = as_structures([item])
    if len(structures) != 1:
        raise StructureError(f"holds {len(structures)} structures, expected one")
    return structures[0]


def _named(opened: Callable[[], Structure], source: str, name: str) -> Entry:
    return Entry(source if "#" in source else name, opened)


def _failing(name: str, error: StructureError) -> Entry:
    def fail() -> Structure:
        raise error

    return Entry(name, fail)


def _entry_of(item: Any) -> Entry:
    name = _name_of(item, "") if isinstance(item, Structure) else ""
    return Entry(name, lambda: _checked(item))


def _name_of(structure: Structure, otherwise: str) -> str:
    return str(structure.get("name") or structure.get("source") or otherwise)


def _digest(item: str | Path) -> str:
    """Of a data source its name, of files their names and sizes."""
    if _is_source(item):
        return "source"
    path = _path(item)
    files = structure_files(path) if path.is_dir() else [path]
    text = "\n".join(f"{file.name} {file.stat().st_size}" for file in files)
    return hashlib.sha256(text.encode()).hexdigest()


def _content(items: Sequence[Any]) -> str:
    """Digest of structures' atoms."""
    total = hashlib.sha256()
    for structure in as_structures(items, on_error="skip"):
        total.update(structure.numbers.numpy().tobytes())
        total.update(structure.positions.numpy().tobytes())
    return total.hexdigest()
