"""Atoms that a drawing lacks are found by what the crystal encodes to."""

from dataclasses import replace

import numpy as np
import torch

from geomae.crystals import canonical
from geomae.crystals.insertion import inserted, missing
from geomae.crystals.model import CrystalAutoencoder
from geomae.crystals.reading import Draft, Sketch
from tests.crystals.test_released_perov5 import CRYSTALS, WEIGHTS, pytestmark  # noqa: F401


def without_last(formula: np.ndarray, elements: tuple[int, ...]) -> tuple[Draft, Draft, Sketch]:
    """A perovskite, the same with an atom less, and a sketch that tells a formula."""
    form = canonical(CRYSTALS[0]).structure
    numbers, places = form.numbers.numpy(), form.positions.numpy()
    whole = Draft(numbers, places, form.cell[0].numpy(), np.ones(len(numbers)))
    less = replace(
        whole, numbers=numbers[:-1], positions=places[:-1], confidence=np.ones(len(numbers) - 1)
    )
    likelihood = np.zeros((len(numbers), len(elements)))
    return whole, less, Sketch(whole.cell, places, whole.confidence, likelihood, formula, elements)


def test_a_missing_oxygen_comes_back_to_its_place():
    model = CrystalAutoencoder.from_file(WEIGHTS)
    latent = model.encode([CRYSTALS[0]]).array[0]
    elements = model.elements
    formula = np.zeros((len(elements), 6))
    numbers, counts = np.unique(CRYSTALS[0].numbers.numpy(), return_counts=True)
    for number, count in zip(numbers, counts, strict=True):
        formula[elements.index(number), count] = 1.0
    whole, less, sketch = without_last(formula, elements)
    assert missing(less, sketch).tolist() == [int(whole.numbers[-1])]
    assert missing(whole, sketch).tolist() == []
    best = inserted(model.decoder, model.exact_encoder(), [less], sketch, latent)[0]
    assert best.numbers.tolist() == whole.numbers.tolist()
    gap = (best.positions[-1] - whole.positions[-1]) @ np.linalg.inv(whole.cell)
    distance = np.linalg.norm((gap - np.round(gap)) @ whole.cell)
    assert distance < 0.45
    assert torch.equal(torch.from_numpy(best.positions[:-1]), torch.from_numpy(less.positions))
