"""Forces and dipoles learned in one orientation are right in every other; cells don't matter.

A network learns the forces of ASE's effective medium theory and the dipoles of charge
equilibration (Rappe and Goddard 1991) for small molecules that all stand as ASE builds them. Turned
or mirrored, the molecules give turned and mirrored predictions, so that errors are the same to the
last digits. The second part asks a network about one crystal in its primitive, its conventional
and a skew supercell: the same atoms get the same values.

Run with `python examples/08_predictions_rotate.py [--quick]`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import print
from torch import Tensor, nn

from geomae.data import Structure, from_ase
from geomae.equivariant.network import PointNetwork
from geomae.symmetry.audit import Audit, audit, supercell
from geomae.testing import random_orthogonal

ELEMENTS = torch.tensor([1, 6, 7, 8])
ELECTRONEGATIVITY = torch.tensor([4.528, 5.343, 6.899, 8.741], dtype=torch.float64)
HARDNESS = torch.tensor([13.890, 10.126, 11.760, 13.364], dtype=torch.float64)
"""In eV, of H, C, N, O: Rappe and Goddard 1991, table I."""
COULOMB = 14.3996
"""e^2 / (4 pi epsilon_0), in eV Å."""
MOLECULES = (
    *("H2O", "NH3", "CH4", "CH3OH", "H2CO", "HCN", "HCOOH", "CH3NO2", "C2H4", "C2H2"),
    *("CO2", "N2O", "CH3CN", "N2H4", "H2O2", "H2CCO", "CH3CHO", "C2H6", "CH3OCH3", "OCHCHO"),
)
HELD_OUT = ("CH3CH2OH", "CH3CH2NH2", "CH3COOH", "HCOOCH3", "C4H4O")


@dataclass(frozen=True)
class Data:
    """Molecules and what is to be learned of them.

    Attributes:
        structures: the molecules.
        forces: eV / Å, of all atoms.
        charges: e, of all atoms.
        dipoles: e Å, of all molecules.
    """

    structures: list[Structure]
    forces: Tensor
    charges: Tensor
    dipoles: Tensor

    def moved(self, matrix: Tensor) -> "Data":
        """All of it turned or mirrored."""
        moved = [Structure(one.numbers, one.positions @ matrix.T) for one in self.structures]
        return Data(moved, self.forces @ matrix.T, self.charges, self.dipoles @ matrix.T)


def data_of(names: Sequence[str], copies: int, seed: int) -> Data:
    """Molecules of the G2 set, their atoms moved a little so that there are forces."""
    from ase.build import molecule
    from ase.calculators.emt import EMT

    structures, forces = [], []
    for number in range(copies):
        for place, name in enumerate(names):
            atoms = molecule(name)
            atoms.rattle(0.05, seed=seed + 1000 * number + place)
            atoms.calc = EMT()
            forces.append(torch.from_numpy(atoms.get_forces()))
            structures.append(Structure(atoms.numbers, atoms.positions))
    charges = [charges_of(one) for one in structures]
    dipoles = [q @ one.positions for q, one in zip(charges, structures, strict=True)]
    return Data(structures, torch.cat(forces), torch.cat(charges), torch.stack(dipoles))


def charges_of(structure: Structure) -> Tensor:
    """The charges, in e, that make electronegativities equal and add up to zero."""
    kind = (structure.numbers[:, None] == ELEMENTS).long().argmax(1)
    distances = torch.cdist(structure.positions, structure.positions)
    hardness = torch.diag(HARDNESS[kind])
    # at short range the charges' extent takes over from Coulomb's law
    mean = (HARDNESS[kind][:, None] + HARDNESS[kind]) / 2
    shielded = COULOMB / (distances**3 + (COULOMB / mean) ** 3) ** (1 / 3)
    matrix = shielded.fill_diagonal_(0) + hardness
    n = len(kind)
    system = torch.ones(n + 1, n + 1, dtype=torch.float64)
    system[:n, :n], system[n, n] = matrix, 0
    wanted = torch.cat([-ELECTRONEGATIVITY[kind], torch.zeros(1, dtype=torch.float64)])
    return torch.linalg.solve(system, wanted)[:n]


class ForcesAndDipoles(nn.Module):
    """A vector and a scalar an atom: its force, and its charge, which makes the dipole."""

    def __init__(self):
        super().__init__()
        sizes = {"channels": 16, "lmax": 2, "layers": 2, "cutoff": 4.0}
        self.network = PointNetwork(f"{len(ELEMENTS)}x0e", "1x1o + 1x0e", **sizes)

    def inputs(self, structures: list[Structure]) -> tuple[Tensor, Tensor, Tensor]:
        """Elements as ones and zeros, positions, and the structure of each atom."""
        numbers = torch.cat([one.numbers for one in structures])
        positions = torch.cat([one.positions for one in structures])
        sizes = torch.tensor([one.n_atoms for one in structures])
        batch = torch.repeat_interleave(torch.arange(len(structures)), sizes)
        return (numbers[:, None] == ELEMENTS).double(), positions, batch

    def forward(self, structures: list[Structure]) -> tuple[Tensor, Tensor]:
        """Forces `[atoms, 3]` and dipoles `[structures, 3]`."""
        features, positions, batch = self.inputs(structures)
        values = self.network(features, positions, batch)
        return values[:, :3], self.dipoles(values[:, 3], positions, batch)

    def dipoles(self, charges: Tensor, positions: Tensor, batch: Tensor) -> Tensor:
        """Of charges whose sum, which would make the origin matter, is taken out, `[s, 3]`."""
        counts = torch.bincount(batch)
        excess = charges.new_zeros(len(counts)).index_add(0, batch, charges) / counts
        shares = (charges - excess[batch])[:, None] * positions
        return charges.new_zeros(len(counts), 3).index_add(0, batch, shares)


def train(data: Data, steps: int) -> ForcesAndDipoles:
    """Fits forces, charges and dipoles; one orientation is all that is seen."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ForcesAndDipoles().double()
    inputs = model.inputs(data.structures)
    target = torch.cat([data.forces, data.charges[:, None]], 1)
    weights, size = 1 / target.square().mean(0), data.dipoles.square().mean()
    search = torch.optim.Adam(model.parameters(), lr=1e-2)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(search, steps)
    for _ in range(steps):
        values = model.network(*inputs)
        dipoles = model.dipoles(values[:, 3], inputs[1], inputs[2])
        loss = ((values - target).square() * weights).mean()
        loss = loss + (dipoles - data.dipoles).square().mean() / size
        search.zero_grad()
        loss.backward()
        search.step()
        rate.step()
    return model


