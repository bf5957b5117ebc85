"""The classifier and the autoencoder of Tetris pieces, trained here and now."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def classifier():
    example = load("01_tetris_classifier")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = example.TetrisClassifier()
    _, positions = example.pieces()
    example.train(model, positions.float())
    return example, model, positions


def test_every_piece_is_named_in_every_orientation(classifier):
    example, model, positions = classifier
    rotations = example.random_rotations(100, torch.Generator().manual_seed(1))
    assert example.accuracy(model, positions.float(), rotations).tolist() == [1.0] * 8


def test_a_mirror_swaps_the_chiral_pair_and_nothing_else(classifier):
    example, model, positions = classifier
    rotations = -example.random_rotations(20, torch.Generator().manual_seed(2))
    mirrored = torch.einsum("rij,pnj->prni", rotations, positions).flatten(0, 1).float()
    named = model(example.Pairs(mirrored)).argmax(1).view(8, -1)
    assert torch.equal(named, torch.tensor([1, 0, 2, 3, 4, 5, 6, 7])[:, None].expand(8, 20))


def test_the_order_of_the_points_does_not_matter(classifier):
    example, model, positions = classifier
    mixed = positions[:, torch.tensor([2, 0, 3, 1])].float()
    plain = model(example.Pairs(positions.float()))
    assert torch.allclose(plain, model(example.Pairs(mixed)), atol=1e-4)


@pytest.fixture(scope="module", params=["hubs", "between"])
def autoencoder(request):
    example = load("02_tetris_autoencoder")
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = example.TetrisAutoencoder().double()
    _, positions = example.pieces()
    example.train(model, positions, request.param)
    return example, model, positions, request.param


def test_pieces_come_back_from_one_point_in_any_orientation(autoencoder):
    example, model, positions, _ = autoencoder
    generator = torch.Generator().manual_seed(3)
    for matrix in example.random_orientations(6, generator):
        shift = torch.randn(3, generator=generator, dtype=torch.float64)
        assert float(example.errors(model, positions @ matrix.T + shift).max()) < 1e-3


def test_the_latent_is_one_point_a_piece(autoencoder):
    _, model, positions, _ = autoencoder
    batch = torch.arange(8).repeat_interleave(4)
    top = model.encode(positions.flatten(0, 1), batch).top
    assert top.batch.tolist() == list(range(8))


def test_clusters_stand_on_points_or_between_them(autoencoder):
    example, model, positions, version = autoencoder
    distance = example.closest(model, positions)
    assert distance < 1e-6 if version == "hubs" else distance > 0.2
