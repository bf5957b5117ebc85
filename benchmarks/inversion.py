"""Geometry from invariants: how often, how exactly, how fast, by number of atoms.

Run `python benchmarks/inversion.py`, or with `--quick` for some minutes' version. Molecules are
QM9's (EDM's test split). A molecule counts as inverted if the best solution has its composition
and lies on it within 1e-3 Å RMSD, turned freely; reflected too where the descriptor can't tell.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from reporting import draw_success, write_rows

from geomae.data import Structure, load_source
from geomae.inversion import Descriptor, Inversion, Soap, align, invert, structure_spectra

EXACT = 1e-3
"""RMSD in Å."""

ELEMENTS = (1, 6, 7, 8, 9)


@dataclass
class Case:
    """One descriptor, and what is known beside its values.

    Attributes:
        name: of the row.
        descriptor: of which the values are.
        species: whether the composition is given.
        options: of `invert`.
        central: the atom nearest to the centroid comes first.
    """

    name: str
    descriptor: Descriptor
    species: bool
    options: dict = field(default_factory=dict)
    central: bool = False


@dataclass
class Row:
    """Figures of one case; times in processor seconds, RMSD in Å."""

    case: str
    molecules: int
    inverted: float
    claimed_wrongly: int
    ambiguous: int
    none: int
    median_rmsd: float
    largest_rmsd: float
    median_seconds: float
    mean_seconds: float
    by_atoms: dict[int, tuple[int, int]]
    failed: list[str]


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    rows = []
    for case in cases(options.quick):
        if options.case is None or options.case in case.name:
            rows.append(measure(case, molecules(options, case.central), options.seed))
            write_rows(options.json, rows)
    curves = {f"{row.case} ({row.molecules})": row.by_atoms for row in rows}
    draw_success(options.plot, {"QM9": curves}, sizes="atoms")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=1000, help="molecules")
    parser.add_argument("--g2", nargs="+", help="names of ASE's g2 molecules instead of QM9's")
    parser.add_argument("--case", help="only those with this in their name")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="30 molecules, few settings")
    parser.add_argument("--json", help="file for the figures")
    parser.add_argument("--plot", help="file for a picture of success by number of atoms")
    options = parser.parse_args()
    options.n = 30 if options.quick else options.n
    return options


def molecules(options: argparse.Namespace, central: bool) -> list[Structure]:
    """The first of the test split, or those named."""
    if options.g2:
        known = {structure.name: structure for structure in load_source("g2")}
        chosen = [known[name] for name in options.g2]
    else:
        chosen = list(load_source("qm9", split="test", n=options.n))
    return [central_first(molecule) for molecule in chosen] if central else chosen


def central_first(molecule: Structure) -> Structure:
    """The same with the atom nearest to the centroid in front."""
    far = (molecule.positions - molecule.positions.mean(0)).norm(dim=1)
    first = int(far.argmin())
    order = [first, *(k for k in range(molecule.n_atoms) if k != first)]
    return Structure(molecule.numbers[order], molecule.positions[order])


def cases(quick: bool) -> list[Case]:
    """What is measured: the default, smaller settings of it, and SOAP."""
    once: dict = {"n_solutions": 1}
    listed = [
        Case("spectra, 32 radial, l <= 4", structure_spectra(ELEMENTS), False, once),
        Case("spectra, 24 radial, l <= 4", structure_spectra(ELEMENTS, n_radial=24), False, once),
    ]
    if not quick:
        listed += [
            Case(
                f"spectra, {n} radial, l <= {lmax}",
                structure_spectra(ELEMENTS, n_radial=n, lmax=lmax),
                False,
                once,
            )
            for n, lmax in ((32, 2), (32, 6), (16, 4), (48, 4))
        ]
        listed.append(Case("spectra, species given", structure_spectra(ELEMENTS), True, once))
    soap = {"r_cut": 6.0, "n_max": 8, "l_max": 6, "sigma": 0.5}
    one = Soap(ELEMENTS, **soap, centres=(0,))
    few = {"n_solutions": 1, "n_starts": 64}
    listed += [
        Case("SOAP of all atoms", Soap(ELEMENTS, **soap), False, once),
        Case("SOAP of one atom", one, False, few, True),
        Case("SOAP of one atom, species given", one, True, few, True),
    ]
    return listed


def measure(case: Case, structures: Sequence[Structure], seed: int) -> Row:
    """Invert every structure's values, and print the figures."""
    results, seconds, errors = [], [], []
    for structure in structures:
        values = case.descriptor.of(structure)
        species = structure.numbers.tolist() if case.species else None
        started = time.process_time()
        results.append(invert(case.descriptor, values, species=species, seed=seed, **case.options))
        seconds.append(time.process_time() - started)
        errors.append(error_of(structure, results[-1]))
        if len(errors) % 10 == 0:
            done = sum(error < EXACT for error in errors)
            print(f"  {case.name}: {done} of {len(errors)}", file=sys.stderr, flush=True)
    errors = np.array(errors)
    good = errors < EXACT
    sizes = np.array([structure.n_atoms for structure in structures])
    row = Row(
        case.name,
        len(structures),
        float(good.mean()),
        count(results, lambda r: r.outcome == "unique", ~good),
        count(results, lambda r: r.outcome == "ambiguous"),
        count(results, lambda r: r.outcome == "none"),
        float(np.median(errors[good])) if good.any() else float("nan"),
        float(errors[good].max()) if good.any() else float("nan"),
        float(np.median(seconds)),
        float(np.mean(seconds)),
        {int(n): (int(good[sizes == n].sum()), int((sizes == n).sum())) for n in np.unique(sizes)},
        [f"{k}: {s.formula}" for k, s in enumerate(structures) if not good[k]],
    )
    print(
        f"{row.case:30s} {100 * row.inverted:6.2f} % of {row.molecules}, unique but wrong "
        f"{row.claimed_wrongly}, ambiguous {row.ambiguous}, none {row.none}; RMSD median "
        f"{row.median_rmsd:.1e} largest {row.largest_rmsd:.1e} Å; "
        f"{row.median_seconds:.2f} s median, {row.mean_seconds:.2f} s mean",
        flush=True,
    )
    print("  by atoms:", " ".join(f"{n}:{a}/{b}" for n, (a, b) in row.by_atoms.items()), flush=True)
    if row.failed:
        print("  failed:", ", ".join(row.failed[:20]), flush=True)
    return row


def error_of(structure: Structure, result: Inversion) -> float:
    """RMSD of the best solution in Å; infinite for none, or for another composition."""
    if not result.solutions:
        return float("inf")
    best = result.solutions[0]
    if sorted(best.numbers.tolist()) != sorted(structure.numbers.tolist()):
        return float("inf")
    return align(structure, best, mirror=best.mirror != "told apart").rmsd


def count(
    results: Sequence[Inversion],
    holds: Callable[[Inversion], bool],
    among: np.ndarray | None = None,
) -> int:
    """Number of results for which something holds."""
    flags = np.array([holds(result) for result in results])
    return int(flags.sum() if among is None else (flags & among).sum())


if __name__ == "__main__":
    main()
