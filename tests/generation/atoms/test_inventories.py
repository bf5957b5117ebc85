"""Samples whose inventories come from a model: conditions are kept, and the data's left out."""

import pytest
import torch
from ase.build import molecule

import geomae
from geomae.errors import GeomaeError
from geomae.generation.atoms.candidates import Listed
from geomae.generation.atoms.integration import Steps
from geomae.generation.atoms.samples import AtomSamples
from geomae.generation.generate import Sampler
from geomae.generation.inventories.draws import Learned, even_marks
from geomae.generation.request import Asked, parse_formula


@pytest.fixture
def sampler(flow, model, inventories, monkeypatch, tmp_path):
    """Of small, untrained models."""
    path = tmp_path / "qm9-inventories" / "weights.safetensors"
    inventories.save(path)
    monkeypatch.setattr(
        "geomae.generation.generate.find_models", lambda name, near: ("qm9", model, flow)
    )
    monkeypatch.setattr(
        "geomae.generation.request.released_models", lambda: {"qm9-inventories": path}
    )
    monkeypatch.setattr("geomae.autoencoder.zoo.released_models", lambda: {"qm9-inventories": path})
    monkeypatch.setattr("geomae.generation.atoms.candidates.POOL", 500)

    def made(inventories=None, tries=None, fragment=None, temperature=None, **asked):
        return Sampler(
            "qm9", Asked(**asked), fragment=fragment, inventories=inventories, tries=tries,
            temperature=temperature, seed=5, steps=2,
        )  # fmt: skip

    return made


def drawn(sampler, n=32):
    make = sampler.maker.make
    return make.inventories(even_marks(5, range(n)), [make._drawing(i) for i in range(n)])


def test_learned_is_the_default_where_there_is_a_model(sampler, flow, monkeypatch):
    assert sampler().maker.inventories == "learned"
    assert sampler("data").maker.inventories == "data"
    assert sampler(symmetry="C2").maker.inventories == "data"
    monkeypatch.setattr("geomae.generation.request.released_models", dict)
    assert sampler().maker.inventories == "data"


def test_a_sample_depends_on_the_seed_and_its_number_alone(sampler):
    for how in ({}, {"tries": 2}):
        many, few = sampler(**how)(0, 6), sampler(**how)(0, 2)
        for one, other in zip(few.structures, many.structures[:2], strict=True):
            assert (one is None) == (other is None)
            assert one is None or torch.equal(one.positions, other.positions)


@pytest.mark.parametrize("how", ["learned", "data"])
def test_formulas_and_sizes_are_kept(sampler, how):
    made = sampler(how, formula="C2H6O")(0, 3)
    assert all(parse_formula(s.formula) == {"C": 2, "H": 6, "O": 1} for s in made.kept)
    # more heavy atoms than the model knows
    assert {s.formula for s in sampler(how, formula="C10H8")(0, 2).kept} <= {"C10H8"}
    assert {s.n_atoms for s in sampler(how, n_atoms=8)(0, 3).kept} <= {8}


def test_new_ones_are_not_the_data(sampler, flow):
    known = set(map(tuple, flow.inventories().tolist()))
    own = sampler("new")
    assert own.maker.temperature == 1.0 and sampler().maker.temperature == 0.9
    assert own.maker.tries == 4 and not known & set(map(tuple, drawn(own).tolist()))
    own = sampler("new", properties={"gap": 0.2})
    assert isinstance(own.maker.make.inventories, Listed)
    assert not known & set(map(tuple, own.maker.make.inventories.inventories.tolist()))


def test_odds_follow_the_properties(flow, model, inventories):
    def mean(value):
        asked = Asked(properties={"gap": value})
        made = AtomSamples(flow, model, asked, seed=0, steps=Steps(2), learned=Learned(inventories))
        rows = torch.from_numpy(made.inventories.inventories)
        with torch.no_grad():
            means, _ = inventories.property_moments(rows)
        return float((torch.from_numpy(made.inventories.shares) * means[:, 0]).sum())

    assert mean(0.1) < mean(0.4)


@pytest.mark.parametrize("name", ["CH3OH", "C2H4"])
def test_fragments_are_completed(sampler, name):
    structure = geomae.as_structures(molecule(name))[0]
    own = sampler(fragment=structure)
    assert own.maker.tries == 24
    heavy = structure.numbers[structure.numbers > 1].tolist()
    for made in own(0, 2).kept:
        assert made.numbers[: len(heavy)].tolist() == heavy
        assert int((made.numbers > 1).sum()) > len(heavy)


def test_symmetric_samples_have_their_group(sampler):
    made = sampler("learned", symmetry="C2v")(0, 2)
    assert all(
        (g is None) == (s is None) for g, s in zip(made.groups, made.structures, strict=True)
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tries": 0}, "one inventory or more"),
        ({"tries": 2, "symmetry": "C2"}, "orbits are tried"),
        ({"temperature": 0.0}, "must be a positive number"),
        ({"temperature": 0.9, "inventories": "data"}, "for learned inventories"),
        ({"formula": "CH9"}, "no set of atoms is known for CH9"),
    ],
)
def test_what_can_not_be_is_answered_before_sampling(sampler, asked, said):
    with pytest.raises(GeomaeError, match=said):
        sampler(**asked)


def test_inventories_of_other_atoms_are_refused(monkeypatch):
    from geomae.generation import load_atom_flow
    from geomae.generation.request import find_inventories

    flow = load_atom_flow("qm9-atoms")
    assert find_inventories(None, flow) is not None
    flow.statistics["kinds"].data[0, 0] = 14
    assert find_inventories(None, flow) is None
    with pytest.raises(GeomaeError, match="other kinds of heavy atoms"):
        find_inventories("learned", flow)
    with pytest.raises(GeomaeError, match="there is no model 'nothing'"):
        find_inventories("nothing", flow)


def test_inventories_are_for_flows_on_atoms():
    with pytest.raises(GeomaeError, match="for a flow on atoms"):
        Sampler("qm9", Asked(), near=molecule("CH4"), inventories="data")
