"""Shells put in place whole: their angles from sums, their directions from angles."""

from itertools import combinations

import numpy as np
import pytest
import torch

from geomae.data import Structure, load_source
from geomae.inversion import (
    Bispectrum,
    PowerSpectrum,
    RadialDensity,
    Starts,
    Together,
    align,
    invert,
    structure_spectra,
)
from geomae.inversion.algebra import shells_of
from geomae.inversion.alignment import has_mirror
from geomae.inversion.angles import angles_of, legendre
from geomae.inversion.arrangements import NOTHING, Arranger
from geomae.inversion.invert import _Search, pose
from geomae.inversion.shell_forms import ShellForms
from geomae.inversion.shell_peaks import pursued
from geomae.testing import random_orthogonal

LMAX = 6

RING = [(np.cos(k * np.pi / 3), np.sin(k * np.pi / 3), 0.0) for k in range(6)]

SHELLS = {
    "tetrahedron": [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)],
    "ring": RING,
    "octahedron": [tuple(s * row) for row in np.eye(3) for s in (1, -1)],
    "cube": [(a, b, c) for a in (1, -1) for b in (1, -1) for c in (1, -1)],
    "antiprism": [(x, y, 0.5) for x, y, _ in RING[::2]] + [(-x, -y, -0.5) for x, y, _ in RING[::2]],
    "generic": [(1.0, 0.2, 0.1), (-0.3, 1.0, 0.4), (0.2, -0.5, 1.0), (-0.7, -0.6, -0.8)],
}


def unit(points) -> np.ndarray:
    points = np.array(points, dtype=float)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def sums_of(cosines, lmax: int = LMAX) -> np.ndarray:
    return legendre(lmax, np.array(cosines, dtype=float)).sum(1)


def forms_of(structure: Structure, lmax: int = LMAX) -> ShellForms:
    elements = sorted(set(structure.numbers.tolist()))
    spectrum = PowerSpectrum(RadialDensity(elements, 16, lmax, 6.0, centre="origin"))
    grams = spectrum.grams(spectrum.of(structure).flatten())
    return ShellForms(shells_of(grams, spectrum.density))


@pytest.mark.parametrize(
    "cosines",
    [
        [-1 / 3] * 6,
        [0.5] * 6 + [-0.5] * 6 + [-1.0] * 3,
        [0.5] * 12 + [-0.5] * 12 + [-1.0] * 6 + [1.0] * 6,
        [0.0] * 12 + [-1.0] * 3,
        [-0.9, -0.4, 0.1, 0.3, 0.35, 0.8],
        [0.2, 0.2, 0.5, -0.7, -0.1, 0.6],
        [1.0],
    ],
)
def test_cosines_come_back_with_how_often_they_occur(cosines):
    found = angles_of(sums_of(cosines))
    assert found is not None and found.sure
    again = np.repeat(found.cosines, found.counts)
    assert np.abs(again - np.sort(cosines)).max() < 1e-7


def test_more_cosines_than_degrees_are_not_guessed():
    cosines = np.linspace(-0.9, 0.8, 15) ** 3
    assert angles_of(sums_of(cosines)) is None


def test_sums_that_no_cosines_have_give_none():
    sums = sums_of([0.1, 0.2, 0.6])
    sums[2] += 2.0
    assert angles_of(sums) is None


def test_one_solution_of_two_is_not_called_sure():
    # four degrees leave a family of measures with three nodes inside
    sums = sums_of([0.5] * 6 + [-0.5] * 6 + [-0.9] * 3, 5)
    found = angles_of(sums)
    assert found is None or not found.sure


@pytest.mark.parametrize("name", sorted(SHELLS))
@pytest.mark.parametrize("improper", [False, True])
def test_a_shell_comes_back_turned_reflected_and_in_any_order(name, improper, generator):
    points = torch.from_numpy(1.7 * unit(SHELLS[name]))
    turn = random_orthogonal(generator) * (-1 if improper else 1)
    order = torch.randperm(len(points), generator=generator)
    known = Structure([6] * len(points), (points @ turn.T)[order])
    forms = forms_of(known)
    gaps = []
    for directions, placed in forms.made():
        assert bool(placed.all())
        found = Structure(known.numbers, 1.7 * directions)
        gaps.append(align(known, found, mirror=True, centre="origin").rmsd)
    assert gaps and min(gaps) < 1e-6 and forms.certain


