"""What the page says of a crystal and its reconstruction: lattices, symmetry, powder patterns."""

from functools import cache

import numpy as np
from jaxtyping import Float

from geomae.crystals.lattice import niggli
from geomae.crystals.symmetry import SYMPREC, Symmetrised, symmetrise
from geomae.data.elements import SYMBOLS
from geomae.data.structure import Structure
from geomae.errors import GeomaeError

WAVELENGTH = "CuKa"
"""Radiation of the patterns, by pymatgen's name for it."""

ANGLES = (5.0, 90.0)
"""Range of 2 theta in degrees."""

FAINT = 0.05
"""Intensity, where the highest is 100, below which lines are left out."""

PARAMETERS = ("a / Å", "b / Å", "c / Å", "α / °", "β / °", "γ / °", "volume / Å³")
"""Of a cell."""


def crystal_details(
    original: Structure, decoded: Structure | None, *, powder: bool = True
) -> dict[str, object]:
    """Reduced cells, space groups and Wyckoff positions of both, and their powder patterns.

    Cells are the Niggli-reduced ones of the primitive crystals, whatever cell was given, at
    1e-3 Å.

    Args:
        original, decoded: crystals.
        powder: simulate patterns, which takes some hundredths of a second each.

    Returns:
        Plain data: `lattice` is rows of (name, original, decoded, difference), `symmetry` lines
        for each side, `powder` [2 theta, intensity] for each side.
    """
    sides = {"original": _symmetrised(original), "decoded": _symmetrised(decoded)}
    cells = {
        key: None if own is None else cell_parameters(niggli(own.structure.cell[0].numpy()))
        for key, own in sides.items()
    }
    return {
        "lattice": _rows(cells["original"], cells["decoded"]),
        "symmetry": {
            key: [] if own is None else own.report().splitlines() for key, own in sides.items()
        },
        "powder": {
            key: powder_lines(own.structure)
            for key, own in sides.items()
            if powder and own is not None
        },
    }


def _symmetrised(structure: Structure | None) -> Symmetrised | None:
    if structure is None:
        return None
    try:
        return symmetrise(structure, symprec=SYMPREC)
    except GeomaeError:
        return None


def _rows(
    before: Float[np.ndarray, " 7"] | None, after: Float[np.ndarray, " 7"] | None
) -> list[list[object]]:
    """Name, original, decoded and difference of each parameter; None for what there is not."""
    return [
        [
            name,
            None if before is None else float(before[k]),
            None if after is None else float(after[k]),
            None if before is None or after is None else float(after[k] - before[k]),
        ]
        for k, name in enumerate(PARAMETERS)
    ]


def cell_parameters(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, " 7"]:
    """Lengths in Å, angles in degrees and volume in Å^3 of a cell whose vectors are rows."""
    lengths = np.linalg.norm(cell, axis=1)
    unit = cell / lengths[:, None]
    cosines = np.array([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]])
    angles = np.degrees(np.arccos(cosines.clip(-1, 1)))
    return np.concatenate([lengths, angles, [abs(np.linalg.det(cell))]])


def powder_lines(structure: Structure) -> list[list[float]]:
    """Lines of the X-ray powder pattern, [2 theta in degrees, intensity up to 100].

    From pymatgen's XRDCalculator, for copper's K alpha; empty where pymatgen is not installed, or
    has no scattering factors of an element.
    """
    from geomae.data.convert import to_pymatgen

    calculator = _calculator()
    if calculator is None or _unknown(structure):
        return []
    bare = Structure(structure.numbers, structure.positions, cell=structure.cell[0])
    pattern = calculator.get_pattern(to_pymatgen(bare), two_theta_range=ANGLES)
    lines = zip(pattern.x.tolist(), pattern.y.tolist(), strict=True)
    return [[round(x, 3), round(y, 2)] for x, y in lines if y >= FAINT]


@cache
def _calculator():
    try:
        from pymatgen.analysis.diffraction.xrd import XRDCalculator
    except ImportError:
        return None
    return XRDCalculator(wavelength=WAVELENGTH)


def _unknown(structure: Structure) -> bool:
    """Whether pymatgen has no scattering factors of an element."""
    from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS

    return any(SYMBOLS[z] not in ATOMIC_SCATTERING_PARAMS for z in structure.numbers.tolist())
