"""Radii, counts and directions from Gram matrices, and the fit that ends in them."""

import pytest
import torch

from geomae.data import Structure
from geomae.inversion import PowerSpectrum, RadialDensity, align, invert, structure_spectra
from geomae.inversion.algebra import factors, shells_of, softened_radii, starts_of
from geomae.inversion.gram_fit import GramFit
from geomae.inversion.refine import exact_jacobian, refine
from geomae.inversion.symmetric_starts import symmetric_directions

ELEMENTS = (1, 6, 8)


def grams_of(structure: Structure, density: RadialDensity) -> torch.Tensor:
    spectrum = PowerSpectrum(density)
    return spectrum.grams(spectrum.of(structure).flatten())


def test_factors_have_the_gram_matrices(ethanol):
    grams = grams_of(ethanol, RadialDensity(ELEMENTS, 12, 4))
    for degree, (rows, gram) in enumerate(zip(factors(grams), grams, strict=True)):
        assert len(rows) <= 2 * degree + 1
        assert float((rows.T @ rows - gram).abs().max()) < 1e-10 * float(gram.abs().max())


@pytest.mark.parametrize("gap", [0.3, 1e-2, 1e-4])
def test_radii_are_told_apart_however_close(gap):
    density = RadialDensity((1,), 16, 2)
    radii = torch.tensor([1.0, 1.0 + gap, 2.5], dtype=torch.float64)
    rows = density.radial(density.soften(radii))
    found = density.harden(softened_radii(rows, density, 1e-12))
    assert float((found - radii).abs().max()) < 1e-6


def test_algebra_alone_gives_a_molecule_without_symmetry(ethanol):
    density = RadialDensity(ELEMENTS, 24, 3)
    shells = shells_of(grams_of(ethanol, density), density)
    assert shells is not None and shells.n_open == 0 and shells.n_atoms == 9
    place = shells.sums * shells.radii[:, None]
    numbers = torch.tensor(ELEMENTS)[shells.species]
    order, own = torch.argsort(numbers), torch.argsort(ethanol.numbers)
    assert torch.equal(numbers[order], ethanol.numbers[own])
    centred = ethanol.positions - ethanol.positions.mean(0)
    distances = torch.pdist(centred).sort().values
    assert float((torch.pdist(place).sort().values - distances).abs().max()) < 1e-5


