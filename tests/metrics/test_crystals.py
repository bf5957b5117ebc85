"""Protocols by which reconstructed crystals are judged."""

import numpy as np
import pytest
import torch

from geomae.crystals import canonical
from geomae.data import Structure, load_source
from geomae.errors import GeomaeError
from geomae.metrics.crystals import (
    DEFAULT,
    PROTOCOLS,
    UNREDUCED,
    USUAL,
    compare_crystal,
    compare_crystals,
    is_valid,
    lay_over,
    reduced_formula,
    summarise_crystals,
)
from tests.crystals.conftest import presented_otherwise

ROCK_SALT = Structure(
    [11, 17],
    [[0.0, 0, 0], [2.8, 2.8, 2.8]],
    cell=2.8 * (1 - np.eye(3)),
)


def shaken(structure: Structure, amount: float, seed: int) -> Structure:
    rng = np.random.default_rng(seed)
    shift = torch.from_numpy(amount * rng.normal(size=(structure.n_atoms, 3)))
    strain = np.eye(3) + amount / 10 * rng.normal(size=(3, 3))
    cell = structure.cell[0].numpy() @ strain
    positions = structure.positions.numpy() @ strain + shift.numpy()
    return Structure(structure.numbers, positions, cell=cell)


@pytest.mark.parametrize("amount", [1e-5, 3e-4, 1e-2, 0.1, 0.4])
def test_prefilter_answers_as_structure_matcher_does(amount):
    crystals = [s for s in load_source("aflow") if 2 <= s.n_atoms <= 8][::25]
    for seed, structure in enumerate(crystals):
        found = canonical(structure)
        made = shaken(found.structure, amount, seed)
        moved = made.positions + torch.from_numpy(found.centre)
        decoded = Structure(made.numbers, moved, cell=made.cell[0])
        quick = compare_crystal(structure, decoded)
        asked = compare_crystal(structure, decoded, prefilter=False)
        assert set(asked.asked) == {p.name for p in PROTOCOLS} or not asked.valid
        assert len(quick.asked) == (0 if amount < 1e-4 else len(quick.asked))
        for name, rms in asked.rms.items():
            assert (rms is None) == (quick.rms[name] is None), (structure.name, name)
            if rms is not None and name not in quick.asked:
                assert rms - 1e-5 <= quick.rms[name] < 1e-3


def test_supercells_of_the_original_are_laid_over():
    rng = np.random.default_rng(2)
    for structure in [s for s in load_source("aflow") if s.n_atoms <= 8][::30]:
        other, _ = presented_otherwise(structure, rng)
        found = canonical(other)
        moved = found.structure.positions + torch.from_numpy(found.centre)
        decoded = Structure(found.structure.numbers, moved, cell=found.structure.cell[0])
        overlay = lay_over(other, decoded)
        assert overlay is not None and overlay.max_error < 1e-3 and overlay.strain < 1e-6
        result = compare_crystal(other, decoded)
        assert not result.asked and result.kept(0.01) and result.kept(0.1)


def test_overlay_measures_what_was_moved():
    moved = ROCK_SALT.positions.clone()
    moved[1, 0] += 0.2
    found = lay_over(ROCK_SALT, Structure([11, 17], moved, cell=ROCK_SALT.cell[0]))
    assert found.max_error == pytest.approx(0.1) and found.rmsd == pytest.approx(0.1)
    spacing = (2 * 2.8**3 / 2) ** (1 / 3)
    assert found.normalised == pytest.approx(0.1 / spacing) and found.strain < 1e-12
    wider = Structure([11, 17], 1.05 * ROCK_SALT.positions, cell=1.05 * ROCK_SALT.cell[0])
    assert lay_over(ROCK_SALT, wider).strain == pytest.approx(1 - 1 / 1.05)
    assert lay_over(ROCK_SALT, Structure([11], [[0.0, 0, 0]], cell=ROCK_SALT.cell[0])) is None


def test_other_crystals_do_not_match():
    caesium = Structure([11, 17], [[0.0, 0, 0], [1.7, 1.7, 1.7]], cell=3.4 * np.eye(3))
    bromide = Structure([11, 35], ROCK_SALT.positions, cell=ROCK_SALT.cell[0])
    assert compare_crystal(ROCK_SALT, caesium).rms[DEFAULT.name] is None
    other = compare_crystal(ROCK_SALT, bromide)
    assert not other.composition and other.rms[USUAL.name] is None and not other.asked
    whole = compare_crystal(ROCK_SALT, bromide, prefilter=False)
    assert whole.rms == other.rms
    nothing = compare_crystal(ROCK_SALT, None)
    assert not nothing.valid and not nothing.kept(0.01)
    assert set(nothing.rms.values()) == {None}


def test_invalid_crystals_are_misses():
    close = Structure([11, 17], [[0.0, 0, 0], [0.4, 0, 0]], cell=ROCK_SALT.cell[0])
    assert not is_valid(close) and is_valid(ROCK_SALT)
    assert compare_crystal(close, close).rms[USUAL.name] is None


def test_space_groups_at_two_tolerances():
    moved = ROCK_SALT.positions.clone()
    moved[1] += torch.tensor([0.03, 0.01, 0.0])
    result = compare_crystal(ROCK_SALT, Structure([11, 17], moved, cell=ROCK_SALT.cell[0]))
    assert result.space_groups[0.01][0] == 225 and not result.kept(0.01) and result.kept(0.1)


def test_unreduced_protocols_compare_primitive_cells_of_exact_supercells():
    rng = np.random.default_rng(0)
    other, _ = presented_otherwise(ROCK_SALT, rng, most=4)
    decoded = shaken(canonical(other).structure, 0.02, 0)
    result = compare_crystal(other, decoded, prefilter=False)
    assert result.rms[UNREDUCED.name] is not None


def test_processes_give_the_same_figures_and_bad_pairs_count():
    pairs = [ROCK_SALT, ROCK_SALT, ROCK_SALT]
    decoded = [shaken(ROCK_SALT, 0.05, 1), None, ROCK_SALT]
    alone = compare_crystals(pairs, decoded)
    assert compare_crystals(pairs, decoded, workers=2) == alone
    figures = summarise_crystals(alone)
    assert figures["n"] == 3 and figures["match (usual)"] == pytest.approx(2 / 3)
    assert figures["space group kept at 0.01"] == pytest.approx(1 / 3)
    assert summarise_crystals([])["n"] == 0
    with pytest.raises(GeomaeError, match="3 originals but 1"):
        compare_crystals(pairs, decoded[:1])


def test_reduced_formula():
    assert reduced_formula(Structure([8, 22, 8, 8, 22, 8], np.zeros((6, 3)))) == ((8, 2), (22, 1))
