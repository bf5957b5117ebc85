"""Foreign properties on a structure, and where each of them came from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from geomae.data.structure import Structure

Kind = Literal["atoms", "whole"]

ATOM_NAMES = frozenset(
    {"charges", "energies", "forces", "initial_charges", "initial_magmoms", "magmoms", "masses"}
    | {"momenta", "stresses", "tags", "velocities"}  # ASE
    | {"labels", "oxidation_states", "spins"}  # pymatgen
    | {"formal_charges", "implicit_hydrogens", "isotopes", "radicals"}  # RDKit
    | {"confidence"}  # of decoded atoms
)
"""Properties that belong to the atoms even where there is but one atom."""

WHOLE_NAMES = frozenset({"bond_index", "bond_types"})
"""Properties that never belong to the atoms, even if they have as many rows."""

RESERVED = frozenset({"numbers", "positions", "cell", "pbc", "batch", "ptr"})

_PLACES = "_places"


@dataclass(frozen=True)
class Place:
    """Where a property was in another package.

    Attributes:
        kind: whether it belongs to the atoms or to the whole.
        key: its name there.
        origin: the container there, such as 'info' or 'results'.
    """

    kind: Kind
    key: Any
    origin: str


@dataclass(frozen=True)
class Property:
    """A property as another package takes it: arrays in NumPy, numbers in Python."""

    name: str
    place: Place
    value: Any


def put(structure: Structure, kind: Kind, key: Any, value: Any, origin: str) -> None:
    """Set a property under its own name, or under another where that name is taken.

    Names that a `Structure` uses itself, that PyTorch Geometric would hide, or that aren't text
    get the container's name before theirs; `properties_of` finds the first name again.
    """
    name = key if isinstance(key, str) else f"{origin}_{key}"
    if name.startswith("_"):
        name = f"{origin}{name}"
    while not _free(structure, name):
        name = f"{origin}_{name}"
    structure[name] = pack_atoms(value) if kind == "atoms" else pack_whole(value)
    vars(structure).setdefault(_PLACES, {})[name] = Place(kind, key, origin)


def properties_of(structure: Structure) -> Iterator[Property]:
    """The properties as another package takes them."""
    for name, value in structure.properties.items():
        place = place_of(structure, name)
        unpack = unpack_atoms if place.kind == "atoms" else unpack_whole
        yield Property(name, place, unpack(value))


def place_of(structure: Structure, name: str) -> Place:
    """Where a property came from, or the likeliest place of one that was made here."""
    known = vars(structure).get(_PLACES, {}).get(name)
    if known is not None:
        return known
    value = structure[name]
    rows = len(value) if isinstance(value, Tensor | np.ndarray) and value.ndim else None
    named = name in ATOM_NAMES or (rows != 1 and name not in WHOLE_NAMES)
    return Place("atoms" if rows == structure.n_atoms and named else "whole", name, "")


def pack_atoms(value: Any) -> Tensor | np.ndarray:
    """One row an atom: a tensor of numbers, else an array of objects."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    try:
        array = np.array(value)
    except ValueError:  # rows of different lengths
        array = np.empty(len(value), dtype=object)
        array[:] = list(value)
    return _tensor(array)


def pack_whole(value: Any) -> Any:
    """Numbers and arrays with a leading 1, everything else as it is."""
    if isinstance(value, Tensor):
        return value.detach().clone()[None]
    if isinstance(value, np.ndarray):
        return _tensor(np.array(value)[None])
    if isinstance(value, bool | int | float | np.generic):
        packed = _tensor(np.array([value]))
        return packed if isinstance(packed, Tensor) else value
    return value


def unpack_atoms(value: Any) -> np.ndarray:
    """The array of a property of the atoms."""
    return np.array(value.detach().cpu()) if isinstance(value, Tensor) else np.array(value)


def unpack_whole(value: Any) -> Any:
    """What `pack_whole` packed; arrays without a leading 1 as they are."""
    if isinstance(value, Tensor):
        value = np.array(value.detach().cpu())
    elif not isinstance(value, np.ndarray):
        return value
    value = value[0] if value.ndim and len(value) == 1 else value
    return value.item() if isinstance(value, np.generic) else np.array(value)


def _tensor(array: np.ndarray) -> Tensor | np.ndarray:
    """A tensor if torch has the type, else the array."""
    try:
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    except TypeError:
        return array


def _free(structure: Structure, name: str) -> bool:
    own = name in vars(Structure) or callable(getattr(Structure, name, None))
    return not own and name not in RESERVED and name not in structure
