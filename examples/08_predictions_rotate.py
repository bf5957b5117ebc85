"""Forces and dipoles learned in one orientation are right in every other; cells don't matter.

A network learns the forces of ASE's effective medium theory and the dipoles of charge
equilibration for small molecules that all stand as ASE builds them, and
is asked about other geometries of these. A molecule's dipole is that of charges at their places
and of dipoles of the atoms, both learned. Turned or mirrored, the molecules give turned and
mirrored predictions, so that errors are the same to the last digits. The second part asks a
network about one crystal in its primitive, its conventional and a skew supercell: the same atoms
get the same values.

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
WIDTHS = torch.tensor([0.31, 0.76, 0.71, 0.66], dtype=torch.float64)
"""Covalent radii in Å (Cordero et al. 2008)."""
HELD_OUT = 10**6
"""Seed of the geometries that are not trained on."""
COULOMB = 14.3996
"""e^2 / (4 pi epsilon_0), in eV Å."""
MOLECULES = (
    *("H2O", "NH3", "CH4", "CH3OH", "H2CO", "HCN", "HCOOH", "CH3NO2", "C2H4", "C2H2"),
    *("CO2", "N2O", "CH3CN", "N2H4", "H2O2", "H2CCO", "CH3CHO", "C2H6", "CH3OCH3", "OCHCHO"),
)
NEW = ("CH3CH2OH", "CH3CH2NH2", "CH3COOH", "HCOOCH3")
"""Molecules none of whose geometries is trained on."""


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

    def parts(self) -> list["Data"]:
        """Each molecule alone."""
        sizes = [one.n_atoms for one in self.structures]
        atoms = zip(self.forces.split(sizes), self.charges.split(sizes), strict=True)
        return [
            Data([one], *own, dipole[None])
            for one, own, dipole in zip(self.structures, atoms, self.dipoles, strict=True)
        ]


def joined(parts: Sequence[Data]) -> Data:
    """Several together."""
    return Data(
        [one for part in parts for one in part.structures],
        torch.cat([part.forces for part in parts]),
        torch.cat([part.charges for part in parts]),
        torch.cat([part.dipoles for part in parts]),
    )


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
    """The charges, in e, that make electronegativities equal and add up to zero.

    They are Gaussians as wide as covalent radii (Ghasemi et al. 2015, Phys. Rev. B 92, 045131), so
    that the matrix of their interactions is positive definite and charges follow smoothly.
    """
    kind = (structure.numbers[:, None] == ELEMENTS).long().argmax(1)
    distances = torch.cdist(structure.positions, structure.positions)
    widths = WIDTHS[kind].square()
    slopes = (widths[:, None] + widths).rsqrt()
    matrix = COULOMB * torch.erf(slopes * distances) / distances.clamp(min=1e-9)
    own = HARDNESS[kind] + 2 / torch.pi**0.5 * COULOMB * slopes.diagonal()
    matrix = matrix.fill_diagonal_(0) + torch.diag(own)
    n = len(kind)
    system = torch.ones(n + 1, n + 1, dtype=torch.float64)
    system[:n, :n], system[n, n] = matrix, 0
    wanted = torch.cat([-ELECTRONEGATIVITY[kind], torch.zeros(1, dtype=torch.float64)])
    return torch.linalg.solve(system, wanted)[:n]


class ForcesAndDipoles(nn.Module):
    """Two vectors and a scalar an atom: its force, its own dipole, and its charge.

    The molecule's dipole is that of the charges at their places and the atoms' own: charges alone
    would have to be right to a few percent, since their contributions nearly cancel.
    """

    def __init__(self):
        super().__init__()
        sizes = {"channels": 20, "lmax": 2, "layers": 2, "cutoff": 4.5}
        self.network = PointNetwork(f"{len(ELEMENTS)}x0e", "2x1o + 1x0e", **sizes)

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
        return values[:, :3], self.dipoles(values, positions, batch)

    def dipoles(self, values: Tensor, positions: Tensor, batch: Tensor) -> Tensor:
        """Dipoles `[s, 3]` of atoms' values."""
        shares = values[:, 6:] * centred(positions, batch) + values[:, 3:6]
        return summed(shares, batch)

    @torch.no_grad()
    def solve(self, data: Data) -> None:
        """Sets the last layer, which is linear, to the least squares solution.

        Dipoles are linear in the weights of charges and of atoms' own dipoles: one problem for
        both, in which charges and dipoles count alike.
        """
        features, positions, batch = self.inputs(data.structures)
        hidden = self.network.hidden(features, positions, batch)
        nothing = data.forces.new_zeros(len(data.forces), 4)
        self.network.solve_readout(hidden, torch.cat([data.forces, nothing], 1))
        read, layout = self.network.read, self.network.read.layout
        (_, vector), (_, scalar) = read.parts
        blocks = layout.split(hidden)
        scalars, vectors = blocks[scalar][:, 0], blocks[vector]
        scalars = torch.cat([scalars, scalars.new_ones(len(scalars), 1)], 1)
        arms = centred(positions, batch)[:, :, None] * scalars[:, None]
        rows = torch.cat([summed(arms, batch), summed(vectors, batch)], 2).flatten(0, 1)
        padded = torch.cat([scalars, 0 * vectors[:, 0]], 1)
        known, wanted = [], []
        for part, values in ((padded, data.charges), (rows, data.dipoles.flatten())):
            scale = float(values.square().sum().sqrt())
            known.append(part / scale)
            wanted.append(values / scale)
        square = torch.cat(known).T @ torch.cat(known)
        square.diagonal().add_(1e-7 * square.diagonal().mean())
        solution = torch.linalg.solve(square, torch.cat(known).T @ torch.cat(wanted))
        width = scalars.shape[1]
        read.weight[1][:, 0], read.bias[0] = solution[: width - 1], solution[width - 1]
        read.weight[0][:, 1] = solution[width:]


