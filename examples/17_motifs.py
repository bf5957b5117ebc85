"""Shows what blooming and clustering mean chemically, and that equal groups get equal features.

Atoms climb to heavy-atom groups, groups to motifs: the picture draws both for twelve molecules,
each flattened onto its plane. The table asks how often a functional group falls whole into one
motif, and how alike the features of groups are that stand in different molecules: the cosine of
their invariants, standardised over all groups, within a kind and between kinds.
Run with `python examples/17_motifs.py [-n 3000]`.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from rdkit import Chem, RDLogger
from rdkit.Chem import rdDetermineBonds

import geomae
from geomae.autoencoder import Autoencoder, Latents
from geomae.data import Structure, load_source
from geomae.data.elements import SYMBOLS
from geomae.plotting.drawing import bonds_of, element_colours
from geomae.pooling import Tree

HERE = Path(__file__).parent

KINDS = {
    "methyl": "[CH3]",
    "phenyl": "c1ccccc1",
    "carboxyl": "[CX3](=O)[OH]",
    "amide": "[CX3](=O)[NX3]",
    "nitrile": "C#N",
    "hydroxyl": "[OX2H][CX4]",
}
"""SMARTS patterns; the first atom of each is where its features are read."""

DRAWN = 12


@dataclass
class Findings:
    """Occurrences of a functional group.

    Attributes:
        whole: whether all its heavy atoms are in one motif.
        groups: invariants of the heavy-atom group of its first atom.
        motifs: invariants of the motif that this group belongs to.
    """

    whole: list[bool] = field(default_factory=list)
    groups: list[np.ndarray] = field(default_factory=list)
    motifs: list[np.ndarray] = field(default_factory=list)


def bonded(structure: Structure) -> Chem.Mol | None:
    """The molecule with bonds from its geometry, atoms in its order; None if RDKit finds none."""
    names = [SYMBOLS[z] for z in structure.numbers.tolist()]
    rows = zip(names, structure.positions.tolist(), strict=True)
    lines = [f"{name} {x:.6f} {y:.6f} {z:.6f}" for name, (x, y, z) in rows]
    molecule = Chem.MolFromXYZBlock("\n".join([str(structure.n_atoms), "", *lines]))
    try:
        rdDetermineBonds.DetermineBonds(molecule, charge=0)
    except ValueError:
        return None
    return molecule


def occurrences(molecule: Chem.Mol) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Kind and heavy atoms of each functional group."""
    for kind, pattern in KINDS.items():
        for match in molecule.GetSubstructMatches(Chem.MolFromSmarts(pattern)):
            heavy = [i for i in match if molecule.GetAtomWithIdx(i).GetAtomicNum() > 1]
            yield kind, tuple(heavy)


def invariants_of(features: torch.Tensor) -> np.ndarray:
    """Invariants of each point's features, `[n, f]`."""
    return Latents(features, features.new_zeros(len(features), 3)).invariants().numpy()


def ancestors(tree: Tree) -> tuple[np.ndarray, np.ndarray]:
    """Heavy-atom group and motif of every atom."""
    group = torch.empty(len(tree.numbers), dtype=torch.long)
    group[tree.memberships[0][0]] = tree.memberships[0][1]
    above = torch.empty(len(tree.positions[1]), dtype=torch.long)
    above[tree.memberships[1][0]] = tree.memberships[1][1]
    return group.numpy(), above[group].numpy()


def survey(model: Autoencoder, structures: list[Structure]) -> dict[str, Findings]:
    """Functional groups of molecules, and the features of the points that stand for them."""
    found = {kind: Findings() for kind in KINDS}
    for start in range(0, len(structures), 256):
        part = structures[start : start + 256]
        tree, features = model.encode_levels(part)
        group, motif = ancestors(tree)
        values = [invariants_of(level) for level in features[1:3]]
        first = 0
        for structure in part:
            molecule = bonded(structure)
            for kind, atoms in occurrences(molecule) if molecule else ():
                own = [first + i for i in atoms]
                found[kind].whole.append(len({motif[i] for i in own}) == 1)
                found[kind].groups.append(values[0][group[own[0]]])
                found[kind].motifs.append(values[1][motif[own[0]]])
            first += structure.n_atoms
    return found


