"""One crystal, one form."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomae.crystals import canonical, symmetrise
from geomae.crystals.canonical import choose_anchor, site_invariants
from geomae.crystals.symmetry import nearest
from geomae.data import Structure, load_source
from geomae.errors import StructureError, UnsupportedStructureError
from tests.crystals.conftest import SYSTEMS, presented_otherwise

PROTOTYPES = [s for s in load_source("aflow") if s.n_atoms <= 40]

PEROVSKITE = Structure(
    [38, 22, 8, 8, 8],
    3.9 * np.array([[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]),
    cell=3.9 * np.eye(3),
)


def anchor_invariants(structure: Structure) -> np.ndarray:
    return site_invariants(structure, np.array([0]), 7.0)[0]


def same_crystal(first: Structure, second: Structure, turn: np.ndarray) -> float:
    """Largest distance of an atom of the first, turned, from the second's atoms and images."""
    cell = second.cell[0].numpy()
    turned = first.positions.numpy() @ turn.T
    coefficients = first.cell[0].numpy() @ turn.T @ np.linalg.inv(cell)
    assert np.abs(coefficients - np.round(coefficients)).max() < 1e-7
    _, lengths = nearest(second.positions.numpy()[None] - turned[:, None], cell)
    lengths[first.numbers.numpy()[:, None] != second.numbers.numpy()[None]] = np.inf
    return float(lengths.min(1).max())


