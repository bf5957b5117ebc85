"""Searching by invariants, and aligning latents."""

import sys

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from geomae.alignment import align
from geomae.autoencoder import Latents, load
from geomae.bulk import encode_shards, open_shards
from geomae.data import load_source
from geomae.data.structure import Structure
from geomae.errors import GeomaeError, MissingExtraError
from geomae.search import LatentIndex
from geomae.testing import random_orthogonal


@pytest.fixture(scope="module")
def qm9():
    return load("qm9")


@pytest.fixture(scope="module")
def molecules(qm9):
    """G2's molecules of the model's elements, of three atoms or more."""
    known = set(qm9.elements)
    return [s for s in load_source("g2") if set(s.numbers.tolist()) <= known and s.n_atoms > 2]


@pytest.fixture(scope="module")
def latents(qm9, molecules):
    return qm9.encode(molecules)


def turned(structure: Structure, seed: int) -> Structure:
    generator = torch.Generator().manual_seed(seed)
    matrix, order = random_orthogonal(generator), torch.randperm(structure.n_atoms)
    return Structure(structure.numbers[order], (structure.positions @ matrix.T + 5.0)[order])


@pytest.mark.parametrize("kind", ["basic", "power", "cross", "bispectrum"])
def test_the_same_molecule_is_found_first_in_any_orientation(qm9, molecules, latents, kind):
    names = [s.name for s in molecules]
    index = LatentIndex.build(latents, names, kind=kind)
    queries = [turned(structure, seed) for seed, structure in enumerate(molecules)]
    found = index.search(queries, qm9, k=3)
    assert [row[0] for row in found.names] == names
    assert found.distances[:, 0].max() < 0.01 * np.median(found.distances[:, 1])
    assert (np.diff(found.distances, axis=1) >= 0).all()


def test_likeness_is_chemical(qm9, molecules, latents):
    """Propane is nearer to its likes than to a ring with nitrogen."""
    names = [s.name for s in molecules]
    found = LatentIndex.build(latents, names).nearest(latents, k=len(names))
    ranks = {name: list(found.names[names.index("C3H8")]).index(name) for name in names}
    assert ranks["C3H8"] == 0
    assert ranks["trans-butane"] < ranks["C5H5N"] and ranks["CH3CH2OH"] < ranks["C6H6"]


def test_an_index_of_a_folder_of_shards(qm9, molecules, latents, tmp_path):
    encode_shards(molecules, tmp_path / "shards", model=qm9, shard_size=32)
    index = LatentIndex.build(open_shards(tmp_path / "shards"), components=20)
    assert index.rows.shape == (len(molecules), 20)
    assert index.names == [s.name for s in molecules]
    index.save(tmp_path / "index.safetensors")
    again = LatentIndex.load(tmp_path / "index.safetensors")
    for each in (index, again):
        assert np.array_equal(each.nearest(latents, 1).indices[:, 0], np.arange(len(latents)))
    assert again.names == index.names and again.kind == "cross"


def test_what_can_not_be_searched_is_told(latents, tmp_path, monkeypatch):
    with pytest.raises(GeomaeError, match="needs latents and as many names, got 0 and 0"):
        LatentIndex.build(latents[0:0])
    with pytest.raises(GeomaeError, match="got 2 and 1"):
        LatentIndex.build(latents[:2], ["a"])
    index = LatentIndex.build(latents[:5], kind="power")
    with pytest.raises(GeomaeError, match="k must be 1 to 5, not 6"):
        index.nearest(latents, k=6)
    with pytest.raises(GeomaeError, match="of another model"):
        index.nearest(Latents(latents.array[..., :3], latents.centres))
    (tmp_path / "x").write_bytes(b"nothing")
    with pytest.raises(GeomaeError, match="not a readable index"):
        LatentIndex.load(tmp_path / "x")
    latents[0].save(tmp_path / "z.safetensors")
    with pytest.raises(GeomaeError, match="no index for searching"):
        LatentIndex.load(tmp_path / "z.safetensors")
    monkeypatch.setitem(sys.modules, "sklearn.neighbors", None)
    with pytest.raises(MissingExtraError, match=r"geomae\[sklearn\]"):
        LatentIndex(index.rows, index.names, index.tables, index.kind)


@pytest.mark.parametrize("improper", [False, True])
def test_a_turned_latent_is_turned_back(improper):
    generator = torch.Generator().manual_seed(3)
    array = torch.randn(1, 16, 4, generator=generator, dtype=torch.float64)
    reference = Latents(array, torch.zeros(1, 3, dtype=torch.float64))
    matrix = random_orthogonal(generator, improper=improper)
    moving = reference.rotate(matrix)
    found = align(reference, moving, improper=improper, starts=48)
    assert (moving.rotate(found).array - array).abs().max() < 1e-5
    assert (found @ matrix - torch.eye(3, dtype=torch.float64)).abs().max() < 1e-5


def test_alignment_keeps_to_rotations_and_takes_one_and_one():
    generator = torch.Generator().manual_seed(3)
    array = torch.randn(2, 9, 4, generator=generator, dtype=torch.float64)
    latents = Latents(array, torch.zeros(2, 3, dtype=torch.float64))
    found = align(latents[0], latents[1], starts=24)
    assert torch.det(found) > 0
    assert torch.equal(found, align(latents[0], latents[1], starts=24))
    with pytest.raises(GeomaeError, match="two batches of one latent"):
        align(latents, latents)
