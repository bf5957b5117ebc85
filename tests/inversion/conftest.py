"""Small structures, and descriptors that they are seen by."""

import pytest
import torch
from ase.build import molecule

from geomae.data import Structure, load_source


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def water() -> Structure:
    return Structure([8, 1, 1], [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])


@pytest.fixture
def ethanol() -> Structure:
    """Rattled, so that it has no symmetry."""
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=0)
    return Structure(atoms.numbers, atoms.positions)


@pytest.fixture(scope="session")
def degenerate() -> dict[str, Structure]:
    return {structure.name: structure for structure in load_source("degenerate")}