def test_a_ring_has_the_angles_of_an_antiprism_too(generator):
    lines = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]]) / 2**0.5
    skew = Structure([6] * 6, 1.5 * np.concatenate([lines, -lines]))
    flat = Structure([6] * 6, 1.5 * unit(RING))
    power = PowerSpectrum(RadialDensity([6], 8, LMAX, 4.0, centre="origin"))
    assert torch.allclose(power.of(skew), power.of(flat))
    result = invert(power, power.of(skew))
    assert result.outcome == "ambiguous" and len(result.solutions) == 2
    for member in (skew, flat):
        gaps = [align(member, s, mirror=True, centre="origin").rmsd for s in result.solutions]
        assert min(gaps) < 1e-6
    both = Together(power, Bispectrum(RadialDensity([6], 4, LMAX, 4.0, centre="origin")))
    assert invert(both, both.of(skew)).outcome == "unique"


def test_two_shells_stand_right_to_each_other(generator):
    inner, outer = 1.2 * unit(SHELLS["tetrahedron"]), 2.1 * unit(SHELLS["cube"])
    turn = random_orthogonal(generator).numpy()
    known = Structure([6] * 4 + [1] * 8, np.concatenate([inner, outer]) @ turn)
    descriptor = structure_spectra([1, 6], n_radial=16, lmax=LMAX, cutoff=5.0, centre="origin")
    result = invert(descriptor, descriptor.of(known), n_solutions=1)
    assert result.route == "algebra" and result.n_starts <= 4
    assert align(known, result.solutions[0], centre="origin").rmsd < 1e-6


def test_a_shell_of_many_angles_is_where_its_signal_peaks(generator):
    few = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    few = torch.nn.functional.normalize(few, dim=1) * torch.linspace(1.0, 2.5, 7)[:, None]
    many = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    many = 2.0 * torch.nn.functional.normalize(many, dim=1)
    known = Structure([6] * 7 + [1] * 6, torch.cat([few, many]))
    descriptor = structure_spectra([1, 6], n_radial=16, cutoff=5.0, centre="origin")
    result = invert(descriptor, descriptor.of(known), n_solutions=1)
    assert result.outcome == "unique" and result.n_starts <= 24
    assert align(known, result.solutions[0], centre="origin").rmsd < 1e-6


@pytest.mark.parametrize("improper", [False, True])
def test_a_shell_of_known_angles_is_turned_to_its_signal(improper, generator):
    few = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    few = torch.nn.functional.normalize(few, dim=1) * torch.linspace(1.0, 2.5, 7)[:, None]
    shape = torch.from_numpy(unit(SHELLS["generic"]))
    shape = shape @ random_orthogonal(generator, improper=improper)
    known = Structure([6] * 7 + [1] * 4, torch.cat([few, 2.0 * shape]))
    shells = forms_of(known).shells
    order = torch.argsort(shells.radii[shells.counts == 1])
    assert torch.equal(order.sort().values, torch.arange(7))
    standing = torch.zeros(11, 3, dtype=torch.float64)
    alone = (shells.counts == 1)[shells.owner]
    standing[alone] = shells.sums[shells.owner][alone]
    open_shell = int(torch.nonzero(shells.counts == 4)[0])
    turned = torch.from_numpy(unit(SHELLS["generic"]))
    made = pursued(shells, standing, alone, 8, generator, shapes={open_shell: turned})
    numbers = torch.tensor([1, 6])[shells.atoms]
    gaps = [
        align(known, Structure(numbers, start * shells.radii[shells.owner][:, None]), mirror=True,
              centre="origin").rmsd
        for start in made
    ]  # fmt: skip
    assert min(gaps) < 1e-6


@pytest.mark.parametrize("name", ["NH3", "CH4", "C2H6", "C6H6"])
def test_symmetric_molecules_need_no_search(name):
    known = next(s for s in load_source("g2") if s.name == name)
    descriptor = structure_spectra(sorted(set(known.numbers.tolist())), lmax=LMAX)
    result = invert(descriptor, descriptor.of(known), n_solutions=1)
    assert result.outcome == "unique" and result.n_starts <= 4
    assert align(known, result.solutions[0], mirror=True).rmsd < 1e-6


def test_an_arrangement_that_cannot_be_is_not_made():
    # four directions, any two of which make an angle of 60 degrees, need four dimensions
    def tables(a: int, b: int):
        return angles_of(sums_of([0.5] * 6))

    assert list(Arranger(np.array([4]), tables).arranged(NOTHING, {0})) == []


def test_arrangements_have_the_cosines_asked_for():
    points = unit(SHELLS["generic"])
    cosines = np.sort([a @ b for a, b in combinations(points, 2)])
    table = angles_of(sums_of(cosines))
    made = list(Arranger(np.array([4]), lambda a, b: table).arranged(NOTHING, {0}))
    assert made
    for arrangement in made:
        found = [a @ b for a, b in combinations(arrangement.directions, 2)]
        assert np.abs(np.sort(found) - cosines).max() < 1e-6


