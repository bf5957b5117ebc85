"""A plain folder of files, or one file."""

from pathlib import Path

from geomae.data.collect import as_structures
from geomae.data.structure import Structure
from geomae.errors import GeomaeError


def structures(path: Path | str, split: str | None = None, n: int | None = None) -> list[Structure]:
    """Structures of a folder's files in the order of their names, checked.

    Args:
        path: of a folder, or of a file.
        split: a folder within it ('train', say); None or 'all' is the folder itself.
        n: only the first n.

    Raises:
        GeomaeError: there is no such folder within it.
        StructureError: a file or structure can't be used.
    """
    path = Path(path).expanduser()
    if split not in (None, "all"):
        if not (path / split).is_dir():
            raise GeomaeError(f"'{path}' has no folder '{split}' to be the split of that name")
        path = path / split
    return as_structures(path)[:n]
