"""Data sets by name, and folders of files."""

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from geomae.data.collect import as_structures
from geomae.data.structure import Structure
from geomae.errors import GeomaeError

SOURCES = ("tetris", "g2", "qm9", "aflow")
"""Modules of this package, each with `structures(split, n)`."""


def source_names() -> tuple[str, ...]:
    """Names that `load_source` knows."""
    return SOURCES


def load_source(
    name: str | Path, *, split: str | None = None, n: int | None = None
) -> list[Structure]:
    """Structures of a data set, or of a folder of files.

    Args:
        name: 'tetris' (the eight pieces), 'g2' (ASE's 162 molecules), 'qm9' (130,831 molecules),
            'aflow' (pymatgen's crystal prototypes), or a folder.
        split: part of it; only qm9 has any (train, valid, test); the whole by default.
        n: only the first n.

    Raises:
        GeomaeError: there is no such source, or no such split.
    """
    if str(name) in SOURCES:
        module = import_module(f"geomae.data.sources.{name}")
        return module.structures(split or "all", n)
    if Path(name).is_dir():
        return as_structures(name)[:n]
    close = get_close_matches(str(name), SOURCES, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise GeomaeError(
        f"there is no data source or folder '{name}'; sources: {', '.join(SOURCES)}{hint}"
    )


def only_whole(source: str, split: str) -> None:
    """Refuse a split of a source that has none."""
    if split != "all":
        raise GeomaeError(f"{source} has no splits, only the whole; not '{split}'")