@torch.no_grad()
def errors(model: ForcesAndDipoles, data: Data) -> tuple[float, float]:
    """Root mean square errors of forces and dipoles, relative to their root mean squares."""
    forces, dipoles = model(data.structures)
    pairs = (forces, data.forces), (dipoles, data.dipoles)
    return tuple(float(((a - b).square().mean() / b.square().mean()).sqrt()) for a, b in pairs)


def audited(model: ForcesAndDipoles, structures: list[Structure]) -> Audit:
    """The audit of the trained model."""

    def predict(structure: Structure) -> dict[str, Tensor]:
        forces, dipoles = model([structure])
        return {"forces": forces, "dipole": dipoles}

    return audit(predict, structures, ["forces", "dipole"])


def crystal() -> Structure:
    """Zincblende GaAs, its arsenic moved off its place: a primitive cell with forces."""
    from ase.build import bulk

    structure = from_ase(bulk("GaAs", "zincblende", a=5.65))
    structure.positions[1] += torch.tensor([0.1, -0.05, 0.2]).double()
    return structure


def cells() -> dict[str, Tensor]:
    """Lattice vectors of other cells in those of the primitive one."""
    return {
        "primitive": torch.eye(3).long(),
        "conventional": torch.tensor([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]),
        "skew supercell": torch.tensor([[1, 1, 0], [0, 2, 1], [0, 0, 3]]),
    }


@torch.no_grad()
def per_atom(cell: Tensor) -> tuple[Tensor, Tensor]:
    """Values of every atom of the crystal in a cell, and the atom of the primitive cell it is."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"channels": 8, "lmax": 2, "layers": 2, "cutoff": 5.0, "n_neighbours": 16.0}
        model = PointNetwork("2x0e", "1x0e + 1x1o + 1x2e", **sizes).double()
    structure, order = supercell(crystal(), cell)
    kinds = (structure.numbers[:, None] == torch.tensor([31, 33])).double()
    return model(kinds, structure.positions, None, structure.cell, structure.pbc), order


def draw(model: ForcesAndDipoles, data: Data, path: Path) -> None:
    """Predicted against true components, as trained and in a random orientation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots(1, 2)
    matrix = random_orthogonal(torch.Generator().manual_seed(5))
    shown = (("as trained", data, "o"), ("turned", data.moved(matrix), "x"))
    for title, one, marker in shown:
        with torch.no_grad():
            predictions = model(one.structures)
        for axis, found, true in zip(axes, predictions, (one.forces, one.dipoles), strict=True):
            axis.plot(true.flatten(), found.flatten(), marker, ms=4, alpha=0.6, label=title)
    for axis, name in zip(axes, ("forces, eV / Å", "dipoles, e Å"), strict=True):
        axis.axline((0, 0), slope=1, color="lightgrey", zorder=0)
        axis.set(title=name, xlabel="true", ylabel="predicted")
        axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output")
    arguments = parser.parse_args()
    quick = arguments.quick
    data, held_out = data_of(MOLECULES, 1 if quick else 2, 0), data_of(HELD_OUT, 4, 7)
    model = train(data, 25 if quick else 120)
    print("relative errors of forces and dipoles, molecules not seen in training:")
    generator = torch.Generator().manual_seed(1)
    orientations = [("as trained", torch.eye(3, dtype=torch.float64))]
    orientations += [(f"turned, {k}", random_orthogonal(generator)) for k in range(3)]
    orientations += [("mirrored", -torch.eye(3, dtype=torch.float64))]
    for title, matrix in orientations:
        forces, dipoles = errors(model, held_out.moved(matrix))
        print(f"{title:>12}: {forces:.14f} {dipoles:.14f}")
    print(audited(model, held_out.structures[: len(HELD_OUT)]))
    reference, _ = per_atom(cells()["primitive"])
    for name, cell in cells().items():
        values, order = per_atom(cell)
        worst = float((values - reference[order]).abs().max() / reference.abs().max())
        print(f"{name:>15}: {len(order):2d} atoms, values differ by {worst:.0e}")
    draw(model, held_out, arguments.output / "predictions_rotate.png")


if __name__ == "__main__":
    main()
