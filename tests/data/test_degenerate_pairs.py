"""Pairs that invariants can't tell apart: equal where it is claimed, and different."""

import pytest

from geomae.data import load_source
from geomae.errors import GeomaeError
from geomae.inversion import Bispectrum, PowerSpectrum, RadialDensity, SortedDistances, align

PAIRS = ("circle", "b8", "b8-narrow", "b8-wide", "kite", "ruler")
ELEMENTS = (1, 5, 6)


@pytest.fixture(scope="module")
def members():
    return {structure.name: structure for structure in load_source("degenerate")}


def gap(descriptor, members, pair: str) -> float:
    first, second = (descriptor.of(members[f"{pair}-{letter}"]) for letter in "ab")
    return float((first - second).norm() / first.norm())


def about_centre(lmax: int = 8) -> RadialDensity:
    return RadialDensity(ELEMENTS, 5, lmax, 4.0, centre="origin")


@pytest.mark.parametrize("pair", PAIRS)
def test_members_are_different_structures(pair, members):
    first, second = members[f"{pair}-a"], members[f"{pair}-b"]
    assert first.pair == second.pair == pair
    assert align(first, second, mirror=True).rmsd > 0.05


@pytest.mark.parametrize("pair", ["circle", "b8", "b8-narrow", "b8-wide"])
def test_power_spectra_about_the_centre_are_equal(pair, members):
    assert gap(PowerSpectrum(about_centre()), members, pair) < 1e-13


@pytest.mark.parametrize("pair", ["b8", "b8-narrow", "b8-wide"])
def test_bispectra_about_the_centre_are_equal_odd_triples_too(pair, members):
    assert gap(Bispectrum(about_centre(6)), members, pair) < 1e-13
    # about the centroid, which is not the first atom, they are not
    about_all = RadialDensity(ELEMENTS, 5, 4, 4.0)
    assert gap(PowerSpectrum(about_all), members, pair) > 1e-3


def test_the_bispectrum_tells_the_circle_pair_apart(members):
    assert gap(Bispectrum(about_centre(6)), members, "circle") > 1e-2


@pytest.mark.parametrize("pair", ["kite", "ruler"])
def test_lists_of_distances_are_equal(pair, members):
    assert gap(SortedDistances(ELEMENTS), members, pair) < 1e-13
    assert gap(PowerSpectrum(RadialDensity(ELEMENTS, 5, 4, 20.0)), members, pair) > 1e-2


def test_the_source_has_no_splits_and_may_be_cut():
    assert len(load_source("degenerate", n=3)) == 3
    with pytest.raises(GeomaeError, match="no splits"):
        load_source("degenerate", split="train")
