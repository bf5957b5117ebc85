"""A chiral property of an achiral molecule is zero; mirror images have opposite ones.

Optical rotation changes sign in a mirror: a pseudoscalar, `0o`. An equivariant network with both
parities, trained to give 1 for one hand of three chiral molecules, gives -1 for the other hand
without having seen it, and zero for every achiral molecule, whether its symmetry has a
mirror, an inversion centre, or nothing but a rotation-reflection axis.

Run with `python examples/07_handedness.py [--quick]`.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import print
from rich.table import Table
from torch import Tensor

from geomae.data import Structure, from_ase
from geomae.equivariant.network import PointNetwork
from geomae.symmetry import PointGroup, symmetrise
from geomae.symmetry.detect import point_group
from geomae.testing import random_molecule

ELEMENTS = torch.tensor([1, 6, 7, 8, 9, 17, 35])
CHIRAL = ("H2O2", "N2H4")
ACHIRAL = ("H2O", "NH3", "CH4", "C2H4", "C2H6", "C6H6", "C3H4_D2d", "trans-butane", "CH3CH2OH")


@dataclass(frozen=True)
class Answer:
    """What the network says of a molecule.

    Attributes:
        name: of the molecule.
        group: its point group.
        chiral: whether the group is without improper operations.
        value: the pseudoscalar.
        mirrored: that of the mirror image.
    """

    name: str
    group: str
    chiral: bool
    value: float
    mirrored: float


def molecules() -> list[Structure]:
    """Chiral ones first, then achiral ones, each exactly as symmetric as it is meant to be."""
    from ase.build import molecule

    found = [named(from_ase(molecule(name)), name) for name in (*CHIRAL, *ACHIRAL)]
    found = [named(symmetrise(one, tolerance=1e-2).structure, one.name) for one in found]
    return [substituted_methane(), *found, orbit_of_heap("Ci"), orbit_of_heap("S4")]


def named(structure: Structure, name: str) -> Structure:
    structure.name = name
    return structure


def substituted_methane() -> Structure:
    """CHFClBr: four different neighbours, no symmetry at all."""
    corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double() / 3**0.5
    bonds = torch.tensor([1.09, 1.36, 1.76, 1.94]).double()
    positions = torch.cat([corners.new_zeros(1, 3), corners * bonds[:, None]])
    return named(Structure([6, 1, 9, 17, 35], positions), "CHFClBr")


def orbit_of_heap(group: str) -> Structure:
    """A random heap of atoms and its images: achiral without a mirror for Ci and S4."""
    heap = random_molecule(torch.Generator().manual_seed(3), n_atoms=3)
    place = heap.positions + torch.tensor([1.6, 0.4, 0.9]).double()
    operations = PointGroup.named(group).operations
    positions = (place @ operations.transpose(1, 2)).flatten(0, 1)
    return named(Structure(heap.numbers.repeat(len(operations)), positions), f"heap with {group}")


def inputs(structures: list[Structure]) -> tuple[Tensor, Tensor, Tensor]:
    """Elements as ones and zeros, positions, and the structure of each atom."""
    numbers = torch.cat([one.numbers for one in structures])
    sizes = torch.tensor([one.n_atoms for one in structures])
    batch = torch.repeat_interleave(torch.arange(len(structures)), sizes)
    positions = torch.cat([one.positions for one in structures])
    return (numbers[:, None] == ELEMENTS).double(), positions, batch


def train(structures: list[Structure], steps: int) -> PointNetwork:
    """A network that gives 1 for every structure."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"channels": 8, "lmax": 2, "layers": 2, "cutoff": 4.0, "reduce": "sum"}
        model = PointNetwork(f"{len(ELEMENTS)}x0e", "1x0o", **sizes).double()
    data, target = inputs(structures), torch.ones(len(structures), 1, dtype=torch.float64)
    search = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = (model(*data) - target).square().mean()
        search.zero_grad()
        loss.backward()
        search.step()
    with torch.no_grad():
        hidden = model.hidden(*data)
    model.solve_readout(hidden, target)
    return model


@torch.no_grad()
def ask(model: PointNetwork, structures: list[Structure]) -> list[Answer]:
    """The network's answers for structures and for their mirror images."""
    features, positions, batch = inputs(structures)
    mirror = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    values = model(features, positions, batch)[:, 0].tolist()
    mirrored = model(features, positions * mirror, batch)[:, 0].tolist()
    groups = [point_group(one, 1e-4) for one in structures]
    return [
        Answer(one.name, group.name, group.proper, value, other)
        for one, group, value, other in zip(structures, groups, values, mirrored, strict=True)
    ]


def draw(answers: list[Answer], path: Path) -> None:
    """Both hands of every molecule."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.5), layout="constrained")
    axis = figure.add_subplot()
    place = torch.arange(len(answers)).double()
    axis.bar(place - 0.2, [one.value for one in answers], 0.4, label="as it is")
    axis.bar(place + 0.2, [one.mirrored for one in answers], 0.4, label="in a mirror")
    labels = [f"{one.name}\n{one.group}" for one in answers]
    axis.set_xticks(place.tolist(), labels, rotation=45, ha="right", fontsize=8)
    axis.set_ylabel("pseudoscalar")
    axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output")
    arguments = parser.parse_args()
    structures = molecules()
    model = train(structures[: len(CHIRAL) + 1], 5 if arguments.quick else 60)
    answers = ask(model, structures)
    table = Table("molecule", "group", "pseudoscalar", "of the mirror image")
    for one in answers:
        table.add_row(one.name, one.group, f"{one.value:+.1e}", f"{one.mirrored:+.1e}")
    print(table)
    draw(answers, arguments.output / "handedness.png")


if __name__ == "__main__":
    main()
