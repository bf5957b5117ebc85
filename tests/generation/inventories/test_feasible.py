"""Which inventories could be a molecule's."""

from itertools import combinations, combinations_with_replacement

import numpy as np
import pytest
import torch

from geomae.generation.inventories.feasible import (
    Ledger,
    connectable,
    paired,
    unbranched,
)
from geomae.generation.inventory import compositions_of

CARBONS = np.array([[6, 4 - d, d] for d in range(5)])


def degrees_of_connected_graphs(n):
    """Sorted degrees of all graphs in one piece whose degrees are at most four."""
    pairs, found = list(combinations(range(n), 2)), set()
    for bits in range(2 ** len(pairs)):
        graph = np.zeros((n, n), dtype=int)
        for number, (i, j) in enumerate(pairs):
            graph[i, j] = graph[j, i] = bits >> number & 1
        reached = np.linalg.matrix_power(graph + np.eye(n, dtype=int), n)
        if reached.all() and graph.sum(1).max() <= 4:
            found.add(tuple(sorted(graph.sum(1).tolist())))
    return found


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_degrees_are_those_of_a_graph_in_one_piece(n):
    sequences = list(combinations_with_replacement(range(5), n))
    table = np.array([np.bincount(own, minlength=5) for own in sequences])
    fits = connectable(CARBONS, table, 29)
    assert {own for own, good in zip(sequences, fits, strict=True) if good} == (
        degrees_of_connected_graphs(n)
    )


@pytest.mark.parametrize(
    ("atoms", "chain"),
    [
        ([(6, 1, 1), (6, 1, 1)], True),
        ([(6, 1, 1), (6, 0, 2), (6, 0, 2), (7, 0, 1)], True),
        ([(6, 2, 0)], True),
        ([(6, 4, 0)], False),
        ([(6, 3, 1), (7, 0, 1)], False),
        ([(6, 1, 1), (6, 1, 2), (7, 0, 1)], False),
        ([(6, 0, 1)] * 3 + [(6, 0, 3)], False),
        ([(6, 0, 2)] * 4, False),
    ],
    ids=["C2H2", "HC3N", "CH2", "CH4", "CH3N", "HCCHN", "star", "ring"],
)
def test_chains_have_two_ends_and_hydrogens_there_alone(atoms, chain):
    kinds = np.array(sorted(set(atoms)))
    inventory = [[atoms.count(tuple(kind)) for kind in kinds.tolist()]]
    assert unbranched(kinds, np.array(inventory)).tolist() == [chain]


def test_atoms_are_not_too_many():
    methane = np.array([[1, 0, 0, 0, 0]])
    assert connectable(CARBONS, methane, 5).all() and not connectable(CARBONS, methane, 4).any()


@pytest.mark.parametrize(
    ("kinds", "counts", "good"),
    [
        ([[6, 2, 1]], [2], True),  # ethene
        ([[6, 2, 1], [6, 3, 1]], [1, 1], False),  # a radical
        ([[6, 1, 1], [6, 3, 1]], [1, 1], False),  # a carbene
        ([[6, 0, 2], [6, 2, 1]], [1, 2], True),  # allene
        ([[6, 1, 1], [7, 0, 1]], [1, 1], True),  # hydrogen cyanide
    ],
)
def test_open_valences_pair_up(kinds, counts, good):
    assert paired(np.array(kinds), np.array([counts])).all() == good


def test_counts_of_molecules_are_always_allowed(molecules):
    elements = (1, 6, 7, 8, 9)
    inventory = molecules.inventory()
    formulas = compositions_of(molecules.kinds, inventory, elements)
    even = (formulas @ torch.tensor(elements)) % 2 == 0
    counts = torch.cat([formulas.roll(-1, 1), inventory], 1)[even]
    ledger = Ledger(molecules.kinds, elements[1:], 29, 9)
    for column in range(counts.shape[1]):
        allowed = ledger.allowed(column, counts)
        assert allowed.gather(1, counts[:, column, None]).all()
    # the last kind has what is left
    assert (ledger.allowed(counts.shape[1] - 1, counts).sum(1) == 1).all()
