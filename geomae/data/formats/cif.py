"""Crystallographic information files, block by block and with line numbers."""

import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from io import StringIO
from typing import Any

from geomae.data.convert import from_ase, from_pymatgen
from geomae.data.structure import Structure
from geomae.errors import StructureError

INCOMPLETE = ("Missing elements", "Incorrect stoichiometry")
"""How pymatgen begins to say that the atoms are not those of the formula."""


def parse_cif(text: str, source: str) -> Iterator[Structure | StructureError]:
    """Structures of a file's data blocks that have atoms, named by their blocks.

    By pymatgen, or by ASE where that is not installed. The cell is the one of the file; symmetry
    is applied.

    Args:
        text: of the file.
        source: of the file, for messages.
    """
    parse = _by_pymatgen if find_spec("pymatgen") else _by_ase
    for start, block in _blocks(text.splitlines()):
        if "_atom_site_" not in block:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                structure = parse(block)
        except StructureError as error:
            yield StructureError(error.fault, source=f"{source}:{start}")
        except Exception as error:  # both parsers raise of every kind
            fault = f"can't be read as CIF: {' '.join(str(error).split()) or repr(error):.200}"
            yield StructureError(fault, source=f"{source}:{start}")
        else:
            name = block.split(maxsplit=1)[0][len("data_") :]
            if name and name not in ("image0", "global"):
                structure.name = name
            yield structure


def _blocks(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Number of the first line, from 1, and text of each block."""
    starts = [k for k, line in enumerate(lines) if line.lower().startswith("data_")]
    for start, end in zip(starts, [*starts, len(lines)][1:], strict=True):
        yield start + 1, "\n".join(lines[start:end]) + "\n"


def _by_pymatgen(block: str) -> Structure:
    from pymatgen.io.cif import CifParser

    parser = CifParser.from_str(block)
    (parsed,) = parser.parse_structures(primitive=False, on_error="raise")
    structure = from_pymatgen(parsed)
    reason = parser.check(parsed)
    if reason and reason.startswith(INCOMPLETE):
        words = " ".join(reason.split())
        raise StructureError(f"its atoms don't make up its formula: {words:.200}")
    return structure


def _by_ase(block: str) -> Structure:
    from ase.io import read

    atoms: Any = read(StringIO(block), format="cif")
    for site, shares in (atoms.info.get("occupancy") or {}).items():
        if len(shares) > 1 or any(share < 1 for share in shares.values()):
            raise StructureError(f"site {site} is disordered ({shares})")
    return from_ase(atoms)