def likeness(rows: dict[str, np.ndarray]) -> tuple[dict[str, float], float]:
    """Mean cosine within each kind, and between kinds, of rows standardised over all of them."""
    joined = np.concatenate(list(rows.values()))
    mean, spread = joined.mean(0), joined.std(0) + 1e-12
    units = {}
    for kind, own in rows.items():
        scaled = (own - mean) / spread
        units[kind] = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    within = {
        kind: float((np.square(own.sum(0)).sum() - len(own)) / (len(own) * (len(own) - 1)))
        for kind, own in units.items()
    }
    between = [units[a].mean(0) @ units[b].mean(0) for a, b in combinations(units, 2)]
    return within, float(np.mean(between))


def table(found: dict[str, Findings]) -> str:
    """What was found, as text."""
    seen = {kind: own for kind, own in found.items() if len(own.whole) > 1}
    groups, apart = likeness({kind: np.array(own.groups) for kind, own in seen.items()})
    motifs, motifs_apart = likeness({kind: np.array(own.motifs) for kind, own in seen.items()})
    lines = ["kind        found   whole in one motif   cosine of groups   of motifs"]
    for kind, own in seen.items():
        lines.append(
            f"{kind:10} {len(own.whole):6d} {np.mean(own.whole):15.1%} {groups[kind]:18.3f} "
            f"{motifs[kind]:14.3f}"
        )
    lines.append(f"{'between kinds':33} {apart:18.3f} {motifs_apart:14.3f}")
    return "\n".join(lines)


def chosen(structures: list[Structure]) -> list[Structure]:
    """Molecules for the picture: with most functional groups, of different kinds first."""
    ranked = []
    for place, structure in enumerate(structures):
        molecule = bonded(structure)
        kinds = frozenset(kind for kind, _ in occurrences(molecule)) if molecule else frozenset()
        ranked.append((-len(kinds), place, kinds))
    picked: dict[frozenset, int] = {}
    for _, place, kinds in sorted(ranked):
        picked.setdefault(kinds, place)
    return [structures[place] for place in list(picked.values())[:DRAWN]]


def flattened(positions: np.ndarray) -> np.ndarray:
    """Positions on the plane that they extend along most."""
    centred = positions - positions.mean(0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T


def draw(path: Path, model: Autoencoder, structures: list[Structure]) -> None:
    """Each molecule with its motifs as coloured patches around bonds and atoms."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 10), layout="constrained")
    palette = colormaps["Set2"].colors  # pyright: ignore[reportAttributeAccessIssue]
    for number, structure in enumerate(structures):
        ax = figure.add_subplot(3, 4, number + 1)
        tree, _ = model.encode_levels([structure])
        group, motif = ancestors(tree)
        points, numbers = flattened(structure.positions.numpy()), structure.numbers.numpy()
        bonds = bonds_of(structure)
        patches = [palette[m % 8] for m in motif]
        ax.scatter(*points.T, s=700, c=patches, linewidths=0, zorder=0)
        for a, b, _ in bonds:
            if motif[a] == motif[b]:
                line = points[[a, b]].T
                ax.plot(*line, color=palette[motif[a] % 8], lw=26, solid_capstyle="round", zorder=0)
        for a, b, _ in bonds:
            same = group[a] == group[b]
            ax.plot(*points[[a, b]].T, color="#333333", lw=3 if same else 1, zorder=1)
        size = np.where(numbers == 1, 60, 190)
        colours = element_colours()[numbers]
        ax.scatter(*points.T, s=size, c=colours, edgecolors="#333333", linewidths=0.7, zorder=2)
        counts = [len(level) for level in tree.positions]
        words = f"{counts[0]} atoms, {counts[1]} groups, motifs: {counts[2]}"
        ax.set_title(f"{structure.formula}: {words}", fontsize=9)
        ax.set_aspect("equal")
        ax.set_axis_off()
    figure.savefig(path, dpi=130)


def main(options: argparse.Namespace) -> None:
    """Survey and picture."""
    RDLogger.DisableLog("rdApp.*")  # pyright: ignore[reportAttributeAccessIssue]
    model = geomae.load(options.model)
    structures = load_source("qm9", split="test", n=options.n)
    print(table(survey(model, structures)))
    options.output.mkdir(parents=True, exist_ok=True)
    draw(options.output / "motifs.png", model, chosen(structures[:1000]))
    print(f"motifs.png is in {options.output}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="qm9", help="name or path")
    parser.add_argument("-n", type=int, default=3000, help="molecules of the test split")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "output")
    main(parser.parse_args())
