"""How good generated crystals are, by the protocol of CDVAE (Xie et al. 2022)."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import gcd
from typing import Any

import numpy as np

from geomae.data.elements import SYMBOLS
from geomae.data.structure import Structure
from geomae.data.validate import find_fault
from geomae.errors import MissingExtraError
from geomae.metrics.coverage import coverage_of, cutoffs_of, fingerprints
from geomae.metrics.crystals import SYMPRECS, is_valid, reduced_formula
from geomae.metrics.generation import Figure, gather

AMU = 1.66053906660
"""Atomic mass constant in g/cm^3 Å^3."""


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
    | coverage_recall | reference crystals near, in structure and composition, to generated ones |
    | coverage_precision | generated crystals, of n, near to reference ones |
    | amsd_recall, amsd_precision | mean distances in structure to the nearest of the others |
    | amcd_recall, amcd_precision | the same in composition |

    Args:
        structures: generated; what `as_structures` takes, None for what could not be decoded.
        reference: crystals of the data.
        coverage: ask for coverage as well, with the cutoffs of a data set ('mp20', 'carbon24',
            'perov5') or others (structure, composition): fingerprints of CrystalNN and of Magpie,
            the latter standardised by CDVAE's constants, of all that was generated, valid or not.
            Needs matminer, and a reference. Papers take 10,000 crystals and the whole test split.
        symprecs: tolerances in Å of the space groups.

    Raises:
        MissingExtraError: pymatgen, moyopy, or matminer for coverage, is not installed.
        GeomaeError: coverage of a data set that has no cutoffs.
    """
    from geomae.crystals.symmetry import space_group

    cutoffs = None if coverage is None else cutoffs_of(coverage)
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
    if cutoffs is not None:
        figures |= coverage_of(fingerprints(sound), fingerprints(known), n, cutoffs)
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


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
