"""The encoder as a whole."""

import pytest
import torch

from geomae.data.structure import Structure
from geomae.errors import UnsupportedStructureError
from geomae.testing import random_orthogonal
from tests.autoencoder.conftest import from_ase


def moved(structure: Structure, matrix: torch.Tensor, shift: torch.Tensor) -> Structure:
    return Structure(structure.numbers, structure.positions @ matrix.T + shift)


@pytest.mark.parametrize("improper", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_latents_turn_with_the_structures(small, molecules, improper, dtype):
    from copy import deepcopy

    model = deepcopy(small).to(dtype)
    matrix, shift = random_orthogonal(improper=improper), torch.tensor([1.0, -2.0, 3.0])
    turned = model.encode([moved(m, matrix, shift) for m in molecules])
    expected = model.encode(molecules).rotate(matrix)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    scale = expected.array.abs().max()
    assert (turned.array - expected.array).abs().max() < tolerance * scale
    assert torch.allclose(turned.centres, expected.centres + shift.double(), atol=1e-10)


def test_order_of_atoms_does_not_matter(small, molecules):
    original = molecules[0]
    order = torch.randperm(original.n_atoms, generator=torch.Generator().manual_seed(3))
    shuffled = Structure(original.numbers[order], original.positions[order])
    a, b = small.encode([original]), small.encode([shuffled])
    assert torch.allclose(a.array, b.array, atol=1e-12, rtol=0)


def test_batches_do_not_mix(small, molecules):
    together = small.encode(molecules)
    alone = [small.encode([m]) for m in molecules]
    assert torch.allclose(
        together.array, torch.cat([each.array for each in alone]), atol=1e-12, rtol=0
    )
    assert torch.allclose(small.encode(molecules, batch_size=2).array, together.array, atol=1e-12)


def test_a_symmetric_molecule_has_a_symmetric_latent(small):
    """Benzene's sixfold axis and its mirror leave its latent as it is."""
    benzene = from_ase("C6H6")
    latent = small.encode([benzene])
    cos, sin = 0.5, 3**0.5 / 2
    sixfold = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0], [0, 0, 1]], dtype=torch.float64)
    inversion = -torch.eye(3, dtype=torch.float64)
    for operation in (sixfold, inversion):
        turned = latent.rotate(operation)
        # ASE's coordinates are given to six decimals
        assert (turned.array - latent.array).abs().max() < 1e-4 * latent.array.abs().max()


def test_mirror_images_have_different_latents(small):
    positions = torch.tensor(
        [[0.0, 0, 0], [1.3, 0, 0], [-0.5, 1.3, 0], [-0.5, -0.6, 1.3], [-0.5, -0.7, -0.9]]
    ).double()
    left = Structure([6, 9, 8, 7, 1], positions)
    right = Structure([6, 9, 8, 7, 1], positions * torch.tensor([1.0, 1.0, -1.0]).double())
    a, b = small.encode([left, right]).invariants()
    assert torch.allclose(a, b, atol=1e-12)
    matrix = random_orthogonal(improper=False)
    difference = small.encode([left]).rotate(matrix).array - small.encode([right]).array
    assert difference.abs().max() > 1e-3


def test_levels_end_in_the_latent(small, molecules):
    tree, features = small.encode_levels(molecules)
    assert len(features) == 4 and torch.equal(features[-1], small.encode(molecules).array)
    assert [len(f) for f in features] == [len(p) for p in tree.positions]
    assert len(tree.positions[-1]) == len(molecules)


def test_no_structures_give_no_latents(small):
    assert len(small.encode([])) == 0


def test_one_atom(small):
    latent = small.encode([Structure([6], [[1.0, 2.0, 3.0]])])
    assert latent.centres.tolist() == [[1.0, 2.0, 3.0]]
    assert latent.array[:, 1:].abs().max() < 1e-10


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        (Structure([14, 1], [[0.0, 0, 0], [1.5, 0, 0]]), r"has Si; the model takes H, C, N, O, F"),
        (Structure([6] * 30, torch.arange(90.0).reshape(30, 3)), "30 atoms"),
        (Structure([6], [[0.0, 0, 0]], cell=torch.eye(3)), "periodic"),
        (Structure([6], [[float("nan"), 0, 0]]), "not finite"),
    ],
)
def test_what_the_model_does_not_take(small, structure, words):
    with pytest.raises(ValueError, match=words) as caught:
        small.encode([from_ase("H2O"), structure])
    assert caught.value.index == 1
    if words != "not finite":
        assert isinstance(caught.value, UnsupportedStructureError)
