"""Coverage of the data by generated crystals."""

import sys

import numpy as np
import pytest
from ase.build import bulk

from geomae.data import Structure
from geomae.errors import GeomaeError, MissingExtraError
from geomae.metrics import crystal_generation_metrics
from geomae.metrics.composition_scale import MEANS, STDS
from geomae.metrics.coverage import Fingerprints, coverage_of, fingerprints


def of(atoms) -> Structure:
    return Structure(atoms.numbers, atoms.positions, cell=atoms.cell.array)


def on_a_line(shapes: list[float], formulas: list[float]) -> Fingerprints:
    return Fingerprints(*(np.array(side, dtype=float)[:, None] for side in (shapes, formulas)))


def test_coverage_counts_what_is_near_in_both():
    """The nearest in structure and the nearest in composition may be different crystals."""
    known = on_a_line([0, 1, 2], [0, 0, 50])
    made = on_a_line([0.1, 9.0, 1.2], [30, 0, 90])
    figures = coverage_of(made, known, 5, (0.5, 10.0))
    assert figures["coverage_recall"] == pytest.approx(2 / 3)
    assert figures["coverage_precision"] == pytest.approx(0 / 5)
    assert figures["amsd_recall"] == pytest.approx((0.1 + 0.2 + 0.8) / 3)
    assert figures["amsd_precision"] == pytest.approx((0.1 + 7.0 + 0.2) / 3)
    assert figures["amcd_recall"] == pytest.approx((0 + 0 + 20) / 3)
    assert figures["amcd_precision"] == pytest.approx((20 + 0 + 40) / 3)
    assert coverage_of(made, known, 5, (0.5, 25.0))["coverage_precision"] == pytest.approx(1 / 5)


def test_a_distance_at_the_cutoff_covers():
    one = on_a_line([0.0], [0.0])
    assert coverage_of(on_a_line([0.5], [4.0]), one, 1, (0.5, 4.0))["coverage_recall"] == 1


def test_more_crystals_than_are_held_at_a_time(monkeypatch):
    rng = np.random.default_rng(0)
    made, known = (on_a_line(*rng.normal(size=(2, n)).tolist()) for n in (23, 17))
    whole = coverage_of(made, known, 23, (0.1, 0.1))
    monkeypatch.setattr("geomae.metrics.coverage.ROWS", 5)
    assert coverage_of(made, known, 23, (0.1, 0.1)) == pytest.approx(whole)


def test_nothing_covers_nothing():
    empty = Fingerprints(np.zeros((0, 61)), np.zeros((0, 132)))
    assert set(coverage_of(empty, empty, 3, (0.4, 10.0)).values()) == {None}


def test_the_constants_are_of_132_features():
    """Rows are elemental properties in matminer's order; the range is the maximum's less the
    minimum's, up to six digits.
    """
    assert MEANS.shape == STDS.shape == (132,) and (STDS > 0).all()
    low, high, spread = MEANS.reshape(22, 6)[:, :3].T
    assert spread == pytest.approx(high - low, rel=1e-4)


def test_a_data_set_without_cutoffs_is_named():
    with pytest.raises(GeomaeError, match=r"qm9.*mp20"):
        crystal_generation_metrics([of(bulk("Cu"))], [of(bulk("Cu"))], coverage="qm9")


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matminer.featurizers.composition.composite", None)
    with pytest.raises(MissingExtraError, match=r"geomae\[coverage\]"):
        crystal_generation_metrics([of(bulk("Cu"))], [of(bulk("Cu"))], coverage="mp20")


def crystals() -> list[Structure]:
    salts = [bulk("NaCl", "rocksalt", 5.64), bulk("MgO", "rocksalt", 4.21)]
    return [of(a) for a in (*salts, bulk("ZnS", "zincblende", 5.41), bulk("Cu", cubic=True))]


def test_crystals_cover_themselves():
    pytest.importorskip("matminer")
    given = crystals()
    figures = crystal_generation_metrics(given, given, coverage="perov5", symprecs=())
    assert figures["coverage_recall"] == figures["coverage_precision"] == 1
    assert figures["amsd_recall"] == figures["amcd_precision"] == 0
    half = crystal_generation_metrics([*given, None, None], given, coverage="perov5", symprecs=())
    assert half["coverage_recall"] == 1 and half["coverage_precision"] == pytest.approx(4 / 6)


def test_equivalent_sites_share_a_fingerprint():
    """The mean over orbits is that over sites, and the scale is fixed: copies change nothing."""
    pytest.importorskip("matminer")
    from matminer.featurizers.site.fingerprint import CrystalNNFingerprint

    from geomae.data.convert import to_pymatgen

    given = of(bulk("NaCl", "rocksalt", 5.64, cubic=True))
    site, crystal = CrystalNNFingerprint.from_preset("ops"), to_pymatgen(given)
    each = np.mean([site.featurize(crystal, i) for i in range(len(crystal))], axis=0)
    alone, several = fingerprints([given]), fingerprints([given, *crystals()])
    assert alone.shapes[0] == pytest.approx(each, abs=1e-9)
    assert alone.formulas[0] == pytest.approx(several.formulas[0], abs=1e-12)
    assert np.abs(alone.formulas).max() < 10
