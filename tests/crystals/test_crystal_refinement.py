"""Refinement over positions and lattice together."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from geomae.crystals import canonical
from geomae.crystals.batch import batch_of
from geomae.crystals.lattice import voronoi_vectors
from geomae.crystals.model import CrystalAutoencoder
from geomae.crystals.reading import Draft, best_lattice
from geomae.crystals.refinement import refine
from geomae.crystals.symmetry import space_group
from geomae.data import Structure
from geomae.errors import GeomaeError
from geomae.metrics.crystals import lay_over
from tests.crystals.test_encoder import CRYSTALS, SMALL


@pytest.fixture(scope="module")
def model() -> CrystalAutoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CrystalAutoencoder(SMALL).double().eval()


def test_moved_crystals_come_back_exactly_with_their_space_groups(model):
    found = [canonical(s) for s in CRYSTALS if 2 <= s.n_atoms <= 6]
    # degrees up to 3 don't tell how a cubic crystal is turned
    forms = [f.structure for f in found if f.symmetrised.number < 195][:4]
    assert len(forms) >= 3
    with torch.no_grad():
        latents = model.encoder(batch_of(forms, SMALL))
    rng = np.random.default_rng(0)
    drafts = []
    for form in forms:
        positions = form.positions.numpy() + 0.04 * rng.normal(size=(form.n_atoms, 3))
        positions[0] = 0
        cell = form.cell[0].numpy() + 0.04 * rng.normal(size=(3, 3))
        drafts.append(Draft(form.numbers.numpy(), positions, cell, np.ones(form.n_atoms)))
    rough = deepcopy(model.encoder).float()
    refined = refine(model.encoder, rough, drafts, latents)
    for form, own in zip(forms, refined, strict=True):
        assert own.residual < 1e-7
        made = Structure(own.draft.numbers, own.draft.positions, cell=own.draft.cell)
        overlay = lay_over(form, made)
        assert overlay.max_error < 1e-5 and overlay.strain < 1e-6
        assert np.abs(made.positions[0]).max() == 0
        assert space_group(made, 0.01) == space_group(form, 0.01)


def test_no_rounds_only_tell_residuals(model):
    form = canonical(CRYSTALS[0]).structure
    with torch.no_grad():
        latent = model.encoder(batch_of([form], SMALL))
    draft = Draft(
        form.numbers.numpy(), form.positions.numpy(), form.cell[0].numpy(), np.ones(form.n_atoms)
    )
    (same,) = refine(model.encoder, model.encoder, [draft], latent, rounds=0)
    (other,) = refine(model.encoder, model.encoder, [draft], 1.1 * latent, rounds=0)
    assert same.residual < 1e-12 and other.residual == pytest.approx(1 / 11, rel=1e-6)
    assert np.array_equal(same.draft.positions, draft.positions)


@pytest.mark.parametrize("lost", [0, 4])
def test_lattice_from_noisy_peaks_with_some_lost_and_one_false(lost):
    rng = np.random.default_rng(lost)
    cell = np.array([[3.9, 0, 0], [0.1, 4.1, 0], [0.2, 0.1, 4.3]])
    vectors = voronoi_vectors(cell).vectors
    kept = rng.permutation(len(vectors))[: len(vectors) - lost]
    peaks = np.concatenate(
        [vectors[kept] + 0.05 * rng.normal(size=(len(kept), 3)), [[1.7, 1.2, 2]]]
    )
    confidence = np.concatenate([np.full(len(kept), 0.8), [0.4]])
    found = best_lattice(peaks, confidence, reach=0.6).cell
    coefficients = found @ np.linalg.inv(cell)
    assert abs(round(np.linalg.det(np.round(coefficients)))) == 1
    assert np.abs(found - np.round(coefficients) @ cell).max() < 0.1


def test_no_lattice_in_too_few_peaks():
    assert best_lattice(np.eye(3)[:2] * 4, np.ones(2), reach=0.6) is None
    assert best_lattice(np.zeros((0, 3)), np.zeros(0), reach=0.6) is None


def test_an_untrained_decoder_is_not_certified(model):
    latents = model.encode(CRYSTALS[:1])
    for decoded in model.decode(latents, refine=False):
        assert decoded is None or not decoded.certified
    with pytest.raises(GeomaeError, match="latents have the shape"):
        model.decode(type(latents)(latents.array[:, :4], latents.centres))
