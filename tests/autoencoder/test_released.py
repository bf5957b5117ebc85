"""The released model: molecules through one point and back."""

import gc

import pytest
import torch

from geomae.autoencoder import Latents, load, released_models
from geomae.data.structure import Structure
from geomae.errors import CheckpointError, GeomaeError
from geomae.metrics import compare
from geomae.testing import random_orthogonal
from tests.autoencoder.conftest import from_ase

NAMES = ("CH3CH2OH", "C6H6", "C5H5N", "C3H8", "CH3COOH", "cyclobutane", "isobutane", "C4H4O")


@pytest.fixture(scope="module")
def qm9():
    return load("qm9")


@pytest.fixture(scope="module")
def originals():
    return [from_ase(name) for name in NAMES]


def test_molecules_come_back(qm9, originals):
    decoded = qm9.decode(qm9.encode(originals))
    for original, structure in zip(originals, decoded, strict=True):
        comparison = compare(original, structure)
        assert comparison.exact and comparison.max_error < 1e-6, original.name
        assert structure.certified and structure.residual < 1e-6
        assert ((structure.confidence > 0.3) & (structure.confidence <= 1)).all()


def test_the_decoder_sees_the_latent_alone(qm9):
    """What happens to the structure after encoding can't change what is decoded."""
    structure = from_ase("C6H6")
    latents = qm9.encode([structure])
    expected = qm9.decode(latents)[0].positions
    structure.positions += 1
    del structure
    gc.collect()
    copy = Latents(latents.array.clone(), latents.centres.clone())
    assert torch.equal(qm9.decode(copy)[0].positions, expected)


@pytest.mark.parametrize("improper", [False, True])
def test_decoding_turns_with_the_latent(qm9, originals, improper):
    """Straight from the peaks, and refined; rotated and reflected.

    A peak whose top is flat is known to about 1e-3 Å in float32.
    """
    matrix = random_orthogonal(improper=improper)
    shift = torch.tensor([3.0, -1.0, 2.0])
    moved = [Structure(s.numbers, s.positions @ matrix.T + shift) for s in originals]
    for refine, tolerance in ((False, 2e-3), (True, 1e-6)):
        here = qm9.decode(qm9.encode(originals), refine=refine)
        there = qm9.decode(qm9.encode(moved), refine=refine)
        for a, b in zip(here, there, strict=True):
            turned = Structure(a.numbers, a.positions @ matrix.T + shift)
            assert compare(turned, b).max_error < tolerance


def test_decoding_is_deterministic_and_independent_of_the_batch(qm9, originals):
    latents = qm9.encode(originals)
    together, alone = qm9.decode(latents), [qm9.decode(latents[i])[0] for i in range(3)]
    again = qm9.decode(latents)
    for a, b in zip(together, again, strict=True):
        assert torch.equal(a.positions, b.positions)
    for a, b in zip(together, alone, strict=False):
        assert compare(a, b).max_error < 1e-6


def test_a_point_group_survives(qm9):
    """Benzene's D6h, to a thousandth of an Å."""
    analyzer = pytest.importorskip("pymatgen.symmetry.analyzer")
    core = pytest.importorskip("pymatgen.core")
    decoded = qm9.decode(qm9.encode([from_ase("C6H6")]))[0]
    molecule = core.Molecule(decoded.numbers.tolist(), decoded.positions.numpy())
    assert analyzer.PointGroupAnalyzer(molecule, tolerance=1e-3).sch_symbol == "D6h"


def test_a_latent_of_nothing_is_called_doubtful(qm9):
    components, channels = qm9.encoder.latent_shape
    noise = torch.randn(2, components, channels, generator=torch.Generator().manual_seed(0))
    decoded = qm9.decode(Latents(noise, torch.zeros(2, 3)))
    assert not any(structure.certified for structure in decoded)


def test_bad_latents_are_refused(qm9):
    with pytest.raises(GeomaeError, match=r"shape \[n, 49, 16\]"):
        qm9.decode(Latents(torch.zeros(1, 4, 2), torch.zeros(1, 3)))
    broken = torch.full((1, *qm9.encoder.latent_shape), torch.nan)
    with pytest.raises(GeomaeError, match="finite"):
        qm9.decode(Latents(broken, torch.zeros(1, 3)))


def test_both_hierarchies_are_results(qm9, originals):
    tree, features = qm9.encode_levels(originals[:2])
    drawing = qm9.decode_levels(qm9.encode(originals[:2]))
    assert [len(p) for p in drawing.tree.positions] == [len(p) for p in tree.positions]
    assert len(drawing.features) == 3 and len(features) == 4


def test_saved_and_loaded_it_is_the_same(qm9, originals, tmp_path):
    qm9.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert torch.equal(again.encode(originals).array, qm9.encode(originals).array)


def test_unknown_models_are_named(tmp_path):
    assert "qm9" in released_models()
    with pytest.raises(GeomaeError, match=r"released models: .*qm9"):
        load("qm8")
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        load(tmp_path)
