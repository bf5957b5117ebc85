"""The G2 set: 162 small molecules, radicals and atoms, as ASE carries them."""

from geomae.data.convert import from_ase
from geomae.data.sources import only_whole
from geomae.data.structure import Structure


def structures(split: str = "all", n: int | None = None) -> list[Structure]:
    """The molecules by name, in ASE's order (Curtiss et al. 1997)."""
    from ase.build import molecule
    from ase.collections import g2

    only_whole("g2", split)
    return [_named(from_ase(molecule(name)), name) for name in list(g2.names)[:n]]


def _named(structure: Structure, name: str) -> Structure:
    structure.name = name
    return structure