def summed(values: Tensor, batch: Tensor) -> Tensor:
    """Sums over the atoms of each molecule."""
    return values.new_zeros(int(batch[-1]) + 1, *values.shape[1:]).index_add(0, batch, values)


def centred(positions: Tensor, batch: Tensor) -> Tensor:
    """Places from the middle of the molecule: charges that don't add up to zero don't matter."""
    counts = torch.bincount(batch)[:, None]
    return positions - (summed(positions, batch) / counts)[batch]


def train(data: Data, steps: int, batch_size: int = 20) -> ForcesAndDipoles:
    """Fits forces, charges and dipoles of molecules that all stand as they were built.

    What is not linear goes down the gradient, the last layer is solved for in between, and last.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ForcesAndDipoles().double()
    scales = [
        float(one.square().mean().sqrt()) for one in (data.forces, data.charges, data.dipoles)
    ]
    parts = data.parts()
    generator, every = torch.Generator().manual_seed(0), max(1, len(parts) // batch_size)
    parameters = [p for name, p in model.named_parameters() if ".read." not in name]
    search = torch.optim.Adam(parameters, lr=3e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(search, steps)
    for step in range(steps):
        if step % every == 0:
            model.solve(data)
        chosen = torch.randperm(len(parts), generator=generator)[:batch_size].tolist()
        batch = joined([parts[k] for k in chosen])
        inputs = model.inputs(batch.structures)
        values = model.network(*inputs)
        found = values[:, :3], values[:, 6], model.dipoles(values, *inputs[1:])
        wanted = batch.forces, batch.charges, batch.dipoles
        loss = sum(
            ((a - b) / scale).square().mean()
            for a, b, scale in zip(found, wanted, scales, strict=True)
        )
        search.zero_grad()
        loss.backward()
        search.step()
        rate.step()
    model.solve(data)
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
    data, held_out = data_of(MOLECULES, 2 if quick else 4, 0), data_of(MOLECULES, 1, HELD_OUT)
    model = train(data, 25 if quick else 120)
    print("relative errors of forces and dipoles, geometries not seen in training:")
    generator = torch.Generator().manual_seed(1)
    orientations = [("as trained", torch.eye(3, dtype=torch.float64))]
    orientations += [(f"turned, {k}", random_orthogonal(generator)) for k in range(3)]
    orientations += [("mirrored", -torch.eye(3, dtype=torch.float64))]
    for title, matrix in orientations:
        forces, dipoles = errors(model, held_out.moved(matrix))
        print(f"{title:>12}: {forces:.14f} {dipoles:.14f}")
    forces, dipoles = errors(model, data_of(NEW, 4, HELD_OUT))
    print(f"molecules of which no geometry was seen: {forces:.2f} {dipoles:.2f}")
    print(audited(model, held_out.structures[:5]))
    reference, _ = per_atom(cells()["primitive"])
    for name, cell in cells().items():
        values, order = per_atom(cell)
        worst = float((values - reference[order]).abs().max() / reference.abs().max())
        print(f"{name:>15}: {len(order):2d} atoms, values differ by {worst:.0e}")
    draw(model, held_out, arguments.output / "predictions_rotate.png")


if __name__ == "__main__":
    main()
