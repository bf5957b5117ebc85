"""Inversion beside milad (Uhrin 2021, arXiv 2104.09319), on the same molecules.

milad is GPL and has an environment of its own; give its Python:

    python -m venv MILAD && MILAD/bin/pip install milad && MILAD/bin/pip uninstall dscribe
    python benchmarks/inversion_milad.py --python MILAD/bin/python

(milad 0.3.1 does not import beside dscribe 2.) Both are given elements and their own invariants of
the molecule about its centroid: milad its 117 moment invariants, geomae power spectrum and
bispectrum. milad fits from atoms spread at random, with its own optimiser and settings, in
so many starts; geomae gets what one call of `invert` does. A molecule counts as found within
1e-3 Å RMSD, turned or reflected freely. Times are processor seconds: milad's of all starts up to
the first that finds it, or of all. Each side does something untimed first, which loads packages and
tables.
"""

import argparse
import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from reporting import write_rows

from geomae.data import Structure, load_source
from geomae.errors import GeomaeError
from geomae.inversion import align, invert, structure_spectra

EXACT = 1e-3
"""RMSD in Å."""

DEGREE = 6
"""Highest of geomae's invariants: below it nothing ties benzene's rings of six to each other."""

REPEATS = 5
"""Calls of geomae, whose median time counts: they are too short to be timed once."""

SMALL = ("H2O", "NH3", "CH4", "C2H6", "C6H6")


@dataclass
class Row:
    """One molecule; times in processor seconds, RMSD in Å, infinite where there is nothing."""

    molecule: str
    atoms: int
    ours: float
    our_seconds: float
    milad: float
    milad_starts: int
    milad_found: int
    milad_stopped: int
    milad_seconds: float


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    small = {structure.name: structure for structure in load_source("g2")}
    chosen = [small[name] for name in options.molecules]
    chosen += list(load_source("qm9", split="test", n=options.n))
    rows = []
    by_geomae(chosen[0])
    for molecule in chosen:
        rows.append(measure(molecule, options))
        print(rows[-1], flush=True)
        write_rows(options.json, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="the one that has milad")
    parser.add_argument("--molecules", nargs="*", default=SMALL, help="of ASE's g2")
    parser.add_argument("-n", type=int, default=4, help="molecules of QM9's test split, beside")
    parser.add_argument("--starts", type=int, default=5, help="of milad, at most")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of each start")
    parser.add_argument("--json", help="file for the figures")
    return parser.parse_args()


def measure(molecule: Structure, options: argparse.Namespace) -> Row:
    """Both on one molecule."""
    ours, our_seconds = by_geomae(molecule)
    starts = by_milad(molecule, options)
    gaps = [gap(molecule, start["positions"]) for start in starts]
    found = [k for k, value in enumerate(gaps) if value < EXACT]
    counted = starts[: found[0] + 1] if found else starts
    return Row(
        molecule.name if molecule.n_atoms <= 12 else molecule.formula,
        molecule.n_atoms,
        ours,
        our_seconds,
        min(gaps, default=float("inf")),
        len(starts),
        len(found),
        sum(bool(start.get("stopped")) for start in starts),
        sum(start["seconds"] for start in counted),
    )


def by_geomae(molecule: Structure) -> tuple[float, float]:
    """RMSD of the best solution, and median processor seconds."""
    elements = sorted(set(molecule.numbers.tolist()))
    descriptor = structure_spectra(elements, lmax=DEGREE)
    values = descriptor.of(molecule)
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        result = invert(descriptor, values, species=molecule.numbers.tolist(), n_solutions=1)
        times.append(time.process_time() - started)
    seconds = median(times)
    if not result.solutions:
        return float("inf"), seconds
    return align(molecule, result.solutions[0], mirror=True).rmsd, seconds


def by_milad(molecule: Structure, options: argparse.Namespace) -> list[dict]:
    """What each start of milad gave.

    Raises:
        GeomaeError: its side ended with an error.
    """
    task = {
        "molecules": [
            {"numbers": molecule.numbers.tolist(), "positions": molecule.positions.tolist()}
        ],
        "starts": options.starts,
        "limit": options.limit,
    }
    side = Path(__file__).with_name("milad_side.py")
    done = subprocess.run(
        [options.python, str(side)], input=json.dumps(task), capture_output=True, text=True
    )
    if done.returncode:
        raise GeomaeError(f"milad failed:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def gap(molecule: Structure, positions: list | None) -> float:
    """RMSD in Å; infinite where a start was stopped."""
    if positions is None:
        return float("inf")
    return align(molecule, Structure(molecule.numbers, positions), mirror=True).rmsd


if __name__ == "__main__":
    main()