@given(index=st.integers(0, len(PROTOTYPES) - 1), seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_any_presentation_gives_the_same_form(index, seed):
    structure = PROTOTYPES[index]
    other, turn = presented_otherwise(structure, np.random.default_rng(seed))
    first, second = canonical(structure), canonical(other)
    assert first.symmetrised.number == second.symmetrised.number or np.linalg.det(turn) < 0
    assert first.structure.formula == second.structure.formula
    expected, found = (anchor_invariants(c.structure) for c in (first, second))
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    mapped = [
        same_crystal(first.structure, second.structure, turn @ rotation)
        for rotation in first.operations.rotations
    ]
    assert min(mapped) < 1e-6, "turned by an operation of the crystal, one is the other"


@pytest.mark.slow
def test_two_hundred_crystals_of_all_systems():
    rng = np.random.default_rng(0)
    chosen = PROTOTYPES[:: max(1, len(PROTOTYPES) // 200)][:200]
    systems = Counter()
    for structure in chosen:
        other, _ = presented_otherwise(structure, rng, most=4)
        first, second = canonical(structure), canonical(other)
        number = first.symmetrised.number
        systems[next(n for n, (low, high) in SYSTEMS.items() if low <= number <= high)] += 1
        expected, found = (anchor_invariants(c.structure) for c in (first, second))
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max(), structure.name
    assert len(chosen) >= 190 and set(systems) == set(SYSTEMS)


@pytest.mark.parametrize("structure", PROTOTYPES[::12], ids=lambda s: str(s.name))
def test_operations_map_the_form_onto_itself(structure):
    found = canonical(structure)
    own, cell = found.structure, found.structure.cell[0].numpy()
    operations = found.operations
    positions, numbers = own.positions.numpy(), own.numbers.numpy()
    for rotation, translation in zip(operations.rotations, operations.translations, strict=True):
        assert np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-12
        moved = positions @ rotation.T + translation
        _, lengths = nearest(positions[None] - moved[:, None], cell)
        lengths[numbers[:, None] != numbers[None]] = np.inf
        assert lengths.min(1).max() < 1e-9
    orbit = np.bincount(found.symmetrised.orbits)
    assert len(found.site_symmetry) * orbit[orbit > 0].min() == len(operations)


def test_anchor_is_the_rarest_of_the_most_symmetric_sites():
    found = canonical(PEROVSKITE)
    assert found.structure.numbers.tolist()[0] == 38
    assert found.structure.positions[0].abs().max() == 0
    assert len(found.site_symmetry) == 48 and found.tied == 0
    assert np.allclose(found.centre, PEROVSKITE.positions[found.anchor])


def test_diamond_has_no_unique_site_and_either_will_do():
    diamond = next(s for s in PROTOTYPES if s.mineral == "diamond")
    found = canonical(diamond)
    assert found.structure.n_atoms == 2 and len(found.site_symmetry) == 24
    swapped = Structure(diamond.numbers, diamond.positions.flip(0), cell=diamond.cell[0])
    again = canonical(swapped)
    maps = [
        same_crystal(found.structure, again.structure, rotation)
        for rotation in found.operations.rotations
    ]
    assert min(maps) < 1e-9


def test_inequivalent_sites_of_one_element_are_told_apart_by_invariants():
    """Carbon atoms at the two kinds of sites of hexagonal diamond's neighbour, graphite."""
    graphite = Structure(
        [6] * 4,
        np.array([[0, 0, 0.25], [0, 0, 0.75], [1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]])
        @ np.array([[2.46, 0, 0], [-1.23, 2.1304, 0], [0, 0, 6.7]]),
        cell=[[2.46, 0, 0], [-1.23, 2.1304, 0], [0, 0, 6.7]],
    )
    rng = np.random.default_rng(5)
    kinds = set()
    for _ in range(6):
        other, _ = presented_otherwise(graphite, rng)
        found = canonical(other)
        assert found.tied == 0
        kinds.add(tuple(np.round(anchor_invariants(found.structure), 5)))
    assert len(kinds) == 1


def test_rounded_files_get_their_symmetry_back_and_say_how_far_atoms_moved():
    rng = np.random.default_rng(1)
    noisy = PEROVSKITE.positions + torch.from_numpy(rng.uniform(-2e-4, 2e-4, (5, 3)))
    found = symmetrise(Structure(PEROVSKITE.numbers, noisy, cell=PEROVSKITE.cell[0]))
    assert found.number == 221 and found.symbol == "P m -3 m"
    assert 5e-5 < found.moved < 6e-4 and found.strain < 1e-9
    assert "Wyckoff position" in found.report() and "221" in found.report()
    exact = symmetrise(PEROVSKITE)
    assert exact.moved < 1e-12 and exact.repeats == 1


def test_strained_cells_say_how_much_the_lattice_changed():
    cell = 3.9 * np.diag([1, 1, 1.00005])
    fractions = PEROVSKITE.positions.numpy() / 3.9
    found = symmetrise(Structure(PEROVSKITE.numbers, fractions @ cell, cell=cell))
    assert found.number == 221 and 1e-5 < found.strain < 1e-4


def test_symmetry_below_the_tolerance_is_kept_as_it_is():
    moved = PEROVSKITE.positions.clone()
    moved[1, 2] += 0.02
    found = symmetrise(Structure(PEROVSKITE.numbers, moved, cell=PEROVSKITE.cell[0]))
    assert found.number == 99 and found.moved < 1e-9
    assert symmetrise(found.structure, symprec=0.05).number == 221


@pytest.mark.parametrize(
    ("pbc", "words"),
    [([True, True, False], "slab"), ([False, False, True], "chain"), (False, "finite")],
)
def test_other_periodicity_is_refused_with_a_word_on_what_to_do(pbc, words):
    structure = Structure([6], [[0.0, 0, 0]], cell=np.eye(3) * 3, pbc=pbc)
    with pytest.raises(UnsupportedStructureError, match=words):
        canonical(structure)


def test_molecules_and_overlaps_are_refused():
    with pytest.raises(UnsupportedStructureError, match="finite"):
        canonical(Structure([6], [[0.0, 0, 0]]))
    overlapping = Structure([6, 6], [[0.0, 0, 0], [0.0, 0, 0.01]], cell=np.eye(3) * 3)
    with pytest.raises(StructureError, match="closer than"):
        canonical(overlapping)


def test_anchor_of_one_atom():
    assert choose_anchor(Structure([29], [[0.0, 0, 0]], cell=np.eye(3) * 2.5), np.array([0])) == (
        0,
        0,
    )