def test_values_of_the_mirror_image_are_those_of_the_reflected_structure(ethanol):
    descriptor = structure_spectra((1, 6, 8), n_radial=6)
    weights = descriptor.weights(ethanol.numbers)
    values = descriptor.evaluate(weights, ethanol.positions)
    found = descriptor.reflected(weights, ethanol.positions, values)
    assert torch.allclose(found, descriptor.evaluate(weights, -ethanol.positions), atol=1e-12)
    assert not torch.allclose(found, values, atol=1e-6)


def test_mirrors_are_seen(ethanol):
    molecules = {s.name: s for s in load_source("g2")}
    assert all(has_mirror(molecules[name]) for name in ("H2O", "NH3", "C2H6", "C6H6"))
    assert not has_mirror(ethanol)


def test_too_many_atoms_for_the_degrees_are_not_claimed(generator):
    places = torch.randn(14, 3, generator=generator, dtype=torch.float64)
    known = Structure([6] * 14, 2.0 * torch.nn.functional.normalize(places, dim=1))
    power = PowerSpectrum(RadialDensity([6], 8, 2, 4.0, centre="origin"))
    result = invert(power, power.of(known), n_solutions=1, n_starts=16)
    assert result.outcome == "ambiguous" and len(result.null_space) > 0


def test_a_flat_valley_is_no_solution(generator):
    # a square's plane is a mirror: out of it, degrees 0 and 2 alone see motions at second order
    square = Structure([6] * 4, 1.5 * unit([(1, 0, 0), (0, 1, 0), (-1, 0, 0), (0, -1, 0)]))
    power = PowerSpectrum(RadialDensity([6], 8, 4, 4.0, centre="origin"))
    values = power.of(square)

    def proposer(problem, n, generator):
        noise = torch.randn(1, 4, 3, generator=generator, dtype=torch.float64)
        noise = noise * torch.tensor([0.0, 0.0, 3e-4])
        yield Starts(square.numbers, square.positions + noise, "network")

    search = _Search(pose(power, values), 1, 1e-6, 1, 0)
    (starts,) = proposer(None, 1, generator)
    made = search._made(starts, power.weights(starts.numbers), starts.positions[0])
    assert 1e-8 < made.residual < 1e-6
    search._take(made, starts)
    assert not search.solutions and "second order" in search.doubt[0]


@pytest.mark.parametrize("noise", [1e-7, 1e-6])
def test_noise_leaves_no_more_radii_than_atoms(noise, ethanol, generator):
    descriptor = PowerSpectrum(RadialDensity((1, 6, 8), 16, 3))
    values = descriptor.of(ethanol)
    spoilt = torch.randn(values.shape, generator=generator, dtype=torch.float64)
    values = values + noise * values.norm() / spoilt.norm() * spoilt
    result = invert(descriptor, values, species=ethanol.numbers.tolist(), n_starts=1)
    assert result.outcome == "none" and result.route == "algebra"
    assert align(ethanol, result.nearest, mirror=True).rmsd < 300 * noise


def test_what_algebra_put_in_place_counts_though_values_are_flat_there():
    # radii that differ in the fifth digit, as coordinates in files do
    cube = 2.0 * unit(SHELLS["cube"])
    cube *= 1 + 1e-5 * torch.linspace(-1, 1, 8).numpy()[:, None]
    known = Structure([6] * 8, cube)
    descriptor = structure_spectra([6], n_radial=16, lmax=LMAX, cutoff=4.0, centre="origin")
    result = invert(descriptor, descriptor.of(known), n_solutions=1, n_starts=8)
    assert result.outcome == "unique" and result.n_starts <= 4
    assert align(known, result.solutions[0], mirror=True, centre="origin").rmsd < 1e-4


def test_no_more_arrangements_are_looked_at_than_may_be(monkeypatch):
    monkeypatch.setattr("geomae.inversion.arrangements.MOST_VISITS", 3)
    cosines = [a @ b for a, b in combinations(unit(SHELLS["generic"]), 2)]
    arranger = Arranger(np.array([4]), lambda a, b: angles_of(sums_of(cosines)))
    assert list(arranger.arranged(NOTHING, {0})) == [] and not arranger.exhausted


def test_atoms_alone_stand_where_no_shell_can_be_placed(generator):
    places = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    known = Structure([6] * 3, places)
    ((directions, placed),) = forms_of(known).alone()
    assert bool(placed.all())
    lengths = torch.pdist(directions * forms_of(known).shells.radii[:, None]).sort().values
    assert torch.allclose(lengths, torch.pdist(places).sort().values, atol=1e-7)
