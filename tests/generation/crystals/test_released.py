"""The released flows on crystals."""

import pytest

import geomae
from geomae.generation.crystals.request import read_space_group

MODELS = ("perov5", "crystals")


@pytest.mark.parametrize("name", MODELS)
def test_samples_are_crystals_with_latents(name):
    made = geomae.generate(name, 4, seed=7, steps=10)
    assert len(made.kept) >= 3
    assert made.latents.array.shape[1:] == geomae.load(name).encoder.latent_shape
    for structure in made.kept:
        assert structure.certified and structure.residual == 0
        assert set(structure.numbers.tolist()) <= set(geomae.load(name).elements)


@pytest.mark.parametrize(("name", "symmetry"), [("perov5", "P4mm"), ("crystals", "P6_3/mmc")])
def test_the_group_asked_for_is_had(name, symmetry):
    made = geomae.generate(name, 4, symmetry=symmetry, seed=7, steps=10)
    assert made.kept
    assert {s.space_group for s in made.kept} == {read_space_group(symmetry).name}
