"""Latents as objects: they turn, slice, join, save and load."""

import pytest
import torch

from geomae.autoencoder import Latents
from geomae.errors import CheckpointError, GeomaeError
from geomae.testing import random_orthogonal, wigner_matrix


@pytest.fixture
def latents() -> Latents:
    generator = torch.Generator().manual_seed(1)
    array = torch.randn(5, 16, 6, dtype=torch.float64, generator=generator)
    return Latents(array, torch.randn(5, 3, dtype=torch.float64, generator=generator))


@pytest.mark.parametrize("improper", [False, True])
def test_rotation_is_e3nns(latents, improper):
    matrix = random_orthogonal(improper=improper)
    turned = latents.rotate(matrix)
    flat, irreps = latents.to_e3nn()
    expected = flat @ wigner_matrix(irreps, matrix).T
    assert torch.allclose(turned.to_e3nn()[0], expected, atol=1e-12, rtol=0)
    assert torch.allclose(turned.centres, latents.centres @ matrix.T, atol=1e-12, rtol=0)


def test_invariants_do_not_turn(latents):
    turned = latents.rotate(random_orthogonal(improper=True))
    before, after = latents.invariants(), turned.invariants()
    assert before.shape == (5, 6 * (1 + 2 * latents.lmax))
    assert torch.allclose(before, after, atol=1e-12, rtol=0)


def test_invariants_tell_latents_apart(latents):
    assert torch.pdist(latents.invariants()).min() > 1e-2


def test_e3nn_layout_and_back(latents):
    flat, irreps = latents.to_e3nn()
    assert str(irreps) == "6x0e+6x1o+6x2e+6x3o"
    back = Latents.from_e3nn(flat, irreps, latents.centres)
    assert torch.equal(back.array, latents.array)
    with pytest.raises(GeomaeError, match="expected irreps like"):
        Latents.from_e3nn(flat, "6x0e+90x1o")


def test_slice_and_join(latents):
    parts = [latents[0], latents[1:3], latents[torch.tensor([3, 4])]]
    assert [len(part) for part in parts] == [1, 2, 2]
    assert torch.equal(Latents.join(parts).array, latents.array)
    assert torch.equal(latents[-1].array[0], latents.array[-1])


def test_save_and_load(latents, tmp_path):
    path = tmp_path / "latents.safetensors"
    latents.save(path)
    back = Latents.load(path)
    assert torch.equal(back.array, latents.array) and torch.equal(back.centres, latents.centres)
    assert list(tmp_path.iterdir()) == [path]


def test_loading_what_is_none(latents, tmp_path):
    with pytest.raises(CheckpointError, match="no file"):
        Latents.load(tmp_path / "missing.safetensors")
    (tmp_path / "text").write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        Latents.load(tmp_path / "text")
    path = tmp_path / "latents.safetensors"
    latents.save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointError):
        Latents.load(path)


def test_bad_shapes_are_named():
    with pytest.raises(GeomaeError, match=r"\(2, 5, 3\)"):
        Latents(torch.zeros(2, 5, 3), torch.zeros(2, 3))
    with pytest.raises(GeomaeError, match="centres"):
        Latents(torch.zeros(2, 4, 3), torch.zeros(3, 3))


def test_only_orthogonal_matrices_rotate(latents):
    with pytest.raises(GeomaeError, match="orthogonal"):
        latents.rotate(2 * torch.eye(3))
