"""A small autoencoder with random weights, and molecules."""

from math import inf

import pytest
import torch
from ase.build import molecule

from geomae.autoencoder import Autoencoder
from geomae.autoencoder.config import AtomsConfig, AutoencoderConfig, LevelConfig
from geomae.data.structure import Structure

SMALL = {"lmax": 2, "channels": 8, "groups": 2, "lmax_filter": 2, "hidden": 12, "n_radial": 4}


def small_config() -> AutoencoderConfig:
    return AutoencoderConfig(
        elements=(1, 6, 7, 8, 9),
        max_atoms=29,
        atoms=AtomsConfig(lmax=2, channels=8, n_radial=4),
        levels=(
            LevelConfig(scale=0.5, radius=1.35, softening=0.3, max_children=4, **SMALL),
            LevelConfig(scale=0.9, radius=3.9, **SMALL),
            LevelConfig(scale=inf, radius=5.6, **{**SMALL, "lmax": 3}),
        ),
    )


def from_ase(name: str) -> Structure:
    atoms = molecule(name)
    return Structure(atoms.numbers, atoms.positions, name=name)


@pytest.fixture(scope="session")
def molecules() -> list[Structure]:
    return [from_ase(name) for name in ("CH3CH2OH", "C6H6", "NH3", "C2H4", "H2O", "C3H8")]


@pytest.fixture(scope="session")
def small() -> Autoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Autoencoder(small_config()).double().eval()
