"""Structures from the SOAP vector of one centre."""

import pytest
import torch
from ase.build import molecule

from geomae.data import Structure
from geomae.inversion import Soap, align, invert
from geomae.inversion.one_centre import completed, first_elements
from geomae.inversion.soap_starts import atoms_at_distances
from geomae.inversion.starts import Starts

OPTIONS = {"r_cut": 5.0, "n_max": 6, "l_max": 5, "sigma": 0.5}


@pytest.fixture(scope="module")
def acetamide() -> Structure:
    """Rattled, so that it has no symmetry; its first atom is in the middle."""
    atoms = molecule("CH3CONH2")
    atoms.rattle(0.05, seed=0)
    far = ((atoms.positions - atoms.positions.mean(0)) ** 2).sum(1)
    order = far.argsort(kind="stable")
    return Structure(atoms.numbers[order], atoms.positions[order])


@pytest.mark.parametrize("centres", [(0,), "origin"])
def test_one_vector_gives_the_molecule(acetamide, centres):
    known = acetamide
    if centres == "origin":
        places = acetamide.positions - acetamide.positions[0]
        known = Structure(acetamide.numbers[1:], places[1:])
    soap = Soap(["H", "C", "N", "O"], **OPTIONS, centres=centres)
    result = invert(soap, soap.of(known), n_solutions=1)
    assert result.outcome == "unique" and result.route == "distances"
    centre = "origin" if centres == "origin" else "centroid"
    assert align(known, result.solutions[0], mirror=True, centre=centre).rmsd < 1e-6


def test_hydrogens_come_last_and_rare_elements_first():
    soap = Soap(["H", "C", "N", "O"], **OPTIONS)
    numbers = torch.tensor([1, 1, 6, 6, 6, 7, 8, 6])
    assert first_elements(soap.species, numbers).tolist() == [False, False] + 6 * [True]
    few = torch.tensor([8, 8, 1, 1, 1])
    assert bool(first_elements(soap.species, few).all())


def test_the_rest_is_where_the_signal_peaks(acetamide):
    soap = Soap(["H", "C", "N", "O"], **OPTIONS, centres="origin")
    places = acetamide.positions - acetamide.positions.mean(0)
    known = Structure(acetamide.numbers, places)
    row = soap.of(known).flatten()
    first = acetamide.numbers > 1
    chance = torch.Generator().manual_seed(0)
    radii = places.norm(dim=1)
    made = completed(soap, row, known.numbers, radii, first, places[first], chance)
    assert torch.equal(made[:, first], places[first].expand(len(made), -1, -1))
    gaps = torch.cdist(made[:, ~first], places[~first].expand(len(made), -1, -1)).amin(1)
    assert float(gaps.amax(1).min()) < 0.6


def test_known_elements_decide_how_many_there_are(acetamide):
    soap = Soap(["H", "C", "N", "O"], **OPTIONS, centres=(0,))
    row = soap.of(acetamide).flatten()
    (found,) = atoms_at_distances(soap, row, acetamide.numbers)
    assert sorted(found[0].tolist()) == sorted(acetamide.numbers.tolist())
    radii = (acetamide.positions - acetamide.positions[0]).norm(dim=1)
    assert (found[1] - radii.sort().values).abs().max() < 0.5


def test_elements_alone_have_the_vector_of_their_atoms_alone(acetamide):
    soap = Soap(["H", "C", "N", "O"], **OPTIONS, centres="origin")
    heavy = acetamide.numbers > 1
    part, row = soap.only(soap.of(acetamide).flatten(), acetamide.numbers[heavy])
    alone = part(acetamide.numbers[heavy], acetamide.positions[heavy])
    assert part.species == (6, 7, 8)
    assert torch.allclose(row, alone.flatten(), atol=1e-10 * float(row.abs().max()))


def test_an_atom_out_of_reach_is_no_solution(water):
    soap = Soap(["H", "O"], 4.0, 6, 4, 0.3, centres=(0,))
    assert soap.sees(water.positions)
    far = water.positions.clone()
    far[1, 0] = 20.0
    assert not soap.sees(far)
    result = invert(soap, soap.of(water), species=["H", "H", "H", "O"], n_starts=16)
    assert result.outcome == "none"


def test_random_numbers_are_nobodys_vector(water):
    soap = Soap(["H", "O"], 4.0, 6, 4, 0.5, centres=(0,))
    noise = torch.randn(soap.of(water).shape, generator=torch.Generator().manual_seed(0))
    told = list(atoms_at_distances(soap, noise.double().flatten()))
    assert all(len(numbers) <= 200 for numbers, _ in told)
    result = invert(soap, noise.numpy(), species=["O", "H", "H"], n_starts=8, n_solutions=1)
    assert result.outcome == "none" and result.residual > 0.1


def test_atoms_too_many_are_left_out_where_least_squares_put_them_out_of_reach(water):
    soap = Soap(["H", "O"], 4.0, 8, 4, 0.3, centres="origin")
    known = Structure(water.numbers[1:], water.positions[1:])

    def one_more(problem, n, generator):
        far = torch.tensor([[0.0, 0.0, 30.0]], dtype=torch.float64)
        yield Starts(torch.tensor([1, 1, 1]), torch.cat([known.positions, far])[None], "guess")

    result = invert(soap, soap.of(known), starts=one_more, n_solutions=1)
    assert result.route == "guess" and result.outcome == "unique"
    assert result.solutions[0].numbers.tolist() == [1, 1]
    assert align(known, result.solutions[0], mirror=True, centre="origin").rmsd < 1e-6
