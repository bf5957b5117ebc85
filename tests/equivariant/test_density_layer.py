"""The density of labelled neighbours."""

import pytest
import torch

from geomae.equivariant import Convolution, Density, RadialBasis, spherical_harmonics
from geomae.testing import assert_near

CUTOFF, N_LABELS, N_RADIAL = 2.5, 3, 4


@pytest.fixture
def atoms(molecule, generator):
    positions, edges = molecule
    labels = torch.randint(N_LABELS, (len(positions),), generator=generator)
    return positions[edges[0]] - positions[edges[1]], labels, edges, len(positions)


def test_it_is_the_sum_it_says(atoms):
    vectors, labels, edges, n = atoms
    basis = RadialBasis(N_RADIAL, CUTOFF)
    result = Density(N_LABELS, 2, basis, neighbours=4.0)(vectors, labels, edges, n)
    expected = torch.zeros(n, 9, N_LABELS, N_RADIAL, dtype=torch.float64)
    for vector, (source, target) in zip(vectors, edges.T, strict=True):
        filled = spherical_harmonics(2, vector)[:, None] * basis(vector.norm())
        expected[target, :, labels[source]] += filled / 2
    assert_near(result, expected.flatten(2))


def test_every_first_convolution_is_a_linear_map_of_it(atoms, seeded):
    vectors, labels, edges, n = atoms
    basis = RadialBasis(N_RADIAL, CUTOFF)
    layer = seeded(Convolution(N_LABELS, 5, 0, 2, 2, n_radial=N_RADIAL))
    one_hot = torch.nn.functional.one_hot(labels, N_LABELS).double()[:, None]
    kernel = layer.coupling(spherical_harmonics(2, vectors), basis(vectors.norm(dim=1)))
    density = Density(N_LABELS, 2, basis)(vectors, labels, edges, n)
    matrices = layer.weight.unflatten(2, (N_RADIAL, -1)).flatten(1, 2)
    degree = torch.tensor([0, 1, 1, 1, 2, 2, 2, 2, 2])
    mapped = torch.einsum("nmc,mcd->nmd", density, matrices[degree])
    assert_near(layer(one_hot, kernel, edges, n), mapped)


def test_labels_are_checked(atoms):
    vectors, labels, edges, n = atoms
    with pytest.raises(ValueError, match=r"labels must be in \[0, 3\), got 0 to 3"):
        labels = torch.tensor([0, 3] * (n // 2))
        Density(N_LABELS, 1, RadialBasis(N_RADIAL, CUTOFF))(vectors, labels, edges, n)


def test_it_fades_at_the_cutoff():
    density = Density(1, 2, RadialBasis(N_RADIAL, CUTOFF))
    edges, labels = torch.tensor([[0], [0]]), torch.tensor([0])
    for length, bound in ((CUTOFF - 1e-3, 1e-8), (CUTOFF, 0.0), (CUTOFF + 1, 0.0)):
        vector = torch.tensor([[0.6 * length, 0.0, 0.8 * length]], dtype=torch.float64)
        assert density(vector, labels, edges, 1).abs().max() <= bound
