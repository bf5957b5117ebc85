"""Coverage of the data by generated crystals, by the protocol of CDVAE (Xie et al. 2022).

What is compared, and with which cutoffs, follows `scripts/eval_utils.py` and
`scripts/compute_metrics.py` of github.com/txie-93/cdvae: all that was generated, valid or not (in
the paper 10,000 crystals), against the whole test split.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from geomae.crystals.symmetry import columns, moyo_dataset
from geomae.data.structure import Structure
from geomae.errors import GeomaeError, MissingExtraError, StructureError
from geomae.metrics.composition_scale import MEANS, STDS

CUTOFFS = {"mp20": (0.4, 10.0), "carbon24": (0.2, 4.0), "perov5": (0.2, 4.0)}
"""Largest distances of fingerprints of structure and composition that cover, for each data set."""

EQUIVALENT = 1e-5
"""Tolerance in Å of equivalent sites, which share a fingerprint: that of rounding."""

SHAPES = 61
"""Order parameters of matminer's preset "ops"."""

ROWS = 1000
"""Crystals whose distances to all others are held at a time."""


@dataclass(frozen=True)
class Fingerprints:
    """Of some crystals, those left out that have none.

    Attributes:
        shapes: CrystalNN's order parameters, mean over sites, `[n, 61]`.
        formulas: Magpie's features, standardised by CDVAE's constants; 0 where an element has none,
            `[n, 132]`.
    """

    shapes: Float[np.ndarray, "n a"]
    formulas: Float[np.ndarray, "n b"]

    def __len__(self) -> int:
        return len(self.shapes)


def cutoffs_of(coverage: str | tuple[float, float]) -> tuple[float, float]:
    """Cutoffs of a data set's name, or as they were given.

    Raises:
        GeomaeError: a name that has none.
    """
    if not isinstance(coverage, str):
        return coverage
    if coverage not in CUTOFFS:
        known = ", ".join(CUTOFFS)
        raise GeomaeError(f"no cutoffs of coverage for '{coverage}'; there are some for {known}")
    return CUTOFFS[coverage]


def coverage_of(
    made: Fingerprints, known: Fingerprints, n: int, cutoffs: tuple[float, float]
) -> dict[str, float | None]:
    """Figures of coverage, as `crystal_generation_metrics` names them; None where a side is empty.

    Args:
        made, known: of generated crystals, and of the data's.
        n: crystals generated, those without a fingerprint included.
        cutoffs: largest distances of structure and composition.
    """
    names = ("coverage_recall", "coverage_precision")
    names += tuple(f"{a}_{b}" for a in ("amsd", "amcd") for b in ("recall", "precision"))
    if not len(made) or not len(known):
        return dict.fromkeys(names)
    shapes, formulas = (
        _nearest(getattr(made, side), getattr(known, side)) for side in ("shapes", "formulas")
    )
    # nearest in structure and nearest in composition need not be the same crystal
    recall, precision = (
        (shape <= cutoffs[0]) & (formula <= cutoffs[1])
        for shape, formula in zip(shapes, formulas, strict=True)
    )
    means = [side.mean() for pair in (shapes, formulas) for side in pair]
    figures = [recall.mean(), precision.sum() / n, *means]
    return {name: float(figure) for name, figure in zip(names, figures, strict=True)}


def fingerprints(structures: Sequence[Structure], *, progress: bool = False) -> Fingerprints:
    """Fingerprints of crystals; those at which CrystalNN fails are left out, as in CDVAE.

    Args:
        structures: crystals.
        progress: show a bar.

    Raises:
        MissingExtraError: matminer or moyopy is not installed.
    """
    shape_of, formula_of = _featurizers()
    shapes, formulas = [], []
    for structure in _tracked(structures, progress):
        shape = shape_of(structure)
        if shape is not None:
            shapes.append(shape)
            formulas.append(formula_of(structure))
    scaled = (np.array(formulas, dtype=float).reshape(-1, len(MEANS)) - MEANS) / STDS
    return Fingerprints(
        np.array(shapes).reshape(-1, SHAPES), np.where(np.isnan(scaled), 0.0, scaled)
    )


def _featurizers() -> tuple[Callable, Callable]:
    try:
        from matminer.featurizers.composition.composite import ElementProperty
        from matminer.featurizers.site.fingerprint import CrystalNNFingerprint
    except ImportError as error:
        raise MissingExtraError("matminer", "coverage") from error
    from geomae.data.convert import to_pymatgen

    site, formula = CrystalNNFingerprint.from_preset("ops"), ElementProperty.from_preset("magpie")

    def bare(structure: Structure):
        return to_pymatgen(
            Structure(structure.numbers, structure.positions, cell=structure.cell[0])
        )

    def shape_of(structure: Structure) -> np.ndarray | None:
        crystal = bare(structure)
        firsts, counts = np.unique(_orbits(structure), return_counts=True)
        try:
            sites = [site.featurize(crystal, int(i)) for i in firsts]
        except Exception:  # CrystalNN raises whatever its Voronoi cells do; CDVAE counts any
            return None
        return np.average(sites, axis=0, weights=counts)

    return shape_of, lambda structure: formula.featurize(bare(structure).composition)


def _tracked(structures: Sequence[Structure], progress: bool) -> Iterable[Structure]:
    if not progress:
        return structures
    from rich.progress import track

    return track(structures, description="fingerprints")


def _orbits(structure: Structure) -> Int[np.ndarray, " n"]:
    """Number of the first equivalent atom."""
    try:
        return np.array(moyo_dataset(*columns(structure), EQUIVALENT).orbits)
    except StructureError:
        return np.arange(structure.n_atoms)


def _nearest(
    made: Float[np.ndarray, "n d"], known: Float[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " n"]]:
    """Distance of each known row to the nearest made one, and of each made row to a known one."""
    from scipy.spatial.distance import cdist

    recall, precision = np.full(len(known), np.inf), []
    for start in range(0, len(made), ROWS):
        distances = cdist(made[start : start + ROWS], known)
        recall = np.minimum(recall, distances.min(0))
        precision.append(distances.min(1))
    return recall, np.concatenate(precision)
