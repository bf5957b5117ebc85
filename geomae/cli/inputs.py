"""Structures from what stands on the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from geomae.cli.options import OnError
from geomae.data import Structure, as_structures, load_source, source_names
from geomae.errors import GeomaeError

if TYPE_CHECKING:
    from geomae.autoencoder import Codec


def gather(
    names: Sequence[str], on_error: OnError, model: "Codec | None" = None
) -> tuple[list[Structure], list[str]]:
    """Structures of files, folders and sources, and a line for each that was left out.

    Args:
        names: as given by the user.
        on_error: whether a bad structure stops everything.
        model: leave out (or stop at) what it does not take, too.
    """
    structures: list[Structure] = []
    skipped: list[str] = []
    for name in names:
        if name in source_names() and not Path(name).exists():
            found, faults = load_source(name), []
        else:
            found = as_structures(name, on_error=on_error.value)
            faults = [f"{s.source or name}: {s.fault}" for s in getattr(found, "skipped", [])]
        structures += found
        skipped += faults
    if model is not None:
        structures, refused = _supported(structures, on_error, model)
        skipped += refused
    if not structures:
        raise GeomaeError(
            "there is no structure to work on" + (f": {skipped[0]}" if skipped else "")
        )
    return structures, skipped


def _supported(
    structures: list[Structure], on_error: OnError, model: "Codec"
) -> tuple[list[Structure], list[str]]:
    # how many atoms a crystal has is known once its cell is reduced
    check = model.forms_of if model.config.kind == "crystals" else model.check
    if on_error is OnError.RAISE:
        check(structures)
        return structures, []
    taken, refused = [], []
    for structure in structures:
        try:
            check([structure])
            taken.append(structure)
        except GeomaeError as error:
            fault = getattr(error, "fault", str(error))
            refused.append(f"{structure.get('source') or structure.formula}: {fault}")
    return taken, refused
