"""SOAP vectors are dscribe's."""

import sys

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from geomae.data import Structure
from geomae.errors import GeomaeError
from geomae.inversion import Soap, align, invert
from geomae.inversion.crystal_alignment import crystal_gap
from geomae.inversion.distance_lists import embed
from geomae.inversion.refine import exact_jacobian, refine
from geomae.inversion.skeletons import SETTLED, exchanged
from geomae.inversion.soap_fit import SoapFit
from geomae.inversion.soap_scalars import ScalarFit, species_of_rows

dscribe = pytest.importorskip("dscribe.descriptors")

BASE = {"species": ["H", "C", "O"], "r_cut": 5.0, "n_max": 6, "l_max": 5, "sigma": 0.5}
OPTIONS = {
    "plain": {},
    "narrow": {"sigma": 0.3, "r_cut": 2.0},
    "many": {"n_max": 9, "l_max": 8},
    "inner": {"average": "inner"},
    "outer": {"average": "outer"},
    "poly": {"weighting": {"function": "poly", "r0": 5.0, "c": 1.0, "m": 2.0}},
    "pow": {"weighting": {"function": "pow", "r0": 2.0, "c": 1.0, "d": 1.0, "m": 4.0}},
    "exp": {"weighting": {"function": "exp", "r0": 2.0, "c": 1.0, "d": 1.0}},
    "hidden centre": {"weighting": {"w0": 0.0}},
}


@pytest.fixture(scope="module")
def atoms():
    rattled = molecule("CH3CH2OH")
    rattled.rattle(0.05, seed=0)
    return rattled


@pytest.fixture(scope="module")
def acetamide():
    """Rattled, so that it has no symmetry."""
    rattled = molecule("CH3CONH2")
    rattled.rattle(0.05, seed=0)
    return Structure(rattled.numbers, rattled.positions)


@pytest.mark.parametrize("name", OPTIONS)
def test_vectors_are_those_of_dscribe(name, atoms):
    options = {**BASE, **OPTIONS[name]}
    theirs = dscribe.SOAP(**options)
    wanted = theirs.create(atoms)
    taken = Soap.from_dscribe(theirs)(atoms.numbers, atoms.positions).numpy()
    assert taken.shape == wanted.shape
    assert np.abs(taken - wanted).max() < 1e-10 * np.abs(wanted).max()
    made = Soap(**options)(atoms.numbers, atoms.positions).numpy()
    assert np.abs(made - wanted).max() < 1e-8 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("theirs", "ours"), [([2], (2,)), ([0, 4], (0, 4)), ([[0.0, 0.0, 0.0]], "origin")]
)
def test_centres_are_those_of_dscribe(theirs, ours, atoms):
    soap = dscribe.SOAP(**BASE)
    wanted = soap.create(atoms, centers=theirs)
    found = Soap.from_dscribe(soap, centres=ours)(atoms.numbers, atoms.positions).numpy()
    assert np.abs(found - wanted).max() < 1e-10 * np.abs(wanted).max()


@pytest.mark.parametrize("average", ["off", "inner", "outer"])
def test_crystals_have_those_of_dscribe(average):
    crystal = bulk("NaCl", "rocksalt", 5.6)
    crystal.rattle(0.1, seed=1)
    soap = dscribe.SOAP(
        species=["Na", "Cl"],
        r_cut=4.0,
        n_max=4,
        l_max=3,
        sigma=0.5,
        periodic=True,
        average=average,
    )
    wanted = soap.create(crystal)
    ours = Soap.from_dscribe(soap, cell=crystal.cell.array)
    found = ours(crystal.numbers, crystal.positions).numpy()
    assert np.abs(found - wanted).max() < 1e-10 * np.abs(wanted).max()


def test_what_can_not_be_inverted_is_said():
    with pytest.raises(GeomaeError, match="'polynomial'"):
        Soap.from_dscribe(dscribe.SOAP(**{**BASE, "rbf": "polynomial"}))
    with pytest.raises(GeomaeError, match="mu2"):
        Soap.from_dscribe(dscribe.SOAP(**BASE, compression={"mode": "mu2"}))
    with pytest.raises(GeomaeError, match=r"\[atoms, "):
        invert(dscribe.SOAP(**BASE, periodic=True), np.zeros((2, 3)))
    with pytest.raises(GeomaeError, match="unknown lattice"):
        Soap(["H"], 3.0, 4, 0, average="inner", periodic=True)
    with pytest.raises(GeomaeError, match="n_max=40"):
        Soap(["H"], 3.0, 40, 0)
    with pytest.raises(GeomaeError, match="weighting"):
        Soap(["H"], 3.0, 4, 0, weighting={"centre": 1.0})


