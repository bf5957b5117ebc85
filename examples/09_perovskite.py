"""From the cubic perovskite to Pnma: what has to be added, and where?

Ideal CaTiO3 is cubic; the crystal at room temperature is Pnma with 20 atoms in its cell: octahedra
tilt (a-b+a- in Glazer's notation) and calcium follows. From the cubic crystal no equivariant
network can predict that. With values on the titanium sites, found by gradient among scalars,
vectors and quadrupoles of both parities, it can; what is found are mostly pseudovectors, the axes
of the tilts. If they may have one irrep only, the crystal that comes out is Imma (74) or P4/mbm
(127).

Run with `python examples/09_perovskite.py [--quick]`.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import print
from torch import Tensor, nn

from geomae.data import Structure
from geomae.equivariant.network import PointNetwork
from geomae.symmetry.detect import space_group
from geomae.symmetry.learning import Learning
from geomae.symmetry.order import OrderParameters, order_parameters

CANDIDATES = "1x0o + 1x1e + 1x1o + 1x2e + 1x2o"
EDGE = 3.82
"""Of the cubic cell with five atoms, in Å."""
IDEAL = {20: (0.0, 0.25, 0.0), 22: (0.0, 0.0, 0.5), 8: (0.5, 0.25, 0.0), -8: (0.25, 0.0, 0.75)}
TILTED = {
    20: (0.036, 0.25, -0.007),
    22: (0.0, 0.0, 0.5),
    8: (0.484, 0.25, 0.071),
    -8: (0.289, 0.037, 0.711),
}
"""Sites of Ca, Ti and two kinds of O in Pnma; the second are those of CaTiO3 to three digits."""
OPERATIONS = (
    ((1, 1, 1), (0, 0, 0)),
    ((-1, -1, 1), (0.5, 0, 0.5)),
    ((-1, 1, -1), (0, 0.5, 0)),
    ((1, -1, -1), (0.5, 0.5, 0.5)),
    ((-1, -1, -1), (0, 0, 0)),
    ((1, 1, -1), (0.5, 0, 0.5)),
    ((1, -1, 1), (0, 0.5, 0)),
    ((-1, 1, 1), (0.5, 0.5, 0.5)),
)
"""Of Pnma: signs of x, y, z, and what is added."""


def crystals() -> tuple[Structure, Tensor]:
    """The cubic crystal in the cell of Pnma, 20 atoms, and the displacements to the tilted one."""
    cell = EDGE * torch.diag(torch.tensor([2**0.5, 2, 2**0.5], dtype=torch.float64))
    numbers, places, moves = [], [], []
    for kind, site in IDEAL.items():
        ideal, tilted = torch.tensor([site, TILTED[kind]], dtype=torch.float64)
        seen: list[Tensor] = []
        for signs, shift in OPERATIONS:
            sign, added = torch.tensor(signs).double(), torch.tensor(shift).double()
            place = (sign * ideal + added) % 1
            if any((place - other - (place - other).round()).abs().max() < 1e-6 for other in seen):
                continue
            seen.append(place)
            numbers.append(abs(kind))
            places.append(place)
            moves.append(sign * (tilted - ideal))
    return Structure(numbers, torch.stack(places) @ cell, cell=cell), torch.stack(moves) @ cell


class Tilting(nn.Module):
    """Displacements of all atoms from elements, places, and values on the titanium sites."""

    def __init__(self, structure: Structure):
        super().__init__()
        self.structure = structure
        kinds = torch.tensor([20, 22, 8])
        self.kinds = (structure.numbers[:, None] == kinds).double()
        self.sites = (structure.numbers == 22).nonzero()[:, 0]
        sizes = {"channels": 8, "lmax": 2, "layers": 2, "cutoff": 3.5, "n_neighbours": 14.0}
        self.network = PointNetwork(f"3x0e + {CANDIDATES}", "1x1o", **sizes)

    def inputs(self, values: Tensor) -> tuple:
        """What the network takes for values `[4, dim]`."""
        spread = values.new_zeros(len(self.kinds), values.shape[1])
        features = torch.cat([self.kinds, spread.index_copy(0, self.sites, values)], 1)
        one = self.structure
        return features, one.positions, None, one.cell, one.pbc

    def forward(self, values: Tensor) -> Tensor:
        return self.network(*self.inputs(values))


def network(structure: Structure) -> Tilting:
    """A network whose weights no training has touched."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tilting(structure).double()


def learn(steps: int) -> tuple[OrderParameters, Tilting]:
    """Order parameter and network, learned together."""
    structure, moves = crystals()
    model = network(structure)
    found = order_parameters(
        structure,
        moves,
        CANDIDATES,
        sites=model.sites.tolist(),
        model=model,
        parameters=model.parameters(),
        learning=Learning(steps=steps, rate=1e-2),
    )
    return found, model