def test_atoms_at_one_radius_make_a_shell_with_their_sum():
    square = [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    density = RadialDensity((1,), 8, 2, centre="origin")
    shells = shells_of(grams_of(Structure([1] * 4, square), density), density)
    assert shells.counts.tolist() == [4] and shells.n_open == 4
    assert float(shells.sums.norm()) == pytest.approx(2**0.5, abs=1e-9)


def test_no_room_for_the_atoms_is_said(ethanol):
    density = RadialDensity(ELEMENTS, 4, 3)
    assert shells_of(grams_of(ethanol, density), density) is None


def test_two_atoms_at_one_radius_are_in_place_at_once(generator):
    bent = Structure([8, 1, 1], [[0.0, 0.0, 0.4], [0.76, 0.0, -0.2], [-0.76, 0.0, -0.2]])
    density = RadialDensity(ELEMENTS, 12, 2)
    shells = shells_of(grams_of(bent, density), density)
    starts = starts_of(shells, 4, generator)
    assert shells.n_open == 2
    known = torch.tensor(ELEMENTS)[shells.atoms]
    for start in starts:
        assert align(bent, Structure(known, start), mirror=True).rmsd < 1e-9


@pytest.mark.parametrize("name", ["cuboctahedron", "pyramid", "flat"])
def test_shells_start_on_orbits_that_keep_their_sums(name, generator):
    edges = torch.tensor([[a, b, 0.0] for a in (1, -1) for b in (1, -1)])
    shell = {
        "cuboctahedron": torch.cat([edges.roll(k, 1) for k in range(3)]),
        "pyramid": edges + torch.tensor([0.0, 0.0, 0.7]),
        "flat": torch.tensor([[1.0, 0.2, 0.5], [1.0, 0.2, -0.5], [0.3, 1.0, 0.4], [0.3, 1, -0.4]]),
    }[name].double()
    shell = torch.nn.functional.normalize(shell, dim=1)
    counts = torch.tensor([len(shell)]) if name != "flat" else torch.tensor([2, 2])
    sums = torch.stack([part.sum(0) for part in shell.split(counts.tolist())])
    noise = torch.randn(12, len(shell), 3, generator=generator, dtype=torch.float64)
    noise = torch.nn.functional.normalize(noise, dim=2)
    for start in symmetric_directions(counts, sums, noise, generator):
        assert torch.allclose(start.norm(dim=1), torch.ones(len(shell)).double())
        total = torch.stack([part.sum(0) for part in start.split(counts.tolist())])
        # what the symmetry leaves as it is spans the sums' own space, or less
        assert torch.linalg.matrix_rank(torch.cat([sums, total]), tol=1e-6) <= len(
            torch.nonzero(torch.linalg.svdvals(sums) > 1e-6)
        )


def test_a_cuboctahedron_of_neighbours_comes_back():
    edges = torch.tensor([[a, b, 0.0] for a in (2, -2) for b in (2, -2)]).double()
    known = Structure([29] * 12, torch.cat([edges.roll(k, 1) for k in range(3)]))
    descriptor = structure_spectra(["Cu"], n_radial=16, cutoff=5.0, centre="origin")
    result = invert(descriptor, descriptor.of(known), n_solutions=1, n_starts=64)
    assert result.outcome == "unique"
    assert align(known, result.solutions[0], mirror=True, centre="origin").rmsd < 1e-6


@pytest.mark.parametrize("envelope", [False, True])
def test_the_fit_has_right_derivatives(ethanol, generator, envelope):
    density = RadialDensity(ELEMENTS, 8, 3, 4.0, envelope=envelope)
    fit = GramFit(grams_of(ethanol, density), density)
    weights = PowerSpectrum(density).weights(ethanol.numbers).expand(2, -1, -1)
    noise = torch.randn(2, 9, 3, generator=generator, dtype=torch.float64)
    places = ethanol.positions + 0.2 * noise
    found, slopes = fit.jacobian(weights, places)
    again, wanted = exact_jacobian(fit.values)(weights, places)
    assert torch.allclose(found, again, atol=1e-11)
    assert torch.allclose(slopes, wanted, atol=1e-11)
    assert torch.allclose(fit.values(weights[0], ethanol.positions), fit.target, atol=1e-11)


def test_refinement_ends_in_rounding(ethanol, generator):
    density = RadialDensity(ELEMENTS, 24, 3)
    fit = GramFit(grams_of(ethanol, density), density)
    shells = shells_of(grams_of(ethanol, density), density)
    starts = starts_of(shells, 1, generator)
    weights = torch.nn.functional.one_hot(shells.atoms, 3).double()[None]
    noise = torch.randn(starts.shape, generator=generator, dtype=torch.float64)
    ended = refine(fit.jacobian, fit.target, weights, starts + 0.03 * noise)
    assert float(ended.residual[0]) < 1e-13


def test_double_roots_are_reached_as_quickly_as_simple_ones():
    def jacobian(weights, positions):
        # the first coordinate is seen squared, as what breaks a symmetry is
        found = torch.cat([positions[:, 0, :1].square(), positions[:, 0, 1:] - 1], 1)
        slopes = torch.zeros(len(found), 3, 1, 3, dtype=found.dtype)
        slopes[:, 0, 0, 0] = 2 * positions[:, 0, 0]
        slopes[:, 1, 0, 1] = slopes[:, 2, 0, 2] = 1
        return found + 1, slopes

    target = torch.ones(3, dtype=torch.float64)
    start = torch.full((1, 1, 3), 0.5, dtype=torch.float64)
    ended = refine(jacobian, target, torch.ones(1, 1, 1).double(), start)
    assert float(ended.residual[0]) < 1e-14
    assert int(ended.steps[0]) <= 14
