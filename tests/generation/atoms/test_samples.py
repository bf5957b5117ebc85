"""Samples of a flow on atoms: by their numbers, of a formula, with a point group."""

import numpy as np
import pytest
import torch
from ase.build import molecule

import geomae
from geomae.errors import GeomaeError
from geomae.generation.atoms.integration import Steps
from geomae.generation.atoms.samples import AtomSamples
from geomae.generation.atoms.symmetric_samples import SymmetricAtomSamples
from geomae.generation.generate import Sampler, generate
from geomae.generation.request import Asked, check_asked
from geomae.generation.verify import contains


@pytest.fixture
def sampler(flow, model, monkeypatch):
    """Of the small, untrained flow: no molecules, but with what was asked for."""
    monkeypatch.setattr(
        "geomae.generation.generate.find_models", lambda name, near: ("qm9", model, flow)
    )
    return lambda **asked: Sampler("qm9", Asked(**asked), seed=5, steps=14)


def positions(made):
    return [None if s is None else s.positions for s in made.structures]


def test_a_sample_depends_on_the_seed_and_its_number_alone(sampler):
    many, few = sampler()(0, 7), sampler()(0, 3)
    for one, other in zip(few.structures, many.structures[:3], strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert torch.equal(one.positions, other.positions)
            assert torch.equal(one.numbers, other.numbers)
    assert torch.equal(many.latents.array[:3], few.latents.array)
    assert len(sampler()(0, 0)) == 0


def test_latents_are_those_of_the_structures(sampler, model):
    made = sampler()(0, 6)
    for row, structure in enumerate(made.structures):
        if structure is not None:
            again = model.encode([structure])
            assert torch.allclose(again.array[0], made.latents.array[row], atol=1e-4)
            assert again.centres.abs().max() < 1e-5
    assert made.residuals.max() == 0


@pytest.mark.parametrize("formula", ["C6H6", "C2H6O", "C5H9N"])
def test_every_structure_has_the_formula(sampler, formula):
    own = sampler(formula=formula)
    made = own(0, 5)
    from geomae.generation.request import parse_formula

    counts = [parse_formula(s.formula) for s in made.kept]
    assert counts and all(c == parse_formula(formula) for c in counts), made.faults


def test_numbers_of_atoms_are_kept(sampler):
    assert {s.n_atoms for s in sampler(n_atoms=8)(0, 6).kept} == {8}


@pytest.mark.parametrize("group", ["C2", "C3v", "D2h", "D3h", "Td", "Oh", "Ih", "C∞v"])
def test_what_is_returned_has_the_group(sampler, group):
    made = sampler(symmetry=group)(0, 3)
    for found, structure, fault in zip(made.groups, made.structures, made.faults, strict=True):
        assert (structure is None) == (fault is not None)
        if structure is not None:
            assert found is not None and contains(found, group)


def test_sites_are_kept_to_rounding(flow, model):
    asked = Asked(symmetry="D3h")
    _, group = check_asked(asked, model)
    make = SymmetricAtomSamples(flow, model, asked, group, seed=1, steps=Steps(4))
    structure = make._structures([0])[0]
    for operation in group.operations:
        gaps = torch.cdist(
            structure.positions @ operation.T, structure.positions,
            compute_mode="donot_use_mm_for_euclid_dist",
        )  # fmt: skip
        assert gaps.min(1).values.max() < 1e-10


def test_shares_follow_the_data_and_the_properties(flow, model):
    asked = Asked(properties={"gap": 0.1})
    low = AtomSamples(flow, model, asked, seed=0, steps=Steps(2))
    assert low.inventories.shares.sum() == pytest.approx(1)
    means = flow.statistics["property_mean"][:, 0].double().numpy()
    assert (low.inventories.shares * means).sum() < means.mean()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"formula": "CH9"}, "no set of atoms is known for CH9"),
        ({"formula": "CH2O", "symmetry": "Oh"}, "exclude each other"),
        ({"properties": {"gaps": 0.2}}, "not trained on 'gaps'"),
        ({"n_atoms": 40}, "the model makes 1 to 29"),
    ],
)
def test_bad_input_is_answered_before_sampling(sampler, asked, said):
    with pytest.raises(GeomaeError, match=said):
        sampler(**asked)


@pytest.mark.parametrize("name", ["CH3OH", "C2H4", "CH4"])
def test_a_fragment_is_kept_and_completed(sampler, flow, model, monkeypatch, name):
    structure = geomae.as_structures(molecule(name))[0]
    made = Sampler("qm9", Asked(), fragment=structure, seed=2, steps=14)(0, 5)
    heavy = structure.numbers > 1
    wanted = structure.positions[heavy]
    assert made.kept
    for own in made.kept:
        found = own.positions[: int(heavy.sum())]
        assert own.numbers[: len(found)].tolist() == structure.numbers[heavy].tolist()
        assert int((own.numbers > 1).sum()) > int(heavy.sum())
        assert torch.allclose(distances(found), distances(wanted), atol=1e-5)


def distances(positions):
    return torch.cdist(positions, positions, compute_mode="donot_use_mm_for_euclid_dist")


@pytest.mark.parametrize(
    ("asked", "named", "said"),
    [
        ({}, "SiH4", "the fragment has Si"),
        ({}, "H2", "no atom but hydrogen"),
        ({"symmetry": "C2"}, "CH4", "can't be asked for together"),
        ({"formula": "CH4"}, "CH4", "the fragment and something besides"),
    ],
)
def test_fragments_that_can_not_be_completed_are_refused(sampler, asked, named, said):
    with pytest.raises(GeomaeError, match=said):
        Sampler("qm9", Asked(**asked), fragment=molecule(named))


def test_revision_is_for_latents(sampler):
    with pytest.raises(GeomaeError, match="flows on latents"):
        Sampler("qm9", Asked(), revisions=(0.5,))


def test_public_function_joins_shards(sampler):
    made = generate("qm9", 34, steps=1)
    assert len(made) == 34 and made.latents.array.shape[0] == 34
    assert np.isfinite(made.residuals.numpy()).all()
