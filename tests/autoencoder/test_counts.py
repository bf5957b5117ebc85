"""Reading numbers of children, and what else they could have been."""

import torch

from geomae.autoencoder.counts import Choice, Doubts, read_counts


def logits_of(rows: list[list[list[float]]]) -> torch.Tensor:
    return torch.tensor(rows)


def two_groups() -> Doubts:
    """Two atoms' parents with kinds (H, C, N): CH2 for sure, and NH that could be CH2."""
    sure, other = [0.0, 0.0, 9.0], [9.0, 0.0, 0.0]
    rows = [[sure, [0.0, 9.0, 0.0], other], [[0.0, 3.0, 2.0], [3.0, 2.5, 0.0], [0.0, 3.0, 1.0]]]
    rows[1][2] = [2.0, 3.0, 0.0]
    counts, doubts = read_counts(logits_of(rows), torch.tensor([0, 0]), 0, None)
    assert counts.tolist() == [[2, 1, 0], [1, 0, 1]]
    return doubts


def test_second_readings_are_taken_where_asked():
    rows = logits_of([[[0.0, 2.0, 1.0]], [[3.0, 0.0, 1.0]]])
    readings = [(Choice(depth=1, node=1, kind=0),)]
    counts, doubts = read_counts(rows, torch.tensor([0, 0]), 1, readings)
    assert counts.tolist() == [[1], [2]]
    assert doubts.margin.tolist() == [1.0, 2.0] and doubts.change.tolist() == [1, 2]
    untouched, _ = read_counts(rows, torch.tensor([0, 0]), 0, readings)
    assert untouched.tolist() == [[1], [0]]


def test_readings_that_give_the_formula_told_come_first():
    """Told: one H and one C more, one N less. All three numbers of the second point change."""
    first = two_groups().alternatives(0, 5, lacking=[1, 1, -1])[0]
    assert set(first) == {Choice(0, 1, kind) for kind in range(3)}


def test_the_likeliest_take_turns_with_them():
    alternatives = two_groups().alternatives(0, 3, lacking=[1, 1, -1])
    assert len(alternatives) == 3
    assert alternatives[1] == (Choice(0, 1, 1),)


def test_without_a_fitting_one_the_likeliest_come_first():
    assert two_groups().alternatives(0, 1, lacking=[5, 5, 5]) == [(Choice(0, 1, 1),)]
