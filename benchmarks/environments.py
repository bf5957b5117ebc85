"""Which settings make an atom's environment invertible: neighbours, degree, radial functions.

Run `python benchmarks/environments.py`, or with `--quick` for a few environments. Environments are
those of QM9 molecules (EDM's test split) and, where $GEOMAE_DATA holds its files, of MP-20
crystals, images included: all neighbours within a cutoff of an atom, that atom left out. The
descriptor is the power spectrum and bispectrum about the atom, or its SOAP; elements are not
given. An environment counts as inverted if the best solution has its elements and lies on it
within 1e-3 Å RMSD, turned freely about the atom.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from reporting import Curve, draw_success, read_rows, write_rows

from geomae.data import Structure, load_source
from geomae.data.neighbours import neighbours
from geomae.errors import GeomaeError
from geomae.inversion import Descriptor, Soap, align, invert, structure_spectra

EXACT = 1e-3
"""RMSD in Å."""

BINS = ((2, 6), (7, 11), (12, 16), (17, 22), (23, 32), (33, 45), (46, 60))
"""Numbers of neighbours, from and to."""

MANY = 32
"""Neighbours beyond which `--starts-beyond` counts."""


@dataclass
class Row:
    """Success of one descriptor in one bin; time in processor seconds.

    Attributes:
        asked, seed, data, starts: options that it was measured with; another run of them is another
            row.
    """

    kind: str
    n_radial: int
    lmax: int
    bin: tuple[int, int]
    environments: int
    inverted: int
    claimed_wrongly: int
    median_seconds: float
    asked: int
    seed: int
    data: str
    starts: int

    @property
    def key(self) -> tuple:
        """What was measured, and with which options."""
        options = self.asked, self.seed, self.data, self.starts
        return self.kind, self.n_radial, self.lmax, tuple(self.bin), *options


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    pool = environments(options)
    rows = read_rows(options.json, Row)
    known = {row.key: row for row in rows}
    shown = []
    for kind, n_radial, lmax in settings(options.quick):
        asked = options.setting in (None, f"{n_radial},{lmax}")
        if options.kind not in (None, kind) or not asked:
            continue
        for span, members in zip(BINS, pool, strict=True):
            if not members or (options.bins and f"{span[0]}-{span[1]}" not in options.bins):
                continue
            starts = options.starts if span[0] <= MANY else options.starts_beyond
            with_options = options.n, options.seed, options.data, starts
            key = kind, n_radial, lmax, span, *with_options
            if key not in known:
                found = measure(kind, n_radial, lmax, members, options, starts)
                rows.append(Row(kind, n_radial, lmax, span, *found, *with_options))
                print(rows[-1], flush=True)
                known[key] = rows[-1]
                write_rows(options.json, rows)
            shown.append(known[key])
    draw_success(options.plot, panels_of(shown), sizes="neighbours", legend="radial functions")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=20, help="environments of each number of atoms")
    parser.add_argument("--kind", choices=["spectra", "soap"], help="only this descriptor")
    parser.add_argument("--setting", help="only this, as radial functions and degree: 16,4")
    parser.add_argument("--bins", nargs="+", help="only these numbers of neighbours: 23-32")
    parser.add_argument("--starts", type=int, default=160, help="refined of each, at most")
    parser.add_argument("--starts-beyond", type=int, default=320, help=f"beyond {MANY} neighbours")
    parser.add_argument("--data", default="qm9,mp20", help="data sets they are of")
    parser.add_argument("--cutoff", type=float, default=5.0, help="in Å")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="two environments, few settings")
    parser.add_argument("--json", help="file for the figures; what it has is kept")
    parser.add_argument("--plot", help="file for the picture")
    options = parser.parse_args()
    options.n = 2 if options.quick else options.n
    return options


def settings(quick: bool) -> list[tuple[str, int, int]]:
    """Descriptor, radial functions, degree."""
    if quick:
        return [("spectra", 16, 4)]
    return [("spectra", n, lmax) for n in (8, 12, 16, 32) for lmax in (2, 4, 6)] + [
        ("soap", n, lmax) for n in (8, 12) for lmax in (4, 8)
    ]


def environments(options: argparse.Namespace) -> list[list[Structure]]:
    """Drawn from the data sets by the seed, as many in each bin where there are so many."""
    found = [[] for _ in BINS]
    generator = np.random.default_rng(options.seed)
    for name in options.data.split(","):
        pool = load_source(name, split="test")
        wanted = [len(part) + options.n for part in found]
        for index in generator.permutation(len(pool))[: 40 * options.n].tolist():
            structure = pool[index]
            atom = int(generator.integers(structure.n_atoms))
            made = environment(structure, atom, options.cutoff)
            for k, (low, high) in enumerate(BINS):
                if low <= made.n_atoms <= high and len(found[k]) < wanted[k]:
                    found[k].append(made)
    return found


def environment(structure: Structure, atom: int, cutoff: float) -> Structure:
    """Neighbours of an atom as displacements from it."""
    cell = structure.get("cell")
    pairs = neighbours(structure.positions, cutoff, cell=cell, pbc=structure.get("pbc"))
    mine = pairs.edges[1] == atom
    return Structure(structure.numbers[pairs.edges[0, mine]], pairs.vectors[mine])


def described(kind: str, n_radial: int, lmax: int, members: Structure, cutoff: float) -> Descriptor:
    """The descriptor, of the environment's own elements."""
    elements = sorted(set(members.numbers.tolist()))
    if kind == "soap":
        return Soap(elements, cutoff, n_radial, lmax, 0.4, centres="origin")
    return structure_spectra(
        elements, n_radial=n_radial, lmax=lmax, cutoff=cutoff + 0.5, centre="origin"
    )


