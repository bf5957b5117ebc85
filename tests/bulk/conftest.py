"""A small model on disk, and files of molecules."""

from pathlib import Path

import pytest
import torch
from ase.build import molecule
from ase.io import write

from geomae.autoencoder import Autoencoder
from tests.autoencoder.conftest import small_config

NAMES = ("CH3CH2OH", "C6H6", "NH3", "C2H4", "H2O", "C3H8", "CH4", "HCN", "CH3COOH", "C2H2", "N2")


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Autoencoder(small_config()).double().eval()
    path = tmp_path_factory.mktemp("model") / "weights.safetensors"
    network.save(path)
    return path


@pytest.fixture(scope="session")
def network(model) -> Autoencoder:
    return Autoencoder.from_file(model)


@pytest.fixture
def given(tmp_path) -> Path:
    """A folder with a file of eleven molecules and another of one."""
    folder = tmp_path / "given"
    folder.mkdir()
    write(folder / "many.xyz", [molecule(name) for name in NAMES], format="xyz")
    write(folder / "one.xyz", molecule("C3H8"), format="xyz")
    return folder
