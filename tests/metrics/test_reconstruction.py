"""Comparison of structures with their reconstructions, and bonds by distance."""

import math

import pytest
import torch

from geomae.data.structure import Structure
from geomae.errors import UnsupportedStructureError
from geomae.metrics import bond_orders, compare, smiles_of, summarise
from geomae.metrics.certificates import residual_ranges
from geomae.metrics.reconstruction import summarise_by_size


def water(shift: float = 0.0) -> Structure:
    positions = torch.tensor([[0.0, 0, 0.119], [0, 0.763, -0.477], [0, -0.763, -0.477]])
    return Structure([8, 1, 1], positions.double() + shift)


def test_equal_structures_are_exact_in_any_order():
    original, decoded = water(), water()
    decoded = Structure(decoded.numbers[[2, 0, 1]], decoded.positions[[2, 0, 1]])
    comparison = compare(original, decoded)
    assert comparison.exact and comparison.rmsd == 0 and comparison.matching == (1, 2, 0)


def test_displacements_are_not_realigned():
    comparison = compare(water(), water(shift=0.1))
    assert comparison.rmsd == pytest.approx(0.1 * math.sqrt(3))
    assert comparison.reconstructed and comparison.max_error == pytest.approx(0.1 * math.sqrt(3))


def test_half_an_angstrom_is_the_limit():
    far = water()
    far.positions[1, 0] += 0.51
    assert not compare(water(), far).reconstructed


def test_another_composition_is_no_match():
    comparison = compare(water(), Structure([8, 1], torch.eye(3)[:2]))
    assert not comparison.composition and not comparison.reconstructed
    assert math.isnan(comparison.rmsd)


def test_broken_bond_is_not_exact():
    far = water()
    far.positions[1] *= 1.45
    comparison = compare(water(), far)
    assert comparison.reconstructed and not comparison.exact


@pytest.mark.parametrize(
    ("numbers", "distance", "order"),
    [
        ((6, 6), 1.54, 1),
        ((6, 6), 1.38, 2),
        ((6, 6), 1.20, 3),
        ((6, 6), 1.65, 0),
        ((6, 9), 1.40, 1),
        ((7, 7), 1.10, 3),
        ((1, 1), 0.74, 1),
        ((6, 1), 1.20, 0),
    ],
)
def test_bond_orders_follow_the_rules(numbers, distance, order):
    positions = torch.tensor([[0.0, 0, 0], [distance, 0, 0]], dtype=torch.float64)
    assert bond_orders(torch.tensor(numbers), positions).tolist() == [[0, order], [order, 0]]


def test_unknown_element_is_named():
    with pytest.raises(UnsupportedStructureError, match="Si"):
        bond_orders(torch.tensor([14, 1]), torch.eye(3, dtype=torch.float64)[:2])


def test_smiles_from_distances():
    pytest.importorskip("rdkit")
    assert smiles_of(water()) == "O"


def test_summary_counts_failures_and_certificates():
    good, bad = compare(water(), water(0.01)), compare(water(), water(0.5))
    summary = summarise([good, bad, None], [True, True, False])
    assert summary["n"] == 3 and summary["n_failed"] == 2
    assert summary["composition_accuracy"] == pytest.approx(2 / 3)
    assert summary["reconstructed"] == pytest.approx(1 / 3)
    assert summary["rmsd"] == pytest.approx(0.01 * math.sqrt(3))
    cases = ("certified_right", "certified_wrong", "uncertified_right", "uncertified_wrong")
    assert [summary[f"n_{case}"] for case in cases] == [1, 1, 0, 1]
    assert all(isinstance(value, int | float) for value in summary.values())


def test_summaries_by_size():
    methane = Structure(
        [6, 1, 1, 1, 1], torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    )
    pair = Structure([6, 6], [[0.0, 0, 0], [1.5, 0, 0]])
    structures = [water(), methane, pair]
    items = [compare(water(), water(0.01)), None, compare(pair, pair)]
    found = summarise_by_size(structures, items, [True, False, True], [1, 3])
    assert list(found) == ["0-1", "2-3"]
    assert [found[name]["n"] for name in found] == [2, 1]
    assert found["0-1"]["reconstructed"] == 0.5
    assert list(summarise_by_size(structures, items, [True] * 3, [1])) == ["0-1", "2 and more"]


def test_residuals_of_right_and_wrong_decodings():
    ranges = residual_ranges([True, True, True, False, False], [1e-9, 3e-9, 2e-9, 0.4, math.inf])
    assert ranges == {
        "residual_right_median": 2e-9,
        "residual_right_highest": 3e-9,
        "residual_wrong_lowest": 0.4,
        "residual_wrong_median": 0.4,
    }
    assert residual_ranges([], []) == {}


def test_summary_of_nothing():
    assert summarise([], [])["n"] == 0
