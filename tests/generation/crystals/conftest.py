import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.spacegroup import crystal

from geomae.data import Structure, as_structures
from geomae.generation.crystals.config import CrystalFlowConfig, ElementsConfig, GeometryConfig
from geomae.generation.crystals.data import ShuffledCrystals
from geomae.generation.crystals.flow import CrystalFlow
from geomae.wyckoff.skeletons import CrystalSet, Positions, collected

ELEMENTS = (8, 11, 12, 14, 17, 22, 30, 38, 56)


def known_crystals() -> list[Structure]:
    """Rock salt, wurtzite, perovskite, rutile, quartz, a spinel, a polar cell, and one without
    symmetry.
    """
    rutile = crystal(["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136,
                     cellpar=[4.59, 4.59, 2.96, 90, 90, 90])  # fmt: skip
    perovskite = crystal(["Sr", "Ti", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)],
                         spacegroup=221, cellpar=[3.9, 3.9, 3.9, 90, 90, 90])  # fmt: skip
    polar = crystal(["Ba", "Ti", "O", "O"],
                    [(0, 0, 0), (0.5, 0.5, 0.52), (0.5, 0.5, 0.97), (0.5, 0, 0.48)],
                    spacegroup=99, cellpar=[3.99, 3.99, 4.04, 90, 90, 90])  # fmt: skip
    quartz = crystal(["Si", "O"], [(0.47, 0, 1 / 3), (0.413, 0.267, 0.214)], spacegroup=152,
                     cellpar=[4.91, 4.91, 5.4, 90, 90, 120])  # fmt: skip
    spinel = crystal(["Mg", "Ti", "O"], [(0, 0, 0), (0.625, 0.625, 0.625), (0.39, 0.39, 0.39)],
                     spacegroup=227, cellpar=[8.4, 8.4, 8.4, 90, 90, 90])  # fmt: skip
    oblique = crystal(["Na", "Cl", "O"], [(0.02, 0.1, 0.2), (0.4, 0.55, 0.7), (0.7, 0.2, 0.5)],
                      spacegroup=1, cellpar=[4.2, 4.6, 5.1, 83, 76, 95])  # fmt: skip
    simple = [bulk("NaCl", "rocksalt", 5.64), bulk("MgO", "rocksalt", 4.21),
              bulk("ZnO", "wurtzite", 3.25, c=5.2)]  # fmt: skip
    return as_structures([*simple, perovskite, rutile, polar, quartz, spinel, oblique])


@pytest.fixture(scope="session")
def crystals() -> CrystalSet:
    positions = Positions()
    arranged = [positions.arranged(s, 0.01) for s in known_crystals()]
    return collected([own for own in arranged if own is not None], positions, ELEMENTS)


@pytest.fixture(scope="session")
def flow(crystals) -> CrystalFlow:
    config = CrystalFlowConfig(
        autoencoder="crystals",
        elements=ELEMENTS,
        max_atoms=20,
        geometry=GeometryConfig(channels=16, vectors=4, layers=2, radial=8, cutoff=4.0),
        composition=ElementsConfig(channels=16, layers=1, heads=2),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = CrystalFlow(config, crystals.skeletons)
        # far from the small steps that weights start with
        for layer in made.geometry.layers:
            layer.read.weight.data.mul_(10)
    return made.eval()


@pytest.fixture
def batches(crystals) -> ShuffledCrystals:
    return ShuffledCrystals(crystals, ELEMENTS, 4, seed=0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
