"""Figures of a training go to CSV files, and to TensorBoard if it is asked for."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from geomae.errors import MissingExtraError
from geomae.training.config import read_config
from geomae.training.logs import Log
from geomae.training.run import TASKS, train

CONFIG = Path(__file__).parents[2] / "models/qm9/config.yaml"


def test_lines_of_steps_that_come_again_are_dropped(tmp_path):
    log = Log(tmp_path, 0)
    for step in (2, 4, 6):
        log.write("log", step, {"loss": 1 / step})
    log.write("evaluation", 6, {"rmsd": 0.25})
    again = Log(tmp_path, 4)
    again.write("log", 6, {"loss": 0.125})
    assert (tmp_path / "log.csv").read_text().split() == ["step,loss", "2,0.5", "4,0.25", "6,0.125"]
    assert (tmp_path / "evaluation.csv").read_text().split() == ["step,rmsd"]


def test_an_empty_file_is_begun_anew(tmp_path):
    (tmp_path / "log.csv").touch()
    Log(tmp_path, 0).write("log", 1, {"loss": 2.0})
    assert (tmp_path / "log.csv").read_text().split() == ["step,loss", "1,2"]


def test_event_files_say_the_same(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = Log(tmp_path, 0, tensorboard=True)
    for step in (2, 4, 6):
        log.write("log", step, {"loss": 1 / step, "field_0": 0.5})
    log.close()
    later = Log(tmp_path, 4, tensorboard=True)
    later.write("log", 6, {"loss": 0.125, "field_0": 0.5})
    later.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == {"log/loss", "log/field_0"}
    assert [(e.step, e.value) for e in events.Scalars("log/loss")] == [
        (2, 0.5),
        (4, 0.25),
        (6, 0.125),
    ]


def test_without_tensorboard_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"geomae\[tensorboard\]"):
        Log(tmp_path, 0, tensorboard=True)
    assert Log(tmp_path, 0).events is None


def test_a_training_that_asks_for_it_fails_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError):
        train(read_config(CONFIG), tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_every_kind_of_model_has_a_task():
    for name in TASKS.values():
        assert callable(import_module(name).task)
