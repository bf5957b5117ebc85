"""ASE's Atoms."""

from typing import TYPE_CHECKING

from geomae.data.convert.properties import properties_of, put
from geomae.data.structure import Structure

if TYPE_CHECKING:
    import ase

RESULTS = ("energy", "free_energy", "forces", "stress")
"""Properties that ASE keeps in a calculator, as its readers do."""

RESULTS_OF_ATOMS = ("forces", "energies", "stresses", "charges", "magmoms")


def from_ase(atoms: "ase.Atoms") -> Structure:
    """A structure of ASE's Atoms, with its info, arrays, constraints and computed results.

    Results (energy, forces and so on) are taken from an attached calculator if they are of the
    atoms as they stand. Constraints become the property `constraints`, a list of dictionaries.

    Args:
        atoms: molecule or crystal; a cell of zeros is no cell.
    """
    has_cell, pbc = bool(atoms.cell.array.any()), atoms.pbc
    structure = Structure(
        atoms.numbers.copy(),
        atoms.positions.copy(),
        cell=atoms.cell.array.copy() if has_cell else None,
        pbc=pbc.copy() if has_cell or pbc.any() else None,
    )
    for key, value in atoms.arrays.items():
        if key not in ("numbers", "positions"):
            put(structure, "atoms", key, value, "arrays")
    for key, value in atoms.info.items():
        put(structure, "whole", key, value, "info")
    for key, value in _results(atoms).items():
        put(structure, "atoms" if key in RESULTS_OF_ATOMS else "whole", key, value, "results")
    if atoms.constraints:
        put(structure, "whole", "constraints", [c.todict() for c in atoms.constraints], "set")
    return structure


def to_ase(structure: Structure) -> "ase.Atoms":
    """ASE's Atoms of a structure.

    Properties with one row an atom become arrays, all others info; energy, forces and stress
    become the results of a `SinglePointCalculator`.
    """
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.constraints import dict2constraint

    cell, pbc = structure.get("cell"), structure.get("pbc")
    atoms = Atoms(
        structure.numbers.cpu().numpy(),
        structure.positions.detach().cpu().numpy(),
        cell=None if cell is None else cell[0].detach().cpu().numpy(),
        pbc=None if pbc is None else pbc[0].cpu().numpy(),
    )
    results = {}
    for item in properties_of(structure):
        origin, key = item.place.origin, item.place.key
        if origin == "results" or (not origin and key in RESULTS):
            results[key] = item.value
        elif origin == "set" and key == "constraints":
            atoms.set_constraint([dict2constraint(c) for c in item.value])
        elif item.place.kind == "atoms":
            atoms.arrays[key] = item.value
        else:
            atoms.info[key] = item.value
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _results(atoms: "ase.Atoms") -> dict:
    """Results of the calculator that are of these very atoms."""
    results = getattr(atoms.calc, "results", None)
    if not results or getattr(atoms.calc, "check_state", lambda _: [])(atoms):
        return {}
    return {key: value for key, value in results.items() if value is not None}
