"""Encode, decode and compare many crystals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from geomae.crystals.canonical import Canonical
from geomae.crystals.model import CrystalAutoencoder
from geomae.crystals.reader import Reader
from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.metrics.crystals import CrystalComparison, compare_crystal


@dataclass(frozen=True)
class CrystalReconstruction:
    """A crystal, and what came back from its latent.

    Attributes:
        original: what was encoded.
        decoded: what was decoded; None if nothing was, or the model does not take the original.
        comparison: of the two; None if the model does not take the original.
        message: why it does not.
    """

    original: Structure
    decoded: Structure | None = None
    comparison: CrystalComparison | None = None
    message: str | None = None

    @property
    def residual(self) -> float:
        """|E(X) - z| / |z| of the decoded crystal; nan if there is none."""
        return float("nan") if self.decoded is None else float(self.decoded.residual)

    @property
    def certified(self) -> bool:
        return self.decoded is not None and bool(self.decoded.certified)

    @property
    def status(self) -> str:
        """'matched' by the usual protocol, 'wrong', 'doubtful' (wrong, and said so), 'refused'."""
        if self.comparison is None:
            return "refused"
        if next(iter(self.comparison.rms.values())) is not None:
            return "matched"
        return "wrong" if self.certified else "doubtful"


def reconstruct_crystals(
    model: CrystalAutoencoder,
    structures: Sequence[Structure],
    *,
    refine: bool = True,
    batch_size: int = 32,
    workers: int = 1,
    progress: bool = False,
) -> list[CrystalReconstruction]:
    """Encode each crystal, decode it from the latent alone, and compare by all protocols.

    Args:
        model: to use; the decoder gets the latents and nothing else.
        structures: in any number; those that the model does not take come back with a message.
        refine: sharpen the decoded crystals against the encoder.
        batch_size: crystals at a time.
        workers: processes, each with one thread; 1 works in this one.
        progress: show a bar.
    """
    jobs = [
        list(structures[start : start + batch_size])
        for start in range(0, len(structures), batch_size)
    ]
    parts = _run(model, jobs, refine, workers)
    if progress:
        from rich.progress import track

        parts = iter(track(parts, "reconstructing", total=len(jobs), transient=True))
    found: list[CrystalReconstruction] = []
    for job, part in zip(jobs, parts, strict=True):
        for original, (decoded, comparison, message) in zip(job, part, strict=True):
            found.append(CrystalReconstruction(original, decoded, comparison, message))
    return found


Outcome = tuple[Structure | None, CrystalComparison | None, str | None]
"""What was decoded, how it compares, and why the model does not take the original."""


def _outcomes(model: CrystalAutoencoder, reader: Reader, job: list[Structure]) -> list[Outcome]:
    forms: list[Canonical] = []
    messages: list[str | None] = []
    for structure in job:
        message = None
        try:
            forms += model.forms_of([structure])
        except GeomaeError as error:
            message = getattr(error, "fault", str(error))
        messages.append(message)
    latents = model.encode_forms(reader.encoder, forms).to("cpu")
    decoded = iter(reader.read(latents) if forms else [])
    outcomes: list[Outcome] = []
    for structure, message in zip(job, messages, strict=True):
        if message is not None:
            outcomes.append((None, None, message))
        else:
            own = next(decoded)
            outcomes.append((own, compare_crystal(structure, own), None))
    return outcomes


def _run(
    model: CrystalAutoencoder, jobs: list[list[Structure]], refine: bool, workers: int
) -> Iterator[list[Outcome]]:
    """Outcomes of each job, in order."""
    if workers <= 1:
        reader = Reader(model.eval(), refine)
        for job in jobs:
            yield _outcomes(model, reader, job)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_start_worker, initargs=(model, refine)
    ) as pool:
        packed = [[_pack(structure) for structure in job] for job in jobs]
        for part in pool.map(_work, packed):
            yield [
                (None if columns is None else _unpack(columns), comparison, message)
                for columns, comparison, message in part
            ]


_worker: dict = {}


def _start_worker(model: CrystalAutoencoder, refine: bool) -> None:
    torch.set_num_threads(1)
    _worker.update(model=model, reader=Reader(model.eval(), refine))


def _work(job: list[dict]) -> list[tuple]:
    structures = [_unpack(columns) for columns in job]
    outcomes = _outcomes(_worker["model"], _worker["reader"], structures)
    return [
        (None if decoded is None else _pack(decoded), comparison, message)
        for decoded, comparison, message in outcomes
    ]


def _pack(structure: Structure) -> dict:
    """Atoms, cell and what a decoding says of them, as arrays: tensors would cross between
    processes as open files.
    """
    names = ("numbers", "positions", "cell", "pbc", "confidence", "residual", "certified")
    return {
        name: value.numpy() if isinstance(value := structure[name], torch.Tensor) else value
        for name in names
        if structure.get(name) is not None
    }


def _unpack(columns: dict) -> Structure:
    own = dict(columns)
    for name in ("cell", "pbc"):
        if name in own:
            own[name] = own[name].reshape(own[name].shape[1:])
    return Structure(
        **{k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in own.items()}
    )
