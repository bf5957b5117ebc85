"""Where parsed data sets are kept, and writing that never leaves half a file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_directory() -> Path:
    """`$GEOMAE_CACHE`, or `~/.cache/geomae`; made where it does not exist."""
    path = Path(os.environ.get("GEOMAE_CACHE") or Path.home() / ".cache" / "geomae")
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it if the block ends well, else removed."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
