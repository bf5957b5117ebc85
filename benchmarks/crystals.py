"""What the encoding of a crystal costs: against atoms in the cell, cutoff and degree.

Run `python benchmarks/crystals.py`, or with `--quick` for fewer repeats and sizes. Crystals are
random, of 14 Å^3 an atom; models are untrained, since weights don't change the cost. Times are
processor time of one thread for a crystal in a batch, of its parts: the canonical form
(symmetry search, reduction, choice of the anchor), the lists (neighbours, images), and the encoder
itself in float64. The exponent is the slope of log time over log atoms; 1 is linear.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from geomae.crystals import canonical
from geomae.crystals.batch import join, lists_of
from geomae.crystals.config import CrystalConfig
from geomae.crystals.encoder import CrystalEncoder
from geomae.data import Structure

ELEMENTS = (8, 14, 26, 38)
VOLUME = 14.0
"""Å^3 an atom."""

APART = 1.6
"""Least distance of atoms in Å."""

PARTS = ("canonical", "lists", "encoder")


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    sizes = (2, 8, 32, 128) if options.quick else (2, 4, 8, 16, 32, 64, 128, 256)
    repeats = 1 if options.quick else 3
    rows = [{"atoms": n, **measure(n, repeats=repeats)} for n in sizes]
    large = [row for row in rows if row["atoms"] >= 8]
    exponents = {part: _slope(large, part) for part in PARTS}
    cutoffs = [{"cutoff": c, **measure(16, cutoff=c, repeats=repeats)} for c in (4.0, 5.0, 6.0)]
    degrees = [{"degree": d, **measure(16, lmax=d, repeats=repeats)} for d in (4, 6, 8, 10)]
    _show("atoms in the cell, cutoff 5 Å, degree 8", "atoms", rows)
    print("exponent from 8 atoms on: " + ", ".join(f"{k} {v:.2f}" for k, v in exponents.items()))
    _show("cutoff of the neighbourhoods, 16 atoms", "cutoff", cutoffs)
    _show("degree of the latent, 16 atoms", "degree", degrees)
    if options.json:
        found = {"atoms": rows, "exponents": exponents, "cutoffs": cutoffs, "degrees": degrees}
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes and repeats")
    parser.add_argument("--json", help="file for the figures")
    return parser.parse_args()


def measure(n: int, *, cutoff: float = 5.0, lmax: int = 8, repeats: int = 3) -> dict[str, float]:
    """Milliseconds a crystal of `n` atoms, the best of some repeats."""
    config = CrystalConfig.model_validate(
        {
            "elements": ELEMENTS,
            "max_atoms": n,
            "sites": {"cutoff": cutoff, "lmax": 3, "channels": 48, "width": 96},
            "lmax": lmax,
            "lmax_filter": lmax,
            "atoms": {"radius": 10.0},
            "lattice": {"radius": 20.0, "n_radial": 28},
            "latent": {"lmax": lmax, "channels": 64},
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = CrystalEncoder(config).double().eval()
    count = max(1, 64 // n)
    given = [random_crystal(n, seed) for seed in range(count)]
    forms = [canonical(own).structure for own in given]
    crystals = [(s.numbers, s.positions, s.cell[0]) for s in forms]
    lists = [lists_of(*crystal, config) for crystal in crystals]
    batch = join(crystals, lists)
    jobs: dict[str, Callable[[], object]] = {
        "canonical": lambda: [canonical(own) for own in given],
        "lists": lambda: [lists_of(*crystal, config) for crystal in crystals],
        "encoder": lambda: encoder(batch),
    }
    with torch.no_grad():
        return {name: 1e3 * _best(job, repeats) / count for name, job in jobs.items()}


def random_crystal(n: int, seed: int) -> Structure:
    """Atoms at random, none too close to another, in a triclinic cell."""
    rng = np.random.default_rng((n, seed))
    cell = (VOLUME * n) ** (1 / 3) * (np.eye(3) + 0.15 * rng.normal(size=(3, 3)))
    cell *= (VOLUME * n / abs(np.linalg.det(cell))) ** (1 / 3)
    points = rng.random((n, 3))
    for _ in range(200):
        gaps = points[:, None] - points[None]
        vectors = (gaps - np.round(gaps)) @ cell
        lengths = np.linalg.norm(vectors, axis=2) + 10 * np.eye(n)
        if lengths.min() > APART:
            break
        push = np.where((lengths < 1.2 * APART)[..., None], vectors / lengths[..., None], 0)
        points += 0.15 * push.sum(1) @ np.linalg.inv(cell)
    return Structure(rng.choice(ELEMENTS, n), points @ cell, cell=cell)


def _best(job: Callable[[], object], repeats: int) -> float:
    """Processor time in s; the first run, which fills caches, does not count."""
    job()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        job()
        times.append(time.process_time() - start)
    return min(times)


def _slope(rows: list[dict], part: str) -> float:
    """Exponent of a power law through the times."""
    atoms = np.log([row["atoms"] for row in rows])
    return float(np.polyfit(atoms, np.log([row[part] for row in rows]), 1)[0])


def _show(title: str, key: str, rows: list[dict]) -> None:
    print(f"\n{title}: milliseconds a crystal")
    print(f"{key:>8s} " + " ".join(f"{part:>10s}" for part in PARTS))
    for row in rows:
        print(f"{row[key]:8g} " + " ".join(f"{row[part]:10.2f}" for part in PARTS))


if __name__ == "__main__":
    main()
