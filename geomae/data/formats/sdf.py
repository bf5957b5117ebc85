"""SD files and mol files, record by record and with line numbers."""

from collections.abc import Iterator

from geomae.data.convert import from_rdkit
from geomae.data.structure import Structure
from geomae.errors import MissingExtraError, StructureError


def parse_sdf(text: str, source: str) -> Iterator[Structure | StructureError]:
    """Structures of a file's records, as they stand: nothing is sanitised, added or removed.

    The title becomes `name`, data fields become properties (text), bonds as `from_rdkit` keeps
    them.

    Args:
        text: of the file.
        source: of the file, for messages.

    Raises:
        MissingExtraError: RDKit is not installed.
    """
    try:
        from rdkit import Chem, rdBase
    except ImportError as error:
        raise MissingExtraError("rdkit", "rdkit") from error
    for start, lines in _records(text.splitlines()):
        try:
            _check(lines, source, start)
            supplier = Chem.SDMolSupplier()
            with rdBase.BlockLogs():
                supplier.SetData("\n".join([*lines, "$$$$", ""]), sanitize=False, removeHs=False)
                mol = supplier[0]
            if mol is None:
                raise StructureError("is no mol block that RDKit reads")
            structure = from_rdkit(mol)
            if structure.n_atoms == 0:
                raise StructureError("has no atoms")
            yield structure
        except StructureError as error:
            yield StructureError(error.fault, source=error.source or f"{source}:{start}")


def _records(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Number of the first line, from 1, and lines of each record."""
    start = 0
    ends = [k for k, line in enumerate(lines) if line.startswith("$$$$")]
    for end in [*ends, len(lines)]:
        record = lines[start:end]
        if end < len(lines) or any(line.strip() for line in record):
            yield start + 1, record
        start = end + 1


def _check(lines: list[str], source: str, start: int) -> None:
    """See that a record is whole."""
    if len(lines) < 4:
        raise StructureError("is truncated within its header", source=f"{source}:{start}")
    counts = lines[3]
    if "V3000" not in counts:
        first, second = counts[:3].strip(), counts[3:6].strip()
        if not (first.isdigit() and second.isdigit()):
            raise StructureError(
                f"expected the numbers of atoms and bonds, found '{counts[:40]}'",
                source=f"{source}:{start + 3}",
            )
        expected, there = int(first) + int(second), len(lines) - 4
        if expected > there:
            raise StructureError(
                f"is truncated: {int(first)} atoms and {int(second)} bonds announced, "
                f"{there} lines follow",
                source=f"{source}:{start + 3}",
            )
    if not any(line.startswith("M  END") for line in lines):
        raise StructureError(
            "is truncated: its mol block has no 'M  END'", source=f"{source}:{start}"
        )
