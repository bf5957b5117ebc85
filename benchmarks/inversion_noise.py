"""Values that no structure has: how near what is drawn is, and whether anything is claimed.

Run `python benchmarks/inversion_noise.py`. Values of QM9 molecules (EDM's test split) get noise,
in parts of their root mean square, or are replaced by random numbers of the same size.
What counts is that nothing is called a solution, and how far atoms are from where they were.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from reporting import write_rows

from geomae.data import Structure, load_source
from geomae.inversion import Descriptor, Soap, align, invert, structure_spectra

LEVELS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, float("inf"))
"""Noise, in parts of the values' root mean square; infinite for random numbers alone."""

ELEMENTS = (1, 6, 7, 8, 9)


@dataclass
class Row:
    """One descriptor at one level; RMSD in Å, times in processor seconds."""

    descriptor: str
    noise: float
    molecules: int
    claimed: int
    right_elements: int
    median_residual: float
    median_rmsd: float
    median_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=10, help="molecules")
    parser.add_argument("--starts", type=int, default=32, help="refined at most")
    parser.add_argument("--quick", action="store_true", help="two molecules")
    parser.add_argument("--levels", type=float, nargs="+", default=LEVELS, help="of noise")
    parser.add_argument("--case", help="only descriptors with this in their name")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    molecules = list(load_source("qm9", split="test", n=2 if options.quick else options.n))
    rows = []
    for name, descriptor in (
        ("SOAP of all atoms", Soap(ELEMENTS, 6.0, 8, 6, 0.5)),
        ("spectra", structure_spectra(ELEMENTS)),
    ):
        for level in options.levels if (options.case or "") in name else ():
            rows.append(measure(name, descriptor, level, molecules, options.starts))
            print(rows[-1], flush=True)
            write_rows(options.json, rows)


def measure(
    name: str, descriptor: Descriptor, level: float, molecules: Sequence[Structure], starts: int
) -> Row:
    """Invert spoiled values of every molecule, elements given."""
    claimed, residuals, gaps, seconds = 0, [], [], []
    for number, molecule in enumerate(molecules):
        values = spoiled(descriptor.of(molecule), level, number)
        started = time.process_time()
        result = invert(
            descriptor,
            values,
            species=molecule.numbers.tolist(),
            n_solutions=1,
            n_starts=starts,
        )
        seconds.append(time.process_time() - started)
        claimed += result.outcome != "none"
        residuals.append(result.residual)
        found = result.nearest
        if found is not None and sorted(found.numbers.tolist()) == sorted(
            molecule.numbers.tolist()
        ):
            gaps.append(align(molecule, found, mirror=True).rmsd)
    rmsd = float(np.median(gaps)) if gaps else float("nan")
    medians = float(np.median(residuals)), rmsd, float(np.median(seconds))
    return Row(name, level, len(molecules), claimed, len(gaps), *medians)


def spoiled(values: torch.Tensor, level: float, seed: int) -> torch.Tensor:
    """Values with noise, or noise alone."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(values.shape, generator=generator, dtype=values.dtype)
    noise = noise * values.square().mean().sqrt()
    return noise if level == float("inf") else values + level * noise


if __name__ == "__main__":
    main()
