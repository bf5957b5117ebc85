"""Descriptors: invariant, differentiable, and strict about what they are given."""

import numpy as np
import pytest
import torch

from geomae.errors import GeomaeError
from geomae.inversion import (
    Bispectrum,
    CoulombMatrix,
    Function,
    PowerSpectrum,
    RadialDensity,
    Soap,
    SortedDistances,
    Together,
    descriptor_of,
    invert,
    read_descriptor,
    structure_spectra,
)
from geomae.testing import random_orthogonal

ELEMENTS = (1, 6, 8)
SMALL = RadialDensity(ELEMENTS, 6, 4)


def moments(numbers: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    place = positions - positions.mean(0)
    inertia = torch.einsum("n,ni,nj->ij", numbers, place, place)
    return torch.linalg.eigvalsh(inertia)


def descriptors() -> list:
    return [
        PowerSpectrum(SMALL),
        PowerSpectrum(SMALL, pairs="same"),
        Bispectrum(SMALL),
        structure_spectra(ELEMENTS, n_radial=5),
        SortedDistances(ELEMENTS),
        CoulombMatrix(ELEMENTS),
        CoulombMatrix(ELEMENTS, form="eigenvalues"),
        Function(moments, ELEMENTS, 3),
        Soap(ELEMENTS, 4.0, 4, 3, 0.5, average="outer"),
        Soap(ELEMENTS, 4.0, 4, 3, 0.5, average="inner"),
    ]


@pytest.mark.parametrize("descriptor", descriptors(), ids=lambda d: type(d).__name__)
def test_values_do_not_change_with_the_frame_or_the_order_of_atoms(descriptor, ethanol, generator):
    values = descriptor.of(ethanol)
    turn = random_orthogonal(generator, improper=False)
    order = torch.randperm(ethanol.n_atoms, generator=generator)
    moved = (ethanol.positions @ turn.T + 1.3)[order]
    again = descriptor(ethanol.numbers[order], moved)
    assert values.shape == descriptor.shape(ethanol.n_atoms)
    assert float((values - again).norm() / values.norm()) < 1e-10


@pytest.mark.parametrize("descriptor", descriptors(), ids=lambda d: type(d).__name__)
def test_only_handed_descriptors_see_the_mirror_image(descriptor, ethanol):
    values = descriptor.of(ethanol)
    gap = (descriptor(ethanol.numbers, -ethanol.positions) - values).norm() / values.norm()
    assert (float(gap) > 1e-4) if descriptor.handed else (float(gap) < 1e-10)


@pytest.mark.parametrize("descriptor", descriptors(), ids=lambda d: type(d).__name__)
def test_derivatives_are_those_of_finite_differences(descriptor, ethanol):
    weights, place = descriptor.weights(ethanol.numbers), ethanol.positions
    along = torch.zeros_like(place)
    along[4] = torch.tensor([0.3, -0.5, 0.8])
    _, slope = torch.func.jvp(lambda p: descriptor.evaluate(weights, p), (place,), (along,))
    step = 1e-5
    ahead, behind = (descriptor.evaluate(weights, place + s * step * along) for s in (1, -1))
    wanted = (ahead - behind) / (2 * step)
    assert float((slope - wanted).norm() / wanted.norm()) < 1e-6


def test_the_power_spectrum_holds_the_gram_matrices(ethanol):
    spectrum = PowerSpectrum(SMALL)
    grams = spectrum.grams(spectrum.of(ethanol).flatten())
    coefficients = SMALL.coefficients(spectrum.weights(ethanol.numbers), ethanol.positions)
    for degree in range(5):
        block = coefficients[degree**2 : (degree + 1) ** 2]
        assert torch.allclose(grams[degree], block.T @ block, atol=1e-12)


def test_a_weighting_between_elements_is_between_their_values(water):
    spectrum = PowerSpectrum(RadialDensity((1, 8), 4, 2))
    weights = torch.full((3, 2), 0.5, dtype=torch.float64)
    values = spectrum.evaluate(weights, water.positions)
    assert bool(torch.isfinite(values).all())
    assert not torch.allclose(values, spectrum.of(water).flatten())


@pytest.mark.parametrize(
    ("descriptor", "values", "words"),
    [
        (SortedDistances((1, 8)), [1.0, 2.0], "n \\(n - 1\\) / 2 distances"),
        (CoulombMatrix((1, 8)), [1.0, 2.0], "n \\(n \\+ 1\\) / 2 entries"),
        (PowerSpectrum(RadialDensity((1,), 2, 1)), np.zeros((2, 4)), r"\[2, 3\]"),
        (Soap((1, 8), 4.0, 2, 1), np.zeros((3, 5)), r"\[atoms, 20\]"),
        (SortedDistances((1, 8)), [1.0, np.nan, 1.0], "1 of 3"),
        (SortedDistances((1, 8)), ["a"], "array of numbers"),
    ],
)
def test_bad_values_are_told_with_the_shape_expected(descriptor, values, words):
    with pytest.raises(GeomaeError, match=words):
        invert(descriptor, values)


def test_other_bad_input_is_told(water):
    distances = SortedDistances((1, 8))
    values = distances.of(water)
    with pytest.raises(GeomaeError, match="knows the species H, O, not C"):
        invert(distances, values, species=["C", "H", "H"])
    with pytest.raises(GeomaeError, match="of 3 atoms, not of 2"):
        invert(distances, values, species=["O", "H"])
    with pytest.raises(GeomaeError, match="no element 'Xx'"):
        invert(distances, values, species=["Xx", "H", "H"])
    with pytest.raises(GeomaeError, match=r"shape \[6, 3\]"):
        invert(distances, values, frame=np.zeros((2, 3)))
    with pytest.raises(GeomaeError, match="expected a descriptor"):
        invert(lambda numbers, positions: positions, values)
    with pytest.raises(GeomaeError, match="give `n_atoms` or `species`"):
        invert(Function(moments, (1, 8), 3), [1.0, 2.0, 3.0])
    with pytest.raises(GeomaeError, match="compositions"):
        invert(Function(moments, range(1, 20), 3), [1.0, 2.0, 3.0], n_atoms=9)
    with pytest.raises(GeomaeError, match="tolerance"):
        invert(distances, values, tolerance=0.0)
    with pytest.raises(GeomaeError, match="not C"):
        distances([6, 1], np.zeros((2, 3)))
    with pytest.raises(GeomaeError, match="different species"):
        Together(distances, SortedDistances((1, 6)))


def test_options_make_descriptors_and_faults_are_named(tmp_path):
    made = descriptor_of({"kind": "structure", "species": ["H", "C"], "n_radial": 6})
    assert made.species == (1, 6)
    path = tmp_path / "soap.yaml"
    path.write_text("kind: soap\nspecies: [H, O]\nr_cut: 4\nn_max: 3\nl_max: 2\n")
    soap = read_descriptor(path)
    assert isinstance(soap, Soap) and soap.n_features == 63
    with pytest.raises(GeomaeError, match="n_min"):
        descriptor_of({"kind": "soap", "species": ["H"], "r_cut": 4, "n_min": 1, "l_max": 1})
    with pytest.raises(GeomaeError, match="kind"):
        descriptor_of({"kind": "fingerprint"})
    with pytest.raises(GeomaeError, match="can't read"):
        read_descriptor(tmp_path / "none.yaml")


def test_invariants_of_latents_are_a_descriptor(water):
    from geomae.autoencoder import Autoencoder
    from geomae.data import Structure
    from geomae.invariants import invariants
    from geomae.inversion import LatentInvariants, align
    from geomae.inversion.refine import refine
    from tests.autoencoder.conftest import small_config

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Autoencoder(small_config()).double()
    descriptor = LatentInvariants(model, "cross")
    values = descriptor.of(water)
    wanted = invariants(model.encode([water]), "cross")[0]
    assert torch.allclose(values, wanted, rtol=0, atol=1e-12 * float(wanted.abs().max()))
    weights, places = descriptor.weights(water.numbers)[None], water.positions[None]
    found, slopes = descriptor.jacobian(weights, places)
    moved = 1e-5 * torch.arange(9.0, dtype=torch.float64).reshape(3, 3).sin()
    ahead = descriptor(water.numbers, water.positions + moved)
    behind = descriptor(water.numbers, water.positions - moved)
    along = torch.einsum("fna,na->f", slopes[0], moved)
    assert torch.allclose((ahead - behind) / 2, along, rtol=1e-3, atol=1e-9)
    assert torch.allclose(found[0], values)
    near = (water.positions + 1e4 * moved * 0.5)[None]
    ends = refine(descriptor.jacobian, values, weights, near, steps=40)
    assert float(ends.residual[0]) < 1e-9
    assert align(water, Structure(water.numbers, ends.positions[0]), mirror=True).rmsd < 1e-6
