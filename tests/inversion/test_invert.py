"""Structures from invariants: one, several, or honestly none."""

import pytest
import torch

from geomae.data import Structure
from geomae.inversion import (
    AmbiguousInversion,
    Bispectrum,
    CoulombMatrix,
    Function,
    NoInversion,
    PowerSpectrum,
    RadialDensity,
    SortedDistances,
    Starts,
    Together,
    UniqueInversion,
    align,
    frame_of,
    invert,
    structure_spectra,
)
from geomae.testing import random_orthogonal

ELEMENTS = (1, 6, 8)


def test_a_molecule_comes_back_whole_elements_and_hand_included(ethanol):
    descriptor = structure_spectra(ELEMENTS, n_radial=24)
    result = invert(descriptor, descriptor.of(ethanol))
    assert isinstance(result, UniqueInversion) and result.route == "algebra"
    (solution,) = result.solutions
    assert solution.residual < 1e-12 and solution.mirror == "told apart"
    assert align(ethanol, solution).rmsd < 1e-9
    assert len(result.null_space) == 0
    assert "one structure: C2H6O" in str(result)


def test_without_odd_triples_the_mirror_image_is_left_open(ethanol):
    descriptor = PowerSpectrum(RadialDensity(ELEMENTS, 24, 4))
    result = invert(descriptor, descriptor.of(ethanol))
    assert result.outcome == "unique" and not result.handed
    assert result.solutions[0].mirror == "not told apart"
    assert "mirror image has the same values" in str(result)
    assert align(ethanol, result.solutions[0], mirror=True).rmsd < 1e-9


def test_a_flat_molecule_is_its_own_mirror_image(water):
    descriptor = PowerSpectrum(RadialDensity((1, 8), 8, 4))
    result = invert(descriptor, descriptor.of(water))
    assert result.solutions[0].mirror == "the same" and result.handed


def test_a_frame_gives_orientation_and_hand(ethanol, generator):
    descriptor = PowerSpectrum(RadialDensity(ELEMENTS, 24, 4))
    turn = -random_orthogonal(generator)
    turned = Structure(ethanol.numbers, ethanol.positions @ turn.T)
    frame = frame_of(descriptor, turned)
    (solution,) = invert(descriptor, descriptor.of(turned), frame=frame).solutions
    assert solution.oriented and solution.mirror == "told apart"
    centred = turned.positions - turned.positions.mean(0)
    gaps = torch.cdist(centred, solution.positions)
    assert float(gaps.min(1).values.max()) < 1e-8


def test_a_wrong_frame_leaves_no_solution(ethanol):
    descriptor = PowerSpectrum(RadialDensity(ELEMENTS, 24, 4))
    frame = 2 * frame_of(descriptor, ethanol)
    assert invert(descriptor, descriptor.of(ethanol), frame=frame).outcome == "none"


def test_results_do_not_depend_on_anything_but_the_seed(water):
    distances = SortedDistances((1, 8))
    first, second = (invert(distances, distances.of(water), n_starts=16, seed=3) for _ in "ab")
    for one, other in zip(first.solutions, second.solutions, strict=True):
        assert torch.equal(one.positions, other.positions)


def test_distances_do_not_tell_elements(water):
    distances = SortedDistances((1, 8))
    result = invert(distances, distances.of(water), species=["O", "H", "H"], n_starts=32)
    assert isinstance(result, AmbiguousInversion)
    assert any(align(water, s, mirror=True).rmsd < 1e-6 for s in result.solutions)
    assert float(result.rmsd[0, 1]) > 0.1


def test_a_coulomb_matrix_is_enough_for_water_elements_too(water):
    matrix = CoulombMatrix((1, 6, 8))
    result = invert(matrix, matrix.of(water))
    assert result.outcome == "unique" and result.solutions[0].formula == "H2O"
    assert align(water, result.solutions[0], mirror=True).rmsd < 1e-6


def test_a_function_of_ones_own_is_inverted(water):
    def inverse_distances(numbers, positions):
        first, second = torch.triu_indices(len(positions), len(positions), 1)
        terms = numbers[first] * numbers[second]
        gaps = (positions[first] - positions[second]).norm(dim=1)
        return torch.stack([(terms * gaps**-power).sum() for power in (1, 2, 3, 4, 6)])

    own = Function(inverse_distances, (1, 8), 5)
    result = invert(own, own.of(water), species=["O", "H", "H"], n_starts=32, tolerance=1e-9)
    assert any(align(water, s, mirror=True).rmsd < 1e-5 for s in result.solutions)


