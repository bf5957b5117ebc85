"""Figures of a training by step, on disk."""

import csv
from pathlib import Path
from typing import Any

from geomae.errors import MissingExtraError

NAMES = ("log", "evaluation")
"""Of the files: means of losses, and figures of held-out structures."""


class Log:
    """CSV files, and TensorBoard's event files beside them if they are asked for.

    What was logged of later steps than the first, by a training that was interrupted, is dropped:
    those steps will come again.

    Args:
        folder: for the files.
        step: where the training begins.
        tensorboard: write event files, too.

    Raises:
        MissingExtraError: they are asked for, and TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False):
        self.folder = folder
        for name in NAMES:
            _truncate(folder / f"{name}.csv", step)
        self.events = event_writer()(str(folder), purge_step=step + 1) if tensorboard else None

    def write(self, name: str, step: int, row: dict[str, float]) -> None:
        """One line of the file `name`.csv: the step and figures by name."""
        path = self.folder / f"{name}.csv"
        new = not path.exists() or not path.stat().st_size
        with open(path, "a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", *row])
            writer.writerow([step, *(f"{value:.6g}" for value in row.values())])
        if self.events:
            for key, value in row.items():
                self.events.add_scalar(f"{name}/{key}", value, step)
            self.events.flush()

    def close(self) -> None:
        if self.events:
            self.events.close()


def event_writer() -> Any:
    """TensorBoard's writer of event files.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError("tensorboard", "tensorboard") from error
    return SummaryWriter


def _truncate(path: Path, step: int) -> None:
    """Drop the lines of later steps."""
    if path.exists() and path.stat().st_size:
        head, *lines = path.read_text().splitlines()
        kept = [line for line in lines if int(line.split(",")[0]) <= step]
        path.write_text("\n".join([head, *kept]) + "\n")
