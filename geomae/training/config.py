"""What `geomae train` reads: data, model and training in one YAML file."""

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import Field, ValidationError

from geomae.autoencoder.config import AutoencoderConfig, Config
from geomae.errors import GeomaeError


class DataConfig(Config):
    """Attributes:
    source: name of a data set that can be trained on.
    split: part of it that trains.
    least_share: of the batches for each number of heavy atoms; where a data set has fewer,
        they are repeated. QM9 has three molecules of one heavy atom among 130,831.
    displaced: every structure is learned from a second time with its atoms displaced at random,
        each structure by an amount (root mean square, Å) drawn evenly up to this one; 0 for none.
    """

    source: str = "qm9"
    split: str = "train"
    least_share: float = Field(0.0, ge=0, le=0.1)
    displaced: float = Field(0.0, ge=0, le=1)


class TrainingConfig(Config):
    """How the weights are found.

    Attributes:
        steps, batch_size: length of the training, structures a step, of all ranks together.
        parts: into which a batch is cut, with random numbers of their own, so that any number of
            ranks up to it comes to the same result but for rounding; by default as many as there
            are ranks where the training begins.
        learning_rate: AdamW's, reached after `warmup` steps and held until the last share
            `decay` of the steps, over which it falls to zero in a straight line. The
            schedule before the decay does not depend on `steps`.
        weight_decay, clip: AdamW's; largest norm of a gradient.
        average: decay of the exponential moving average of the weights, which is what is
            released.
        start: file of released weights, of the same kind and sizes, that are trained further;
            random weights if None.
        seed: of the initial weights, the order of the data and the noise.
        threads: CPU threads of each rank.
        mixed_precision: compute losses with bfloat16 where torch's autocast does; off by default,
            because equivariance is then exact to two or three digits only.
        release_half: write released weights in float16, at half the size; they are computed with
            in float32 all the same.
        log_every, checkpoint_every: steps between lines of the log, and between checkpoints.
        evaluate_every, evaluate_n: steps between evaluations of the averaged weights, and how
            many structures that were held out they reconstruct.
    """

    steps: int = Field(16_000, ge=1)
    batch_size: int = Field(64, ge=1)
    parts: int | None = Field(None, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    warmup: int = Field(300, ge=0)
    decay: float = Field(0.35, ge=0, le=1)
    weight_decay: float = Field(1e-4, ge=0)
    clip: float = Field(1.0, gt=0)
    average: float = Field(0.999, ge=0, lt=1)
    start: Path | None = None
    seed: int = 0
    threads: int = Field(2, ge=1)
    mixed_precision: bool = False
    release_half: bool = False
    log_every: int = Field(50, ge=1)
    checkpoint_every: int = Field(500, ge=1)
    evaluate_every: int = Field(1000, ge=1)
    evaluate_n: int = Field(64, ge=0)


class Run(Config):
    """Any training run; each kind has its own `data` and `model`, whose `kind` tells it."""

    training: TrainingConfig = TrainingConfig()


class RunConfig(Run):
    """One training run on molecules: what it learns from, what it trains, and how."""

    data: DataConfig = DataConfig()
    model: AutoencoderConfig


RUNS = {
    "crystals": ("geomae.crystals.training", "CrystalRun"),
    "flow": ("geomae.generation.config", "FlowRun"),
    "atom_flow": ("geomae.generation.atoms.config", "AtomFlowRun"),
    "inventories": ("geomae.generation.inventories.config", "InventoryRun"),
    "crystal_flow": ("geomae.generation.crystals.config", "CrystalFlowRun"),
    "inversion": ("geomae.inversion.network.config", "InversionRun"),
}
"""Module and name of the configuration of a kind of model; of all others it is `RunConfig`."""


def read_config(path: Path | str) -> Run:
    """Read and check a YAML file; of an autoencoder of molecules or of crystals, of a flow, of
    inventories or of a network that inverts, as `model.kind` says.

    Raises:
        GeomaeError: it can't be read, or says what no configuration has; the message names the
            key, and the nearest one that there is.
    """
    content = _content(path)
    model = content.get("model") if isinstance(content, dict) else None
    kind = model.get("kind") if isinstance(model, dict) else None
    if not isinstance(kind, str) or kind not in RUNS:
        return _checked(path, content, RunConfig)
    module, name = RUNS[kind]
    return _checked(path, content, getattr(import_module(module), name))


AnyRun = TypeVar("AnyRun", bound=Run)


def read_yaml(path: Path | str, kind: type[AnyRun]) -> AnyRun:
    """Read and check a YAML file that holds a configuration of a kind.

    Raises:
        GeomaeError: as `read_config`.
    """
    return _checked(path, _content(path), kind)


def _content(path: Path | str) -> object:
    try:
        return yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise GeomaeError(f"can't read the configuration {path}: {error}") from error


def _checked(path: Path | str, content: object, kind: type[AnyRun]) -> AnyRun:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
        raise GeomaeError(f"{path}: " + "; ".join(lines)) from error


def _explain(item: dict) -> str:
    """One fault of a configuration in words, with the nearest key where it is misspelt."""
    where = ".".join(map(str, item["loc"]))
    if item["type"] != "extra_forbidden":
        return f"{where}: {item['msg']}"
    close = get_close_matches(str(item["loc"][-1]), sorted(_all_keys(RunConfig)), n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{where}: there is no such key{hint}"


def _all_keys(model: type[Config]) -> set[str]:
    """Keys of a configuration and of those within it."""
    keys = set(model.model_fields)
    for inner in Config.__subclasses__():
        keys |= set(inner.model_fields)
    return keys
