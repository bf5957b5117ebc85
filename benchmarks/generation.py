"""Figures of generated molecules, beside those of QM9's own, and the time of a sample.

Run `python benchmarks/generation.py -n 10000` for a flow's samples, unfiltered, against the test
split; `--groups C2v D3h Td` for samples with a point group each; `--conditional gap` for samples
with values of a property asked for; `--around` for samples around molecules of the test split,
which need no flow. `--quick` takes few of everything. Times are those of the processor, one thread,
encoding or decoding and refinement included.
"""

import argparse
import json
import pickle
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from geomae.data import Structure, load_source
from geomae.generation.generate import SHARD, Generated, Sampler
from geomae.generation.request import Asked
from geomae.generation.revision import TIMES
from geomae.generation.verify import contains, found_by_pymsym
from geomae.metrics.generation import judge, summary_of
from geomae.metrics.plausibility import plausibility
from geomae.symmetry import PointGroup, allowed

GROUPS = ("C2", "C2v", "C3", "C3v", "D2h", "D3h", "D4h", "D6h", "Td", "Oh", "Ih")
NOISES = (0.05, 0.1, 0.2, 0.3, 0.5)


def timed(sampler: Sampler, n: int, workers: int = 1) -> tuple[Generated, float]:
    """Samples, and processor seconds for each."""
    spans = [(first, min(SHARD, n - first)) for first in range(0, n, SHARD)]
    if workers == 1:
        parts = [_shard(sampler, *span) for span in spans]
    else:
        with ProcessPoolExecutor(workers, get_context("fork")) as pool:
            parts = [pickle.loads(part) for part in pool.map(partial(_pickled, sampler), spans)]
    return Generated.join([part for part, _ in parts]), sum(seconds for _, seconds in parts) / n


def _pickled(sampler: Sampler, span: tuple[int, int]) -> bytes:
    """A shard as bytes: tensors would each hold a file open on their way between processes."""
    return pickle.dumps(_shard(sampler, *span))


def _shard(sampler: Sampler, first: int, n: int) -> tuple[Generated, float]:
    start = time.process_time()
    made = sampler(first, n)
    return made, time.process_time() - start


def free(options: argparse.Namespace, reference: list[Structure]) -> dict:
    """Samples of the flow, nothing asked for and nothing left out."""
    asked = Asked(formula=options.formula)
    sampler = Sampler(
        options.model,
        asked,
        inventories=options.inventories,
        tries=options.tries,
        temperature=options.temperature,
        seed=options.seed,
        steps=options.steps,
        revisions=TIMES if options.revise else (),
    )
    made, seconds = timed(sampler, options.n, options.workers)
    known = [judge(s) for s in reference]
    # the data's own distances: one half of it to the other
    half = len(known) // 2
    train = _train_smiles(options.workers) if options.novelty else None
    rows = {
        "samples": summary_of([judge(s) for s in made.structures], known, train),
        "data": summary_of(known[:half], known[half:], train),
    }
    if options.posebusters:
        few = options.posebusters
        rows["samples"] |= plausibility(made.structures[:few])
        rows["data"] |= plausibility(reference[:few])
    rows["samples"] |= {
        "seconds_per_sample": seconds,
        "doubtful": len(made.doubtful) / options.n,
        "median_residual": float(made.residuals.median()),
        "steps": sampler.maker.steps,
    }
    _show(rows)
    return rows


_pool: list[Structure] = []
"""Structures that processes inherit: sent to them, each tensor would hold a file open."""


def _train_smiles(workers: int) -> set[str]:
    """SMILES of the training split, of bonds by distance like those of samples."""
    _pool[:] = load_source("qm9", split="train")
    with ProcessPoolExecutor(workers, get_context("fork")) as pool:
        found = set(pool.map(_smiles, range(len(_pool)), chunksize=500))
    return found - {None}


def _smiles(number: int) -> str | None:
    return judge(_pool[number]).smiles


def _show(rows: dict[str, dict]) -> None:
    for key in rows["samples"]:
        values = [rows[name].get(key) for name in ("samples", "data")]
        texts = ["-" if v is None else f"{v:.4g}" for v in values]
        print(f"{key:32} {texts[0]:>12} {texts[1]:>12}")


