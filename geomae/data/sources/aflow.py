"""Crystal prototypes of the AFLOW library, as pymatgen carries them."""

from geomae.data.convert import from_pymatgen
from geomae.data.sources import only_whole
from geomae.data.structure import Structure
from geomae.errors import MissingExtraError


def structures(split: str = "all", n: int | None = None) -> list[Structure]:
    """The prototypes (Mehl et al. 2017) with `mineral`, `strukturbericht` and `aflow` names.

    `name` is the last with the formula, which tells apart the members of a prototype.


    Raises:
        MissingExtraError: pymatgen is not installed.
    """
    only_whole("aflow", split)
    try:
        from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY as LIBRARY
    except ImportError:
        try:
            from pymatgen.analysis.aflow_prototypes import (  # pyright: ignore
                AFLOW_PROTOTYPE_LIBRARY as LIBRARY,
            )
        except ImportError as error:
            raise MissingExtraError("pymatgen", "crystals") from error
    return [_structure(entry) for entry in LIBRARY[:n]]


def _structure(entry: dict) -> Structure:
    structure, tags = from_pymatgen(entry["snl"].structure), entry["tags"]
    structure.name = f"{tags['aflow']} {structure.formula}"
    for key in ("mineral", "strukturbericht", "aflow"):
        structure[key] = tags[key]
    return structure
