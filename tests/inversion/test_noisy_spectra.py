"""Spectra with noise: its size, what they still tell, and the nearest structures."""

import pytest
import torch

from geomae.data import Structure
from geomae.inversion import PowerSpectrum, RadialDensity, align, invert, structure_spectra
from geomae.inversion.noisy_spectra import ROUNDING, NoisySpectrum, noise_of
from geomae.inversion.noisy_starts import FITTED, nearest_structure
from geomae.inversion.spatial_peaks import Signal, peaks

ELEMENTS = (1, 6, 8)


def spoiled(values: torch.Tensor, level: float, generator: torch.Generator) -> torch.Tensor:
    """Values with noise in parts of their root mean square."""
    noise = torch.randn(values.shape, generator=generator, dtype=values.dtype)
    return values + level * values.square().mean().sqrt() * noise


def noisy(known: Structure, noise: float, generator: torch.Generator) -> NoisySpectrum:
    spectrum = PowerSpectrum(RadialDensity(ELEMENTS, 24, 4))
    values = spectrum.of(known).flatten()
    values = values + noise * torch.randn(values.shape, generator=generator, dtype=values.dtype)
    grams = spectrum.grams(values)
    return NoisySpectrum(grams, spectrum.density, noise_of(grams[0]))


@pytest.mark.parametrize("noise", [1e-8, 1e-3, 1e-1])
def test_degree_0_tells_the_noise(ethanol, noise, generator):
    spectrum = noisy(ethanol, noise, generator)
    assert spectrum.relative > ROUNDING
    assert spectrum.noise == pytest.approx(noise, rel=0.05)


def test_exact_values_are_not_noisy(ethanol, generator):
    spectrum = noisy(ethanol, 0.0, generator)
    nothing = torch.zeros(1, 4, 4)
    assert spectrum.relative <= ROUNDING
    assert NoisySpectrum(nothing, spectrum.density, noise_of(nothing[0])).relative <= ROUNDING


@pytest.mark.parametrize("noise", [1e-6, 1e-2])
def test_elements_are_counted_despite_noise(ethanol, noise, generator):
    assert noisy(ethanol, noise, generator).counts.tolist() == [6, 2, 1]


def test_as_many_atoms_are_in_shells_as_there_are(ethanol, generator):
    shells = noisy(ethanol, 3e-2, generator).shells(torch.tensor([6, 2, 1]))
    for element, count in enumerate((6, 2, 1)):
        assert int(shells.counts[shells.species == element].sum()) == count
    assert int(shells.counts.min()) >= 1


def test_atoms_are_at_peaks_of_their_signal(generator):
    density = RadialDensity((1,), 16, 4, 5.0, centre="origin")
    known = torch.tensor([[1.0, 0, 0], [0, 2.0, 0.5], [-1.5, -1.0, 0], [0, 0.3, -2.5]]).double()
    parts = density.coefficients(torch.ones(4, 1).double(), known)
    # one component of degree 2 isn't told
    seen = [torch.eye(2 * degree + 1, dtype=torch.float64) for degree in range(5)]
    seen[2][0, 0] = 0
    parts[4] = 0
    signal = Signal(density, seen, list(parts.split([1, 3, 5, 7, 9])))
    found = peaks(signal, 4, torch.zeros(0, 3).double(), 3, generator)
    assert float(torch.cdist(found[0], known).amin(0).max()) < 0.3


def test_places_that_are_taken_stay_free(generator):
    density = RadialDensity((1,), 16, 3, 5.0, centre="origin")
    place = torch.tensor([[0.0, 0.0, 2.0]], dtype=torch.float64)
    parts = density.coefficients(torch.ones(1, 1).double(), place)
    seen = [torch.eye(2 * degree + 1, dtype=torch.float64) for degree in range(4)]
    signal = Signal(density, seen, list(parts.split([1, 3, 5, 7])))
    found = peaks(signal, 1, place, 2, generator)
    assert float((found - place).norm(dim=2).min()) > 0.59


def test_the_others_are_completed_from_some_elements(ethanol, generator):
    spectrum = noisy(ethanol, 1e-3, generator)
    found = nearest_structure(spectrum, None, 16, generator)
    assert found is not None
    numbers, place, left = found
    assert left < FITTED
    assert align(ethanol, Structure(numbers, place), mirror=True).rmsd < 5e-3


@pytest.mark.parametrize("level", [1e-6, 1e-4, 1e-2])
def test_noisy_values_give_the_nearest_structure(ethanol, level, generator):
    descriptor = structure_spectra(ELEMENTS, n_radial=24)
    values = spoiled(descriptor.of(ethanol).flatten(), level, generator)
    result = invert(descriptor, values, n_starts=16)
    assert result.outcome == "none" and result.route == "algebra"
    assert result.residual == pytest.approx(level, rel=0.05)
    assert align(ethanol, result.nearest).rmsd < 2 * level


def test_noise_within_the_tolerance_is_a_solution(ethanol, generator):
    descriptor = structure_spectra(ELEMENTS, n_radial=16)
    values = spoiled(descriptor.of(ethanol).flatten(), 1e-6, generator)
    result = invert(descriptor, values, n_starts=16, tolerance=1e-5)
    assert result.outcome == "unique"
    assert align(ethanol, result.solutions[0]).rmsd < 1e-5


def test_noise_alone_is_nobodys_spectrum(water, generator):
    descriptor = structure_spectra(ELEMENTS, n_radial=12)
    values = torch.zeros_like(descriptor.of(water).flatten())
    values = values + torch.randn(values.shape, generator=generator, dtype=values.dtype)
    result = invert(descriptor, values, species=["O", "H", "H"], n_starts=8)
    assert result.outcome == "none" and result.residual > 0.1


def test_single_precision_is_told_from_noise(ethanol):
    descriptor = structure_spectra(ELEMENTS)
    values = descriptor.of(ethanol)
    for given in (values.float(), values.float().numpy()):
        result = invert(descriptor, given)
        assert result.outcome == "unique" and result.tolerance == 3e-6
        assert align(ethanol, result.solutions[0], mirror=True).rmsd < 1e-5
    rounded = invert(descriptor, values.float().double())
    assert rounded.outcome == "none" and rounded.tolerance == 1e-8
    assert rounded.nearest is not None
    assert align(ethanol, rounded.nearest, mirror=True).rmsd < 1e-5
