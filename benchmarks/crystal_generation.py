"""Figures of generated crystals by the protocol of CDVAE, beside those of the data.

Run `python benchmarks/crystal_generation.py --model perov5 -n 1000` for samples of a flow,
unfiltered, against a test split; `--groups Fm-3m P6_3/mmc Pnma` for samples with a space group
each, `--formulas NaCl7 NaCl7:P2_1/c` with a formula each; `--decode 50` decodes the latents of as
many and compares. `--coverage` tells COV-R and COV-P against the whole test split, which needs
matminer and minutes; `--relax 100` tells how far as many samples and test crystals move when CHGNet
relaxes them. `--quick` takes few of everything. Times are those of the processor, one thread,
encoding included.
"""

import argparse
import json
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from geomae.data import Structure, load_source
from geomae.data.convert import to_pymatgen
from geomae.generation.crystals.data import crystals_of
from geomae.generation.crystals.request import read_space_group
from geomae.generation.crystals.verify import TOLERANCE
from geomae.generation.generate import SHARD, Generated, Sampler
from geomae.generation.request import Asked
from geomae.metrics import crystal_generation_metrics
from geomae.metrics.coverage import coverage_of, cutoffs_of, fingerprints
from geomae.metrics.crystals import reduced_formula
from geomae.metrics.relaxation import chgnet, relax, relaxation_metrics
from geomae.training.config import read_config

if TYPE_CHECKING:
    from pymatgen.core import Structure as PymatgenStructure

TESTS = {"perov5": "perov5/test", "crystals": "mp20/test"}
CUTOFFS = {"perov5": "perov5", "crystals": "mp20"}
"""Test split, and whose cutoffs of coverage, for each model."""

REFERENCE = 1000
"""Crystals of the test split, but for coverage."""

GROUPS = ("Fm-3m", "Pm-3m", "P6_3/mmc", "R-3m", "I4/mmm", "Pnma", "C2/m", "P2_1/c", "P-1")


def timed(sampler: Sampler, n: int) -> tuple[Generated, float]:
    """Samples, and processor seconds for each."""
    start = time.process_time()
    parts = [sampler(first, min(SHARD, n - first)) for first in range(0, n, SHARD)]
    return Generated.join(parts), (time.process_time() - start) / n


def structures_of(source: str) -> list[Structure]:
    name, _, split = source.partition("/")
    return load_source(name, split=split)


def drawn(structures: list[Structure], n: int | None, seed: int) -> list[Structure]:
    """Some structures at random, all of them if n is None."""
    order = np.random.default_rng(seed).permutation(len(structures)).tolist()
    return [structures[i] for i in order[:n]]


def free_sampler(options: argparse.Namespace) -> Sampler:
    """Of whatever the flow makes."""
    return Sampler(options.model, Asked(), seed=options.seed, steps=options.steps)


def free(options: argparse.Namespace) -> dict:
    """Samples of the flow, nothing asked for and nothing left out."""
    made, seconds = timed(free_sampler(options), options.n)
    test = structures_of(TESTS[options.model])
    reference = drawn(test, options.reference or REFERENCE, seed=0)
    train = training_crystals(options.model)
    shown = drawn(train, options.n, seed=1)
    rows = {
        "samples": crystal_generation_metrics(made.structures, reference),
        "data": crystal_generation_metrics(shown, reference),
    }
    rows["samples"] |= novelty(made.structures, train)
    rows["samples"] |= {
        "seconds_per_sample": seconds,
        "certified": float(made.certified.double().mean()),
        "largest_residual": float(made.residuals.max()),
    }
    if options.decode:
        rows["samples"] |= decoded(made, options)
    show(rows)
    print(Counter(made.faults).most_common(5))
    return rows


def show(rows: dict[str, dict]) -> None:
    """Figures of samples and of the data, side by side."""
    print(f"{'':28} " + " ".join(f"{name:>12}" for name in rows))
    for key in rows["samples"]:
        values = [row.get(key) for row in rows.values()]
        print(f"{key:28} " + " ".join(f"{'-' if v is None else f'{v:.4g}':>12}" for v in values))


