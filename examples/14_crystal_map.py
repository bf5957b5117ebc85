"""Latents of crystals at work: properties, neighbours of a structure type, a map of MP-20.

Properties: formation energy and band gap by kernel ridge regression from frozen invariants, against
the same regression from a composition's statistics (means, spreads and extremes of elements'
properties, in the manner of Magpie, Ward et al. 2016, with the volume an atom).

Neighbours: with stand-ins for the elements, and all crystals at the same volume an atom, a latent
tells the structure alone, so that all perovskites, and all rock salts, find each other; the
latent of the crystal as it is weighs the elements in. A type's share of the nearest
neighbours is told, over as many neighbours as the type has other members.

The map: crystals on the two main directions of their invariants, coloured by space group.

Run with `python examples/14_crystal_map.py [-n 1500] [--model crystals]`. The files of MP-20 are
read from the folder that the environment variable GEOMAE_DATA names.
"""

import argparse
import sys
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import geomae
from geomae.crystals.model import CrystalAutoencoder
from geomae.data import Structure, load_source
from geomae.data.elements import SYMBOLS
from geomae.errors import GeomaeError
from geomae.invariants import invariants

HERE = Path(__file__).parent
STAND_INS = (38, 22, 8)
"""Elements that stand for a crystal's, the rarest first."""

VOLUME = 14.0
"""Å^3 an atom of crystals with stand-ins."""

TARGETS = {"formation_energy_per_atom": "eV/atom", "band_gap": "eV"}
TYPES = {"perovskite": ((1, 1, 3), 221), "rock salt": ((1, 1), 225)}
"""Proportions and space group that mark a structure type among primitive cells."""


def features(model: CrystalAutoencoder, structures: list[Structure]) -> np.ndarray:
    """Invariants of latents, `[n, features]`."""
    latents = model.encode(structures, progress=True)
    return invariants(latents.to(torch.float64), "power").numpy()


def statistics(structures: list[Structure]) -> np.ndarray:
    """Mean, spread, least and largest value of elements' properties, and Å^3 an atom."""
    from pymatgen.core import Element

    def row(number: int) -> list[float]:
        own = Element(SYMBOLS[number])
        radius = float(own.atomic_radius or 1.5)
        return [number, own.X if own.X == own.X else 1.5, radius, own.group, own.row,
                own.mendeleev_no, float(own.atomic_mass)]  # fmt: skip

    table = {z: row(z) for z in {int(z) for s in structures for z in s.numbers}}
    found = []
    for structure in structures:
        values = np.array([table[int(z)] for z in structure.numbers])
        volume = abs(np.linalg.det(structure.cell[0].numpy())) / structure.n_atoms
        columns = [values.mean(0), values.std(0), values.min(0), values.max(0), [volume]]
        found.append(np.concatenate(columns))
    return np.array(found)


def regression() -> GridSearchCV:
    """Kernel ridge regression on whitened features, its two parameters by cross-validation."""
    steps = StandardScaler(), PCA(0.9995, whiten=False), StandardScaler(with_std=False)
    pipeline = make_pipeline(*steps, KernelRidge(kernel="laplacian"))
    grid = {"kernelridge__alpha": [1e-3, 1e-1], "kernelridge__gamma": [1e-3, 4e-3, 1.6e-2]}
    return GridSearchCV(pipeline, grid, cv=3, scoring="neg_mean_absolute_error")


def compare_regressions(
    known: list[Structure], asked: list[Structure], model: CrystalAutoencoder
) -> np.ndarray:
    """Print mean absolute errors; invariants of the crystals that were asked."""
    tables = {"invariants": [features(model, part) for part in (known, asked)]}
    tables["composition"] = [statistics(part) for part in (known, asked)]
    tables["both"] = [np.hstack(parts) for parts in zip(*tables.values(), strict=True)]
    for target, unit in TARGETS.items():
        y, truth = (np.array([s[target] for s in part]) for part in (known, asked))
        print(f"{target}: mean absolute error in {unit}, {len(known)} known, {len(asked)} asked")
        print(f"  {'their mean':12s} {np.abs(truth - y.mean()).mean():.3f}")
        for name, (x, wanted) in tables.items():
            guess = regression().fit(x, y).predict(wanted)
            print(f"  {name:12s} {np.abs(truth - guess).mean():.3f}")
    return tables["invariants"][1]


def with_stand_ins(structure: Structure, order: tuple[int, ...]) -> Structure:
    """The structure alone: its elements, in an order, replaced, and the cell scaled."""
    numbers = structure.numbers.numpy()
    replaced = np.zeros_like(numbers)
    for element, other in zip(order, STAND_INS, strict=False):
        replaced[numbers == element] = other
    volume = abs(np.linalg.det(structure.cell[0].numpy())) / structure.n_atoms
    size = (VOLUME / volume) ** (1 / 3)
    return Structure(replaced, size * structure.positions, cell=size * structure.cell[0])


