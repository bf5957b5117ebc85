"""One molecule for each of many point groups, generated with it, and drawn side by side.

Atoms stand on whole orbits of the group, noise is projected on what the group leaves as it is, and
the flow is equivariant: every sample has at least the group that was asked for, as pymatgen
confirms at 0.001 Å. Of some samples of each group the best is drawn: a stable molecule if there is
one. What the group forbids is printed beside it: a
molecule with a centre, or with two axes, has no dipole.
Run with `python examples/15_point_group_gallery.py [--each 16] [--groups C2v D6h Td]`.
"""

import argparse
import warnings
from pathlib import Path

import geomae
from geomae.data import Structure
from geomae.generation import Generated
from geomae.metrics.generation import judge
from geomae.plotting.gallery import save_gallery
from geomae.symmetry import PointGroup, allowed

HERE = Path(__file__).parent
GROUPS = ("C2", "C2v", "C3", "C3v", "D2h", "D3h", "D4h", "D6h", "Td", "Oh", "C∞v", "D∞h")


def best_of(made: Generated) -> Structure | None:
    """The best of the structures that have the symmetry: stable, in one piece, large, certain."""
    judged = [(judge(structure), structure) for structure in made.kept]
    ranked = sorted(
        judged,
        key=lambda pair: (
            -pair[0].stable,
            -pair[0].connected,
            -(pair[0].smiles is not None),
            -min(pair[1].n_atoms, 12),
            pair[1].residual,
        ),
    )
    return ranked[0][1] if ranked else None


def main(options: argparse.Namespace) -> None:
    """Generate for each group, tell, draw."""
    options.output.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in options.groups:
        made = geomae.generate(options.model, options.each, symmetry=name, seed=options.seed)
        structure = best_of(made)
        dipole = allowed(PointGroup.named(name), "dipole").n_components
        if structure is None:
            print(f"{name:5} nothing that has it: {made.faults[0]}")
            continue
        found[name] = structure
        stable = "stable" if judge(structure).stable else "not stable"
        print(
            f"{name:5} {len(made.kept)} of {len(made)} have it; {structure.formula:9} has "
            f"{structure.point_group}, {stable}; dipole {'allowed' if dipole else 'forbidden'}"
        )
    if found:
        titles = [f"{n}: {s.formula}\n{s.point_group}" for n, s in found.items()]
        save_gallery(options.output / "point_group_gallery.png", list(found.values()), titles)
        print(f"point_group_gallery.png is in {options.output}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="qm9", help="name or path of a model with a flow")
    parser.add_argument("--groups", nargs="+", default=list(GROUPS))
    parser.add_argument("--each", type=int, default=16, help="samples of each group")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "output")
    main(parser.parse_args())
