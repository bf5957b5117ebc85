"""The released flow on QM9's atoms."""

import pytest

import geomae
from geomae.generation import load_atom_flow
from geomae.generation.verify import contains
from geomae.metrics import generation_metrics
from geomae.metrics.generation import judge


def test_most_samples_are_molecules():
    made = geomae.generate("qm9", 32, seed=0, steps=12)
    figures = generation_metrics(made.structures)
    assert figures["n_failed"] == 0 and figures["valid_unique"] > 0.5
    assert figures["atom_stability"] > 0.9 and figures["molecule_stability"] > 0.5
    assert bool(made.certified.all()) and made.residuals.max() == 0


def test_cubane_has_its_group():
    made = geomae.generate("qm9", 2, formula="C8H8", symmetry="Oh", seed=0, steps=20)
    assert len(made.kept) == 2
    for structure, group in zip(made.kept, made.groups, strict=True):
        assert contains(group, "Oh") and judge(structure).stable


@pytest.mark.parametrize(("formula", "known"), [("C7H10O2", True), ("C3F8", False)])
def test_formulas_that_training_has_and_lacks(formula, known):
    flow = load_atom_flow("qm9-atoms")
    counts = dict(zip("HCNOF", (10, 7, 0, 2, 0) if known else (0, 3, 0, 0, 8), strict=True))
    row = [counts[symbol] for symbol in "HCNOF"]
    assert bool((flow.formulas() == flow.formulas().new_tensor(row)).all(1).any()) == known
    made = geomae.generate("qm9", 2, formula=formula, seed=0, steps=8)
    assert all(structure.formula == formula for structure in made.kept)
