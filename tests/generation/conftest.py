"""The released autoencoder, small molecules, and a model of inventories."""

import pytest
import torch

import geomae
from geomae.autoencoder import Autoencoder
from geomae.data import load_source
from geomae.generation.atoms.data import MoleculeSet, arranged
from geomae.generation.inventories.config import InventoryConfig
from geomae.generation.inventories.model import InventoryModel, InventorySet
from geomae.generation.inventories.training import inventory_set, property_range


@pytest.fixture(scope="session")
def model() -> Autoencoder:
    return geomae.load("qm9")


@pytest.fixture(scope="session")
def molecules() -> MoleculeSet:
    """Those of the G2 set that consist of QM9's elements and have heavy atoms."""
    known = {1, 6, 7, 8, 9}
    kept = [
        s
        for s in load_source("g2")
        if set(s.numbers.tolist()) <= known and bool((s.numbers > 1).any())
    ]
    sizes = torch.tensor([0, *(s.n_atoms for s in kept)])
    return arranged(
        torch.cat([s.numbers for s in kept]),
        torch.cat([s.positions for s in kept]),
        torch.cumsum(sizes, 0),
        torch.arange(len(kept)),
        {"gap": torch.linspace(0.1, 0.4, len(kept), dtype=torch.float64)},
    )


def new_inventories(molecules: MoleculeSet) -> InventoryModel:
    """A model of inventories that has not been trained."""
    config = InventoryConfig(
        elements=(1, 6, 7, 8, 9), max_atoms=29, max_heavy=9, channels=16, properties=("gap",)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return InventoryModel(config, molecules.kinds, property_range(molecules))


@pytest.fixture(scope="session")
def closed_shells(molecules) -> InventorySet:
    """Inventories of the molecules that have an even number of electrons."""
    known = inventory_set(molecules, molecules.kinds)
    electrons = known.inventory @ molecules.kinds[:, :2].sum(1)
    return known.select(torch.nonzero(electrons % 2 == 0)[:, 0])


@pytest.fixture(scope="session")
def inventories(molecules, closed_shells) -> InventoryModel:
    """A model of inventories that has seen these molecules."""
    model = new_inventories(molecules)
    optimiser = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        model.loss(closed_shells)["loss"].backward()
        optimiser.step()
    return model.eval()
