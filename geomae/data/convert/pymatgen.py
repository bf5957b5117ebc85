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

OWN = ("oxidation_states", "spins", "isotopes", "labels", "charge", "spin_multiplicity")
"""Properties that pymatgen keeps in species, sites and structures themselves."""


def from_pymatgen(
    other: "pymatgen.core.SiteCollection",
) -> Structure:
    """A structure of pymatgen's Structure or Molecule.

    Site properties and properties are kept. Of the species `oxidation_states` and `spins` (nan
    where there is none) and `isotopes` (deuterium is hydrogen with a 2) are kept if any site has
    one, labels if any isn't its species' name, and the `charge` and `spin_multiplicity` as set.

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
    for key in ("charge", "spin_multiplicity"):
        value = getattr(other, f"_{key}", None)
        if value is not None and (lattice is not None or value != (0 if key == "charge" else None)):
            put(structure, "whole", key, value, "species")
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
    own, sites, whole = {}, {}, {}
    for item in properties_of(structure):
        place = item.place
        if place.key in OWN and place.origin in ("species", ""):
            own[place.key] = item.value
        elif place.kind == "atoms":
            sites[place.key] = item.value.tolist()
        else:
            whole[place.key] = item.value
    isotopes = own.get("isotopes")
    if isotopes is not None and (isotopes[structure.numbers.numpy() != 1] > 0).any():
        sites["isotopes"] = isotopes.tolist()
    common = {"site_properties": sites, "properties": whole, "charge": own.get("charge")}
    if own.get("labels") is not None:
        common["labels"] = own["labels"].tolist()
    species, positions = _species(structure, own), structure.positions.detach().cpu().numpy()
    if structure.get("cell") is None:
        multiplicity = own.get("spin_multiplicity")
        common["charge"] = common["charge"] or 0
        return Molecule(species, positions, spin_multiplicity=multiplicity, **common)
    flags = tuple(structure.pbc[0].tolist())
    lattice = Lattice(structure.cell[0].detach().cpu().numpy(), pbc=flags)
    return Crystal(lattice, species, positions, coords_are_cartesian=True, **common)


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


def _whole(value: float) -> float | int:
    """2.0 as 2, as pymatgen prints it."""
    return int(value) if float(value).is_integer() else float(value)
