"""Properties by name: which tensors they are, typed by irreps."""

from dataclasses import dataclass
from difflib import get_close_matches

from e3nn import o3

from geomae.equivariant.flat import IrrepsError, read_irreps
from geomae.symmetry.errors import PropertyError
from geomae.symmetry.tensors import CartesianTensor, symmetric


@dataclass(frozen=True)
class Property:
    """A property of a structure.

    Attributes:
        name: in words.
        irreps: how it transforms.
        tensor: its Cartesian form, if it has one.
        odd: whether it changes its sign with the direction of time; None where that is not known,
            as of irreps.
    """

    name: str
    irreps: o3.Irreps
    tensor: CartesianTensor | None = None
    odd: bool | None = None


PAIR = ((1, 0),)
LAST_PAIR = ((0, 2, 1),)
BOTH_PAIRS = ((1, 0, 2, 3), (0, 1, 3, 2))

TENSORS: dict[str, CartesianTensor] = {
    "energy": CartesianTensor(0),
    "chirality": CartesianTensor(0, axial=True),
    "dipole": CartesianTensor(1),
    "magnetic moment": CartesianTensor(1, axial=True),
    "polarizability": CartesianTensor(2, PAIR),
    "optical activity": CartesianTensor(2, PAIR, axial=True),
    "shielding": CartesianTensor(2),
    "magnetoelectricity": CartesianTensor(2, axial=True),
    "piezomagnetism": CartesianTensor(3, LAST_PAIR, axial=True),
    "toroidal moment": CartesianTensor(1),
    "hyperpolarizability": CartesianTensor(3, symmetric(3)),
    "piezoelectricity": CartesianTensor(3, LAST_PAIR),
    "second hyperpolarizability": CartesianTensor(4, symmetric(4)),
    "elasticity": CartesianTensor(4, (*BOTH_PAIRS, (2, 3, 0, 1))),
    "photoelasticity": CartesianTensor(4, BOTH_PAIRS),
    "flexoelectricity": CartesianTensor(4, ((0, 1, 3, 2),)),
}
"""Tensors of physics."""

ODD = frozenset({"magnetic moment", "magnetoelectricity", "piezomagnetism", "toroidal moment"})
"""Those that change their sign with the direction of time."""

IRREPS: dict[str, str] = {
    "quadrupole": "1x2e",
    "octupole": "1x3o",
    "hexadecapole": "1x4e",
    "electric field gradient": "1x2e",
}

OTHER_NAMES: dict[str, str] = {
    "scalar": "energy", "charge": "energy", "pseudoscalar": "chirality", "optical rotation":
    "chirality", "polarization": "dipole", "pyroelectricity": "dipole", "ferroelectricity":
    "dipole", "force": "dipole", "electric field": "dipole", "vector": "dipole",
    "magnetization": "magnetic moment", "spin": "magnetic moment", "ferromagnetism":
    "magnetic moment", "axial vector": "magnetic moment", "pseudovector": "magnetic moment",
    "dielectric": "polarizability", "dielectric tensor": "polarizability", "strain":
    "polarizability", "stress": "polarizability", "thermal expansion": "polarizability",
    "conductivity": "polarizability", "refractive index": "polarizability", "raman":
    "polarizability", "gyration": "optical activity", "elastic": "elasticity", "piezoelectric":
    "piezoelectricity", "second harmonic generation": "piezoelectricity", "shg":
    "piezoelectricity", "nmr shielding": "shielding", "efg": "electric field gradient",
    "magnetoelectric": "magnetoelectricity", "piezomagnetic": "piezomagnetism", "magnetic field":
    "magnetic moment", "toroidization": "toroidal moment", "first hyperpolarizability":
    "hyperpolarizability", "elastooptic": "photoelasticity",
}  # fmt: skip

MODES = ("displacements", "vibrations")
"""Properties of the atoms of a structure, not of it as a whole."""


def property_names() -> list[str]:
    """Names of properties, other names for the same left out."""
    return sorted([*TENSORS, *IRREPS, *MODES])


def read_property(what: "str | o3.Irreps | Property") -> Property:
    """A property by its name or irreps.

    Raises:
        PropertyError: there is no such property, and these are no irreps; names the nearest.
    """
    if isinstance(what, Property):
        return what
    if isinstance(what, str):
        given = " ".join(what.lower().replace("_", " ").replace("-", " ").split())
        name = OTHER_NAMES.get(given, given)
        if name in TENSORS:
            return Property(given, TENSORS[name].irreps, TENSORS[name], name in ODD)
        if name in IRREPS:
            return Property(given, o3.Irreps(IRREPS[name]), odd=False)
    try:
        irreps = read_irreps(what)
    except IrrepsError as error:
        raise PropertyError(_unknown(str(what))) from error
    if not irreps.dim:
        raise PropertyError(f"the irreps '{what}' are empty; expected '1x0e + 1x2e', say")
    return Property(str(irreps), irreps, _plain_tensor(irreps))


def _plain_tensor(irreps: o3.Irreps) -> CartesianTensor | None:
    """The tensor that irreps are, where there is one of rank 1 or 2 with just these."""
    for name in ("dipole", "magnetic moment", "polarizability", "optical activity"):
        if TENSORS[name].irreps == irreps:
            return TENSORS[name]
    return None


def _unknown(name: str) -> str:
    known = [*property_names(), *OTHER_NAMES]
    near = get_close_matches(name.lower().replace("_", " "), known, 1, 0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return (
        f"there is no property '{name}'{hint} Expected irreps such as '1x0e + 1x2e', a block of a "
        "Hamiltonian such as 'block p-d', or one of: " + ", ".join(property_names())
    )
