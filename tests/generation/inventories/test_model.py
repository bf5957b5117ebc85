"""The model of inventories: what it draws, what it tells, and its files."""

import numpy as np
import pytest
import torch

from geomae.errors import CheckpointError, GeomaeError
from geomae.generation.atoms.candidates import Listed
from geomae.generation.inventories.config import InventoryConfig
from geomae.generation.inventories.draws import (
    InventoryDraws,
    Learned,
    even_marks,
    formula_likelihood,
    possible,
)
from geomae.generation.inventories.model import InventoryModel
from geomae.generation.inventories.training import check_fit
from geomae.generation.inventory import compositions_of
from tests.generation.conftest import new_inventories

ELEMENTS = (1, 6, 7, 8, 9)


def sources(numbers):
    """Marks, and what draws again."""
    rngs = [np.random.default_rng([3, number]) for number in numbers]
    return even_marks(3, numbers), rngs


def formulas_of(model, found):
    return compositions_of(model.kinds, torch.from_numpy(found), ELEMENTS)


def test_formulas_have_all_the_probability(inventories):
    formulas, likelihood = formula_likelihood(Learned(inventories))
    assert likelihood.double().exp().sum() == pytest.approx(1, abs=1e-4)
    assert len(formulas.unique(dim=0)) == len(formulas)
    assert (formulas[:, 1:].sum(1) <= 9).all() and (formulas.sum(1) <= 29).all()


def test_inventories_of_a_formula_have_all_the_probability(inventories):
    """Of CH4O: a carbon and an oxygen of any kinds."""
    kinds = inventories.kinds
    pairs = torch.cartesian_prod(*(torch.nonzero(kinds[:, 0] == z)[:, 0] for z in (6, 8)))
    table = torch.nn.functional.one_hot(pairs, len(kinds)).sum(1)
    formula = torch.tensor([4, 1, 0, 1, 0])
    table = table[(compositions_of(kinds, table, ELEMENTS) == formula).all(1)]
    formulas, likelihood = formula_likelihood(Learned(inventories))
    own = likelihood[(formulas == formula).all(1)].double().exp()
    with torch.no_grad():
        found = inventories.log_likelihood(inventories.counts(table)).double().exp()
    # what bounds on hydrogens let through and nothing completes is drawn again
    assert 0.5 * own < found.sum() <= own * (1 + 1e-4)


def test_draws_could_be_molecules(inventories):
    found = InventoryDraws(Learned(inventories)).sure(*sources(range(20)))
    assert possible(inventories, found).all() and len(np.unique(found, axis=0)) > 10


def test_a_draw_depends_on_its_own_source_alone(inventories):
    draws = InventoryDraws(Learned(inventories))
    many, few = draws.sure(*sources(range(12))), draws.sure(*sources([4, 7]))
    assert (many[[4, 7]] == few).all()


def test_marks_draw_everything_about_as_often_as_its_share(inventories):
    """At random, counts of 1,000 draws are off by their own square roots."""
    draws = InventoryDraws(Learned(inventories))
    found, fits = draws(even_marks(0, range(1000)))
    different, counts = np.unique(found[fits], axis=0, return_counts=True)
    rows = torch.from_numpy(different)
    with torch.no_grad():
        shares = inventories.log_likelihood(inventories.counts(rows)).double().exp().numpy()
    assert np.abs(counts - 1000 * shares).max() < 2.5
    assert (counts[1000 * shares < 0.3] == 1).all() and counts.max() > 10


def test_marks_of_a_list_follow_its_shares():
    listed = Listed(np.arange(4)[:, None], np.array([0.5, 0.0, 0.3, 0.2]))
    drawn = listed(even_marks(1, range(200)), [])
    assert np.abs(np.bincount(drawn[:, 0]) - np.array([100, 0, 60, 40])).max() <= 2
    assert listed(np.array([0.0, 0.499, 0.5, 0.999]), [])[:, 0].tolist() == [0, 0, 2, 3]


def test_formulas_and_sizes_are_kept(inventories):
    formula = torch.tensor([6, 2, 0, 1, 0])
    found = InventoryDraws(Learned(inventories), formula=formula).sure(*sources(range(8)))
    assert (formulas_of(inventories, found) == formula).all()
    found = InventoryDraws(Learned(inventories), n_atoms=12).sure(*sources(range(8)))
    assert (formulas_of(inventories, found).sum(1) == 12).all()
    assert not InventoryDraws(Learned(inventories), n_atoms=40).possible
    assert not InventoryDraws(Learned(inventories), torch.tensor([8, 10, 0, 0, 0])).possible


def test_the_temperature_is_that_of_each_count(inventories):
    cold, own = (Learned(inventories, temperature=t) for t in (0.5, 1.0))
    counts = torch.zeros(1, inventories.columns, dtype=torch.long)
    found = [x.log_probabilities(0, inventories.blank(1), counts).exp() for x in (cold, own)]
    squares = found[1].square()
    assert torch.allclose(found[0], squares / squares.sum(), atol=1e-6)
    with torch.no_grad():
        formulas = formula_likelihood(cold)[1]
    assert formulas.double().exp().sum() == pytest.approx(1, abs=1e-4)


def test_what_is_drawn_cold_is_likelier(inventories):
    def likelihood(temperature):
        draws = InventoryDraws(Learned(inventories, temperature=temperature))
        found = torch.from_numpy(draws.sure(*sources(range(100))))
        with torch.no_grad():
            return inventories.log_likelihood(inventories.counts(found)).mean()

    assert likelihood(0.5) > likelihood(1.0) + 0.3 > likelihood(2.0) + 0.6


def test_sizes_come_as_often_as_their_formulas(inventories):
    formulas, likelihood = formula_likelihood(Learned(inventories))
    rows = formulas.sum(1) == 4
    found, _ = InventoryDraws(Learned(inventories), n_atoms=4)(sources(range(1000))[0])
    drawn = formulas_of(inventories, found)
    shares = likelihood[rows].double().softmax(0)
    for formula, share in zip(formulas[rows], shares, strict=True):
        own = (drawn == formula).all(1).double().mean()
        assert own <= share + 0.03


def test_training_lowers_the_loss(inventories, molecules, closed_shells):
    with torch.no_grad():
        before = new_inventories(molecules).loss(closed_shells)
        after = inventories.loss(closed_shells)
    assert after["inventory"] < before["inventory"] - 5
    assert after["properties"] < before["properties"]


def test_files_give_the_same_model(inventories, closed_shells, tmp_path):
    path = tmp_path / "weights.safetensors"
    inventories.save(path)
    again = InventoryModel.from_file(path)
    assert torch.equal(again.kinds, inventories.kinds)
    for one, other in zip(
        again.property_moments(closed_shells.inventory),
        inventories.property_moments(closed_shells.inventory),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_files_of_other_models_are_refused():
    with pytest.raises(CheckpointError, match="expected inventories"):
        InventoryModel.from_file("models/qm9-atoms/weights.safetensors")


@pytest.mark.parametrize("change", [{"max_heavy": 3}, {"max_atoms": 9}, {"elements": (1, 6)}])
def test_data_that_the_model_can_not_tell_is_refused(molecules, closed_shells, change):
    config = InventoryConfig(
        **({"elements": ELEMENTS, "max_atoms": 29, "max_heavy": 9, "channels": 4} | change)
    )
    model = InventoryModel(config, molecules.kinds, torch.zeros(2, 0))
    with pytest.raises(GeomaeError, match=next(iter(change))):
        check_fit(model, closed_shells)
