"""Encoding in shards: each is a unit of work, and its content does not depend on who does it."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomae.autoencoder import Codec, load
from geomae.bulk.entries import Entry, Inputs
from geomae.bulk.files import Form, Header, form_of
from geomae.bulk.parts import Part
from geomae.bulk.plan import INDEX, Plan, make_plan, settle_plan
from geomae.data.cache import replacing
from geomae.data.structure import Structure
from geomae.errors import CheckpointError, GeomaeError, StructureError

if TYPE_CHECKING:
    from geomae.autoencoder import Latents

SHARD_SIZE = 4096
BATCH_SIZE = 256


@dataclass(frozen=True)
class Outcome:
    """What encoding a part came to.

    Attributes:
        encoded: structures that were encoded now.
        kept: structures in shards that were there already.
        skipped: entry, name and fault of each that was left out of this part, now or before.
        missing: numbers of shards of other parts that aren't there yet.
    """

    encoded: int
    kept: int
    skipped: tuple[tuple[int, str, str], ...]
    missing: tuple[int, ...]

    @property
    def complete(self) -> bool:
        """Whether the folder holds everything, all parts included."""
        return not self.missing


def encode_shards(
    inputs: Inputs | str | Path | Sequence[Any],
    folder: str | Path,
    *,
    model: str | Path | Codec = "qm9",
    form: str = "safetensors",
    shard_size: int = SHARD_SIZE,
    batch_size: int = BATCH_SIZE,
    part: Part | None = None,
    on_error: str = "raise",
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Encode any number of structures into a folder of shards, in constant memory.

    Shard k holds the entries from `k * shard_size` on. Shards that are there already are kept,
    so the same call goes on after an interruption. Processes with different parts, on one
    machine or on several with a common folder, share the work; whoever comes last completes
    `index.json`. What files hold is the same, bit for bit, however the work was shared or
    interrupted.

    Args:
        inputs: to encode; names of files, folders and data sources, or a list of structures.
        folder: for the shards; must be empty, or begun by the same call.
        model: name, path or model.
        form: 'safetensors' or 'parquet'.
        shard_size: entries of a shard.
        batch_size: structures encoded together.
        part: of the shards; by default what torchrun or SLURM say.
        on_error: 'raise' at a structure that can't be used, or 'skip' it and note it.
        device: where to compute.
        progress: called with the number of structures after each shard.

    Raises:
        GeomaeError: an argument can't be used, the folder was begun otherwise, or there is
            nothing to encode.
        StructureError: a structure can't be used, or the model does not take it. Shards before
            it are kept.
        MissingExtraError: Parquet without pyarrow.
    """
    if shard_size < 1 or batch_size < 1:
        raise GeomaeError(
            f"shard_size and batch_size must be at least 1, not {shard_size} and {batch_size}"
        )
    if on_error not in ("raise", "skip"):
        raise GeomaeError(f"on_error must be 'raise' or 'skip', not '{on_error}'")
    inputs = inputs if isinstance(inputs, Inputs) else Inputs(inputs)
    part = part or Part.from_environment()
    writer = form_of(form)
    network = model if isinstance(model, Codec) else load(model, device=device)
    name = "a model in memory" if isinstance(model, Codec) else str(model)
    plan, folder = make_plan(network, name, inputs, form, shard_size, batch_size), Path(folder)
    settle_plan(folder, plan)
    counts, skipped, total = {"encoded": 0, "kept": 0}, [], 0
    for number, entries in enumerate(_pieces(iter(inputs), shard_size)):
        first, total = total, total + len(entries)
        if not part.has(number):
            continue
        path = folder / plan.shard_name(number)
        header, kind = finished(path, plan, writer, total), "kept"
        if header is None:
            header, latents = _encode(network, entries, first, number, plan, on_error)
            writer.write(path, header, latents)
            kind = "encoded"
        counts[kind] += len(header.names)
        skipped += header.skipped
        if progress:
            progress(len(header.names))
    if not total:
        raise GeomaeError("there is no structure to encode")
    return Outcome(**counts, skipped=tuple(skipped), missing=write_index(folder, plan, total))


def finished(path: Path, plan: Plan, form: Form, stop: int) -> Header | None:
    """Header of a shard that is there and whole; None if it must be made."""
    try:
        header = form.header(path) if path.exists() else None
    except CheckpointError:
        return None
    return header if header and header.plan == plan.digest() and header.stop == stop else None


def write_index(folder: Path, plan: Plan, total: int) -> tuple[int, ...]:
    """List the shards that are there, and return the numbers of those that aren't.

    Several processes may end at once. Each lists again after writing, until nothing has changed:
    so the last to write has seen every shard.
    """
    form, count = form_of(plan.form), -(-total // plan.shard_size)
    seen: list[int] | None = None
    headers: dict[int, Header] = {}
    while True:
        there = [k for k in range(count) if (folder / plan.shard_name(k)).exists()]
        if there == seen:
            break
        for k in there:
            if k not in headers:
                headers[k] = form.header(folder / plan.shard_name(k))
        _write_index(folder, plan, total, headers)
        seen = there
    if len(seen) == count:
        for left in folder.glob(f".shard-*.{plan.form}.*.tmp"):  # by processes that were killed
            left.unlink(missing_ok=True)
    return tuple(k for k in range(count) if k not in headers)


def _write_index(folder: Path, plan: Plan, total: int, headers: dict[int, Header]) -> None:
    shards = [
        {
            "file": plan.shard_name(number),
            "first": header.first,
            "stop": header.stop,
            "structures": len(header.names),
            "skipped": len(header.skipped),
        }
        for number, header in sorted(headers.items())
    ]
    content = {
        "format": "geomae-shards",
        "complete": len(headers) == -(-total // plan.shard_size),
        "entries": total,
        "structures": sum(shard["structures"] for shard in shards),
        "skipped": sum(shard["skipped"] for shard in shards),
        "plan": asdict(plan),
        "shards": shards,
    }
    with replacing(folder / INDEX) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def _pieces(entries: Iterator[Entry], size: int) -> Iterator[list[Entry]]:
    while piece := list(islice(entries, size)):
        yield piece


def _encode(
    model: Codec, entries: list[Entry], first: int, number: int, plan: Plan, on_error: str
) -> tuple[Header, "Latents"]:
    """Header and latents of a shard."""
    header = Header(number, plan.digest(), first, first + len(entries))
    structures: list[Structure] = []
    for offset, entry in enumerate(entries):
        try:
            structure = entry.open()
            model.check([structure])
        except StructureError as error:
            if on_error == "raise":
                source = error.source or entry.name or None
                kind = type(error)
                raise kind(error.fault, index=first + offset, source=source) from error
            header.skipped.append((first + offset, error.source or entry.name, error.fault))
            continue
        structures.append(structure)
        header.names.append(entry.name or f"structure-{first + offset}")
        header.entries.append(first + offset)
    return header, model.encode(structures, batch_size=plan.batch_size)
