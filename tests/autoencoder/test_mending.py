"""Edits of a structure that bring its encoding to a latent."""

import pytest
import torch

from geomae.autoencoder.mending import Mender, Sketch, tree_of

from .conftest import from_ase

ELEMENTS = (1, 6, 7, 8, 9)


@pytest.fixture
def ethanol(small):
    """A sketch of ethanol, symmetry broken, and its latent."""
    generator = torch.Generator().manual_seed(0)
    tree = small.tree_of([from_ase("CH3CH2OH")])
    shift = 0.05 * torch.randn(tree.positions[0].shape, dtype=torch.float64, generator=generator)
    tree = tree.with_atoms_at(tree.positions[0] + shift)
    tree = tree.with_atoms_at(tree.positions[0] - tree.positions[-1])
    with torch.no_grad():
        latent = small.encoder(tree)[0]
    return Sketch.of(tree, torch.ones(len(tree.numbers)), 0), latent


def test_a_sketch_keeps_the_memberships(small, ethanol):
    sketch, latent = ethanol
    tree = tree_of([sketch, sketch], small.config.heavy_weight)
    with torch.no_grad():
        again = small.encoder(tree)
    assert torch.allclose(again[0], latent, atol=1e-12)
    assert torch.allclose(again[1], latent, atol=1e-12)


def test_a_hydrogen_too_many_one_missing_and_a_wrong_element_are_found(small, ethanol):
    sketch, latent = ethanol
    mender = Mender(small.encoder, ELEMENTS, 29)
    carbon = int((sketch.numbers == 6).nonzero()[0])
    beyond = sketch.positions[carbon] * 1.6 + torch.tensor([0.9, 0.0, 0.0])
    more = mender.edits(sketch.with_atom(1, beyond, carbon), latent, None)[0]
    assert more.residual < 1e-10
    assert torch.equal(more.numbers, sketch.numbers)
    other = mender.edits(sketch.changed(carbon, 7), latent, None)[0]
    assert other.residual < 1e-10
    assert torch.equal(other.numbers, sketch.numbers)


def test_only_the_formula_told_is_tried_where_there_is_one(small, ethanol):
    sketch, latent = ethanol
    hydrogen = int((sketch.numbers == 1).nonzero()[0])
    mender = Mender(small.encoder, ELEMENTS, 29)
    formula = torch.tensor([6, 2, 0, 1, 0])
    made = mender.edits(sketch.without(hydrogen), latent, formula)
    assert made
    for edit in made:
        assert [int((edit.numbers == z).sum()) for z in ELEMENTS] == formula.tolist()
    nearest = (made[0].positions[-1] - sketch.positions[hydrogen]).norm()
    assert nearest < 0.6


def test_a_single_atom_is_found_from_nothing(small):
    tree = small.tree_of([from_ase("O")])
    with torch.no_grad():
        latent = small.encoder(tree)[0]
    nothing = Sketch.of(tree, torch.ones(1), 0).without(0)
    made = Mender(small.encoder, ELEMENTS, 29).edits(nothing, latent, None)
    assert made[0].numbers.tolist() == [8]
    assert made[0].residual < 1e-12
