"""Molecules a second through the autoencoder, beside RDKit's ETKDG and dscribe's SOAP.

Run `python benchmarks/throughput.py`, or with `--quick` for two minutes' version. All sides get
the same molecules of QM9's test split: geomae encodes them, decodes their latents straight from
the peaks and refined; ETKDG embeds them in space from their SMILES (hydrogens added beforehand);
SOAP describes them. One process with one thread, and two such processes, each on its own half;
with fewer free cores than two, that says little. Rounds are interleaved and the best of each
counts. Ratios are those of processor time, so that other work on the machine counts little: compare
ratios, not speeds.
"""

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import torch

import geomae
from geomae.autoencoder import Latents
from geomae.data import Structure, load_source, to_ase
from geomae.memory import keep_memory

Job = Callable[[], int]
"""Does a piece of work, and returns the number of molecules."""

FORM = "{:20} {:>9} {:>10} {:>12} {:>12} {:>8} {:>8}"


@dataclass
class Row:
    """Molecules a second of one kind of work, and ratios to the peers with as many processes.

    Attributes:
        molecules_per_second: on the clock, all processes together.
        per_cpu_second: of processor time; the ratios are those of these.
    """

    work: str
    processes: int
    molecules: int
    molecules_per_second: float
    per_cpu_second: float
    over_etkdg: float | None = None
    over_soap: float | None = None


def encode(model: str, structures: list[Structure]) -> Job:
    """Structures to latents."""
    network = geomae.load(model)
    return lambda: len(network.encode(structures))


def decode(model: str, structures: list[Structure], refine: bool) -> Job:
    """Latents to structures."""
    network = geomae.load(model)
    latents: Latents = network.encode(structures)
    return lambda: len(network.decode(latents, refine=refine))


def etkdg(structures: list[Structure]) -> Job:
    """SMILES to structures by distance geometry; molecules that fail count, too."""
    from rdkit import Chem, RDLogger
    from rdkit.Chem import rdDistGeom

    RDLogger.DisableLog("rdApp.*")
    mols = [Chem.AddHs(Chem.MolFromSmiles(s.smiles)) for s in structures]
    parameters = rdDistGeom.ETKDGv3()
    parameters.randomSeed = 0

    def run() -> int:
        for mol in mols:
            rdDistGeom.EmbedMolecule(mol, parameters)
        return len(mols)

    return run


def soap(structures: list[Structure]) -> Job:
    """SOAP power spectra of all atoms, with the size that `properties.py` uses."""
    from dscribe.descriptors import SOAP

    descriptor = SOAP(species=["H", "C", "N", "O", "F"], r_cut=5.0, n_max=6, l_max=4, sigma=0.3)
    molecules = [to_ase(Structure(s.numbers, s.positions)) for s in structures]

    def run() -> int:
        for molecule in molecules:
            descriptor.create(molecule)
        return len(molecules)

    return run


WORK = {
    "encode": lambda model, part: encode(model, part),
    "decode": lambda model, part: decode(model, part, False),
    "decode, refined": lambda model, part: decode(model, part, True),
    "RDKit ETKDG": lambda _, part: etkdg(part),
    "dscribe SOAP": lambda _, part: soap(part),
}


PEERS = ("RDKit ETKDG", "dscribe SOAP")


def main() -> None:
    options = _options()
    names = [name for name in WORK if _there(name)]
    counts = {name: options.refined if "refined" in name else options.n for name in names}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{cores} cores may be used")
    rows: list[Row] = []
    for processes in options.processes:
        speeds = _speeds(options, counts, processes)
        for name, (speed, own) in speeds.items():
            peers = [own / speeds[p][1] if p in speeds else None for p in PEERS]
            rows.append(Row(name, processes, counts[name], speed, own, *peers))
    _print(rows)
    if options.json:
        content = {"model": options.model, "cores": cores, "rows": [asdict(row) for row in rows]}
        Path(options.json).write_text(json.dumps(content, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="qm9", help="name or path")
    parser.add_argument("-n", type=int, default=1024, help="molecules")
    parser.add_argument("--refined", type=int, default=256, help="of these are refined")
    parser.add_argument("--rounds", type=int, default=3, help="of timing; the best counts")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="128 molecules, 32 refined, 2 rounds")
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    if options.quick:
        options.n, options.refined, options.rounds = 128, 32, 2
    options.refined = min(options.refined, options.n)
    return options


def _there(name: str) -> bool:
    package = {"RDKit ETKDG": "rdkit", "dscribe SOAP": "dscribe"}.get(name)
    if package is None or find_spec(package):
        return True
    print(f"{package} is missing, so {name} is left out: pip install 'geomae[bench]'")
    return False


def _speeds(
    options: argparse.Namespace, counts: dict[str, int], processes: int
) -> dict[str, tuple[float, float]]:
    """Molecules a second and a second of processor time, the best of interleaved rounds.

    Every process has its molecules and has warmed up before the clock starts.
    """
    context, best = get_context("spawn"), dict.fromkeys(counts, (0.0, 0.0))
    pools = [ProcessPoolExecutor(1, context, _start) for _ in range(processes)]
    try:
        for name, n in counts.items():
            parts = [range(k, n, processes) for k in range(processes)]
            ready = [
                pool.submit(_prepare, name, options.model, options.n, part)
                for pool, part in zip(pools, parts, strict=True)
            ]
            for future in ready:
                future.result()
        for _ in range(options.rounds):
            for name in counts:
                start = time.perf_counter()
                results = [f.result() for f in [pool.submit(_run, name) for pool in pools]]
                seconds = time.perf_counter() - start
                done, used = (sum(column) for column in zip(*results, strict=True))
                best[name] = max(best[name][0], done / seconds), max(best[name][1], done / used)
    finally:
        for pool in pools:
            pool.shutdown()
    return best


_jobs: dict[str, Job] = {}


def _start() -> None:
    keep_memory()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def _prepare(name: str, model: str, n: int, places: range) -> None:
    structures = load_source("qm9", split="test", n=n)
    WORK[name](model, [structures[i] for i in places[:8]])()
    _jobs[name] = WORK[name](model, [structures[i] for i in places])


def _run(name: str) -> tuple[int, float]:
    start = time.process_time()
    return _jobs[name](), time.process_time() - start


def _print(rows: list[Row]) -> None:
    print(FORM.format("work", "processes", "molecules", "molecules/s", "/ CPU s", "ETKDG", "SOAP"))
    for row in rows:
        ratios = ["-" if r is None else f"{r:.3g}" for r in (row.over_etkdg, row.over_soap)]
        speeds = f"{row.molecules_per_second:.1f}", f"{row.per_cpu_second:.1f}"
        print(FORM.format(row.work, row.processes, row.molecules, *speeds, *ratios))
    print("ETKDG, SOAP: molecules a second of processor time over theirs, with as many processes")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
