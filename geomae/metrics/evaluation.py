"""Encode, decode and compare many structures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.memory import keep_memory
from geomae.metrics.reconstruction import Comparison, compare

if TYPE_CHECKING:
    from geomae.autoencoder import Autoencoder


@dataclass(frozen=True)
class Reconstruction:
    """A structure, and what came back from its latent.

    Attributes:
        original: what was encoded.
        decoded: what was decoded; None if the model does not take the original.
        comparison: of the two; None likewise.
        message: why there is nothing decoded.
    """

    original: Structure
    decoded: Structure | None = None
    comparison: Comparison | None = None
    message: str | None = None

    @property
    def residual(self) -> float:
        """|E(X) - z| / |z| of the decoded structure; nan if there is none."""
        return float("nan") if self.decoded is None else self.decoded.residual

    @property
    def certified(self) -> bool:
        return self.decoded is not None and bool(self.decoded.certified)

    @property
    def status(self) -> str:
        """'exact', 'reconstructed', 'wrong', 'doubtful' (wrong, and said so) or 'refused'."""
        if self.comparison is None:
            return "refused"
        if self.comparison.reconstructed:
            return "exact" if self.comparison.exact else "reconstructed"
        return "wrong" if self.certified else "doubtful"


def reconstruct(
    model: "Autoencoder",
    structures: Sequence[Structure],
    *,
    refine: bool = True,
    retries: int | None = None,
    batch_size: int = 256,
    workers: int = 1,
    progress: bool = False,
    on_error: str = "skip",
) -> list[Reconstruction]:
    """Encode each structure, decode it from the latent alone, and compare.

    Args:
        model: to use; the decoder gets the latents and nothing else.
        structures: in any number.
        refine: sharpen the decoded positions against the encoder.
        retries: other readings that are tried where there is no certificate; None leaves it to
            the model. See `Autoencoder.decode`.
        batch_size: structures at a time.
        workers: processes, each with one thread; 1 works in this one.
        progress: show a bar.
        on_error: 'raise', or 'skip' to return what the model refuses with a message.
    """
    if on_error not in ("raise", "skip"):
        raise GeomaeError(f"on_error must be 'raise' or 'skip', not '{on_error}'")
    if on_error == "raise":
        model.check(structures)
    refused = dict(_refusals(model, structures))
    taken = [i for i in range(len(structures)) if i not in refused]
    chunks = [taken[start : start + batch_size] for start in range(0, len(taken), batch_size)]
    jobs = [[structures[i] for i in chunk] for chunk in chunks]
    results = {i: Reconstruction(structures[i], message=text) for i, text in refused.items()}
    how = {"refine": refine} | ({} if retries is None else {"retries": retries})
    decoded = _bar(_run(model, jobs, how, workers), len(jobs), progress)
    for chunk, parts in zip(chunks, decoded, strict=True):
        for i, part in zip(chunk, parts, strict=True):
            results[i] = Reconstruction(structures[i], part, compare(structures[i], part))
    return [results[i] for i in range(len(structures))]


def _refusals(model: "Autoencoder", structures: Sequence[Structure]) -> Iterator[tuple[int, str]]:
    for index, structure in enumerate(structures):
        try:
            model.check([structure])
        except GeomaeError as error:
            yield index, getattr(error, "fault", str(error))


def _run(
    model: "Autoencoder", jobs: list[list[Structure]], how: dict, workers: int
) -> Iterator[list[Structure]]:
    """Decoded structures of each job, in order."""
    if workers <= 1:
        for job in jobs:
            yield model.decode(model.encode(job), **how)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_start_worker, initargs=(model, how)
    ) as pool:
        for packed in pool.map(_work, [_pack(job) for job in jobs]):
            yield [_unpack(columns) for columns in packed]


_worker: dict = {}


def _start_worker(model: "Autoencoder", how: dict) -> None:
    keep_memory()
    torch.set_num_threads(1)
    _worker.update(model=model, how=how)


def _work(job: list[dict]) -> list[dict]:
    model, structures = _worker["model"], [_unpack(columns) for columns in job]
    return _pack(model.decode(model.encode(structures), **_worker["how"]))


def _pack(structures: list[Structure]) -> list[dict]:
    """Atoms and what a decoding says of them, as NumPy arrays.

    Tensors would cross between processes in shared memory, with a file open for each of them.
    """
    names = ("numbers", "positions", "confidence", "residual", "certified")
    return [
        {
            name: value.numpy() if isinstance(value := structure[name], torch.Tensor) else value
            for name in names
            if structure.get(name) is not None
        }
        for structure in structures
    ]


def _unpack(columns: dict) -> Structure:
    """The structure that was packed."""
    return Structure(
        **{k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in columns.items()}
    )


def _bar(items: Iterator, total: int, progress: bool) -> Iterator:
    if not progress:
        return items
    from rich.progress import track

    return iter(track(items, "reconstructing", total=total, transient=True))
