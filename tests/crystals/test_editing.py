"""What a latent tells of its symmetry, and crystals edited until they encode to it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geomae.crystals import canonical
from geomae.crystals.editor import Editor
from geomae.crystals.edits import exchanges, removals, with_atoms, without
from geomae.crystals.model import CrystalAutoencoder
from geomae.crystals.reading import Draft, Sketch
from geomae.crystals.site_group import SiteGroup
from tests.crystals.test_released_perov5 import CRYSTALS, WEIGHTS, pytestmark  # noqa: F401


@pytest.fixture(scope="module")
def model() -> CrystalAutoencoder:
    return CrystalAutoencoder.from_file(WEIGHTS)


@pytest.fixture(scope="module")
def perovskite() -> Draft:
    """SrTiO3 about the atom that is its anchor, turned."""
    form = canonical(CRYSTALS[0]).structure
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    numbers = form.numbers.numpy()
    cell = form.cell[0].numpy() @ turn.T
    return Draft(numbers, form.positions.numpy() @ turn.T, cell, np.ones(len(numbers)))


def latent_of(model: CrystalAutoencoder, draft: Draft) -> torch.Tensor:
    editor = Editor(model.decoder, model.exact_encoder(), torch.zeros(*model.encoder.latent_shape))
    return editor.encodings([draft])[0]


@pytest.fixture(scope="module")
def editor(model, perovskite) -> Editor:
    return Editor(model.decoder, model.exact_encoder(), latent_of(model, perovskite))


def test_the_latent_tells_the_site_symmetry(editor, perovskite):
    assert len(editor.group.rotations) == 48
    orbits = editor.group.orbits(perovskite)
    assert sorted(map(len, orbits)) == [1, 1, 3]


def test_lattices_and_places_get_the_symmetry_that_the_latent_has(editor, perovskite):
    rng = np.random.default_rng(1)
    group, cell = editor.group, perovskite.cell
    made = group.lattice(cell + 0.1 * rng.normal(size=(3, 3)))
    lengths = np.linalg.norm(made, axis=1)
    assert (
        np.ptp(lengths) < 1e-12 and np.abs(made @ made.T - lengths[0] ** 2 * np.eye(3)).max() < 1e-9
    )
    assert group.lattice(cell * np.array([[1.0], [1.0], [2.2]])) is None
    assert len(group.images(cell.T @ [0.38, 0.25, 0.11], cell)) == 48
    assert len(group.images(cell.T @ [0.5, 0.02, 0.47], cell)) == 3
    assert len(group.images(cell.T @ [0.5, 0.48, 0.47], cell)) == 1


def test_an_orbit_with_peaks_missing_is_made_whole(editor, perovskite):
    oxygens = np.flatnonzero(perovskite.numbers == 8)
    seen = without(perovskite, oxygens[1:])
    elements = (8, 22, 38)
    likelihood = np.log(0.05 + 0.9 * (seen.numbers[:, None] == np.array(elements)))
    confidence = np.array([np.inf, *np.full(len(seen.numbers) - 1, 0.9)])
    sketch = Sketch(seen.cell, seen.positions, confidence, likelihood, np.zeros((3, 6)), elements)
    whole = editor.group.symmetrised(sketch)
    assert len(whole.places) == len(perovskite.numbers)
    draft = replace(whole, confidence=np.maximum(whole.confidence, 0.9)).clear()
    assert float(editor.residuals([draft])[0]) < 1e-5


@pytest.mark.parametrize("fault", ["extra", "missing", "exchanged", "moved"])
def test_a_fault_is_found_by_what_the_crystal_encodes_to(editor, perovskite, fault):
    oxygens = np.flatnonzero(perovskite.numbers == 8)
    alone = int(np.flatnonzero((perovskite.numbers != 8) & (np.arange(5) > 0))[0])
    wrong = {
        "extra": with_atoms(perovskite, 8, perovskite.cell.sum(0, keepdims=True) / 4),
        "missing": without(perovskite, oxygens),
        "exchanged": replace(
            perovskite, numbers=np.where(perovskite.numbers == 8, 9, perovskite.numbers)
        ),
        "moved": with_atoms(
            without(perovskite, np.array([alone])),
            int(perovskite.numbers[alone]),
            perovskite.positions[[alone]] + perovskite.cell[:1] * 0.3,
        ),
    }[fault]
    found = editor.edited(wrong, 12)
    assert sorted(found.numbers.tolist()) == sorted(perovskite.numbers.tolist())
    assert float(editor.residuals([found])[0]) < 0.3 * float(editor.residuals([wrong])[0])
    assert editor.edited(perovskite, 12) is None


def test_edits_keep_the_anchor_and_are_distinct(editor, perovskite):
    orbits = editor.group.orbits(perovskite)
    for draft in removals(perovskite, orbits):
        assert draft.numbers[0] == perovskite.numbers[0] and not draft.positions[0].any()
    likelihood = np.random.default_rng(0).normal(size=(5, len(editor.elements)))
    numbers = [tuple(d.numbers) for d in exchanges(perovskite, orbits, likelihood, editor.elements)]
    assert len(set(numbers)) == len(numbers) and tuple(perovskite.numbers) not in numbers


def test_a_latent_of_no_symmetry_has_the_identity_alone():
    latent = torch.randn(49, 4, generator=torch.Generator().manual_seed(0))
    assert np.allclose(SiteGroup.of(latent).rotations, np.eye(3)[None])
