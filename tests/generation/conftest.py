"""The released autoencoder."""

import pytest

import geomae
from geomae.autoencoder import Autoencoder


@pytest.fixture(scope="session")
def model() -> Autoencoder:
    return geomae.load("qm9")
