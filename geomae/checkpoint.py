"""Weights on disk: safetensors, with the configuration as JSON in the header."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from e3nn import o3
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from geomae.data.cache import replacing
from geomae.errors import CheckpointError

FORMAT_VERSION = 1

UPGRADES: dict[int, Callable[[dict], dict]] = {}
"""From each format version, the step that makes the next one of a header."""


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and what the header says of them.

    Attributes:
        kind: what it is: 'autoencoder', 'training', 'latents', ...
        config: JSON-like configuration.
        tensors: by name.
    """

    kind: str
    config: dict
    tensors: dict[str, Tensor]


def coupling_fingerprint() -> list[float]:
    """A few Clebsch-Gordan numbers: their phases have changed between e3nn releases."""
    table = o3.wigner_3j(1, 2, 3, dtype=torch.float64)
    return [round(value, 8) for value in table.flatten()[[2, 8, 19, 33, 52, 70]].tolist()]


def write_checkpoint(path: Path | str, checkpoint: Checkpoint) -> None:
    """Write under a temporary name, then rename: an interruption never leaves half a file."""
    header = {
        "format": "geomae",
        "format_version": str(FORMAT_VERSION),
        "kind": checkpoint.kind,
        "config": json.dumps(checkpoint.config),
        "coupling": json.dumps(coupling_fingerprint()),
    }
    tensors = {name: t.detach().contiguous().cpu() for name, t in checkpoint.tensors.items()}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata=header)


def read_checkpoint(path: Path | str, kind: str) -> Checkpoint:
    """Read a checkpoint of a kind.

    Raises:
        CheckpointError: there is no such file, it is damaged or not geomae's, of another kind or
            a newer format, or was made with other signs of the Clebsch-Gordan coefficients.
    """
    header, tensors = _read(path)
    if header["kind"] != kind:
        raise CheckpointError(f"{path} holds {header['kind']}, expected {kind}")
    if json.loads(header["coupling"]) != coupling_fingerprint():
        raise CheckpointError(
            f"{path} was made with Clebsch-Gordan coefficients of other signs than those of the "
            "installed e3nn; install the release that its card names"
        )
    return Checkpoint(kind, json.loads(header["config"]), tensors)


def checkpoint_kind(path: Path | str) -> str:
    """What a file holds by its header: 'autoencoder', 'crystals', 'latents', ...

    Raises:
        CheckpointError: as `read_checkpoint`.
    """
    return _read(path, tensors=False)[0]["kind"]


def _read(path: Path | str, tensors: bool = True) -> tuple[dict, dict[str, Tensor]]:
    """Header, brought to the present format, and tensors if they are wanted."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            names = file.keys() if tensors else ()
            content = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    if header.get("format") != "geomae":
        raise CheckpointError(
            f"{path} was not written by geomae: its header has no 'format: geomae'"
        )
    return _upgraded(path, header), content


def _upgraded(path: Path | str, header: dict) -> dict:
    version = int(header["format_version"])
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}; this geomae reads up to {FORMAT_VERSION}: "
            "update geomae"
        )
    for step in range(version, FORMAT_VERSION):
        header = UPGRADES[step](header)
    return header
