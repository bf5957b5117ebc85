"""Crystals from SOAP vectors by way of their symmetry."""

import json
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.spacegroup import crystal

from geomae.crystals.symmetry import space_group
from geomae.data import Structure
from geomae.errors import MissingExtraError
from geomae.inversion import Soap, crystal_gap, invert
from geomae.inversion.crystal_candidates import candidates, general_candidates
from geomae.inversion.crystal_orbit_fit import OrbitGrams, OrbitScalars
from geomae.inversion.crystal_orbits import OrbitBatch, on_template, released
from geomae.inversion.crystal_refine import free_start, polished, posed, refined, residuals
from geomae.inversion.crystal_rows import EQUAL, equal_rows, matched
from geomae.inversion.crystal_symmetric import SymmetricSearch, crystals_by_symmetry
from geomae.inversion.crystal_tried import Tried
from geomae.inversion.crystal_wyckoff import TABLE, found_positions, positions_of_group
from geomae.inversion.invert import _Search, pose
from geomae.inversion.soap_fit import SoapFit
from geomae.inversion.soap_scalars import ScalarFit
from geomae.inversion.starts import Starts, by_symmetry

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


@pytest.mark.parametrize(
    ("number", "count"), [(1, 1), (12, 10), (62, 4), (70, 8), (166, 9), (194, 12)]
)
def test_groups_have_the_wyckoff_positions_of_the_tables(number, count):
    known, found = positions_of_group(number), found_positions(number)
    assert len(known) == len(found) == count
    assert [(own.size, own.freedom) for own in known] == [(o.size, o.freedom) for o in found]
    assert known[-1].freedom == 3


def test_all_groups_have_1731_positions():
    assert sum(map(len, json.loads(TABLE.read_text()))) == 1731


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


def test_candidates_carry_the_composition_and_frequent_ones_come_first():
    found = candidates(torch.tensor([22, 22, 8, 8, 8, 8]))
    assert [own.share for own in found] == sorted([own.share for own in found], reverse=True)
    for own in found:
        counts = Counter(np.repeat(own.species, own.template.size).tolist())
        assert counts == {22: 2, 8: 4}
    assert 225 in {own.template.number for own in candidates(torch.tensor([11, 17]))}
    # perovskite, five elements: every way to put them on the sites
    same = [own.species for own in candidates(torch.tensor([20, 22, 8, 8, 8]))]
    assert any(s[0] == 20 for s in same) and any(s[0] == 22 for s in same)


def test_five_elements_are_put_on_a_perovskite_in_all_ways():
    numbers = torch.tensor([7, 8, 9, 26, 57])
    found = [own for own in candidates(numbers) if own.template.number == 25]
    assert len({own.species for own in found}) == len(found) == 120
    assert not candidates(numbers, models=["crystals-atoms"])


def test_statistics_of_models_count_alike():
    numbers = torch.tensor([20, 22, 8, 8, 8])
    alone = [candidates(numbers, models=[own]) for own in ("crystals-atoms", "perov5-atoms")]
    shares = sorted(own.share / 2 for found in alone for own in found)
    assert sorted(own.share for own in candidates(numbers)) == pytest.approx(shares)


def test_a_perovskite_of_five_elements_comes_back_from_its_averaged_vector():
    places = torch.tensor([[0, 0, 0], [2, 2, 2.06], [2, 2, 0], [2, 0, 2], [0, 2, 2.0]])
    structure = Structure([57, 26, 7, 8, 9], places, cell=4.0 * torch.eye(3))
    soap = soap_of(structure, "outer")
    found = invert(soap, soap.of(structure), species=structure.numbers.tolist(), n_solutions=1)
    assert found.outcome == "unique" and found.route == "symmetry"
    assert crystal_gap(structure, found.solutions[0]) < 1e-6


def test_equal_rows_make_skeletons_with_other_orbits_rare():
    numbers = torch.tensor([22, 22, 8, 8, 8, 8])
    free = {id(own.template): own.share for own in candidates(numbers)}
    for own in candidates(numbers, {22: [2], 8: [4]}):
        alike = sorted(own.template.size.tolist()) == [2, 4]
        assert own.share == pytest.approx(free[id(own.template)] * (1 if alike else 0.05))


@pytest.mark.parametrize("equal", [{22: [2], 8: [4]}, None])
def test_skeletons_beyond_the_known_ones_carry_the_composition(equal, generator):
    numbers = torch.tensor([22, 22, 8, 8, 8, 8])
    found = general_candidates(numbers, equal, 50, generator)
    assert len(found) == 50 and len({own.template.number for own in found}) > 10
    for own in found:
        counts = Counter(np.repeat(own.species, own.template.size).tolist())
        assert counts == {22: 2, 8: 4}
        if equal:
            assert sorted(own.template.size.tolist()) == [2, 4]
        orbits = on_template(own.template, own.species, 60.0)
        assert float(orbits.frame.det().abs()) == pytest.approx(60.0)


def test_a_point_without_freedom_is_taken_once(generator):
    # Pm-3m has two single points: three atoms of an element can't all have one
    found = general_candidates(torch.tensor([11, 11, 11]), {11: [1, 1, 1]}, 200, generator)
    assert all(own.template.number != 221 for own in found)


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