@dataclass(frozen=True)
class Result:
    """What a network gives with some values added.

    Attributes:
        title: what was added.
        structure: the cubic crystal with the displacements predicted.
        loss: relative to the size of the displacements.
        number: of the space group.
    """

    title: str
    structure: Structure
    loss: float
    number: int


def result(title: str, model: Tilting, values: Tensor, moves: Tensor) -> Result:
    """The prediction after the last layer has been solved for."""
    with torch.no_grad():
        hidden = model.network.hidden(*model.inputs(values))
        model.network.solve_readout(hidden, moves)
        found = model(values)
    loss = float((found - moves).square().sum() / moves.square().sum())
    old = model.structure
    structure = Structure(old.numbers, old.positions + found, cell=old.cell)
    return Result(title, structure, loss, space_group(structure, 1e-3).number)


def results(found: OrderParameters, model: Tilting) -> list[Result]:
    """Nothing added, what was learned, and each irrep of its pseudovectors alone."""
    structure, moves = crystals()
    learned = found.learned.breaker
    rows = [
        result("nothing added", network(structure), 0 * learned, moves),
        result("learned order parameter", model, learned, moves),
    ]
    for one in found.components:
        if one.kind == "1e":
            basis = one.basis.flatten(1)
            part = (basis.T @ (basis @ learned.flatten())).view_as(learned)
            if part.norm() > 1e-6:
                title = f"1e, {one.irrep} alone"
                rows.append(result(title, network(structure), part / part.norm(), moves))
    return rows


TITLES = {221: "Pm-3m", 62: "Pnma", 74: "Imma", 127: "P4/mbm"}


def draw(rows: list[Result], found: OrderParameters, path: Path) -> None:
    """Crystals that come out, seen along b, and what was learned by kind.

    Lines join titanium to its six oxygens: an octahedron seen along an axis is a cross.
    """
    from matplotlib.figure import Figure

    from geomae.plotting.drawing import element_colours

    figure = Figure(figsize=(3.2 * (len(rows) + 1), 4), layout="constrained")
    axes = figure.subplots(1, len(rows) + 1)
    for axis, row in zip(axes, rows, strict=False):
        numbers, points = several_cells(row.structure)
        for i, j in bonds(numbers, points):
            axis.plot(*points[[i, j]][:, [0, 2]].T, color="silver", linewidth=2, zorder=0)
        order = points[:, 1].argsort()
        for number, name, size in ((20, "Ca", 70), (22, "Ti", 60), (8, "O", 22)):
            own = order[numbers[order] == number]
            axis.scatter(*points[own][:, [0, 2]].T, s=size, color=element_colours()[number],
                         edgecolors="black", linewidths=0.5, label=name)  # fmt: skip
        symbol = TITLES.get(row.number, "")
        axis.set_title(f"{row.title}\n{symbol} ({row.number}), loss {row.loss:.1e}", fontsize=9)
        axis.set(aspect="equal", xticks=[], yticks=[], xlabel="a", ylabel="c")
    axes[0].legend(loc="upper right", fontsize=8, framealpha=1)
    shares: dict[str, float] = {}
    for part in found.learned.active:
        shares[part.kind] = shares.get(part.kind, 0.0) + part.size**2
    total = sum(shares.values())
    kinds = ("0o", "1e", "1o", "2e", "2o")
    axes[-1].bar(kinds, [shares.get(kind, 0.0) / total for kind in kinds], color="tab:purple")
    axes[-1].set_title("learned order parameter\non the titanium sites", fontsize=9)
    axes[-1].set(ylabel="share of the squared length", xlabel="degree and parity")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def several_cells(structure: Structure) -> tuple[Tensor, Tensor]:
    """Elements and places of two cells along a and along c."""
    steps = torch.cartesian_prod(torch.arange(2), torch.tensor([0]), torch.arange(2)).double()
    points = (structure.positions + (steps @ structure.cell[0])[:, None]).flatten(0, 1)
    return structure.numbers.repeat(len(steps)), points


def bonds(numbers: Tensor, points: Tensor) -> list[tuple[int, int]]:
    """Titanium and oxygen nearer than 2.4 Å."""
    near = torch.cdist(points, points) < 2.4
    return (near & (numbers == 22)[:, None] & (numbers == 8)).nonzero().tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output")
    arguments = parser.parse_args()
    found, model = learn(25 if arguments.quick else 100)
    print(found)
    rows = results(found, model)
    for row in rows:
        print(f"{row.title:>32}: loss {row.loss:.1e}, space group {row.number}")
    draw(rows, found, arguments.output / "perovskite.png")


if __name__ == "__main__":
    main()
