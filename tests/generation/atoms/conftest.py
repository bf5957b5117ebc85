import pytest
import torch

from geomae.generation.atoms.config import AtomFlowConfig, StageConfig
from geomae.generation.atoms.flow import AtomFlow
from geomae.generation.statistics import Contents

SMALL = {
    "node_channels": 16, "pair_channels": 8, "hidden": 16, "triangles": 4, "heads": 2,
    "layers": 2, "radial": 8,
}  # fmt: skip


def config(**changes) -> AtomFlowConfig:
    return AtomFlowConfig(
        autoencoder="qm9",
        elements=(1, 6, 7, 8, 9),
        max_atoms=29,
        max_heavy=9,
        skeleton=StageConfig(spread=1.1, **SMALL),
        hydrogens=StageConfig(spread=0.6, **SMALL),
        properties=("gap",),
        **changes,
    )


@pytest.fixture(autouse=True)
def one_attempt(monkeypatch):
    """What an untrained flow makes is never like a molecule, however often it is tried."""
    monkeypatch.setattr("geomae.generation.atoms.symmetric_samples.ATTEMPTS", 1)


@pytest.fixture(scope="session")
def flow(molecules) -> AtomFlow:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        contents = Contents.of(molecules.kinds, molecules.inventory(), molecules.properties)
        made = AtomFlow(config(recall_share=0.5, noise_scaling=0.4), contents)
        # far from the small steps that weights start with
        for network in (made.skeleton, made.hydrogens):
            for layer in network.layers:
                layer.weight.weight.data.mul_(20)
    return made.eval()