def with_groups(options: argparse.Namespace) -> dict:
    """Samples of the flow with a point group each: how many have it, and are chemistry."""
    rows = {}
    form = "{:5} {:>8} {:>9} {:>9} {:>8} {:>7} {:>7} {:>7} {:>10}  {}"
    head = "group", "returned", "pymatgen", "pymsym", "valid", "stable", "novel", "s", "moment"
    print(form.format(*head, "formulas"))
    for name in options.groups:
        sampler = Sampler(
            options.model,
            Asked(symmetry=name),
            inventories=options.inventories,
            seed=options.seed,
            steps=options.steps,
            revisions=TIMES if options.revise else (),
        )
        made, seconds = timed(sampler, options.each)
        rows[name] = row = symmetric_row(made, name) | {"seconds_per_sample": seconds}
        shares = [
            f"{100 * row[key]:.0f} %"
            for key in ("returned", "pymatgen", "pymsym", "valid", "stable", "unique")
        ]
        print(form.format(name, *shares, f"{seconds:.2f}", f"{row['moment']:.1e}", row["formulas"]))
    return rows


def symmetric_row(made: Generated, name: str) -> dict:
    """Shares of what is returned that have a group, of all samples that are chemistry."""
    kept, n = made.kept, len(made)
    figures = summary_of([judge(s) for s in made.structures])
    groups = [s.point_group for s in kept]
    others = [found_by_pymsym(s) for s in kept]
    polar = bool(allowed(PointGroup.named(name), "dipole").n_components)
    return {
        "returned": len(kept) / n,
        "pymatgen": _share(sum(contains(g, name) for g in groups), len(kept)),
        "pymsym": _share(sum(g is not None and contains(g, name) for g in others), len(kept)),
        "exactly": _share(groups.count(name), len(kept)),
        "valid": figures["valid"],
        "stable": figures["molecule_stability"],
        "unique": figures["unique"],
        "dipole_allowed": polar,
        "moment": max((_moment(s) for s in kept), default=0.0),
        "formulas": " ".join(
            f"{f}:{k}" for f, k in Counter(s.formula for s in kept).most_common(4)
        ),
    }


def _moment(structure: Structure) -> float:
    """Distance in Å of the centre of the nuclear charges from that of the atoms."""
    charges = structure.numbers.double()
    gap = charges @ structure.positions / charges.sum() - structure.positions.mean(0)
    return float(gap.norm())


