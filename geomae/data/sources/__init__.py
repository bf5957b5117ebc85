"""Data sets by name, and folders of files."""

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from geomae.data.structure import Structure
from geomae.errors import GeomaeError

CRYSTALS = ("perov5", "carbon24", "supercon", "mp20", "mpts52", "wbm")
"""Data sets of the module `crystals`."""

SOURCES = ("tetris", "g2", "qm9", "organic", "aflow", "degenerate", *CRYSTALS)
"""Modules of this package, each with `structures(split, n)`, and the data sets of crystals."""


def source_names() -> tuple[str, ...]:
    """Names that `load_source` knows."""
    return SOURCES


def load_source(
    name: str | Path, *, split: str | None = None, n: int | None = None
) -> list[Structure]:
    """Structures of a data set, or of a folder of files.

    Args:
        name: 'tetris' (the eight pieces), 'g2' (ASE's 162 molecules), 'qm9' (130,831 molecules),
            'organic' (conformers of molecules of 1 to 50 heavy atoms, to be built first),
            'aflow' (pymatgen's 288 crystal prototypes), 'degenerate' (pairs of different
            structures with equal invariants), a data set of crystals ('perov5', 'carbon24',
            'supercon', 'mp20', 'mpts52', 'wbm'), or the path of a folder or file.
        split: part of it: 'train', 'valid' or 'test' of qm9 and organic, also 'large' of organic;
            a folder within a folder; the whole by default.
        n: only the first n.

    Raises:
        GeomaeError: there is no such source, or no such split.
        StructureError: a file can't be used.
        MissingExtraError: the source needs a package that isn't installed.
    """
    if str(name) in CRYSTALS:
        from geomae.data.sources import crystals

        return crystals.structures(str(name), split or "all", n)
    if str(name) in SOURCES:
        return import_module(f"{__name__}.{name}").structures(split or "all", n)
    if Path(name).expanduser().exists():
        from geomae.data.sources import folder

        return folder.structures(name, split, n)
    close = get_close_matches(str(name).lower(), SOURCES, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise GeomaeError(
        f"there is no data source, folder or file '{name}'; sources: {', '.join(SOURCES)}{hint}"
    )


def only_whole(source: str, split: str) -> None:
    """Refuse a split of a source that has none."""
    if split != "all":
        raise GeomaeError(f"{source} has no splits, only the whole; not '{split}'")
