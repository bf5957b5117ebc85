"""Reading a folder of shards by number, without loading it."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from geomae.autoencoder.latents import Latents
from geomae.bulk.files import Header, form_of
from geomae.bulk.plan import INDEX, read_plan
from geomae.errors import GeomaeError


class ShardedLatents:
    """Latents in a folder of shards, in the order of what was encoded.

    `shards[i]`, `shards[a:b]` and `shards[[3, 1, 4]]` are `Latents`, of which only the rows asked
    for are read.

    Attributes:
        folder: of the shards.
        plan: what was encoded, and how.
        files, headers: of the shards.
    """

    def __init__(self, folder: Path, files: Sequence[Path], headers: Sequence[Header]):
        self.folder, self.files, self.headers = folder, list(files), list(headers)
        self.plan = read_plan(folder)
        self._form = form_of(self.plan.form)
        self._starts = list(accumulate((len(h.names) for h in headers), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def __repr__(self) -> str:
        shape = f"[{(self.lmax + 1) ** 2}, {self.channels}]"
        return f"ShardedLatents({len(self)} of {shape} in {len(self.files)} shards)"

    @property
    def lmax(self) -> int:
        return self.plan.lmax

    @property
    def channels(self) -> int:
        return self.plan.channels

    @cached_property
    def names(self) -> list[str]:
        """Names of the structures."""
        return [name for header in self.headers for name in header.names]

    @cached_property
    def entries(self) -> list[int]:
        """Which of the inputs' entries each is: other numbers than its own if some were skipped."""
        return [entry for header in self.headers for entry in header.entries]

    @cached_property
    def skipped(self) -> list[tuple[int, str, str]]:
        """Entry, name and fault of what was left out."""
        return [item for header in self.headers for item in header.skipped]

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Latents:
        """Some of the latents; a single number gives a batch of one."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._span(start, max(start, stop))
            index = range(start, stop, step)
        numbers = torch.as_tensor(index if not isinstance(index, range) else list(index))
        return self._rows([self._checked(int(i)) for i in numbers.reshape(-1).tolist()])

    def __iter__(self) -> Iterator[Latents]:
        """Batches of one, a shard read at a time."""
        for batch in self.batches():
            for i in range(len(batch)):
                yield batch[i]

    def batches(self, size: int | None = None) -> Iterator[Latents]:
        """All latents in order, at most `size` (by default a shard) at a time."""
        for start, stop in zip(self._starts, self._starts[1:], strict=False):
            step = size or max(stop - start, 1)
            for first in range(start, stop, step):
                yield self._span(first, min(first + step, stop))

    def load(self) -> Latents:
        """All of them."""
        return self._span(0, len(self))

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} latents, no number {index}")
        return index % len(self)

    def _span(self, start: int, stop: int) -> Latents:
        parts = []
        for k, (low, high) in enumerate(zip(self._starts, self._starts[1:], strict=False)):
            first, last = max(start, low), min(stop, high)
            if first < last:
                parts.append(self._form.rows(self.files[k], slice(first - low, last - low)))
        return Latents.join(parts) if parts else self._nothing()

    def _rows(self, numbers: list[int]) -> Latents:
        """Rows in any order; every shard is opened once."""
        by_shard: dict[int, list[int]] = {}
        for place, number in enumerate(numbers):
            by_shard.setdefault(bisect_right(self._starts, number) - 1, []).append(place)
        parts, places = [], []
        for k, own in by_shard.items():
            rows = [numbers[place] - self._starts[k] for place in own]
            one = slice(rows[0], rows[0] + 1) if len(rows) == 1 else rows
            parts.append(self._form.rows(self.files[k], one))
            places += own
        if not parts:
            return self._nothing()
        return Latents.join(parts)[torch.tensor(places).argsort()]

    def _nothing(self) -> Latents:
        shape = (0, (self.lmax + 1) ** 2, self.channels)
        dtype = getattr(torch, self.plan.dtype)
        return Latents(torch.zeros(shape, dtype=dtype), torch.zeros(0, 3, dtype=torch.float64))


def open_shards(folder: str | Path, *, partial: bool = False) -> ShardedLatents:
    """The latents of a folder that `encode_shards` or `geomae encode` wrote.

    Args:
        folder: of the shards.
        partial: take what is there of an unfinished encoding.

    Raises:
        GeomaeError: the folder holds no shards, or not all of them.
        CheckpointError: a shard is damaged.
        MissingExtraError: Parquet without pyarrow.
    """
    import json

    folder = Path(folder).expanduser()
    plan = read_plan(folder)
    form = form_of(plan.form)
    path = folder / INDEX
    index = json.loads(path.read_text()) if path.exists() else {"complete": False, "shards": []}
    files = sorted(folder.glob(f"shard-*.{plan.form}"))
    headers = [form.header(file) for file in files]
    if not partial and not (index["complete"] and len(index["shards"]) == len(files)):
        raise GeomaeError(
            f"{folder} is not finished ({len(files)} shards so far); run the same encoding again "
            "to finish it, or open it with partial=True"
        )
    strange = [f.name for f, h in zip(files, headers, strict=True) if h.plan != plan.digest()]
    if strange:
        raise GeomaeError(f"{strange[0]} in {folder} belongs to another encoding")
    return ShardedLatents(folder, files, headers)
