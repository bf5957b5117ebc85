"""Several processes of one machine on a part of the work."""

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from queue import Empty
from typing import Any

import torch

from geomae.bulk.encode import Outcome, encode_shards
from geomae.bulk.entries import Inputs
from geomae.bulk.parts import Part

_queue: Any = None


def encode_with_workers(
    inputs: Inputs,
    folder: str | Path,
    *,
    workers: int,
    part: Part | None = None,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> Outcome:
    """`encode_shards` with several processes, each with one thread and a part of the part.

    Args:
        inputs, folder, options: as there.
        workers: processes; 1 works in this one.
        part: of the shards; by default what torchrun or SLURM say.
        progress: called with the number of structures after each shard.

    Raises:
        GeomaeError: as there; of several, the first.
    """
    part = part or Part.from_environment()
    if workers <= 1:
        return encode_shards(inputs, folder, part=part, progress=progress, **options)
    context = get_context("spawn")
    queue = context.Queue()
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(queue,)) as pool:
        job = partial(_work, inputs, folder, options)
        futures = [pool.submit(job, own) for own in part.split(workers)]
        waiting = set(futures)
        while waiting:
            _, waiting = wait(waiting, timeout=0.2, return_when=FIRST_EXCEPTION)
            _report(queue, progress)
        outcomes = [future.result() for future in futures]
    _report(queue, progress)
    missing = set.intersection(*(set(outcome.missing) for outcome in outcomes))
    return Outcome(
        sum(outcome.encoded for outcome in outcomes),
        sum(outcome.kept for outcome in outcomes),
        tuple(sorted(item for outcome in outcomes for item in outcome.skipped)),
        tuple(sorted(missing)),
    )


def _report(queue: Any, progress: Callable[[int], None] | None) -> None:
    while True:
        try:
            done = queue.get_nowait()
        except Empty:
            return
        if progress:
            progress(done)


def _start(queue: Any) -> None:
    global _queue
    _queue = queue
    torch.set_num_threads(1)


def _work(inputs: Inputs, folder: str | Path, options: dict, part: Part) -> Outcome:
    return encode_shards(inputs, folder, part=part, progress=_queue.put, **options)
