"""The training loop: any model with a `loss`, any data with batches by number."""

import csv
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from geomae.checkpoint import Checkpoint, checkpoint_kind, read_checkpoint, write_checkpoint
from geomae.errors import GeomaeError
from geomae.memory import keep_memory
from geomae.training.config import Run, TrainingConfig

Evaluation = Callable[[dict[str, Tensor]], dict[str, float]]
"""Figures of weights, given by name."""


@runtime_checkable
class Batches(Protocol):
    """Training data: the batch of a step depends on the seed and the step alone."""

    def __call__(self, step: int) -> object: ...


class Trainer:
    """Trains a model and can stop and go on at any step, with the same result.

    The order of the data and the noise are functions of the seed and the step, so weights, their
    average and the optimiser's moments are the whole state.

    Args:
        model: with `loss(batch, generator) -> dict` that has the key 'loss'.
        batches: gives the batch of each step.
        config: of the run; kept in every checkpoint.
        folder: for `checkpoint.safetensors`, `log.csv` and `evaluation.csv`.
        evaluate: figures of the averaged weights, by name.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        config: Run,
        folder: Path | str,
        evaluate: Evaluation | None = None,
    ):
        self.model, self.batches, self.config = model, batches, config
        self.evaluate = evaluate
        self.settings: TrainingConfig = config.training
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.step = 0
        self.parameters = dict(model.named_parameters())
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=0.0, weight_decay=self.settings.weight_decay, foreach=True
        )
        self.stopping = False
        if self.checkpoint_path.exists():
            self._restore()
        elif self.settings.start:
            self._start_from(self.settings.start)

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def log_path(self) -> Path:
        return self.folder / "log.csv"

    def run(self, report: Callable[[int, dict[str, float]], None] | None = None) -> None:
        """Train to the last step, or until interrupted (SIGINT, SIGTERM), which saves first.

        Args:
            report: called with the step and running means whenever a line is logged.
        """
        keep_memory()
        threads = torch.get_num_threads()
        torch.set_num_threads(self.settings.threads)
        old = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._run(report)
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
            torch.set_num_threads(threads)

    def _run(self, report: Callable[[int, dict[str, float]], None] | None) -> None:
        self.model.train()
        sums: dict[str, float] = {}
        started, since = time.monotonic(), self.step
        while self.step < self.settings.steps and not self.stopping:
            for name, value in self.train_step().items():
                sums[name] = sums.get(name, 0.0) + value
            if self.step % self.settings.log_every == 0:
                count = self.step - since
                row = {name: value / count for name, value in sums.items()}
                seconds = time.monotonic() - started
                row["structures_per_second"] = count * self.settings.batch_size / seconds
                self._log(self.log_path, row)
                if report:
                    report(self.step, row)
                sums, started, since = {}, time.monotonic(), self.step
            if self.step % self.settings.checkpoint_every == 0:
                self.save()
            if self.evaluate and self.step % self.settings.evaluate_every == 0:
                figures = self.evaluate(self.average)
                self._log(self.folder / "evaluation.csv", figures)
                if report:
                    report(self.step, figures)
                started = time.monotonic()
                since, sums = self.step, {}
        self.save()

    def train_step(self) -> dict[str, float]:
        """One step of the optimiser; the losses by name."""
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.step)
        device = next(iter(self.parameters.values())).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.settings.mixed_precision):
            losses = self.model.loss(self.batches(self.step), generator)
        self.optimiser.zero_grad(set_to_none=True)
        losses["loss"].backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, self.step)
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
        self.step += 1
        weight = 1 - min(self.settings.average, (1 + self.step) / (10 + self.step))
        averages, current = list(self.average.values()), list(self.parameters.values())
        with torch.no_grad():
            torch._foreach_lerp_(averages, [p.detach() for p in current], weight)
        return {name: float(value.detach()) for name, value in losses.items()}

    def save(self) -> None:
        """Write the whole state; the old checkpoint is there until the new one is complete."""
        tensors: dict[str, Tensor] = {"step": torch.tensor(self.step)}
        for name, parameter in self.parameters.items():
            tensors[f"weights/{name}"] = parameter
            tensors[f"average/{name}"] = self.average[name]
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser/{key}/{name}"] = torch.as_tensor(value)
        content = Checkpoint("training", self.config.model_dump(mode="json"), tensors)
        write_checkpoint(self.checkpoint_path, content)

    def _restore(self) -> None:
        tensors = read_checkpoint(self.checkpoint_path, "training").tensors
        self.step = int(tensors["step"])
        state = {}
        for index, (name, parameter) in enumerate(self.parameters.items()):
            with torch.no_grad():
                parameter.copy_(tensors[f"weights/{name}"])
            self.average[name] = tensors[f"average/{name}"].to(parameter.device)
            keys = [
                key for key in tensors if key.startswith("optimiser/") and key.endswith(f"/{name}")
            ]
            if keys:
                state[index] = {key.split("/")[1]: tensors[key] for key in keys}
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        for path in (self.log_path, self.folder / "evaluation.csv"):
            self._truncate(path)

    def _start_from(self, path: Path) -> None:
        """Take the weights of a file that an earlier training released."""
        content = read_checkpoint(path, checkpoint_kind(path))
        adapt = getattr(self.model, "adapted", None)
        tensors = content.tensors if adapt is None else adapt(content)
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        if shapes != {name: parameter.shape for name, parameter in self.parameters.items()}:
            raise GeomaeError(f"{path} can't be trained further: it holds a model of other sizes")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[name])
                self.average[name] = parameter.detach().clone()

    def _truncate(self, path: Path) -> None:
        """Drop the lines of steps that the checkpoint does not have: they will come again."""
        if path.exists():
            head, *lines = path.read_text().splitlines()
            kept = [line for line in lines if int(line.split(",")[0]) <= self.step]
            path.write_text("\n".join([head, *kept]) + "\n")

    def _log(self, path: Path, row: dict[str, float]) -> None:
        new = not path.exists()
        with open(path, "a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", *row])
            writer.writerow([self.step, *(f"{value:.6g}" for value in row.values())])

    def _stop(self, *_: object) -> None:
        self.stopping = True


def learning_rate(settings: TrainingConfig, step: int) -> float:
    """Warm up, hold, and fall to zero over the last share of the steps."""
    start = settings.steps * (1 - settings.decay)
    rise = min(1.0, (step + 1) / max(settings.warmup, 1))
    fall = 1.0 if step < start else (settings.steps - step) / max(settings.steps - start, 1)
    return settings.learning_rate * min(rise, fall)