def with_coverage(options: argparse.Namespace) -> dict:
    """Coverage of the test split by samples, and by as many crystals of the training data."""
    made, _ = timed(free_sampler(options), options.n)
    test = drawn(structures_of(TESTS[options.model]), options.reference, seed=0)
    shown = drawn(training_crystals(options.model), options.n, seed=1)
    sides = {"samples": made.kept, "data": shown}
    known, cutoffs = fingerprints(test, progress=True), cutoffs_of(CUTOFFS[options.model])
    rows = {}
    for name, side in sides.items():
        n = options.n if name == "samples" else len(side)
        own = fingerprints(side, progress=True)
        rows[name] = {"n": n, "fingerprints": len(own), "reference": len(known)}
        rows[name] |= coverage_of(own, known, n, cutoffs)
    rows["test itself"] = coverage_of(known, known, len(test), cutoffs)
    show(rows)
    return rows


def relaxed(options: argparse.Namespace) -> dict:
    """How far samples, and as many test crystals, are from a minimum of CHGNet's energy."""
    made, _ = timed(free_sampler(options), options.relax)
    test = drawn(structures_of(TESTS[options.model]), options.relax, seed=0)
    sides = {"samples": made.kept, "test": test}
    calculator, rows = chgnet(), {}
    for name, side in sides.items():
        start = time.process_time()
        found = relax(side, calculator, progress=True)
        rows[name] = relaxation_metrics(found)
        rows[name]["steps"] = float(np.median([r.steps for r in found]))
        rows[name]["seconds"] = (time.process_time() - start) / len(side)
        before, after = np.array([r.space_groups for r in found if r.structure is not None]).T
        rows[name] |= {
            "p1_before": float((before == 1).mean()),
            "p1_after": float((after == 1).mean()),
        }
        print(name, Counter(r.fault for r in found if r.fault).most_common(5))
    show(rows)
    return rows


def training_crystals(model: str) -> list[Structure]:
    """Those that the flow's training saw, as their files have them, before sizes are looked at."""
    config = read_config(Path("models") / f"{model}-atoms" / "config.yaml")
    return [s for source in config.data.sources for s in structures_of(source)]


def novelty(structures: tuple[Structure | None, ...], train: list[Structure]) -> dict:
    """Shares of samples of a formula, and of a structure, that training has not (pymatgen's
    StructureMatcher with its own tolerances), and that no sample before has.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher, known = StructureMatcher(), defaultdict(list)
    for structure in train:
        known[reduced_formula(structure)].append(structure)
    before: dict = defaultdict(list)
    counts: Counter = Counter()
    for structure in structures:
        if structure is None:
            continue
        formula = reduced_formula(structure)
        own = bare(structure)
        same = [to_pymatgen(s) for s in known[formula]]
        counts["formula_new"] += formula not in known or not known[formula]
        counts["structure_new"] += not any(matcher.fit(own, other) for other in same)
        counts["unique"] += not any(matcher.fit(own, other) for other in before[formula])
        before[formula].append(own)
    names = ("formula_new", "structure_new", "unique")
    return {name: counts[name] / len(structures) for name in names}


def bare(structure: Structure) -> "PymatgenStructure":
    """A crystal in pymatgen, without what else is known of it."""
    return to_pymatgen(Structure(structure.numbers, structure.positions, cell=structure.cell[0]))


def decoded(made: Generated, options: argparse.Namespace) -> dict:
    """How many of some samples come back from their latents, and how near."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    import geomae

    model, matcher = geomae.load(options.model), StructureMatcher()
    kept = [(i, s) for i, s in enumerate(made.structures) if s is not None][: options.decode]
    rows = [i for i, _ in kept]
    back = model.decode(made.latents[rows])
    matches, residuals = 0, []
    for (_, own), other in zip(kept, back, strict=True):
        if other is None:
            continue
        matches += matcher.fit(bare(own), bare(other))
        residuals.append(float(other.residual))
    return {
        "decoded": len(rows),
        "decoded_match": matches / max(len(rows), 1),
        "decoded_residual": float(np.median(residuals)) if residuals else None,
    }


