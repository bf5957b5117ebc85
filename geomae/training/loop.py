"""The training loop: any model with a `loss`, any data with batches by number."""

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
from geomae.training.logs import Log
from geomae.training.order import noise_seed
from geomae.training.ranks import Ranks

Evaluation = Callable[[dict[str, Tensor]], dict[str, float]]
"""Figures of weights, given by name."""


@runtime_checkable
class Batches(Protocol):
    """Training data: what the seed and the step decide alone, cut into equal parts."""

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> object: ...


class Trainer:
    """Trains a model and can stop and go on at any step, with the same result.

    The order of the data and the noise are functions of the seed and the step, so weights, their
    average and the optimiser's moments are the whole state. Several ranks share the parts of each
    batch and take the same steps; the first alone writes.

    Args:
        model: with `loss(batch, generator) -> dict` that has the key 'loss'.
        batches: gives the batch of each step.
        config: of the run; kept in every checkpoint.
        folder: for `checkpoint.safetensors`, `log.csv` and `evaluation.csv`; all ranks read it.
        evaluate: figures of the averaged weights, by name.
        ranks: who trains together; this process alone by default.
        tensorboard: write TensorBoard's event files into the folder, too.

    Raises:
        GeomaeError: a batch can't be cut into equal parts, or there are more ranks than parts; the
            folder's checkpoint is not there for all ranks; see `start` of the configuration.
        MissingExtraError: TensorBoard is asked for and not installed.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        config: Run,
        folder: Path | str,
        evaluate: Evaluation | None = None,
        *,
        ranks: Ranks | None = None,
        tensorboard: bool = False,
    ):
        self.ranks = ranks or Ranks()
        self.model, self.batches, self.config = model.to(self.ranks.device), batches, config
        self.evaluate = evaluate
        self.settings: TrainingConfig = config.training
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.step, self.parts = 0, self.settings.parts or self.ranks.count
        self.parameters = dict(model.named_parameters())
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=0.0, weight_decay=self.settings.weight_decay, foreach=True
        )
        self.stopping = self.stopped = False
        if self.checkpoint_path.exists():
            self._restore()
        elif self.settings.start:
            self._start_from(self.settings.start)
        self._check_parts()
        self.log = None
        if self.ranks.leads:
            self.log = Log(self.folder, self.step, tensorboard=tensorboard)

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / "checkpoint.safetensors"

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
            self._run(report or (lambda step, row: None))
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
            torch.set_num_threads(threads)
            if self.log:
                self.log.close()

    def _run(self, report: Callable[[int, dict[str, float]], None]) -> None:
        self.model.train()
        sums: dict[str, float] = {}
        started, since = time.monotonic(), self.step
        while self.step < self.settings.steps and not self.stopped:
            for name, value in self.train_step().items():
                sums[name] = sums.get(name, 0.0) + value
            if self.step % self.settings.log_every == 0:
                count = self.step - since
                row = {name: value / count for name, value in sums.items()}
                seconds = time.monotonic() - started
                row["structures_per_second"] = count * self.settings.batch_size / seconds
                self._tell("log", row, report)
                sums, started, since = {}, time.monotonic(), self.step
            if self.step % self.settings.checkpoint_every == 0:
                self.save()
            if self.evaluate and self.step % self.settings.evaluate_every == 0:
                if self.ranks.leads:
                    self._tell("evaluation", self.evaluate(self.average), report)
                started = time.monotonic()
                since, sums = self.step, {}
        self.save()

    def _tell(self, name: str, row: dict[str, float], report: Callable) -> None:
        """Log and report figures, from one rank."""
        if self.log:
            self.log.write(name, self.step, row)
            report(self.step, row)

    def train_step(self) -> dict[str, float]:
        """One step of the optimiser; the losses by name, over all ranks."""
        losses = self._gradients()
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
        self.stopped = self.ranks.any(self.stopping)
        return {name: float(value) for name, value in losses.items()}

    def _gradients(self) -> dict[str, Tensor]:
        """Leave the gradients of the whole batch in the parameters; its losses by name."""
        self.optimiser.zero_grad(set_to_none=True)
        total: dict[str, Tensor] = {}
        for part in range(self.ranks.index, self.parts, self.ranks.count):
            batch = self.batches(self.step, part, self.parts)
            generator = torch.Generator().manual_seed(
                noise_seed(self.settings.seed, self.step, part)
            )
            low = self.settings.mixed_precision
            with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=low):
                losses = self.model.loss(batch, generator)
            (losses["loss"] / self.parts).backward()
            for name, value in losses.items():
                own = value.detach() / self.parts
                total[name] = total[name] + own if name in total else own
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        self.ranks.sum([*gradients, *total.values()])
        return total

    def save(self) -> None:
        """Write the whole state; the old checkpoint is there until the new one is complete."""
        if not self.ranks.leads:
            return
        tensors: dict[str, Tensor] = {"step": torch.tensor(self.step)}
        for name, parameter in self.parameters.items():
            tensors[f"weights/{name}"] = parameter
            tensors[f"average/{name}"] = self.average[name]
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser/{key}/{name}"] = torch.as_tensor(value)
        config = self.config.model_dump(mode="json")
        config["training"]["parts"] = self.parts
        write_checkpoint(self.checkpoint_path, Checkpoint("training", config, tensors))

    def _restore(self) -> None:
        content = read_checkpoint(self.checkpoint_path, "training")
        tensors, begun = content.tensors, content.config["training"]
        self.parts = self.settings.parts or begun.get("parts") or 1
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

    def _check_parts(self) -> None:
        if self.settings.batch_size % self.parts:
            raise GeomaeError(
                f"batch_size ({self.settings.batch_size}) must be a multiple of the number of "
                f"parts ({self.parts}), which is that of the ranks unless `parts` says another"
            )
        if self.ranks.count > self.parts:
            raise GeomaeError(
                f"{self.ranks.count} ranks can't share batches of {self.parts} part(s): expected "
                "`parts` in the configuration's `training` to be at least the number of ranks"
            )
        if not self.ranks.same(self.step):
            raise GeomaeError(
                f"the ranks are at different steps (rank {self.ranks.index} at {self.step}): "
                f"all of them must see the same checkpoint in {self.folder}"
            )

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

    def _stop(self, *_: object) -> None:
        self.stopping = True


def learning_rate(settings: TrainingConfig, step: int) -> float:
    """Warm up, hold, and fall to zero over the last share of the steps."""
    start = settings.steps * (1 - settings.decay)
    rise = min(1.0, (step + 1) / max(settings.warmup, 1))
    fall = 1.0 if step < start else (settings.steps - step) / max(settings.steps - start, 1)
    return settings.learning_rate * min(rise, fall)
