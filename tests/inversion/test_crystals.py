"""Crystals from SOAP vectors by way of their symmetry."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.spacegroup import crystal

from geomae.crystals.symmetry import space_group
from geomae.data import Structure
from geomae.errors import MissingExtraError
from geomae.inversion import Soap, crystal_gap, invert
from geomae.inversion.crystal_orbit_fit import OrbitGrams, OrbitScalars
from geomae.inversion.crystal_orbits import OrbitBatch, released
from geomae.inversion.crystal_parts import parts_within
from geomae.inversion.crystal_refine import free_start, polished, posed, refined, residuals
from geomae.inversion.crystal_rows import EQUAL, equal_rows, matched
from geomae.inversion.crystal_symmetric import SymmetricSearch, crystals_by_symmetry
from geomae.inversion.crystal_tried import Tried
from geomae.inversion.invert import _Search, pose
from geomae.inversion.soap_fit import SoapFit
from geomae.inversion.soap_scalars import ScalarFit
from geomae.inversion.starts import Starts, by_symmetry
from geomae.wyckoff.candidates import candidates

SETTINGS = {"r_cut": 4.0, "n_max": 6, "l_max": 3, "sigma": 0.5, "periodic": True}


def structure_of(atoms) -> Structure:
    return Structure(atoms.numbers, atoms.positions, cell=atoms.cell.array)


@pytest.fixture
def rutile() -> Structure:
    """TiO2, P4_2/mnm."""
    return structure_of(
        crystal(
            ["Ti", "O"],
            [(0, 0, 0), (0.305, 0.305, 0)],
            spacegroup=136,
            cellpar=[4.59, 4.59, 2.96, 90, 90, 90],
        )
    )


def soap_of(structure: Structure, average: str = "off") -> Soap:
    return Soap(sorted(set(structure.numbers.tolist())), average=average, **SETTINGS)


def test_crystals_on_a_skeleton_keep_its_group(generator):
    numbers = torch.tensor([22, 22, 8, 8, 8, 8])
    for own in candidates(numbers)[:6]:
        tried = Tried.of(own, 60.0)
        for parameters in tried.drawn(2, 0.05, generator):
            rows = tried.orbits.rows(parameters)
            made = Structure(tried.orbits.species, rows[:-3], cell=rows[-3:])
            assert sorted(made.numbers.tolist()) == [8, 8, 8, 8, 22, 22]
            found = space_group(made, 1e-4)
            assert found == own.template.number or len(own.template.operations.rotations) < 48


def test_drawn_volumes_are_those_asked_for(generator):
    own = candidates(torch.tensor([22, 22, 8, 8, 8, 8]))[0]
    tried = Tried.of(own, 60.0)
    made = [tried.orbits.rows(row)[-3:].det() for row in tried.drawn(200, 0.05, generator)]
    logarithms = (torch.stack(made) / 60.0).log()
    assert abs(float(logarithms.mean())) < 0.02
    assert 0.03 < float(logarithms.std()) < 0.07


@pytest.mark.parametrize("average", ["off", "outer"])
def test_orbits_have_the_values_of_whole_crystals(average, rutile, generator):
    soap = soap_of(rutile, average)
    values = soap.of(rutile).flatten()
    rows = torch.cat([rutile.positions, rutile.cell[0]]).double()
    rows = rows + 0.05 * torch.randn(rows.shape, generator=generator, dtype=torch.float64)
    whole = SoapFit(soap, values)
    pairs = [(OrbitGrams(whole), whole)]
    if average == "off":
        pairs.append((OrbitScalars(soap, values), ScalarFit(soap, values, rutile.numbers)))
    start = free_start(rutile.numbers, rows, averaged=average == "outer")
    scale = 1.0 if average == "outer" else rutile.n_atoms**-0.5
    for fit, reference in pairs:
        batch, places, target = posed([start, start], fit)
        which = torch.arange(2)
        found, slopes = fit.of(batch, places, which)
        weights = soap.weights(rutile.numbers)
        assert torch.allclose(found[1], scale * reference.values(weights, rows), atol=1e-10)
        assert torch.allclose(target[0], scale * reference.target, atol=1e-12)
        step = 1e-5 * torch.randn(places.shape, generator=generator, dtype=torch.float64)
        ahead, behind = (fit.of(batch, places + s * step, which)[0] for s in (1, -1))
        wanted = (ahead - behind) / 2
        by = torch.einsum("kfq,kq->kf", slopes, step.flatten(1))
        assert float((by - wanted).norm() / wanted.norm()) < 1e-6


@pytest.mark.parametrize("average", ["off", "outer"])
def test_one_centre_of_an_orbit_stands_for_all(average, generator):
    numbers = torch.tensor([22, 22, 8, 8, 8, 8])
    own = next(c for c in candidates(numbers) if c.template.number == 136)
    tried = Tried.of(own, 62.0)
    rows = tried.orbits.rows(tried.drawn(1, 0.0, generator)[0])
    made = Structure(tried.orbits.species, rows[:-3], cell=rows[-3:])
    soap = soap_of(made, average)
    values = soap.of(made).flatten()
    classes = equal_rows(soap, values, made.numbers) if average == "off" else None
    search = SymmetricSearch(soap, values, made.numbers, generator, classes)
    parameters = torch.cat(
        [torch.zeros(len(tried.orbits.along)), tried.orbits.strain(torch.eye(3).double())]
    )
    orbits = replace(tried.orbits, frame=rows[-3:], fixed=rows[:-3] @ torch.linalg.inv(rows[-3:]))
    start = search._started(orbits, parameters)
    assert float(residuals([start], search.whole)[0]) < 1e-12
    assert float(residuals([start], search.rough)[0]) < 1e-12


def test_batches_of_different_skeletons_take_parameters_apart(generator):
    numbers = torch.tensor([22, 22, 8, 8, 8, 8])
    tried = [Tried.of(own, 60.0) for own in candidates(numbers)[:5]]
    orbits = [own.orbits for own in tried]
    assert len({own.n_parameters for own in orbits}) > 1
    values = [own.drawn(1, 0.05, generator)[0] for own in tried]
    batch = OrbitBatch.of(orbits, [8, 22])
    rows = batch.packed(orbits, values)
    for own, row in zip(values, batch.unpacked(orbits, rows), strict=True):
        assert torch.equal(own, row)
    cells = batch.cells(rows, torch.arange(5))
    for own, row, cell in zip(orbits, values, cells, strict=True):
        assert torch.allclose(own.rows(row)[-3:], cell)
    assert torch.allclose(batch.shares.sum(1), torch.ones(5, dtype=torch.float64), atol=1e-15)


def test_released_crystals_move_by_their_parameters_in_angstroms(rutile):
    rows = torch.cat([rutile.positions, rutile.cell[0]]).double()
    own = released(rows, rutile.numbers)
    still = torch.cat([torch.zeros(18).double(), own.strain(torch.eye(3).double())])
    assert torch.allclose(own.rows(still), rows, atol=1e-12)
    still[4] += 0.1  # the second atom's y
    assert float((own.rows(still) - rows)[1, 1]) == pytest.approx(0.1)


def test_a_perovskite_of_five_elements_comes_back_from_its_averaged_vector():
    places = torch.tensor([[0, 0, 0], [2, 2, 2.06], [2, 2, 0], [2, 0, 2], [0, 2, 2.0]])
    structure = Structure([57, 26, 7, 8, 9], places, cell=4.0 * torch.eye(3))
    soap = soap_of(structure, "outer")
    found = invert(soap, soap.of(structure), species=structure.numbers.tolist(), n_solutions=1)
    assert found.outcome == "unique" and found.route == "symmetry"
    assert crystal_gap(structure, found.solutions[0]) < 1e-6


def test_equal_rows_are_found(rutile):
    soap = soap_of(rutile)
    classes = equal_rows(soap, soap.of(rutile).flatten(), rutile.numbers)
    assert classes.rows == ((0, 1), (2, 3, 4, 5))
    assert classes.sizes() == {22: [2], 8: [4]}


def test_a_symmetry_that_is_nearly_there_is_not_taken_for_granted():
    # P4mm, 0.01 Å from Pm-3m: three rows of oxygen differ by less than a thousandth
    places = torch.tensor([[0, 0, 0], [2, 2, 2.01], [2, 2, 0], [2, 0, 2], [0, 2, 2.0]])
    structure = Structure([57, 26, 8, 8, 8], places, cell=4.0 * torch.eye(3))
    soap = soap_of(structure)
    values = soap.of(structure).flatten()
    sizes = [equal_rows(soap, values, structure.numbers, own).sizes()[8] for own in EQUAL]
    assert sizes == [[3], [1, 2]]
    found = invert(soap, soap.of(structure), n_solutions=1, n_starts=32)
    assert found.outcome == "unique" and found.route == "symmetry"
    assert crystal_gap(structure, found.solutions[0]) < 1e-6


def test_atoms_get_the_rows_that_small_moves_explain(generator):
    slopes = torch.randn(6, 20, 9, generator=generator, dtype=torch.float64)
    moves = torch.randn(9, generator=generator, dtype=torch.float64)
    order = torch.tensor([3, 0, 2, 1, 5, 4])
    wanted = torch.empty(6, 20, dtype=torch.float64)
    wanted[order] = slopes @ moves
    found = matched(slopes, wanted, torch.tensor([0, 0, 0, 0, 1, 1]), generator)
    assert found.tolist() == order.tolist()


def test_a_skeleton_that_fails_is_tried_later(generator):
    own = Tried.of(candidates(torch.tensor([22, 22, 8, 8, 8, 8]))[0], 60.0)
    before = own.turn
    own.times += 1
    assert 0 < own.turn < before
    single = next(c for c in candidates(torch.tensor([11, 17])) if c.template.number == 225)
    cubic = Tried.of(single, 40.0)
    assert cubic.freedom == 1 and cubic.turn > 0
    cubic.times = 2
    assert cubic.turn == 0


def test_mutants_keep_the_lattice(generator):
    tried = next(
        own
        for own in (Tried.of(c, 60.0) for c in candidates(torch.tensor([22, 22, 8, 8, 8, 8])))
        if len(own.periods) > 3
    )
    one = tried.drawn(1, 0.05, generator)[0]
    made = tried.mutants(one, 20, generator)
    count = len(tried.periods)
    assert torch.equal(made[:, count:], one[count:].expand(20, -1))
    changed = (made[:, :count] != one[:count]).sum(1)
    assert int(changed.max()) == count and 0 < int(changed.min()) < count


@pytest.mark.parametrize("average", ["off", "outer"])
def test_a_symmetric_crystal_comes_back(average, rutile):
    soap = soap_of(rutile, average)
    species = None if average == "off" else rutile.numbers.tolist()
    result = invert(soap, soap.of(rutile), species=species, n_solutions=1)
    assert result.outcome == "unique" and result.route == "symmetry"
    assert crystal_gap(rutile, result.solutions[0]) < 1e-6


def test_a_crystal_of_which_the_symmetry_is_barely_broken_gets_the_right_rows(generator):
    atoms = crystal(
        ["Si", "O"],
        [(0.11, 0.62, 0.27), (0.43, 0.18, 0.36)],
        spacegroup=14,
        cellpar=[4.1, 5.3, 4.9, 90, 104, 90],
    )
    exact = structure_of(atoms)
    atoms.rattle(1e-5, seed=3)
    structure = structure_of(atoms)
    soap = soap_of(structure)
    values, numbers = soap.of(structure).flatten(), structure.numbers
    search = SymmetricSearch(soap, values, numbers, generator, equal_rows(soap, values, numbers))
    assert search.classes is not None and sorted(map(len, search.classes.rows)) == [4, 4]
    order = torch.tensor([0, 2, 1, 3, 6, 4, 7, 5])
    rows = torch.cat([exact.positions[order], exact.cell[0]]).double()
    start = free_start(numbers, rows, averaged=False)
    assert float(residuals([start], search.exact)[0]) > 1e-6
    _, found = search.rested(start).rows()
    gap = soap.evaluate(soap.weights(numbers), found) - values
    assert float(gap.norm() / values.norm()) < 1e-12


def test_the_nearest_is_kept_where_nothing_fits(rutile, generator):
    soap = soap_of(rutile)
    noise = torch.randn(soap.of(rutile).shape, generator=generator, dtype=torch.float64)
    values = soap.of(rutile) + 1e-4 * soap.of(rutile).std() * noise
    *_, (numbers, rows) = crystals_by_symmetry(
        soap, values.flatten(), rutile.numbers, 64, generator
    )
    made = Structure(numbers, rows[:-3], cell=rows[-3:])
    assert 1e-6 < crystal_gap(rutile, made) < 0.05


def test_polishing_tells_how_far_a_crystal_may_be_off(rutile, generator):
    shift = 0.1 * torch.randn(6, 3, generator=generator, dtype=torch.float64)
    general = Structure(rutile.numbers, rutile.positions + shift, cell=rutile.cell[0])
    soap = soap_of(general)
    values = soap.of(general).flatten()
    rows = torch.cat([general.positions, general.cell[0]]).double()
    moved = rows + 0.01 * torch.randn(rows.shape, generator=generator, dtype=torch.float64)
    found, error = polished(soap, values, general.numbers, moved)
    made = Structure(general.numbers, found[:-3], cell=found[-3:])
    assert crystal_gap(general, made) < 1e-8 and error < 1e-8
    noise = torch.randn(values.shape, generator=generator, dtype=torch.float64)
    noisy = values + 1e-5 * values.norm() * noise / noise.norm()
    found, error = polished(soap, noisy, general.numbers, moved)
    made = Structure(general.numbers, found[:-3], cell=found[-3:])
    assert 1e-7 < crystal_gap(general, made) < error


def test_a_crystal_that_its_residual_does_not_tell_is_not_claimed(rutile, monkeypatch):
    soap = soap_of(rutile)
    noise = 1e-9 * np.random.default_rng(0).standard_normal(soap.of(rutile).shape)
    noisy = soap.of(rutile).numpy() * (1 + noise)
    rows = torch.cat([rutile.positions, rutile.cell[0]]).double()

    def proposed(problem, n, generator):
        yield Starts(rutile.numbers, rows[None], "given", refined=True)

    found = invert(soap, noisy, n_solutions=1, starts=proposed)
    assert found.outcome == "unique" and found.route == "given"
    module = sys.modules["geomae.inversion.invert"]
    monkeypatch.setattr(module, "SHARP", 1e-12)
    monkeypatch.setattr(module, "by_symmetry", lambda *_: iter(()))
    monkeypatch.setattr(module, "by_density", lambda *_: iter(()))
    assert invert(soap, noisy, n_solutions=1, starts=proposed).outcome == "none"


def test_refined_starts_keep_the_better(rutile, generator):
    soap = soap_of(rutile)
    values = soap.of(rutile).flatten()
    fit = OrbitGrams(SoapFit(soap, values))
    rows = torch.cat([rutile.positions, rutile.cell[0]]).double()
    flat = rows.clone()
    flat[-1] *= 0.01
    starts = [free_start(rutile.numbers, own, averaged=False) for own in (rows, flat)]
    found = residuals(starts, fit)
    assert float(found[0]) < 1e-12 and float(found[1]) == float("inf")
    ends, left = refined(starts, fit, steps=3)
    assert float(left[0]) < 1e-12 and torch.allclose(ends[0].rows()[1], rows, atol=1e-9)


def test_without_moyo_chance_remains(rutile, monkeypatch):
    def missing(*_):
        raise MissingExtraError("moyopy", "crystals")

    monkeypatch.setattr("geomae.inversion.starts.crystals_by_symmetry", missing)
    search = _Search(pose(soap_of(rutile), soap_of(rutile).of(rutile)), 1, 1e-8, 8, 0)
    assert list(by_symmetry(search.problem, 8, search.generator)) == []


def layer() -> Structure:
    """BN, 12 Å from the next."""
    cell = torch.tensor([[2.5, 0, 0], [-1.25, 2.5 * 3**0.5 / 2, 0], [0, 0, 12.0]]).double()
    places = torch.tensor([[0, 0, 0], [1 / 3, 2 / 3, 0]]).double() @ cell
    return Structure([5, 7], places, cell=cell)


def test_layers_out_of_reach_are_named(rutile):
    soap = soap_of(layer())
    found = invert(soap, soap.of(layer()), n_solutions=1, n_starts=64)
    assert found.solutions and "repeat along 2 lattice vectors" in str(found)
    whole = soap_of(rutile)
    assert not invert(whole, whole.of(rutile), n_solutions=1).messages


def test_atoms_within_reach_hold_together(rutile):
    chain = Structure([6], torch.zeros(1, 3), cell=torch.diag(torch.tensor([2.0, 9.0, 9.0])))
    assert parts_within(rutile, 1.0) == [0] * 6
    assert parts_within(rutile, 2.1) == [3]
    assert parts_within(chain, 2.1) == [1]
    assert parts_within(layer(), 2.0) == [2]
    assert parts_within(layer(), 12.1) == [3]
    assert parts_within(layer(), 1.0) == [0, 0]
