"""The half of `inversion_milad.py` that runs where milad is installed; see there.

Reads molecules and limits as JSON from the standard input, writes one line of JSON for each start.
"""

import json
import signal
import sys
import time

import numpy as np

MARGIN = 1.5
"""Å from the farthest atom to the cutoff; atoms must not leave the ball on their way."""

WARMING = 2.0
"""Seconds of a start that is not counted."""

TOLERANCE = 1e-12
"""Of milad's optimiser: coordinates, cost and gradient."""


class OutOfTimeError(Exception):
    """A start took longer than it may."""


def main() -> None:
    task = json.load(sys.stdin)
    signal.signal(signal.SIGALRM, _stop)
    attempt(task["molecules"][0], 0, min(WARMING, task["limit"]))
    for number, molecule in enumerate(task["molecules"]):
        for start in range(task["starts"]):
            row = attempt(molecule, start, task["limit"])
            print(json.dumps({"molecule": number, **row}), flush=True)


def attempt(molecule: dict, start: int, limit: float) -> dict:
    """One start from atoms spread at random: processor seconds, positions and residual."""
    from milad import atomic, fingerprinting, optimisers

    np.random.seed(start)
    numbers, positions = np.array(molecule["numbers"]), np.array(molecule["positions"])
    positions = positions - positions.mean(0)
    radius = float(np.linalg.norm(positions, axis=1).max())
    kinds = sorted(set(numbers.tolist()))
    descriptor = fingerprinting.descriptor(
        species={"map": {"numbers": kinds, "range": (1.0, 4.0)}}, cutoff=radius + MARGIN
    )
    known = atomic.AtomsCollection(len(numbers), positions=positions, numbers=numbers)
    target = descriptor(known)
    first = atomic.random_atom_collection_in_sphere(len(numbers), radius=radius)
    first.numbers[:] = numbers
    mask = first.get_mask()
    mask.numbers[:] = numbers
    row: dict = {"start": start, "positions": None, "residual": None}
    started = time.process_time()
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        found = optimisers.StructureOptimiser().optimise(
            descriptor,
            target=target,
            initial=first,
            mask=mask,
            x_tol=TOLERANCE,
            cost_tol=TOLERANCE,
            grad_tol=TOLERANCE,
        )
        row |= {"positions": found.value.positions.tolist(), "residual": float(found.rmsd)}
    except OutOfTimeError:
        row["stopped"] = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return {**row, "seconds": time.process_time() - started}


def _stop(*_: object) -> None:
    raise OutOfTimeError


if __name__ == "__main__":
    main()
