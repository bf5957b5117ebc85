"""Training resumes exactly, and configurations say what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from geomae.checkpoint import Checkpoint, write_checkpoint
from geomae.errors import GeomaeError
from geomae.training.config import RunConfig, read_config
from geomae.training.loop import Trainer, learning_rate
from geomae.training.molecules import with_least_share
from tests.autoencoder.conftest import small_config

CONFIG = Path(__file__).parents[2] / "models/qm9/config.yaml"


class Line(nn.Module):
    """A straight line to be fitted."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def loss(self, batch, generator):
        noise = 0.1 * torch.randn(3, generator=generator)
        return {"loss": (self.weight - batch + noise).square().sum()}


def config(steps: int) -> RunConfig:
    training = {"steps": steps, "batch_size": 2, "log_every": 2, "checkpoint_every": 4}
    return RunConfig.model_validate(
        {"model": small_config().model_dump(), "training": training | {"threads": 1}}
    )


def batches(step: int, part: int = 0, parts: int = 1) -> torch.Tensor:
    return torch.tensor([1.0, -2.0, 0.5]) + 0.01 * step


def test_a_stopped_training_goes_on_as_if_nothing_had_happened(tmp_path):
    whole = Trainer(Line(), batches, config(10), tmp_path / "whole")
    whole.run()
    first = Trainer(Line(), batches, config(10), tmp_path / "parts")
    for _ in range(5):
        first.train_step()
    first.save()
    second = Trainer(Line(), batches, config(10), tmp_path / "parts")
    assert second.step == 5
    second.run()
    assert torch.equal(second.model.weight, whole.model.weight)
    assert torch.equal(second.average["weight"], whole.average["weight"])


def test_a_training_starts_from_released_weights(tmp_path):
    first = Trainer(Line(), batches, config(20), tmp_path / "first")
    first.run()
    released = tmp_path / "weights.safetensors"
    write_checkpoint(released, Checkpoint("line", {}, dict(first.average)))
    whole = config(20)
    training = whole.training.model_copy(update={"start": released})
    further = whole.model_copy(update={"training": training})
    second = Trainer(Line(), batches, further, tmp_path / "second")
    for name, value in second.parameters.items():
        assert torch.equal(value, first.average[name])
    second.run()
    again = Trainer(Line(), batches, further, tmp_path / "second")
    assert again.step == 20
    assert not torch.equal(again.parameters["weight"], first.average["weight"])

    write_checkpoint(released, Checkpoint("line", {}, {"weight": torch.zeros(7)}))
    with pytest.raises(GeomaeError, match="other sizes"):
        Trainer(Line(), batches, further, tmp_path / "third")


def test_the_log_has_no_line_twice(tmp_path):
    trainer = Trainer(Line(), batches, config(6), tmp_path)
    trainer.run()
    again = Trainer(Line(), batches, config(10), tmp_path)
    again.run()
    steps = [line.split(",")[0] for line in (tmp_path / "log.csv").read_text().splitlines()]
    assert steps == ["step", "2", "4", "6", "8", "10"]


def test_schedule_rises_holds_and_falls():
    settings = config(100).training.model_copy(update={"warmup": 10, "decay": 0.5})
    rates = [learning_rate(settings, step) / settings.learning_rate for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:51] == [1.0] * 42
    assert rates[75] == pytest.approx(0.5) and rates[99] == pytest.approx(0.02)


def test_shipped_configuration_is_valid():
    assert read_config(CONFIG).model.elements == (1, 6, 7, 8, 9)


def test_misspelt_key_is_named_with_the_right_one(tmp_path):
    content = yaml.safe_load(CONFIG.read_text())
    content["training"]["learning_rat"] = 1.0
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(GeomaeError, match=r"learning_rat.*did you mean 'learning_rate'"):
        read_config(tmp_path / "bad.yaml")


def test_wrong_value_is_named(tmp_path):
    content = yaml.safe_load(CONFIG.read_text())
    content["model"]["levels"][0]["channels"] = 30
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(GeomaeError, match=r"channels \(30\) must be a multiple of groups \(8\)"):
        read_config(tmp_path / "bad.yaml")


def test_missing_configuration(tmp_path):
    with pytest.raises(GeomaeError, match="can't read"):
        read_config(tmp_path / "none.yaml")


def test_held_out_structures_are_evaluated_and_logged(tmp_path):
    settings = config(8)
    training = settings.training.model_copy(update={"evaluate_every": 4})
    settings = settings.model_copy(update={"training": training})
    seen = []

    def evaluate(weights):
        seen.append(weights["weight"].clone())
        return {"reconstructed": 0.5}

    Trainer(Line(), batches, settings, tmp_path, evaluate).run()
    assert (tmp_path / "evaluation.csv").read_text().split() == [
        "step,reconstructed",
        "4,0.5",
        "8,0.5",
    ]
    assert len(seen) == 2 and not torch.equal(*seen)


def test_rare_sizes_are_repeated():
    ids, kind = np.arange(1000, 1100), np.array([1] * 2 + [2] * 98)
    more = with_least_share(ids, kind, 0.1)
    assert (more == 1000).sum() == (more == 1001).sum() == 5 and (more == 1050).sum() == 1
    assert np.array_equal(with_least_share(ids, kind, 0.0), ids)
