"""Clusters and trees: what belongs together, in any order, orientation and number."""

from math import inf

import pytest
import torch

from geomae.pooling import grow_tree, mean_shift, symmetric_cluster


def random_points(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(n, 3, generator=generator, dtype=torch.float64)


def test_steps_connect_what_is_farther_apart():
    positions = torch.tensor([[0.0, 0, 0], [0.9, 0, 0], [1.8, 0, 0], [5, 0, 0]])
    clusters = symmetric_cluster(positions, 1.0)
    assert clusters.membership.tolist() == [[0, 1, 2, 3], [0, 0, 0, 1]]
    assert torch.allclose(clusters.centres, torch.tensor([[0.9, 0, 0], [5, 0, 0]]))


def test_centres_are_weighted_means_with_gradients():
    positions = torch.tensor([[0.0, 0, 0], [0.4, 0, 0]]).double().requires_grad_()
    weights = torch.tensor([3.0, 1.0]).double()
    clusters = symmetric_cluster(positions, 1.0, weights=weights)
    assert torch.allclose(clusters.centres, torch.tensor([[0.1, 0, 0]]).double())
    clusters.centres.sum().backward()
    assert torch.allclose(positions.grad, torch.tensor([[0.75] * 3, [0.25] * 3]).double())


def test_a_source_belongs_to_every_cluster_that_it_proposed():
    positions = torch.tensor([[0.0, 0, 0], [5, 0, 0], [5.1, 0, 0], [0.1, 0, 0], [0.05, 0, 0]])
    source = torch.tensor([0, 0, 1, 1, 1])
    clusters = symmetric_cluster(positions, 0.5, source=source)
    assert clusters.membership.tolist() == [[0, 0, 1, 1], [0, 1, 0, 1]]


def test_structures_never_join():
    positions, batch = torch.zeros(4, 3), torch.tensor([0, 0, 1, 1])
    clusters = symmetric_cluster(positions, 1.0, batch)
    assert clusters.batch.tolist() == [0, 1]
    assert clusters.membership[1].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("seed", range(3))
def test_clusters_do_not_depend_on_the_order(seed):
    positions = random_points(40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    plain, mixed = symmetric_cluster(positions, 1.2), symmetric_cluster(positions[order], 1.2)
    partition = {frozenset(order[mixed.membership[1] == c].tolist()) for c in range(len(mixed))}
    expected = {
        frozenset(torch.nonzero(plain.membership[1] == c)[:, 0].tolist()) for c in range(len(plain))
    }
    assert partition == expected and 1 < len(expected) < 40


def test_no_points_make_no_clusters():
    clusters = symmetric_cluster(torch.zeros(0, 3), 1.0)
    assert len(clusters) == 0 and clusters.membership.shape == (2, 0)


def test_one_point_is_a_cluster():
    clusters = symmetric_cluster(torch.ones(1, 3), 1.0)
    assert clusters.membership.tolist() == [[0], [0]]
    assert torch.equal(clusters.centres, torch.ones(1, 3))


def test_mean_shift_of_nothing_is_nothing():
    modes = mean_shift(torch.zeros(0, 3), torch.zeros(0), 1.0)
    assert modes.positions.shape == (0, 3) and modes.converged.shape == (0,)


def test_trees_of_no_atoms_and_of_one():
    none = grow_tree(
        torch.zeros(0, dtype=torch.long),
        torch.zeros(0, 3),
        torch.zeros(0, dtype=torch.long),
        scales=(0.5, inf),
    )
    assert none.n_structures == 0 and len(none.positions) == 3
    one = grow_tree(
        torch.tensor([6]), torch.ones(1, 3), torch.zeros(1, dtype=torch.long), scales=(0.5, inf)
    )
    assert [level.tolist() for level in one.positions] == [[[1.0] * 3]] * 3
    assert [edges.tolist() for edges in one.memberships] == [[[0], [0]]] * 2


def test_trees_of_a_batch_are_those_of_its_structures():
    sizes = (5, 1, 9)
    parts = [random_points(size, seed) for seed, size in enumerate(sizes)]
    numbers = [torch.tensor([6, 1, 8] * 3)[:size] for size in sizes]
    batch = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
    scales = (0.6, 1.5, inf)
    together = grow_tree(torch.cat(numbers), torch.cat(parts), batch, scales=scales)
    alone = [
        grow_tree(z, x, torch.zeros_like(z), scales=scales)
        for z, x in zip(numbers, parts, strict=True)
    ]
    for level, positions in enumerate(together.positions):
        assert torch.allclose(positions, torch.cat([t.positions[level] for t in alone]), atol=1e-9)
    assert len(together.positions[-1]) == 3


def test_weights_of_a_tree_add_up():
    positions = random_points(12)
    numbers, batch = torch.tensor([6, 1, 1] * 4), torch.zeros(12, dtype=torch.long)
    tree = grow_tree(numbers, positions, batch, scales=(1.0, inf))
    assert [float(w.sum()) for w in tree.weights] == [32.0] * 3
    assert torch.allclose(tree.with_atoms_at(positions).positions[1], tree.positions[1])