def orders(structure: Structure) -> list[tuple[int, ...]]:
    """The elements, rarest first; all orders of those that are as frequent."""
    numbers, counts = np.unique(structure.numbers.numpy(), return_counts=True)
    return [
        tuple(int(numbers[k]) for k in order)
        for order in permutations(range(len(numbers)))
        if all(counts[a] <= counts[b] for a, b in pairwise(order))
    ]


def is_of(structure: Structure, proportions: tuple[int, ...], group: int) -> bool:
    """Whether a crystal has the proportions and space group of a structure type."""
    _, counts = np.unique(structure.numbers.numpy(), return_counts=True)
    own = tuple(sorted((counts // np.gcd.reduce(counts)).tolist()))
    return own == proportions and int(structure["spacegroup_number"]) == group


def distances(queries: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Between standardised features, `[q, n]`, in units of their median."""
    scale = table.std(0) + 1e-9 * np.abs(table).max()
    gaps = cdist(queries / scale, table / scale)
    return gaps / np.median(gaps)


def compare_neighbours(structures: list[Structure], model: CrystalAutoencoder) -> None:
    """Print how many of the nearest neighbours of a type's members are of the type."""
    structures = [s for s in structures if len(set(s.numbers.tolist())) <= len(STAND_INS)]
    whole = features(model, structures)
    bare = features(model, [with_stand_ins(s, orders(s)[0]) for s in structures])
    for name, (proportions, group) in TYPES.items():
        own = np.array([is_of(s, proportions, group) for s in structures])
        members = np.flatnonzero(own)
        if len(members) < 2:
            print(f"{name}: fewer than two among {len(structures)}")
            continue
        ways = [(k, order) for k in members for order in orders(structures[k])]
        asked = features(model, [with_stand_ins(structures[k], order) for k, order in ways])
        gaps = distances(asked, bare)
        which = np.array([k for k, _ in ways])
        structure_only = np.stack([gaps[which == k].min(0) for k in members])
        elements = distances(whole[members], whole)
        tables = {
            "structure alone": structure_only,
            "elements weighed in, 0.2": structure_only + 0.2 * elements,
            "latent as it is": elements,
        }
        print(f"{name}: {len(members)} of {len(structures)}; neighbours of the same type")
        for title, table in tables.items():
            table[np.arange(len(members)), members] = np.inf
            nearest = np.argsort(table, axis=1)[:, : len(members) - 1]
            print(f"  {title:25s} {own[nearest].mean():.1%}")
        row = int(np.flatnonzero(own)[0])
        near = np.argsort(tables["elements weighed in, 0.2"][0])[:5]
        names = ", ".join(structures[k].formula for k in near)
        print(f"  nearest to {structures[row].formula}: {names}")


def draw_map(path: Path, values: np.ndarray, structures: list[Structure]) -> None:
    """Crystals as points, coloured by space group."""
    from matplotlib.figure import Figure

    points = make_pipeline(StandardScaler(), PCA(2)).fit_transform(values)
    groups = [int(s["spacegroup_number"]) for s in structures]
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    figure = Figure(figsize=(7.4, 6), layout="constrained")
    ax = figure.add_subplot()
    dots = ax.scatter(*points.T, c=groups, s=7, cmap="turbo", vmin=1, vmax=230, linewidths=0)
    figure.colorbar(dots, label="space group")
    ax.set(xticks=[], yticks=[], title=f"{len(points)} crystals of MP-20's test set")
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    figure.savefig(path, dpi=130)


def main(options: argparse.Namespace) -> None:
    """Regressions, neighbours, map."""
    try:
        model = geomae.load(options.model)
        known, asked = (load_source("mp20", split=split) for split in ("valid", "test"))
    except GeomaeError as error:
        sys.exit(str(error))
    assert isinstance(model, CrystalAutoencoder)
    rng = np.random.default_rng(0)
    elements = set(model.elements)

    def chosen(structures: list[Structure], n: int) -> list[Structure]:
        fit = [
            s
            for s in structures
            if s.n_atoms <= model.config.max_atoms and set(s.numbers.tolist()) <= elements
        ]
        return [fit[i] for i in rng.permutation(len(fit))[:n]]

    every = chosen(asked, len(asked))
    known, asked = chosen(known, options.n), every[: options.n]
    whole = compare_regressions(known, asked, model)
    rest = [s for s in every[options.n :] if any(is_of(s, *kind) for kind in TYPES.values())]
    compare_neighbours(asked + rest, model)
    options.output.mkdir(parents=True, exist_ok=True)
    draw_map(options.output / "map_of_mp20.png", whole, asked)
    print(f"map_of_mp20.png is in {options.output}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="crystals", help="name or path")
    parser.add_argument("-n", type=int, default=1500, help="crystals of each split")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "output")
    main(parser.parse_args())