def measure(
    kind: str,
    n_radial: int,
    lmax: int,
    members: Sequence[Structure],
    options: argparse.Namespace,
    starts: int,
) -> tuple[int, int, int, float]:
    """Environments of a bin, those inverted, those claimed wrongly, and seconds."""
    good, wrong, seconds = 0, 0, []
    for known in members:
        descriptor = described(kind, n_radial, lmax, known, options.cutoff)
        started = time.process_time()
        try:
            result = invert(
                descriptor,
                descriptor.of(known),
                n_solutions=1,
                n_starts=starts,
                seed=options.seed,
            )
            solutions = result.solutions if result.outcome == "unique" else []
        except GeomaeError:
            # neither algebra nor the vector tells how many atoms there are
            solutions = []
        seconds.append(time.process_time() - started)
        right = bool(solutions) and is_right(known, solutions[0])
        good += right
        wrong += bool(solutions) and not right
        said = "right" if right else "wrong" if solutions else "none"
        rest = f", residual {float(solutions[0].residual):.0e}" if solutions else ""
        print(f"  {known.formula}, {known.n_atoms}: {said}, {seconds[-1]:.2f} s{rest}", flush=True)
    return len(members), good, wrong, float(np.median(seconds))


def is_right(known: Structure, found: Structure) -> bool:
    """Whether it is the same environment."""
    if sorted(known.numbers.tolist()) != sorted(found.numbers.tolist()):
        return False
    mirror = found.mirror != "told apart"
    return align(known, found, mirror=mirror, centre="origin").rmsd < EXACT


def panels_of(rows: Sequence[Row]) -> dict[str, dict[str, Curve]]:
    """Successes by number of neighbours, by radial functions, by descriptor and degree."""
    panels: dict[str, dict[str, Curve]] = {}
    for row in sorted(rows, key=lambda r: (r.kind, r.lmax), reverse=True):
        panel = panels.setdefault(f"{row.kind}, l ≤ {row.lmax}", {})
        curve = panel.setdefault(str(row.n_radial), {})
        panel[str(row.n_radial)] = {**curve, sum(row.bin) / 2: (row.inverted, row.environments)}
    return panels


if __name__ == "__main__":
    main()