@pytest.mark.parametrize("average", ["off", "outer"])
def test_the_fit_is_a_linear_image_with_right_derivatives(average, water):
    soap = Soap(["H", "O"], 4.0, 4, 3, 0.5, average=average)
    fit = SoapFit(soap, soap.of(water).flatten(), kept=6)
    weights = soap.weights(water.numbers)
    assert torch.allclose(fit.values(weights, water.positions), fit.target, atol=1e-12)
    moved = water.positions + 0.1 * torch.arange(9.0, dtype=torch.float64).reshape(3, 3).sin()
    found, slopes = fit.jacobian(weights[None], moved[None])
    step = 1e-6 * torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, -1.0]]).double()
    ahead, behind = (fit.values(weights, moved + sign * step) for sign in (1, -1))
    wanted = (ahead - behind) / 2
    assert torch.allclose(torch.einsum("fna,na->f", slopes[0], step), wanted, atol=1e-13)
    assert found.shape == (1, len(fit.target))


def test_exact_derivatives_exist_where_an_atom_is_its_own_centre(water):
    soap = Soap(["H", "O"], 4.0, 3, 2, 0.5, weighting={"w0": 0.5})
    _, slopes = exact_jacobian(soap.evaluate)(
        soap.weights(water.numbers)[None], water.positions[None]
    )
    assert bool(torch.isfinite(slopes).all())


def test_rows_tell_the_elements_of_their_atoms(ethanol):
    soap = Soap(["H", "C", "O"], 5.0, 8, 2, 0.5)
    assert torch.equal(species_of_rows(soap, soap.of(ethanol).flatten()), ethanol.numbers)


def test_a_dscribe_file_becomes_the_molecule(water):
    from geomae.data import to_ase

    soap = dscribe.SOAP(species=["H", "O"], r_cut=4.0, n_max=5, l_max=4, sigma=0.5)
    result = invert(soap, soap.create(to_ase(water)), n_starts=16, n_solutions=1)
    assert result.outcome == "unique"
    assert align(water, result.solutions[0], mirror=True).rmsd < 1e-6
    assert torch.equal(result.solutions[0].numbers, water.numbers)


def test_one_atom_sees_the_molecule(water):
    from geomae.data import to_ase

    soap = dscribe.SOAP(species=["H", "O"], r_cut=4.0, n_max=5, l_max=4, sigma=0.5)
    vector = soap.create(to_ase(water), centers=[1])
    result = invert(soap, vector, n_starts=16, n_solutions=1)
    assert result.solutions[0].numbers[0] == 1
    assert align(water, result.solutions[0], mirror=True).rmsd < 1e-6


def test_part_of_the_vectors_is_the_soap_of_a_skeleton(ethanol):
    soap = Soap(["H", "C", "N", "O"], 5.0, 4, 3, 0.5)
    heavy = ethanol.numbers > 1
    part, values = soap.part(soap.of(ethanol).flatten(), ethanol.numbers, heavy)
    alone = Structure(ethanol.numbers[heavy], ethanol.positions[heavy])
    assert part.species == (6, 8)
    assert torch.allclose(values, part.of(alone).flatten(), atol=1e-12)


def test_a_molecule_of_qm9s_size_comes_back_from_its_atoms_vectors(acetamide):
    soap = Soap(["H", "C", "N", "O"], 6.0, 8, 6, 0.5)
    result = invert(soap, soap.of(acetamide), n_solutions=1)
    assert result.outcome == "unique" and result.route == "distances"
    assert align(acetamide, result.solutions[0], mirror=True).rmsd < 1e-8
    assert torch.equal(result.solutions[0].numbers, acetamide.numbers)


def test_atoms_that_are_nearly_alike_are_not_left_exchanged(generator):
    square = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1.5]])
    square = square.double() + 1e-6 * torch.randn(5, 3, generator=generator).double()
    known = Structure([6, 6, 6, 6, 8], square)
    soap = Soap(["C", "O"], 5.0, 6, 2, 0.5)
    fit = ScalarFit(soap, soap.of(known).flatten(), known.numbers)
    weights = soap.weights(known.numbers)[None]
    wrong = refine(fit.jacobian, fit.target, weights, square[[1, 0, 2, 3, 4]][None])
    assert float(wrong.residual[0]) > SETTLED
    right = exchanged(fit, known.numbers, wrong.positions[0], wrong.residual[0])
    assert float((fit.values(weights[0], right) - fit.target).norm()) < SETTLED


@pytest.mark.parametrize("noise", [1e-6, 1e-3])
def test_noisy_vectors_give_the_nearest_molecule_and_no_claim(noise, acetamide, generator):
    soap = Soap(["H", "C", "N", "O"], 6.0, 8, 6, 0.5)
    values = soap.of(acetamide)
    spoilt = torch.randn(values.shape, generator=generator, dtype=torch.float64)
    values = values + noise * values.norm() / spoilt.norm() * spoilt
    result = invert(soap, values, n_starts=16)
    assert result.outcome == "none" and 0.1 * noise < result.residual < 2 * noise
    assert align(acetamide, result.nearest, mirror=True).rmsd < 10 * noise


