"""Batches of PyG and buckets of sizes."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from geomae.data import SizeBuckets, Structure, load_source
from geomae.data.batching import best_bounds
from geomae.errors import GeomaeError
from geomae.testing.random import random_molecule


def spread(n: int = 4000) -> np.ndarray:
    """Sizes like those of QM9: 18 atoms on average, 3 to 29."""
    drawn = np.random.default_rng(0).normal(18, 3, n).round().astype(int)
    return drawn.clip(3, 29)


def molecules(n: int = 60) -> list[Structure]:
    made = []
    for k in range(n):
        generator = torch.Generator().manual_seed(k)
        structure = random_molecule(generator, n_atoms=2 + k % 9)
        structure.energy = torch.tensor([float(k)], dtype=torch.float64)
        structure.forces = torch.full((structure.n_atoms, 3), float(k))
        structure.refractive_index = torch.tensor([[1.0, float(k)]])
        structure.bond_index = torch.tensor([[0], [1]])
        structure.name = f"m{k}"
        made.append(structure)
    return made


def test_structures_batch_and_come_back():
    first = molecules(5)
    batch = Batch.from_data_list(first)
    assert batch.num_graphs == 5 and batch.positions.shape == (sum(s.n_atoms for s in first), 3)
    assert batch.energy.tolist() == [0, 1, 2, 3, 4]
    assert batch.refractive_index.tolist() == [[1, k] for k in range(5)]
    assert batch.bond_index[0].tolist() == batch.ptr[:-1].tolist()
    assert batch.name == [f"m{k}" for k in range(5)]
    for one, other in zip(first, batch.to_data_list(), strict=True):
        assert isinstance(other, Structure) and set(one.keys()) == set(other.keys())
        for key in one.keys():  # noqa: SIM118
            same = torch.equal if isinstance(one[key], torch.Tensor) else lambda a, b: a == b
            assert same(one[key], other[key]), key


def test_cells_of_crystals_are_stacked():
    crystals = load_source("aflow", n=4)
    batch = Batch.from_data_list(crystals)
    assert batch.cell.shape == (4, 3, 3) and batch.pbc.shape == (4, 3)
    assert torch.equal(batch.to_data_list()[2].cell, crystals[2].cell)


def test_a_loader_meets_every_structure_once():
    data = molecules()
    sampler = SizeBuckets(data, 7, buckets=3)
    loader = DataLoader(data, batch_sampler=sampler)
    assert len(loader) == len(sampler)
    met = [float(e) for batch in loader for e in batch.energy]
    assert sorted(met) == [float(k) for k in range(60)]
    assert all(batch.num_graphs <= 7 for batch in loader)


@given(
    sizes=st.lists(st.integers(1, 50), max_size=80),
    batch_size=st.integers(1, 20),
    buckets=st.integers(1, 12),
    seed=st.integers(0, 5),
)
def test_every_structure_exactly_once_an_epoch(sizes, batch_size, buckets, seed):
    sampler = SizeBuckets(sizes, batch_size, buckets=buckets, seed=seed)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert sorted(k for batch in batches for k in batch) == list(range(len(sizes)))
        assert len(batches) == len(sampler)
        assert all(1 <= len(batch) <= batch_size for batch in batches)


def test_epochs_differ_and_are_repeatable():
    sampler = SizeBuckets(spread(), 64, seed=3)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert orders[0] == orders[2] and orders[0] != orders[1]
    other = SizeBuckets(spread(), 64, seed=4)
    other.set_epoch(1)
    assert list(other) not in orders


def test_the_global_generator_is_left_alone():
    state = torch.random.get_rng_state()
    list(SizeBuckets(spread(), 64))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("order", [1, 2])
def test_eight_buckets_leave_little_padding(order):
    none = SizeBuckets(spread(), 64, buckets=1).padding(order)
    eight = SizeBuckets(spread(), 64).padding(order)
    assert eight < none / 10 and eight < 0.06


@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=30), buckets=st.integers(1, 3))
def test_no_other_bounds_leave_less_padding(sizes, buckets):
    sizes = np.array(sizes)

    def cost(bounds):
        return (np.array(bounds)[np.searchsorted(bounds, sizes)] ** 2).sum()

    kinds = np.unique(sizes).tolist()
    choices = [
        sorted(chosen) + kinds[-1:]
        for k in range(buckets)
        for chosen in combinations(kinds[:-1], k)
    ]
    assert cost(best_bounds(sizes, buckets)) == min(map(cost, choices))


def test_many_sizes_have_their_bounds_quickly():
    sizes = np.random.default_rng(0).lognormal(5, 1, 20000).astype(int) + 1
    bounds = best_bounds(sizes, 8)
    assert len(bounds) == 8 and bounds[-1] == sizes.max()
    assert SizeBuckets(sizes, 32).padding() < SizeBuckets(sizes, 32, buckets=1).padding() / 10


def test_padding_is_counted_from_the_batches():
    sampler = SizeBuckets([1, 2, 3], 3, buckets=1)
    assert sampler.padding(1) == pytest.approx(9 / 6 - 1)
    assert sampler.padding(2) == pytest.approx(27 / 14 - 1)
    assert SizeBuckets([5] * 10, 3).padding() == 0


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"batch_size": 4, "buckets": 0}])
def test_sizes_of_nothing_are_refused(arguments):
    with pytest.raises(GeomaeError, match="at least 1"):
        SizeBuckets([1, 2], **arguments)