def test_what_a_network_proposes_comes_first(ethanol):
    descriptor = PowerSpectrum(RadialDensity(ELEMENTS, 6, 4))

    def proposer(problem, n, generator):
        noise = torch.randn(1, 9, 3, generator=generator, dtype=torch.float64)
        yield Starts(ethanol.numbers, ethanol.positions + 0.03 * noise, "network")

    result = invert(descriptor, descriptor.of(ethanol), starts=proposer, n_solutions=1)
    assert result.route == "network" and result.n_starts == 1
    assert align(ethanol, result.solutions[0], mirror=True).rmsd < 1e-8


@pytest.mark.parametrize("noise", [1e-6, 1e-3])
def test_noisy_values_give_the_nearest_structure_and_no_claim(noise, water, generator):
    descriptor = PowerSpectrum(RadialDensity((1, 8), 6, 2))
    values = descriptor.of(water)
    spoilt = torch.randn(values.shape, generator=generator, dtype=torch.float64)
    values = values + noise * values.norm() / spoilt.norm() * spoilt
    result = invert(descriptor, values, species=["O", "H", "H"], n_starts=4)
    assert isinstance(result, NoInversion) and not result.solutions
    assert 0.1 * noise < result.residual < 2 * noise
    assert align(water, result.nearest, mirror=True).rmsd < 1000 * noise
    assert "no structure within" in str(result)


def test_random_values_are_no_structure(generator):
    descriptor = PowerSpectrum(RadialDensity((1, 8), 4, 2))
    values = torch.randn(descriptor.shape(1), generator=generator, dtype=torch.float64)
    result = invert(descriptor, values, n_atoms=3, n_starts=4)
    assert result.outcome == "none" and result.residual > 0.01


def test_both_members_of_the_circle_pair_have_its_power_spectrum(degenerate):
    members = degenerate["circle-a"], degenerate["circle-b"]
    power = PowerSpectrum(RadialDensity((1, 6), 6, 8, 4.0, centre="origin"))
    result = invert(power, power.of(members[0]), n_starts=120)
    assert isinstance(result, AmbiguousInversion) and len(result.solutions) == 2
    for member in members:
        gaps = [align(member, s, mirror=True, centre="origin").rmsd for s in result.solutions]
        assert min(gaps) < 1e-5


def test_the_bispectrum_is_enough_for_the_circle_pair(degenerate):
    power = PowerSpectrum(RadialDensity((1, 6), 6, 8, 4.0, centre="origin"))
    both = Together(power, Bispectrum(RadialDensity((1, 6), 4, 6, 4.0, centre="origin")))
    result = invert(both, both.of(degenerate["circle-a"]), n_starts=120)
    assert result.outcome == "unique"
    gap = align(degenerate["circle-a"], result.solutions[0], mirror=True, centre="origin").rmsd
    assert gap < 1e-5


def test_both_b8_have_the_central_bispectrum_and_only_one_the_whole(degenerate):
    members = degenerate["b8-narrow-a"], degenerate["b8-narrow-b"]
    options = {"n_radial": 12, "lmax": 5}
    central = structure_spectra((5,), cutoff=4.0, centre="origin", **options)
    result = invert(central, central.of(members[0]))
    assert isinstance(result, AmbiguousInversion) and len(result.solutions) == 2
    for member in members:
        assert min(align(member, s, centre="origin").rmsd for s in result.solutions) < 1e-6
    whole = structure_spectra((5,), cutoff=5.0, **options)
    (solution,) = invert(whole, whole.of(members[0])).solutions
    assert align(members[0], solution).rmsd < 1e-6


def test_both_kites_have_their_distances(degenerate):
    distances = SortedDistances((6,))
    result = invert(distances, distances.of(degenerate["kite-a"]), n_starts=32)
    assert isinstance(result, AmbiguousInversion)
    for name in ("kite-a", "kite-b"):
        gaps = [align(degenerate[name], s, mirror=True).rmsd for s in result.solutions]
        assert min(gaps) < 1e-5
    matrix = CoulombMatrix((6,))
    assert invert(matrix, matrix.of(degenerate["kite-a"]), n_starts=32).outcome == "unique"