def test_sorted_lists_of_distances_lead_to_the_skeleton(generator):
    place = 2 * torch.randn(6, 3, generator=generator, dtype=torch.float64)
    wanted = torch.cdist(place, place)
    groups = [torch.arange(3), torch.arange(3, 6)]
    lists = [wanted[:, group].sort(1).values for group in groups]
    starts = torch.randn(64, 6, 3, generator=generator, dtype=torch.float64)
    found, stress = embed(lists, groups, starts, steps=300)
    assert float(stress[0]) < 1e-3
    assert float((torch.cdist(found[0], found[0]) - wanted).abs().max()) < 0.05


@pytest.mark.parametrize("weighting", [None, OPTIONS["poly"]["weighting"]])
@pytest.mark.parametrize("periodic", [False, True])
def test_fits_have_the_values_and_right_derivatives(weighting, periodic, generator):
    soap = Soap(["Na", "Cl"], 3.5, 4, 3, 0.5, weighting=weighting, periodic=periodic)
    crystal = bulk("NaCl", "rocksalt", 5.0)
    rows = torch.as_tensor(crystal.positions)
    structure = Structure(crystal.numbers, rows, cell=crystal.cell.array if periodic else None)
    if periodic:
        rows = torch.cat([rows, structure.cell[0]])
    values, weights = soap.of(structure).flatten(), soap.weights(structure.numbers)
    step = torch.randn(rows.shape, generator=generator, dtype=torch.float64)
    moved = rows + 0.05 * torch.randn(rows.shape, generator=generator, dtype=torch.float64)
    for fit in (SoapFit(soap, values, kept=5), ScalarFit(soap, values, structure.numbers)):
        assert torch.allclose(fit.values(weights, rows), fit.target, atol=1e-10)
        _, slopes = fit.jacobian(weights[None], moved[None])
        ahead, behind = (fit.values(weights, moved + s * 1e-6 * step) for s in (1, -1))
        wanted = (ahead - behind) / 2e-6
        found = torch.einsum("fna,na->f", slopes[0], step)
        assert float((found - wanted).norm() / wanted.norm()) < 1e-6


def test_a_crystal_comes_back_with_its_lattice(monkeypatch):
    module = sys.modules["geomae.inversion.invert"]
    monkeypatch.setattr(module, "by_symmetry", lambda *_: iter(()))
    crystal = bulk("ZnS", "zincblende", 5.4)
    crystal.rattle(0.1, seed=2)
    crystal.set_cell(crystal.cell.array * [[1.0, 1.03, 0.98]], scale_atoms=True)
    structure = Structure(crystal.numbers, crystal.positions, cell=crystal.cell.array)
    soap = Soap(["Zn", "S"], 4.0, 6, 4, 0.5, periodic=True)
    result = invert(soap, soap.of(structure), n_solutions=1)
    assert result.outcome == "unique" and result.route == "density"
    (solution,) = result.solutions
    assert crystal_gap(structure, solution) < 1e-5
    assert float(solution.cell[0].det() - structure.cell[0].det().abs()) < 1e-5
    assert solution.mirror == "not told apart"
    with pytest.raises(GeomaeError, match="not turned"):
        invert(soap, soap.of(structure), frame=np.zeros((6, 3)))


def test_periodic_dscribe_vectors_need_no_cell():
    crystal = bulk("NaCl", "rocksalt", 5.6)
    soap = dscribe.SOAP(species=["Na", "Cl"], r_cut=4.0, n_max=4, l_max=3, sigma=0.5, periodic=True)
    ours = Soap.from_dscribe(soap)
    found = ours.of(Structure(crystal.numbers, crystal.positions, cell=crystal.cell.array))
    wanted = soap.create(crystal)
    assert np.abs(found.numpy() - wanted).max() < 1e-10 * np.abs(wanted).max()
    with pytest.raises(GeomaeError, match="a structure with a cell"):
        ours.of(Structure([11, 17], [[0.0, 0.0, 0.0], [2.8, 0.0, 0.0]]))


@pytest.mark.parametrize("make", [SoapFit, ScalarFit])
def test_fits_of_crystals_do_not_jump_where_an_atom_leaves_reach(make):
    soap = Soap([11, 17], 3.0, 6, 2, 0.4, periodic=True)
    reach = soap.r_cut + soap.padding
    numbers = torch.tensor([11, 17])
    weights = soap.weights(numbers)[None]

    def rows(edge):
        cell = edge * torch.eye(3, dtype=torch.float64)
        return torch.cat([torch.tensor([[0.0, 0, 0], [0.4, 0.5, 0.5]]).double() @ cell, cell])

    inside, outside = rows(reach - 1e-7), rows(reach + 1e-7)
    whole = soap.evaluate(weights[0], inside)
    jump = float((soap.evaluate(weights[0], outside) - whole).norm() / whole.norm())
    fit = make(soap, whole, numbers) if make is ScalarFit else make(soap, whole)
    gap = fit.values(weights[0], outside) - fit.target
    assert jump > 1e-4
    assert float(gap.norm() / fit.target.norm()) < 1e-6 < jump / 100
