"""One shard on disk: safetensors or Parquet, there whole or not at all."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from geomae.autoencoder.latents import Latents
from geomae.checkpoint import Checkpoint, write_checkpoint
from geomae.data.cache import replacing
from geomae.errors import CheckpointError, GeomaeError, MissingExtraError


@dataclass(frozen=True)
class Header:
    """What a shard says of itself.

    Attributes:
        number: of the shard, from 0.
        plan: digest of the plan that it belongs to.
        first, stop: its entries, counted from 0 over all inputs.
        names: of the encoded structures.
        entries: which entries these are.
        skipped: entry, name and fault of each that was left out.
    """

    number: int
    plan: str
    first: int
    stop: int
    names: list[str] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    skipped: list[tuple[int, str, str]] = field(default_factory=list)


class SafetensorsForm:
    """Each shard a file that `Latents.load` and `geomae decode` take, too."""

    def write(self, path: Path, header: Header, latents: Latents) -> None:
        """Write a shard."""
        tensors = {"array": latents.array, "centres": latents.centres}
        write_checkpoint(path, Checkpoint("latents", {"shard": asdict(header)}, tensors))

    def header(self, path: Path) -> Header:
        """Of a shard.

        Raises:
            CheckpointError: the file is damaged, or no shard.
        """
        try:
            with safe_open(path, framework="pt") as file:
                config = json.loads((file.metadata() or {}).get("config", "{}"))
                file.get_slice("array").get_shape()
        except (SafetensorError, OSError, json.JSONDecodeError) as error:
            raise CheckpointError(f"{path} is not a readable shard: {error}") from error
        if "shard" not in config:
            raise CheckpointError(f"{path} holds no shard of latents")
        return _header(config["shard"])

    def rows(self, path: Path, rows: slice | Sequence[int]) -> Latents:
        """Some latents of a shard; only their rows are read, if these follow each other."""
        with safe_open(path, framework="pt") as file:
            array, centres = (file.get_slice(name) for name in ("array", "centres"))
            if isinstance(rows, slice):
                return Latents(array[rows], centres[rows])
            return Latents(array[:][list(rows)], centres[:][list(rows)])


class ParquetForm:
    """Columns `entry`, `name`, `centre` (3 numbers) and `latent` (components times channels)."""

    def write(self, path: Path, header: Header, latents: Latents) -> None:
        """Write a shard.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        pa, parquet = _arrow(), _parquet()
        shape = latents.array.shape[1:]
        columns = {
            "entry": pa.array(header.entries, pa.int64()),
            "name": pa.array(header.names, pa.string()),
            "centre": _lists(pa, latents.centres),
            "latent": _lists(pa, latents.array.flatten(1)),
        }
        about = asdict(header) | {"names": [], "entries": [], "shape": list(shape)}
        table = pa.table(columns).replace_schema_metadata({"geomae": json.dumps(about)})
        with replacing(path) as temporary:
            parquet.write_table(table, temporary)

    def header(self, path: Path) -> Header:
        """Of a shard.

        Raises:
            CheckpointError: the file is damaged, or no shard.
            MissingExtraError: pyarrow is not installed.
        """
        about = dict(_about(path))
        about.pop("shape")
        table = _parquet().read_table(path, columns=["entry", "name"])
        names, entries = table["name"].to_pylist(), table["entry"].to_pylist()
        return _header(about | {"names": names, "entries": entries})

    def rows(self, path: Path, rows: slice | Sequence[int]) -> Latents:
        """Some latents of a shard, which is read whole and kept for the next rows."""
        array, centres = _parquet_arrays(path, path.stat().st_mtime_ns)
        rows = rows if isinstance(rows, slice) else list(rows)
        return Latents(torch.from_numpy(array[rows].copy()), torch.from_numpy(centres[rows].copy()))


Form = SafetensorsForm | ParquetForm

FORMS: dict[str, Form] = {"safetensors": SafetensorsForm(), "parquet": ParquetForm()}


def form_of(name: str) -> Form:
    """The form of a name.

    Raises:
        GeomaeError: there is none.
        MissingExtraError: it needs a package that isn't installed.
    """
    if name not in FORMS:
        raise GeomaeError(f"shards are written as {' or '.join(FORMS)}, not '{name}'")
    if name == "parquet":
        _parquet()
    return FORMS[name]


def _header(content: dict[str, Any]) -> Header:
    return Header(**content | {"skipped": [tuple(item) for item in content["skipped"]]})


def _arrow() -> ModuleType:
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error
    return pyarrow


def _parquet() -> ModuleType:
    _arrow()
    import pyarrow.parquet

    return pyarrow.parquet


def _lists(pa: ModuleType, values: torch.Tensor) -> Any:
    flat = values.detach().cpu().contiguous().numpy()
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])


def _about(path: Path) -> dict:
    try:
        metadata = _parquet().read_schema(path).metadata or {}
    except (_arrow().ArrowInvalid, OSError) as error:
        raise CheckpointError(f"{path} is not a readable shard: {error}") from error
    if b"geomae" not in metadata:
        raise CheckpointError(f"{path} holds no shard of latents")
    return json.loads(metadata[b"geomae"])


@lru_cache(maxsize=2)
def _parquet_arrays(path: Path, changed: int) -> tuple[np.ndarray, np.ndarray]:
    """Latents and centres of a shard; `changed` makes a new file a new entry."""
    shape = _about(path)["shape"]
    table = _parquet().read_table(path, columns=["latent", "centre"])
    array, centres = (
        table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        for name in ("latent", "centre")
    )
    return array.reshape(-1, *shape), centres.reshape(-1, 3)
