"""Crystals from SOAP vectors, their lattice unknown.

Run `python benchmarks/inversion_crystals.py`, or with `--quick` for three crystals; files of the
data sets lie in the folder $GEOMAE_DATA. Each crystal's descriptor knows its own elements. All
atoms' vectors are given without composition; averaged ones with it. A crystal counts as inverted if
the best solution lies on it within 1e-3 Å: atoms, after StructureMatcher laid it over, and
spacings.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from reporting import write_rows

from geomae.data import Structure, load_source
from geomae.inversion import Inversion, Soap, crystal_gap, invert

EXACT = 1e-3
"""Å."""

SOAP = {"r_cut": 5.0, "n_max": 8, "l_max": 4, "sigma": 0.5}

STARTS = {"off": 640, "outer": 48}
"""Random crystals that are refined, at most."""


@dataclass
class Row:
    """Figures of one set and way of averaging; times in processor seconds, gaps in Å."""

    data: str
    average: str
    crystals: int
    inverted: int
    claimed_wrongly: int
    none: int
    largest_gap: float
    median_seconds: float
    failed: list[str]


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    rows = []
    for average in ("off", "outer"):
        if options.average in (None, average):
            rows.append(measure(options, average))
            write_rows(options.json, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=500, help="crystals")
    parser.add_argument("--data", default="perov5", help="'perov5' or 'mp20'")
    parser.add_argument("--average", choices=["off", "outer"], help="only this")
    parser.add_argument("--most-atoms", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="three crystals")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    options.n = 3 if options.quick else options.n
    return options


def measure(options: argparse.Namespace, average: str) -> Row:
    """Invert every crystal's vectors, and print the figures."""
    pool = load_source(options.data, split="test")
    crystals = [c for c in pool if c.n_atoms <= options.most_atoms][: options.n]
    gaps, seconds, results = [], [], []
    for crystal in crystals:
        result, spent = inverted(crystal, average, options.seed)
        gaps.append(crystal_gap(crystal, result.solutions[0]) if result.solutions else np.inf)
        seconds.append(spent)
        results.append(result)
        print(f"  {crystal.formula}: {result}; {gaps[-1]:.1e} Å, {spent:.1f} s", flush=True)
    good = np.array(gaps) < EXACT
    row = Row(
        options.data,
        average,
        len(crystals),
        int(good.sum()),
        sum(r.outcome == "unique" and not g for r, g in zip(results, good, strict=True)),
        sum(r.outcome == "none" for r in results),
        float(np.max(np.array(gaps)[good], initial=0.0)),
        float(np.median(seconds)),
        [c.formula for c, g in zip(crystals, good, strict=True) if not g],
    )
    print(row, flush=True)
    return row


def inverted(crystal: Structure, average: str, seed: int) -> tuple[Inversion, float]:
    """What comes of a crystal's vectors, and the processor time."""
    elements = sorted(set(crystal.numbers.tolist()))
    soap = Soap(elements, **SOAP, average=average, periodic=True)
    values = soap.of(crystal)
    started = time.process_time()
    result = invert(
        soap,
        values,
        species=None if average == "off" else crystal.numbers.tolist(),
        n_solutions=1,
        n_starts=STARTS[average],
        seed=seed,
    )
    return result, time.process_time() - started


if __name__ == "__main__":
    main()
