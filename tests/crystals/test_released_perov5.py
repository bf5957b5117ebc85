"""The released model of perovskites."""

from pathlib import Path

import numpy as np
import pytest

from geomae.crystals.evaluation import reconstruct_crystals
from geomae.crystals.model import CrystalAutoencoder
from geomae.data import Structure
from geomae.metrics.crystals import lay_over, summarise_crystals
from tests.crystals.conftest import presented_otherwise
from tests.crystals.test_canonical import PEROVSKITE

WEIGHTS = Path(__file__).parents[2] / "models" / "perov5" / "weights.safetensors"
FRACTIONS = np.array([[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])

pytestmark = pytest.mark.skipif(not WEIGHTS.exists(), reason="weights are not here")


def perovskite(numbers: list[int], constant: float, shift: float = 0.0) -> Structure:
    fractions = FRACTIONS.copy()
    fractions[1, 2] += shift
    return Structure(numbers, constant * fractions, cell=constant * np.eye(3))


CRYSTALS = [
    PEROVSKITE,
    perovskite([56, 22, 8, 8, 8], 4.01, 0.03),
    perovskite([37, 41, 9, 8, 8], 4.2),
    perovskite([20, 73, 7, 8, 8], 4.05),
]


@pytest.fixture(scope="module")
def model() -> CrystalAutoencoder:
    return CrystalAutoencoder.from_file(WEIGHTS)


def test_perovskites_come_back_exactly_from_any_presentation(model):
    rng = np.random.default_rng(0)
    given = [presented_otherwise(s, rng)[0] for s in CRYSTALS]
    found = reconstruct_crystals(model, given)
    for original, own in zip(given, found, strict=True):
        assert own.certified and own.status == "matched"
        overlay = lay_over(original, own.decoded)
        assert overlay.max_error < 1e-5 and overlay.strain < 1e-6
    figures = summarise_crystals([own.comparison for own in found])
    assert figures["match (default)"] == 1 and figures["space group kept at 0.01"] == 1


def test_what_it_does_not_take_is_said(model):
    strange = perovskite([92, 22, 8, 8, 8], 4.1)
    (refused,) = reconstruct_crystals(model, [strange])
    assert refused.status == "refused" and "U" in refused.message


@pytest.mark.slow
def test_processes_give_the_same(model):
    alone = reconstruct_crystals(model, CRYSTALS)
    shared = reconstruct_crystals(model, CRYSTALS, workers=2, batch_size=2)
    for first, second in zip(alone, shared, strict=True):
        assert lay_over(first.decoded, second.decoded).max_error < 1e-6
        assert first.status == second.status
