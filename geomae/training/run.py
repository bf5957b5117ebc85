"""A training run from its configuration: task, loop, released weights."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch

from geomae.checkpoint import Checkpoint, write_checkpoint
from geomae.training.config import Run
from geomae.training.logs import event_writer
from geomae.training.loop import Trainer
from geomae.training.ranks import Ranks, joined
from geomae.training.task import Task

TASKS = {
    "autoencoder": "geomae.training.molecules",
    "crystals": "geomae.crystals.training",
    "flow": "geomae.generation.training",
    "atom_flow": "geomae.generation.atoms.training",
    "inventories": "geomae.generation.inventories.training",
    "crystal_flow": "geomae.generation.crystals.training",
    "inversion": "geomae.inversion.network.training",
}
"""Modules whose `task(config)` makes the task of a kind of model."""


def train(
    config: Run,
    folder: Path | str,
    report: Callable[[int, dict[str, float]], None] | None = None,
    *,
    device: str = "cpu",
    tensorboard: bool = False,
) -> Trainer:
    """Train a model of any kind, or go on where the folder's checkpoint ends.

    Started by torchrun, the processes share each batch; see `parts` of the configuration.

    Args:
        config: of the run; its `model.kind` says what is trained.
        folder: for checkpoints and the log.
        report: called with the step and the running losses, on the first rank.
        device: 'cpu' or 'cuda'.
        tensorboard: write TensorBoard's event files into the folder, too.

    Raises:
        GeomaeError: there is no such device, or the configuration does not fit its data or the
            number of ranks.
        MissingExtraError: TensorBoard is asked for and not installed.
    """
    if tensorboard:
        event_writer()
    with joined(device) as ranks:
        own = _task(config, ranks)
        trainer = Trainer(
            own.model, own.batches, config, folder, own.evaluate,
            ranks=ranks, tensorboard=tensorboard,
        )  # fmt: skip
        trainer.run(report)
    return trainer


def _task(config: Run, ranks: Ranks) -> Task:
    """The task of a configuration, with first weights that its seed decides."""
    module = import_module(TASKS[config.model.kind])
    with ranks.leader_first(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        return module.task(config)


def release(trainer: Trainer, path: Path | str) -> None:
    """Write the averaged weights and the model's configuration, ready for `geomae.load`."""
    config = trainer.config.model.model_dump(mode="json")
    tensors = dict(trainer.average)
    if trainer.settings.release_half:
        trained = [name for name, own in trainer.parameters.items() if own.requires_grad]
        tensors |= {name: tensors[name].half() for name in trained}
    write_checkpoint(path, Checkpoint(trainer.config.model.kind, config, tensors))
