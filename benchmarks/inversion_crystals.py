"""Crystals from SOAP vectors, their lattice unknown.

Run `python benchmarks/inversion_crystals.py --data mp20 --average off --json FILE`, or with
`--quick` for three crystals; files of the data sets lie in the folder $GEOMAE_DATA. Crystals are
taken in a random order that the seed decides, so that the first are a fair sample. What FILE has
already is not done again. Each crystal's descriptor knows its own elements. All atoms' vectors are
given without composition; averaged ones with it. A crystal counts as inverted if the best solution
lies on it within 1e-3 Å: atoms, after StructureMatcher laid it over, and spacings. One that has not
ended after `--limit` processor seconds counts as not found.
"""

import argparse
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from reporting import draw_success, read_rows, write_rows

from geomae.data import Structure, load_source
from geomae.inversion import Soap, crystal_gap, invert

EXACT = 1e-3
"""Å."""

SOAP = {"r_cut": 5.0, "n_max": 8, "l_max": 4, "sigma": 0.5}

STARTS = {"off": 640, "outer": 256}
"""Random crystals that are refined, at most."""

NAMES = {"off": "all atoms", "outer": "averaged, composition given"}

SETS = {"mp20": "MP-20", "perov5": "Perov-5"}


@dataclass
class Row:
    """What came of one crystal.

    Attributes:
        data: name of the set.
        average: 'off' or 'outer'.
        limit: processor seconds, after which it was given up.
        seed: of the order and of the starts.
        number: in the test split.
        formula: of the cell.
        n_atoms: of the cell.
        outcome: "unique", "none", "ambiguous" or "limit".
        route: that led to what was found.
        residual: relative, of what was found.
        gap: to the crystal in Å; None where there is no solution, or none that matches.
        seconds: of the processor.
    """

    data: str
    average: str
    limit: float
    seed: int
    number: int
    formula: str
    n_atoms: int
    outcome: str
    route: str
    residual: float | None
    gap: float | None
    seconds: float

    @property
    def inverted(self) -> bool:
        """Whether a solution lies on the crystal."""
        return self.gap is not None and self.gap < EXACT

    @property
    def wrong(self) -> bool:
        """Whether a solution was claimed that does not."""
        return self.outcome in ("unique", "ambiguous") and not self.inverted


class TimeUpError(Exception):
    """The limit is reached."""


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    rows: list[Row] = read_rows(options.json, Row)
    for average in ("off", "outer"):
        if options.average in (None, average):
            measure(options, average, rows)
    print(table(rows))
    draw_success(options.picture, panels(rows), sizes="atoms in the cell")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-n", type=int, default=500, help="crystals")
    parser.add_argument("--data", default="perov5", help="'perov5' or 'mp20'")
    parser.add_argument("--average", choices=["off", "outer"], help="only this")
    parser.add_argument("--most-atoms", type=int, default=20)
    parser.add_argument("--limit", type=float, default=30.0, help="processor seconds a crystal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="three crystals")
    parser.add_argument("--json", help="file for what came of each crystal; gone on with")
    parser.add_argument("--picture", help="file for success against the number of atoms")
    options = parser.parse_args()
    options.n = 3 if options.quick else options.n
    return options


def measure(options: argparse.Namespace, average: str, rows: list[Row]) -> None:
    """Invert crystals that have not been yet; add what came of them to the rows."""
    pool = load_source(options.data, split="test")
    order = np.random.default_rng(options.seed).permutation(len(pool)).tolist()
    chosen = [number for number in order if pool[number].n_atoms <= options.most_atoms]
    key = (options.data, average, options.limit, options.seed)
    done = {row.number for row in rows if (row.data, row.average, row.limit, row.seed) == key}
    for number in chosen[: options.n]:
        if number not in done:
            rows.append(measured(pool[number], number, average, options))
            write_rows(options.json, rows)
            print(rows[-1], flush=True)


def measured(crystal: Structure, number: int, average: str, options: argparse.Namespace) -> Row:
    """What comes of a crystal's vectors."""
    soap = Soap(sorted(set(crystal.numbers.tolist())), **SOAP, average=average, periodic=True)
    values = soap.of(crystal)
    started = time.process_time()
    result = None
    try:
        with within(options.limit):
            result = invert(
                soap,
                values,
                species=None if average == "off" else crystal.numbers.tolist(),
                n_solutions=1,
                n_starts=STARTS[average],
                seed=options.seed,
            )
    except TimeUpError:
        pass
    spent = round(time.process_time() - started, 3)
    start = (options.data, average, options.limit, options.seed, number)
    known = (*start, crystal.formula, crystal.n_atoms)
    if result is None:
        return Row(*known, "limit", "none", None, None, spent)
    gap = crystal_gap(crystal, result.solutions[0]) if result.solutions else float("inf")
    residual = None if result.nearest is None else float(result.nearest.residual)
    shown = gap if np.isfinite(gap) else None
    return Row(*known, result.outcome, result.route, residual, shown, spent)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `TimeUpError` in what takes longer, in processor seconds."""

    def stop(*_) -> None:
        raise TimeUpError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def table(rows: Sequence[Row]) -> str:
    """Figures by number of atoms, in Markdown."""
    lines = [
        "| set, vectors | atoms | crystals | inverted | claimed wrongly | none | not ended | "
        "largest gap, Å | seconds, median / mean |",
        "|" + "---|" * 9,
    ]
    for data, average, limit in sorted({(row.data, row.average, row.limit) for row in rows}):
        mine = [row for row in rows if (row.data, row.average, row.limit) == (data, average, limit)]
        for low, high in ((1, 4), (5, 8), (9, 12), (13, 16), (17, 20), (1, 20)):
            some = [row for row in mine if low <= row.n_atoms <= high]
            if some:
                named = f"{SETS.get(data, data)}, {NAMES[average]}"
                lines.append(f"| {named} | {low}-{high} | " + _figures(some))
    return "\n".join(lines)


def _figures(rows: Sequence[Row]) -> str:
    good = [row for row in rows if row.inverted]
    seconds = [row.seconds for row in rows]
    parts = (
        len(rows),
        len(good),
        sum(row.wrong for row in rows),
        sum(row.outcome == "none" for row in rows),
        sum(row.outcome == "limit" for row in rows),
        f"{max((row.gap or 0.0 for row in good), default=0.0):.1e}",
        f"{np.median(seconds):.1f} / {np.mean(seconds):.1f}",
    )
    return " | ".join(map(str, parts)) + " |"


def panels(rows: Sequence[Row]) -> dict[str, dict[str, dict[float, tuple[int, int]]]]:
    """Successes and attempts by set, vectors and number of atoms, two sizes together."""
    found: dict[str, dict[str, dict[float, tuple[int, int]]]] = {}
    for row in rows:
        curves = found.setdefault(SETS.get(row.data, row.data), {})
        curve = curves.setdefault(NAMES[row.average], {})
        size = float(2 * ((row.n_atoms + 1) // 2))
        hits, attempts = curve.get(size, (0, 0))
        curve[size] = (hits + row.inverted, attempts + 1)
    return {title: curves for title, curves in found.items() if title != "Perov-5"}


if __name__ == "__main__":
    main()
