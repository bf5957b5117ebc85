"""How good generated crystals are, by the protocol of CDVAE (Xie et al. 2022)."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import gcd
from typing import Any

import numpy as np
from jaxtyping import Float

from geomae.data.elements import SYMBOLS
from geomae.data.structure import Structure
from geomae.data.validate import find_fault
from geomae.errors import MissingExtraError
from geomae.metrics.crystals import SYMPRECS, is_valid, reduced_formula
from geomae.metrics.generation import Figure, gather

AMU = 1.66053906660
"""Atomic mass constant in g/cm^3 Å^3."""

CUTOFFS = {"mp20": (0.4, 10.0), "carbon24": (0.2, 4.0), "perov5": (0.2, 4.0)}
"""Largest distances of fingerprints of structure and composition that cover, for each data set."""


def crystal_generation_metrics(
    structures: Any,
    reference: Any = None,
    *,
    coverage: str | tuple[float, float] | None = None,
    symprecs: Sequence[float] = SYMPRECS,
) -> dict[str, Figure]:
    """Figures of generated crystals as plain numbers; shares are of n, from 0 to 1.

    | key | figure |
    |---|---|
    | n, n_failed | crystals; those that could not be read or decoded, failures everywhere |
    | structure_valid | no two atoms closer than 0.5 Å, and a volume above 0.1 Å^3 |
    | composition_valid | see `is_neutral` |
    | valid | both |
    | p1 (0.01), p1 (0.1) | no symmetry but translations at that tolerance in Å, of those valid |
    | density_distance | Wasserstein distance of densities, valid to reference, in g/cm^3 |
    | elements_distance | the same of the numbers of different elements |
    | coverage_recall | reference crystals with a generated one near in structure and composition |
    | coverage_precision | generated crystals, of n, with a reference one near |

    Args:
        structures: generated; what `as_structures` takes, None for what could not be decoded.
        reference: crystals of the data.
        coverage: ask for coverage as well, with the cutoffs of a data set ('mp20', 'carbon24',
            'perov5') or others (structure, composition): fingerprints of CrystalNN and Magpie, the
            latter standardised over the reference. Needs matminer, and a reference.
        symprecs: tolerances in Å of the space groups.

    Raises:
        MissingExtraError: pymatgen, moyopy, or matminer for coverage, is not installed.
    """
    from geomae.crystals.symmetry import space_group

    given = gather(structures)
    n = len(given)
    sound = [s for s in given if s is not None and s.periodic and find_fault(s) is None]
    well_shaped = [is_valid(s) for s in sound]
    neutral = [is_neutral(s) for s in sound]
    valid = [s for s, a, b in zip(sound, well_shaped, neutral, strict=True) if a and b]
    figures: dict[str, Figure] = {
        "n": n,
        "n_failed": n - len(sound),
        "structure_valid": _share(sum(well_shaped), n),
        "composition_valid": _share(sum(neutral), n),
        "valid": _share(len(valid), n),
    }
    for symprec in symprecs:
        low = sum(space_group(s, symprec) == 1 for s in valid)
        figures[f"p1 ({symprec:g})"] = _share(low, len(valid))
    if reference is None:
        return figures
    known = [s for s in gather(reference) if s is not None]
    figures |= _distances(valid, known)
    if coverage is not None:
        cutoffs = CUTOFFS[coverage] if isinstance(coverage, str) else coverage
        figures |= _coverage(valid, known, n, cutoffs)
    return figures


def density(structure: Structure) -> float:
    """In g/cm^3."""
    from ase.data import atomic_masses

    volume = abs(float(np.linalg.det(structure.cell[0].numpy())))
    return float(atomic_masses[structure.numbers.numpy()].sum()) * AMU / volume


def is_neutral(structure: Structure) -> bool:
    """Whether oxidation states exist that make a crystal neutral.

    As CDVAE asks of SMACT: one oxidation state an element, out of pymatgen's; no element that gives
    electrons is more electronegative (Pauling) than one that takes them. A crystal of one element
    or of metals alone is valid.

    Raises:
        MissingExtraError: pymatgen is not installed.
    """
    formula = reduced_formula(structure)
    elements = [_element(SYMBOLS[z]) for z, _ in formula]
    if len(elements) == 1 or all(e.is_metal for e in elements):
        return True
    amounts = [amount for _, amount in formula]
    divisor = gcd(*amounts)
    amounts = [amount // divisor for amount in amounts]
    negativity = [e.X if np.isfinite(e.X) else None for e in elements]
    for states in product(*([q for q in e.oxidation_states if q] for e in elements)):
        neutral = sum(a * q for a, q in zip(amounts, states, strict=True)) == 0
        if neutral and _orders_by_negativity(states, negativity):
            return True
    return False


def _orders_by_negativity(states: Sequence[int], negativity: Sequence[float | None]) -> bool:
    if None in negativity:
        return True
    pairs = list(zip(states, negativity, strict=True))
    giving = [x for q, x in pairs if q > 0 and x is not None]
    taking = [x for q, x in pairs if q < 0 and x is not None]
    return bool(giving and taking) and max(giving) <= min(taking)


@lru_cache
def _element(symbol: str):
    try:
        from pymatgen.core import Element
    except ImportError as error:
        raise MissingExtraError("pymatgen", "crystals") from error
    return Element(symbol)


def _distances(valid: Sequence[Structure], known: Sequence[Structure]) -> dict[str, Figure]:
    from scipy.stats import wasserstein_distance

    if not valid or not known:
        return {"density_distance": None, "elements_distance": None}

    def kinds(crystals: Sequence[Structure]) -> list[int]:
        return [len(set(s.numbers.tolist())) for s in crystals]

    densities = [[density(s) for s in side] for side in (valid, known)]
    return {
        "density_distance": float(wasserstein_distance(*densities)),
        "elements_distance": float(wasserstein_distance(kinds(valid), kinds(known))),
    }


def _coverage(
    valid: Sequence[Structure],
    known: Sequence[Structure],
    n: int,
    cutoffs: tuple[float, float],
) -> dict[str, Figure]:
    from scipy.spatial.distance import cdist

    if not valid or not known:
        return {"coverage_recall": None, "coverage_precision": None}
    shapes, formulas = zip(*(fingerprints(side) for side in (valid, known)), strict=True)
    mean, spread = formulas[1].mean(0), formulas[1].std(0)
    formulas = [(side - mean) / np.where(spread > 0, spread, 1.0) for side in formulas]
    near = [
        cdist(a, b) <= cutoff for (a, b), cutoff in zip((shapes, formulas), cutoffs, strict=True)
    ]
    # nearest in structure and nearest in composition need not be the same crystal
    recall = near[0].any(0) & near[1].any(0)
    precision = near[0].any(1) & near[1].any(1)
    return {
        "coverage_recall": float(recall.mean()),
        "coverage_precision": _share(int(precision.sum()), n),
    }


def fingerprints(
    structures: Sequence[Structure],
) -> tuple[Float[np.ndarray, "n a"], Float[np.ndarray, "n b"]]:
    """Fingerprints of structure (CrystalNN, mean over sites) and of composition (Magpie).

    Raises:
        MissingExtraError: matminer is not installed.
    """
    try:
        from matminer.featurizers.composition.composite import ElementProperty
        from matminer.featurizers.site.fingerprint import CrystalNNFingerprint
    except ImportError as error:
        raise MissingExtraError("matminer", "coverage") from error
    from geomae.data.convert import to_pymatgen

    site = CrystalNNFingerprint.from_preset("ops")
    formula = ElementProperty.from_preset("magpie")
    shapes, formulas = [], []
    for structure in structures:
        bare = Structure(structure.numbers, structure.positions, cell=structure.cell[0])
        crystal = to_pymatgen(bare)
        shapes.append(np.mean([site.featurize(crystal, i) for i in range(len(crystal))], axis=0))
        formulas.append(formula.featurize(crystal.composition))
    return np.array(shapes), np.array(formulas, dtype=float)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
