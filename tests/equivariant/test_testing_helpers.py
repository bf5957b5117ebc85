"""The checks pass where they should, fail where they should, and say why."""

import pytest
import torch
from e3nn import o3

from geomae.equivariant import IrrepsError, spherical_harmonics
from geomae.testing import (
    assert_batch_independent,
    assert_equivariant,
    assert_gradients,
    assert_near,
    assert_permutation_equivariant,
    edges_within,
    random_molecule,
    random_orthogonal,
    rotate_features,
    unchanged_global_state,
    wigner_matrix,
)


@pytest.mark.parametrize("improper", [True, False, None])
def test_random_orthogonal(improper, generator):
    signs = set()
    for _ in range(20):
        matrix = random_orthogonal(generator, improper=improper)
        assert_near(matrix @ matrix.T, torch.eye(3, dtype=torch.float64))
        signs.add(round(float(torch.det(matrix))))
    assert signs == ({1, -1} if improper is None else {-1 if improper else 1})


@pytest.mark.parametrize("irreps", ["1x0e", "1x1o + 2x1e", "3x2e + 1x5o", "1x4o + 1x0o"])
def test_wigner_matrices_are_those_of_e3nn(irreps, generator, precisely):
    for _ in range(4):
        matrix = random_orthogonal(generator)
        with precisely():
            expected = o3.Irreps(irreps).D_from_matrix(matrix)
        assert_near(wigner_matrix(irreps, matrix), expected)


@pytest.mark.parametrize("improper", [True, False])
def test_rotated_features_of_harmonics(improper, generator, random):
    matrix, vectors = random_orthogonal(generator, improper=improper), random(7, 3)
    turned = rotate_features(spherical_harmonics(5, vectors)[..., None], matrix)
    assert_near(turned[..., 0], spherical_harmonics(5, vectors @ matrix.T))


def test_a_pseudoscalar_is_found_out(random):
    def triple(vectors):
        return torch.linalg.det(vectors.unflatten(0, (-1, 3)))[:, None]

    vectors = random(6, 3)
    assert_equivariant(triple, [(vectors, "vectors")], "1x0o")
    with pytest.raises(AssertionError, match=r"inversion: output 0 \(1x0e\) is off by 2"):
        assert_equivariant(triple, [(vectors, "vectors")], "1x0e")


def test_a_preferred_axis_is_found_out(random):
    """Even under inversion, so a rotation has to tell."""
    with pytest.raises(AssertionError, match=r"proper rotation 0: output 1 \(invariant\)"):
        assert_equivariant(
            lambda v: (v, v[:, 2].square()), [(random(5, 3), "vectors")], ["vectors", "invariant"]
        )


def test_a_preferred_place_is_found_out(random):
    positions = random(5, 3)
    assert_equivariant(lambda x: x - x.mean(0), [(positions, "positions")], "vectors")
    with pytest.raises(AssertionError, match="translation: output 0"):
        assert_equivariant(lambda x: x.square().sum(1), [(positions, "positions")], "invariant")


def test_results_that_are_no_numbers_fail(random):
    with pytest.raises(AssertionError, match="off by nan"):
        assert_equivariant(lambda v: v * torch.nan, [(random(5, 3), "vectors")], "vectors")


def test_unknown_kinds_are_named(random):
    with pytest.raises(IrrepsError, match="'feature'"):
        assert_equivariant(lambda v: v, [(random(5, 3), "feature")], "vectors")


def test_an_order_that_matters_is_found_out(random):
    values, edges = random(5, 3), torch.tensor([[0, 1, 2], [1, 2, 4]])

    def along(values, edges):
        return values[edges[0]] - values[edges[1]]

    inputs = [(values, "point"), (edges, "edges")]
    assert_permutation_equivariant(along, inputs, "edge")
    assert_permutation_equivariant(lambda values: values.sum(0), [(values, "point")], "fixed")
    with pytest.raises(AssertionError, match=r"permutation 0: output 0 \(point\)"):
        assert_permutation_equivariant(lambda v: v.cumsum(0), [(values, "point")], "point")


def test_batches_that_mix_are_found_out(random):
    items = [random(n) for n in (2, 3, 5)]
    assert_batch_independent(lambda batch: [item.sum() for item in batch], items)
    with pytest.raises(AssertionError, match="item 0 in the batch"):
        assert_batch_independent(
            lambda batch: [item - torch.cat(batch).mean() for item in batch], items
        )


def test_wrong_gradients_are_found_out(random):
    assert_gradients(torch.sin, [random(3)])
    with pytest.raises(AssertionError, match="disagree with finite differences"):
        assert_gradients(lambda x: x * x.detach(), [random(3)])
    with pytest.raises(ValueError, match="float64"):
        assert_gradients(torch.sin, [random(3).float()])


def test_changed_global_state_is_found_out():
    with unchanged_global_state():
        random_molecule()
    before = torch.get_default_dtype()
    try:
        with (
            pytest.raises(AssertionError, match="default precision"),
            unchanged_global_state(),
        ):
            torch.set_default_dtype(torch.float64)
    finally:
        torch.set_default_dtype(before)


def test_random_molecules(generator):
    molecule = random_molecule(generator, n_atoms=12, numbers=(6, 8), min_distance=0.95)
    distances = torch.cdist(molecule.positions, molecule.positions)
    distances.fill_diagonal_(torch.inf)
    assert molecule.n_atoms == 12
    assert set(molecule.numbers.tolist()) <= {6, 8}
    assert distances.min() >= 0.95 and distances.amin(1).max() <= 1.6
    again = random_molecule(torch.Generator().manual_seed(3)).positions
    assert torch.equal(again, random_molecule(torch.Generator().manual_seed(3)).positions)
    with pytest.raises(ValueError, match="can't place"):
        random_molecule(bond=(0.5, 0.8))


def test_edges_keep_structures_apart(random):
    positions, batch = random(6, 3), torch.tensor([0, 0, 0, 1, 1, 1])
    source, target = edges_within(positions, 100.0, batch)
    assert len(source) == 12
    assert torch.equal(batch[source], batch[target])
    assert not (source == target).any()
