"""What is read from the fields of a crystal."""

import numpy as np

from geomae.crystals.reading import Sketch


def test_a_model_of_one_element_has_readings_of_other_numbers_of_atoms():
    formula = np.log([[0.05, 0.15, 0.8]])
    places = np.array([[0.0, 0.0, 0.0], [1.5, 0.0, 0.0]])
    confidence = np.array([np.inf, 0.9])
    sketch = Sketch(3 * np.eye(3), places, confidence, np.zeros((2, 1)), formula, (6,))
    drafts = sketch.drafts(8)
    assert [draft.numbers.tolist() for draft in drafts] == [[6, 6], [6]]