def with_requests(options: argparse.Namespace, requests: list[Asked]) -> dict:
    """Samples of each request: how many have its space group, if it has one, by moyo and spglib,
    and are valid.
    """
    rows = {}
    form = "{:18} {:>8} {:>7} {:>7} {:>9} {:>7}  {}"
    print(form.format("asked", "returned", "moyo", "spglib", "structure", "valid", "samples"))
    for asked in requests:
        group = None if asked.symmetry is None else read_space_group(asked.symmetry)
        name = " ".join(own for own in (asked.formula, group and group.name) if own)
        sampler = Sampler(options.model, asked, seed=options.seed, steps=options.steps)
        made, seconds = timed(sampler, options.each)
        kept, figures = made.kept, crystal_generation_metrics(made.structures)
        groups = Counter(s.get("space_group") for s in kept)
        formulas = Counter(s.formula for s in kept)
        row = {"returned": len(kept) / options.each, "moyo": None, "spglib": None}
        if group is not None:
            row["moyo"] = groups[group.name] / len(kept)
            row["spglib"] = float(np.mean([spglib_number(s) == group.number for s in kept]))
        row |= {key: figures[key] for key in ("structure_valid", "valid")}
        shown = formulas if group is not None else groups
        shares = ["-" if share is None else f"{100 * share:.1f}" for share in row.values()]
        print(form.format(name, *shares, ", ".join(map(str, list(shown)[:4]))), flush=True)
        rows[name] = row | {"seconds": seconds, "formulas": list(formulas), "groups": dict(groups)}
    return rows


def spglib_number(structure: Structure) -> int | None:
    """Of the space group that spglib finds."""
    import spglib

    cell = structure.cell[0].numpy()
    fractions = structure.positions.numpy() @ np.linalg.inv(cell)
    found = spglib.get_symmetry_dataset((cell, fractions, structure.numbers.numpy()), TOLERANCE)
    return None if found is None else found.number


def data_of(options: argparse.Namespace) -> dict:
    """What the flow was trained on, and how often each space group occurs in it."""
    config = read_config(Path("models") / f"{options.model}-atoms" / "config.yaml")
    data = crystals_of(config.data, config.model)
    groups = Counter(data.skeletons.group[data.skeleton].tolist())
    figures = {
        "crystals": len(data),
        "skeletons": len(data.skeletons.group),
        "groups": len(groups),
        "p1": groups[1] / len(data),
    }
    print(figures)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python benchmarks/crystal_generation.py --model crystals -n 1000",
    )  # fmt: skip
    parser.add_argument("--model", choices=TESTS, default="crystals")
    parser.add_argument("-n", type=int, default=1000, help="samples")
    parser.add_argument(
        "--reference", type=int, help="crystals of the test split (1000; for coverage all)"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, help="evaluations of the flow")
    parser.add_argument("--coverage", action="store_true", help="COV-R and COV-P, by matminer")
    parser.add_argument(
        "--relax", type=int, default=0, metavar="N", help="relax N samples and N test crystals"
    )
    parser.add_argument("--decode", type=int, default=0, help="latents that are decoded")
    parser.add_argument("--groups", nargs="*", metavar="GROUP", help="a space group each")
    parser.add_argument("--formulas", nargs="+", metavar="FORMULA[:GROUP]", help="a formula each")
    parser.add_argument("--each", type=int, default=32, help="samples of each group or formula")
    parser.add_argument("--data", action="store_true", help="tell of the training data")
    parser.add_argument("--quick", action="store_true", help="few of everything")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if options.quick:
        options.n, options.reference, options.each = SHARD, 100, 4
        options.relax = min(options.relax, 4)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    if options.data:
        rows = data_of(options)
    elif options.relax:
        rows = relaxed(options)
    elif options.coverage:
        rows = with_coverage(options)
    elif options.groups is not None:
        rows = with_requests(options, [Asked(symmetry=own) for own in options.groups or GROUPS])
    elif options.formulas:
        asked = [own.partition(":") for own in options.formulas]
        requests = [Asked(formula=own, symmetry=group or None) for own, _, group in asked]
        rows = with_requests(options, requests)
    else:
        rows = free(options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
