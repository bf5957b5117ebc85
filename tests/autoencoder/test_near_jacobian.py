"""Derivatives built level by level, and the linear part of a transport that they use."""

import torch

from geomae.autoencoder.jacobian import difference_jacobian, near_jacobian
from geomae.equivariant import Transport
from geomae.pooling.tree import same_groups

from .conftest import from_ase


def centred(small, molecules, generator):
    """Trees whose last points are at the origin, symmetry broken."""
    tree = small.tree_of(molecules)
    shift = 0.1 * torch.randn(tree.positions[0].shape, dtype=torch.float64, generator=generator)
    tree = tree.with_atoms_at(tree.positions[0] + shift)
    return tree.with_atoms_at(tree.positions[0] - tree.positions[-1][tree.batch[0]])


def jacobians(small, tree):
    """The exact one and the near one, of moves that leave the last point where it is."""

    def encode(positions):
        return small.encoder(tree.with_atoms_at(positions)).flatten(1)

    share = tree.weights[0] / tree.weights[-1][tree.batch[0]]
    with torch.no_grad():
        exact = difference_jacobian(encode, tree.positions[0], tree.batch[0], 1e-6)
        near = near_jacobian(small.encoder, tree, 1e-6)
    for structure in range(tree.n_structures):
        own = share[tree.batch[0] == structure]
        rows = near[structure, : 3 * len(own)].unflatten(0, (-1, 3))
        rows -= own[:, None, None] * rows.sum(0)
    return exact, near


def test_where_all_atoms_are_one_group_nothing_is_left_out(small):
    generator = torch.Generator().manual_seed(0)
    tree = centred(small, [from_ase(name) for name in ("NH3", "CH4", "H2O")], generator)
    assert tree.n_structures == len(tree.positions[1])
    exact, near = jacobians(small, tree)
    assert (near - exact).norm() < 1e-4 * exact.norm()


def test_between_groups_it_is_near(small, molecules):
    tree = centred(small, molecules, torch.Generator().manual_seed(1))
    assert tree.n_structures < len(tree.positions[1])
    exact, near = jacobians(small, tree)
    assert (near - exact).norm() < 0.6 * exact.norm()


def test_many_features_along_an_edge_are_what_the_transport_makes_of_each():
    generator = torch.Generator().manual_seed(2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transport = Transport(4, 8, 2, 3, lmax_filter=3, groups=2, reach=3.0, softening=0.4)
        transport = transport.double()
    features = torch.randn(9, 9, 4, dtype=torch.float64, generator=generator)
    vectors = torch.randn(3, 3, dtype=torch.float64, generator=generator)
    edge = torch.tensor([0, 2, 2, 0, 1, 2, 0, 2, 2])
    own = torch.arange(9)
    with torch.no_grad():
        transport.after.bias.copy_(torch.arange(8.0))
        along = transport.along(features, vectors, edge)
        each = transport(features, vectors[edge], torch.stack([own, own]), 9)
        nothing = transport(0 * features, vectors[edge], torch.stack([own, own]), 9)
    assert torch.allclose(along, each - nothing, atol=1e-12)


def test_trees_that_group_alike_are_told_from_others(small, molecules):
    tree = small.tree_of(molecules)
    spread = small.tree_of(molecules)
    for moved, expected in ((0.001, True), (None, False)):
        positions = tree.positions[0].clone()
        first = tree.batch[0] == 0
        positions[first] *= 3 if moved is None else 1 + moved
        spread = small.encoder.grow(tree.numbers, positions, tree.batch[0])
        alike = same_groups(tree, spread)
        assert bool(alike[0]) is expected
        assert bool(alike[1:].all())
