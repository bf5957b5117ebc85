"""pymatgen's Structure and Molecule."""

from typing import TYPE_CHECKING, Any

import numpy as np

from geomae.data.convert.properties import properties_of, put
from geomae.data.elements import SYMBOLS
from geomae.data.structure import Structure
from geomae.errors import MissingExtraError, StructureError

if TYPE_CHECKING:
    import pymatgen.core

HYDROGENS = {2: "D", 3: "T"}
"""pymatgen's names of hydrogen's isotopes by their mass numbers."""

WHOLE = ("charge", "spin_multiplicity")
OWN = ("isotopes", "labels", "oxidation_states", "spins", *WHOLE)
"""Properties that pymatgen keeps in species, sites and structures themselves."""


def from_pymatgen(
    other: "pymatgen.core.SiteCollection",
) -> Structure:
    """A structure of pymatgen's Structure or Molecule.

    Site properties and properties are kept. Of the species `oxidation_states` and `spins` (nan
    where there is none) and `isotopes` (deuterium is hydrogen with a 2) are kept if any site has
    one, labels if any isn't its species' name, and `charge` and `spin_multiplicity` if they aren't
    what pymatgen takes by itself.

    Raises:
        StructureError: a site is disordered (shared by species, or partly empty), or isn't an
            element.
    """
    _check_sites(other)
    lattice = getattr(other, "lattice", None)
    structure = Structure(
        np.array([site.specie.Z for site in other], dtype=np.int64),
        np.array(other.cart_coords),
        cell=None if lattice is None else np.array(lattice.matrix),
        pbc=None if lattice is None else np.array(lattice.pbc),
    )
    for key, values in _of_species(other).items():
        put(structure, "atoms", key, values, "species")
    for key, values in other.site_properties.items():
        put(structure, "atoms", key, values, "site_properties")
    charge, multiplicity = (getattr(other, f"_{key}", None) for key in WHOLE)
    if charge or (charge is not None and lattice is not None):
        put(structure, "whole", "charge", charge, "species")
    electrons = int(structure.numbers.sum()) - (charge or 0)
    if multiplicity is not None and multiplicity != (1 if electrons % 2 == 0 else 2):
        put(structure, "whole", "spin_multiplicity", multiplicity, "species")
    for key, value in (getattr(other, "properties", None) or {}).items():
        put(structure, "whole", key, value, "properties")
    return structure


def to_pymatgen(
    structure: Structure,
) -> "pymatgen.core.Structure | pymatgen.core.Molecule":
    """pymatgen's Structure if there is a cell, else its Molecule.

    Properties with one row an atom become site properties, all others properties, but for those
    that pymatgen keeps elsewhere (see `from_pymatgen`).
    """
    try:
        from pymatgen.core import Lattice, Molecule
        from pymatgen.core import Structure as Crystal
    except ImportError as error:
        raise MissingExtraError("pymatgen", "crystals") from error
    own, sites, whole = _sorted_properties(structure)
    common = {"site_properties": sites, "properties": whole}
    if "labels" in own:
        common["labels"] = own["labels"].tolist()
    species, positions = _species(structure, own), structure.positions.detach().cpu().numpy()
    cell, pbc = structure.get("cell"), structure.get("pbc")
    if cell is None:
        return Molecule(
            species,
            positions,
            charge=own.get("charge", 0),
            spin_multiplicity=own.get("spin_multiplicity"),
            charge_spin_check=False,
            **common,
        )
    flags = (True, True, True) if pbc is None else tuple(pbc[0].tolist())
    lattice = Lattice(cell[0].detach().cpu().numpy(), pbc=flags)
    return Crystal(
        lattice,
        species,
        positions,
        coords_are_cartesian=True,
        charge=own.get("charge"),
        **common,
    )


def _sorted_properties(structure: Structure) -> tuple[dict, dict, dict]:
    """What pymatgen keeps itself, site properties, and properties of the whole."""
    own, sites, whole = {}, {}, {}
    for item in properties_of(structure):
        key, value, of_atoms = item.place.key, item.value, item.place.kind == "atoms"
        fits = key in OWN and of_atoms == (key not in WHOLE) and np.ndim(value) == of_atoms
        text = fits and of_atoms and value.dtype.kind in "OU"
        if fits and text == (key == "labels") and "properties" not in item.place.origin:
            own[key] = value
        elif of_atoms:
            sites[key] = value.tolist()
        else:
            whole[key] = value
    isotopes = own.get("isotopes")
    if isotopes is not None and not _all_named(structure, isotopes):
        sites["isotopes"] = own.pop("isotopes").tolist()
    return own, sites, whole


def _check_sites(other: Any) -> None:
    for index, site in enumerate(other):
        if not site.is_ordered:
            raise StructureError(
                f"site {index} is disordered ({site.species_string}); a structure has one whole "
                "atom at each site: choose one ordering of it first"
            )
        element = getattr(site.specie, "element", site.specie)
        if type(element).__name__ != "Element":
            raise StructureError(f"site {index} holds '{site.species_string}', not an element")


def _of_species(other: Any) -> dict[str, np.ndarray]:
    """Oxidation states, spins, isotopes and labels, where there are any."""
    found: dict[str, np.ndarray] = {}
    for name, attribute in (("oxidation_states", "oxi_state"), ("spins", "spin")):
        values = [getattr(site.specie, attribute, None) for site in other]
        if any(value is not None for value in values):
            found[name] = np.array([np.nan if v is None else v for v in values], dtype=float)
    masses = {symbol: number for number, symbol in HYDROGENS.items()}
    names = [getattr(site.specie, "element", site.specie).name for site in other]
    if set(names) & set(masses):
        found["isotopes"] = np.array([masses.get(name, 0) for name in names])
    if any(site.label != site.species_string for site in other):
        found["labels"] = np.array([site.label for site in other])
    return found


def _species(structure: Structure, own: dict) -> list:
    """Elements, or species where there is an oxidation state or a spin."""
    from pymatgen.core import Element, Species

    n = structure.n_atoms
    isotopes = own.get("isotopes", np.zeros(n, dtype=int))
    numbers = structure.numbers.tolist()
    symbols = [
        HYDROGENS.get(int(isotope), "H") if number == 1 else SYMBOLS[number]
        for number, isotope in zip(numbers, isotopes, strict=True)
    ]
    empty = np.full(n, np.nan)
    states, spins = own.get("oxidation_states", empty), own.get("spins", empty)
    return [
        Element(symbol)
        if np.isnan(state) and np.isnan(spin)
        else Species(symbol, *(None if np.isnan(x) else _whole(x) for x in (state, spin)))
        for symbol, state, spin in zip(symbols, states, spins, strict=True)
    ]


def _all_named(structure: Structure, isotopes: np.ndarray) -> bool:
    """Whether pymatgen has a name for each isotope."""
    pairs = zip(structure.numbers.tolist(), isotopes.tolist(), strict=True)
    return all(mass == 0 or (number == 1 and mass in HYDROGENS) for number, mass in pairs)


def _whole(value: float) -> float | int:
    """2.0 as 2, as pymatgen prints it."""
    return int(value) if float(value).is_integer() else float(value)
