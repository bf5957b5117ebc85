"""Where the network's starts help: one SOAP vector, inverted from three sources of starts.

Run `python benchmarks/inversion_network.py`. Each source is alone: directions at random, directions
from the network, atoms placed element by element. All have the distances that degree 0 tells, the
elements, and as many starts. Problems are whole QM9 molecules (EDM's test split) about the atom
nearest to the centroid, and environments of QM9 atoms within 5 Å; vectors are the network's.
Beside that: how far the network's peaks, before anything is refined, are from the atoms, the
drawing turned or reflected freely. Found means within 1e-3 Å RMSD, as freely.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from environments import BINS, environments
from inversion import central_first
from reporting import write_rows

from geomae.data import Structure, load_source
from geomae.inversion import Problem, Soap, Starts, align, invert, load_inverter
from geomae.inversion.network import NetworkStarts
from geomae.inversion.network.starts import surroundings
from geomae.inversion.one_centre import element_by_element
from geomae.inversion.soap_fit import SoapFit
from geomae.inversion.soap_starts import ONE_CENTRE, atoms_at_distances
from geomae.inversion.spread import random_directions

EXACT = 1e-3
"""RMSD in Å."""

NEAR = 0.5
"""Å from an atom within which a peak counts as its."""


@dataclass
class Row:
    """One source on one set of problems; times in processor seconds."""

    problems: str
    source: str
    n: int
    found: int
    median_starts: float
    median_seconds: float
    mean_seconds: float


@dataclass
class Peaks:
    """Atoms whose highest peak is where they are."""

    problems: str
    atoms: int
    near: float
    heavy_near: float
    median_gap: float


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    network = NetworkStarts(load_inverter(options.model), share=1.0)
    sources = {"random": at_random, "network": network, "element by element": by_element}
    rows: list[Row | Peaks] = []
    for name, soap, members in problems(network, options):
        if options.problems and options.problems not in name:
            continue
        rows.append(peaks(name, network, soap, members))
        print(rows[-1], flush=True)
        for source, starts in sources.items():
            rows.append(measure(name, source, starts, soap, members, options))
            print(rows[-1], flush=True)
            write_rows(options.json, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=10, help="problems of each kind and size")
    parser.add_argument("--model", default="inversion-qm9")
    parser.add_argument("--starts", type=int, default=64, help="refined at most")
    parser.add_argument("--problems", help="only those with this in their name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    options.data, options.cutoff = "qm9", 5.0
    return options


def problems(
    network: NetworkStarts, options: argparse.Namespace
) -> Iterator[tuple[str, Soap, list[Structure]]]:
    """Names, descriptors and structures."""
    own, elements = network.model.config.soap, network.model.config.elements
    size = (own.r_cut, own.n_max, own.l_max, own.sigma)
    molecules = [central_first(m) for m in load_source("qm9", split="test", n=options.n)]
    yield "molecules", Soap(elements, *size, centres=(0,)), molecules
    for (low, high), members in zip(BINS, environments(options), strict=True):
        if members:
            yield f"{low}-{high} neighbours", Soap(elements, *size, centres="origin"), members


def at_random(problem: Problem, n: int, generator: torch.Generator) -> Iterator[Starts]:
    """Directions at random at the distances told."""
    fit = SoapFit(problem.descriptor, problem.values, kept=ONE_CENTRE)
    numbers, radii = told(problem)
    for _ in range(n // 16):
        yield Starts(numbers, random_directions(radii, 16, generator), "random", fit)


def by_element(problem: Problem, n: int, generator: torch.Generator) -> Iterator[Starts]:
    """Some elements first, the others where their signals peak."""
    fit = SoapFit(problem.descriptor, problem.values, kept=ONE_CENTRE)
    numbers, radii = told(problem)
    given = 0
    for places in element_by_element(
        problem.descriptor, problem.values, numbers, radii, n, generator
    ):
        given += len(places)
        yield Starts(numbers, places, "element by element", fit)
    if given < n:
        yield Starts(numbers, random_directions(radii, n - given, generator), "random", fit)


def told(problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    """Elements and distances."""
    return next(atoms_at_distances(problem.descriptor, problem.values, problem.numbers))


def measure(
    name: str,
    source: str,
    starts: object,
    soap: Soap,
    members: Sequence[Structure],
    options: argparse.Namespace,
) -> Row:
    """Invert every structure from one source of starts."""
    found, seconds, tried = 0, [], []
    for known in members:
        values = soap.of(known)
        started = time.process_time()
        result = invert(
            soap,
            values,
            species=known.numbers.tolist(),
            n_solutions=1,
            n_starts=options.starts,
            starts=starts,
            seed=options.seed,
        )
        seconds.append(time.process_time() - started)
        tried.append(result.n_starts)
        if result.solutions:
            centre = "origin" if soap.centres == "origin" else "centroid"
            found += align(known, result.solutions[0], mirror=True, centre=centre).rmsd < EXACT
    medians = float(np.median(tried)), float(np.median(seconds))
    return Row(name, source, len(members), found, *medians, float(np.mean(seconds)))


def peaks(name: str, network: NetworkStarts, soap: Soap, members: Sequence[Structure]) -> Peaks:
    """How near atoms are to the first structure drawn, which has all of them at peaks.

    The fields are along a frame that nothing was told of, so it is turned onto the known one.
    """
    gaps, heavy = [], []
    for known in members:
        (read,) = surroundings(network.model, soap, soap.of(known).flatten(), known.numbers)
        drawn = network.draw(read, 1, torch.Generator().manual_seed(0))[0]
        about = Structure(known.numbers, known.positions - centre_of(soap, known))
        laid = align(about, Structure(read.numbers, drawn), mirror=True, centre="origin")
        apart = (drawn @ laid.matrix.T)[list(laid.matching)] - about.positions
        gaps += apart.norm(dim=1).tolist()
        heavy += (known.numbers > 1).tolist()
    gap, kind = np.array(gaps), np.array(heavy)
    near, heavy_near = float((gap < NEAR).mean()), float((gap[kind] < NEAR).mean())
    return Peaks(name, len(gap), near, heavy_near, float(np.median(gap)))


def centre_of(soap: Soap, known: Structure) -> torch.Tensor:
    """Where the centre of a structure is."""
    return known.positions[0] if soap.centres == (0,) else torch.zeros(3, dtype=torch.float64)


if __name__ == "__main__":
    main()