def conditional(options: argparse.Namespace) -> dict:
    """Samples with values of properties asked for: how far a regressor finds them from these.

    It is fitted to molecules of the validation split, which no flow learned from. Beside it stand
    its own error on molecules of the test split, and the error of samples that are asked nothing.
    """
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    import geomae
    from geomae.invariants import invariants

    model = geomae.load("qm9")

    def described(structures: list[Structure]) -> np.ndarray:
        return invariants(model.encode(structures).to(torch.float64), "power").numpy()

    known = load_source("qm9", split="valid", n=options.known)
    test = load_source("qm9", split="test", n=max(200, options.known // 10))
    values = described(known)
    names = ("inventories", "tries", "temperature", "seed", "steps")
    how = {name: getattr(options, name) for name in names}
    free = Sampler(options.model, Asked(), **how)
    unasked = described(timed(free, options.each)[0].kept)
    rows = {}
    for name in options.conditional:
        regressor = make_pipeline(StandardScaler(), KernelRidge(alpha=1e-2, kernel="laplacian"))
        regressor.fit(values, np.array([float(s[name]) for s in known]))
        true = np.array([float(s[name]) for s in test])
        asked = np.quantile(true, (np.arange(options.values) + 0.5) / options.values)
        errors, judged, unstirred = [], [], regressor.predict(unasked)
        for value in asked.tolist():
            own = Asked(properties={name: value})
            sampler = Sampler(options.model, own, **how)
            made, _ = timed(sampler, options.each)
            judged += [judge(s) for s in made.structures]
            if made.kept:
                errors.append(np.abs(regressor.predict(described(made.kept)) - value).mean())
        rows[name] = {
            "error": float(np.mean(errors)),
            "error_of_the_regressor": float(
                np.abs(regressor.predict(described(test)) - true).mean()
            ),
            "error_of_samples_asked_nothing": float(np.abs(unstirred[:, None] - asked).mean()),
            "molecule_stability": summary_of(judged)["molecule_stability"],
            "samples": len(judged),
        }
        print(name, json.dumps(rows[name]))
    return rows


def around(options: argparse.Namespace) -> dict:
    """Samples around molecules of the test split: what is left of them, against noise."""
    from rdkit import Chem, RDLogger
    from rdkit.Chem import DataStructs, rdFingerprintGenerator

    RDLogger.DisableLog("rdApp.*")
    prints = rdFingerprintGenerator.GetMorganGenerator(radius=2)
    origins, rows = load_source("qm9", split="test", n=options.molecules), {}
    form = "{:>6} {:>9} {:>9} {:>8} {:>8} {:>10} {:>9} {:>8}"
    print(
        form.format(
            "noise", "atoms st.", "mol. st.", "valid", "same", "similarity", "residual", "s"
        )
    )
    for noise in options.noises:
        judged, same, similar, residuals, spent = [], [], [], [], 0.0
        for origin in origins:
            sampler = Sampler(options.model, Asked(), near=origin, noise=noise, seed=options.seed)
            made, seconds = timed(sampler, options.each)
            spent += seconds / len(origins)
            own = judge(origin).smiles
            found = [judge(s) for s in made.structures]
            judged += found
            residuals += made.residuals.tolist()
            for molecule in found:
                same.append(own is not None and molecule.smiles == own)
                if own is not None and molecule.smiles is not None:
                    pair = [
                        prints.GetFingerprint(Chem.MolFromSmiles(s)) for s in (own, molecule.smiles)
                    ]
                    similar.append(DataStructs.TanimotoSimilarity(*pair))
        figures = summary_of(judged)
        rows[str(noise)] = row = {
            **figures,
            "same": _share(sum(same), len(same)),
            "similarity": _share(sum(similar), len(similar)),
            "median_residual": float(torch.tensor(residuals).median()),
            "seconds_per_sample": spent,
        }
        texts = [f"{row[k]:.3f}" for k in ("atom_stability", "molecule_stability", "valid", "same",
                                           "similarity", "median_residual")]  # fmt: skip
        print(form.format(noise, *texts, f"{spent:.2f}"))
    return rows


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="qm9", help="name or path")
    parser.add_argument("-n", type=int, default=1000, help="samples of the flow")
    parser.add_argument("--formula", help="that the flow is told")
    parser.add_argument("--inventories", help="as geomae generate --inventories")
    parser.add_argument("--tries", type=int, help="as geomae generate --tries")
    parser.add_argument("--temperature", type=float, help="as geomae generate --temperature")
    parser.add_argument("--steps", type=int, help="evaluations of the flow")
    parser.add_argument("--revise", action="store_true", help="as geomae generate --revise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes for free samples")
    parser.add_argument("--posebusters", type=int, default=0, metavar="N", help="test N of them")
    parser.add_argument(
        "--novelty", action="store_true", help="ask it of the training split, not of the test split"
    )
    parser.add_argument("--groups", nargs="*", help=f"point groups; {' '.join(GROUPS)} if none")
    parser.add_argument("--conditional", nargs="+", metavar="NAME", help="properties to ask for")
    parser.add_argument("--values", type=int, default=8, help="of each property")
    parser.add_argument("--known", type=int, default=5000, help="molecules for the regressor")
    parser.add_argument("--around", action="store_true", help="sample around molecules")
    parser.add_argument("--each", type=int, default=20, help="samples of a group or a molecule")
    parser.add_argument("--molecules", type=int, default=20, help="around which is sampled")
    parser.add_argument("--noises", type=float, nargs="+", default=list(NOISES))
    parser.add_argument("--quick", action="store_true", help="32 samples, 4 of a group or molecule")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    if options.quick:
        options.n, options.each, options.molecules = 32, 4, 4
        options.values, options.known = 2, 500
    if options.groups == []:
        options.groups = list(GROUPS)
    return options


def main() -> None:
    options = _options()
    content: dict = {"model": options.model, "seed": options.seed}
    if options.groups:
        content["groups"] = with_groups(options)
    elif options.conditional:
        content["conditional"] = conditional(options)
    elif options.around:
        content["around"] = around(options)
    else:
        reference = load_source("qm9", split="test", n=1000 if options.quick else None)
        content["free"] = free(options, reference)
    if options.json:
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main()
