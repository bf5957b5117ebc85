"""Several ranks train together as one does alone."""

import os
import signal
import socket
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule

from geomae.autoencoder import Autoencoder
from geomae.errors import GeomaeError
from geomae.training.config import RunConfig
from geomae.training.forest import plant
from geomae.training.loop import Trainer
from geomae.training.molecules import ShuffledTrees
from geomae.training.order import Order, noise_seed
from geomae.training.ranks import Ranks, joined
from tests.autoencoder.conftest import small_config

NAMES = ("CH4", "NH3", "H2O", "C2H6", "C2H4", "CH3OH", "CH3CN", "H2CO")


def config(steps: int, **training) -> RunConfig:
    own = {"steps": steps, "batch_size": 4, "log_every": 1, "checkpoint_every": 2, "threads": 1}
    return RunConfig.model_validate(
        {"model": small_config().model_dump(), "training": own | training}
    )


def trainer(settings: RunConfig, folder: Path, ranks: Ranks | None = None) -> Trainer:
    os.environ["GEOMAE_CACHE"] = str(folder.parent / "cache")
    atoms = [molecule(name) for name in NAMES]
    numbers = torch.cat([torch.from_numpy(a.numbers) for a in atoms])
    positions = torch.cat([torch.from_numpy(a.positions) for a in atoms])
    offsets = torch.cumsum(torch.tensor([0, *map(len, atoms)]), 0)
    with (ranks or Ranks()).leader_first(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Autoencoder(settings.model)
        forest = plant("few", numbers, positions, offsets, settings.model)
    batches = ShuffledTrees(forest, np.arange(len(NAMES)), settings.training.batch_size, 0)
    return Trainer(model, batches, settings, folder, ranks=ranks)


def work(rank: int, port: int, settings: RunConfig, folder: Path) -> None:
    """What each of two ranks does; the second is told to stop in the fourth step."""
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    with joined() as ranks:
        own = trainer(settings, folder, ranks)
        step = own.train_step

        def told_to_stop() -> dict[str, float]:
            if rank == 1 and own.step == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return step()

        own.train_step = told_to_stop
        own.run()
        torch.save(own.parameters, folder / f"rank-{rank}.pt")


def launch(settings: RunConfig, folder: Path) -> None:
    """Two ranks on a free port, until they end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = get_context("spawn")
    both = [context.Process(target=work, args=(rank, port, settings, folder)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch):
    monkeypatch.setenv("GEOMAE_CACHE", "set by the trainer")


def test_two_ranks_train_as_one_does_and_either_goes_on_where_the_other_stopped(tmp_path):
    whole, folder = trainer(config(8, parts=2), tmp_path / "whole"), tmp_path / "both"
    whole.run()
    begun = trainer(config(8, parts=2), folder)
    for _ in range(2):
        begun.train_step()
    begun.save()
    launch(config(8), folder)
    stopped = trainer(config(8), folder)
    assert 4 <= stopped.step < 8 and stopped.parts == 2
    first, second = (torch.load(folder / f"rank-{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    stopped.run()
    for name, value in whole.parameters.items():
        assert torch.allclose(stopped.parameters[name], value, rtol=1e-4, atol=1e-5), name
        assert torch.allclose(stopped.average[name], whole.average[name], rtol=1e-4, atol=1e-5)
    logs = [
        np.genfromtxt(own / "log.csv", delimiter=",", names=True) for own in (whole.folder, folder)
    ]
    assert logs[0]["step"].tolist() == [1, 2, *logs[1]["step"].tolist()] == list(range(1, 9))
    for name in ("loss", "formula", "field_1"):
        assert np.allclose(logs[0][name][2:], logs[1][name], rtol=1e-4)


def test_parts_cover_a_batch_and_have_noise_of_their_own():
    order = Order(np.arange(100, 117), 6, 0, "structures")
    for step in (0, 1, 5):
        parts = [order.part(step, part, 3) for part in range(3)]
        assert np.array_equal(np.concatenate(parts), order(step))
    assert len(set(np.concatenate([order(2), order(3)]).tolist())) == 12
    seeds = [
        noise_seed(config(2).training.seed, step, part) for step in range(50) for part in range(8)
    ]
    assert len(set(seeds)) == len(seeds)
    with pytest.raises(GeomaeError, match="5 structures don't fill one batch of 6"):
        Order(np.arange(5), 6, 0, "structures")


def test_batches_that_ranks_cannot_share_are_refused(tmp_path):
    with pytest.raises(GeomaeError, match=r"batch_size \(4\) must be a multiple .* parts \(3\)"):
        trainer(config(2, parts=3), tmp_path / "run")
    with pytest.raises(GeomaeError, match=r"2 ranks can't share batches of 1 part"):
        Trainer(
            Autoencoder(small_config()), lambda *_: None, config(2, parts=1), tmp_path,
            ranks=Ranks(0, 2),
        )  # fmt: skip
    with pytest.raises(GeomaeError, match="no device 'abacus'"), joined("abacus"):
        pass
