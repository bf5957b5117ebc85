"""The Hamiltonian of a molecule, learned in one orientation, right in every other.

A network learns Fock and overlap matrices of small molecules (Hartree-Fock, STO-3G and 6-31G, see
`datasets/hamiltonians`) that all stand as ASE builds them. Matrices are made of blocks between
shells, each of irreps coupled to matrix elements. On geometries it has not seen, in any
orientation and in a mirror, elements and orbital energies have the same errors; and what symmetry
forbids in a symmetric molecule is zero to rounding.

Run with `python examples/13_hamiltonian.py [--quick] [--basis 6-31g]`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich import print
from scipy.linalg import eigh
from torch import Tensor

from geomae.data import Structure
from geomae.data.elements import SYMBOLS
from geomae.symmetry import allowed, orbital_block, structure_operations, symmetrise
from geomae.symmetry.hamiltonian import HamiltonianNetwork
from geomae.symmetry.shells import ShellBasis
from geomae.testing import random_orthogonal

FOLDER = Path(__file__).parents[1] / "datasets" / "hamiltonians"
N_TRAIN = 30
"""Geometries of each molecule that are trained on; the ideal one and the rest are not."""
MILLI = 1e3


@dataclass(frozen=True)
class Sample:
    """A molecule and its matrices.

    Attributes:
        name: of the molecule.
        structure: numbers and positions in Å.
        matrices: Fock (hartree) and overlap, `[2, orbitals, orbitals]`.
    """

    name: str
    structure: Structure
    matrices: Tensor

    @property
    def n_occupied(self) -> int:
        """Doubly occupied orbitals."""
        return int(self.structure.numbers.sum()) // 2

    def moved(self, matrix: Tensor, shells: ShellBasis) -> "Sample":
        """All of it turned or mirrored."""
        turn = shells.rotation(self.structure.numbers, matrix)
        structure = Structure(self.structure.numbers, self.structure.positions @ matrix.T)
        return Sample(self.name, structure, turn @ self.matrices @ turn.T)


@dataclass(frozen=True)
class Data:
    """One file.

    Attributes:
        shells: of each element.
        ideal: undistorted molecules by name.
        train, held_out: distorted ones.
    """

    shells: ShellBasis
    ideal: dict[str, Sample]
    train: list[Sample]
    held_out: list[Sample]


def load(basis: str) -> Data:
    """The matrices of a basis, `sto-3g` or `6-31g`."""
    with np.load(FOLDER / f"{basis}.npz") as stored:
        arrays = {key: stored[key] for key in stored}
    degrees = {int(k.split("/")[1]): v.tolist() for k, v in arrays.items() if "shells/" in k}
    data = Data(ShellBasis(degrees), {}, [], [])
    for name in sorted({key.split("/")[0] for key in arrays} - {"shells"}):
        numbers, positions = arrays[f"{name}/numbers"], arrays[f"{name}/positions"]
        upper = np.stack([arrays[f"{name}/fock"], arrays[f"{name}/overlap"]], 1)
        matrices = from_upper(torch.from_numpy(upper))
        samples = [
            Sample(name, Structure(numbers, place), both)
            for place, both in zip(positions, matrices, strict=True)
        ]
        data.ideal[name] = samples[0]
        data.train.extend(samples[1 : N_TRAIN + 1])
        data.held_out.extend(samples[N_TRAIN + 1 :])
    return data


def from_upper(upper: Tensor) -> Tensor:
    """Symmetric matrices from their upper triangles, row by row."""
    n = round((2 * upper.shape[-1] + 0.25) ** 0.5 - 0.5)
    rows, columns = torch.triu_indices(n, n)
    result = upper.new_zeros(*upper.shape[:-1], n, n)
    result[..., rows, columns] = upper
    result[..., columns, rows] = upper
    return result


def inputs(samples: Sequence[Sample], dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Numbers, positions and the structure of each atom."""
    structures = [one.structure for one in samples]
    sizes = torch.tensor([one.n_atoms for one in structures])
    batch = torch.repeat_interleave(torch.arange(len(samples)), sizes)
    positions = torch.cat([one.positions for one in structures]).to(dtype)
    return torch.cat([one.numbers for one in structures]), positions, batch


def train(data: Data, steps: int, channels: int, batch_size: int = 20) -> HamiltonianNetwork:
    """Fits what is not linear by gradient steps, the last layers by least squares in between.

    At the least squares solution the gradient of the rest is that of the solved problem (variable
    projection). Steps are in float32; the last solution, and all that is measured, in float64.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HamiltonianNetwork(data.shells, n_operators=2, channels=channels, cutoff=6.0)
    generator, every = torch.Generator().manual_seed(0), len(data.train) // batch_size
    wanted = [one.matrices.float() for one in data.train]
    parameters = [p for name, p in model.named_parameters() if not name.startswith("read.")]
    search = torch.optim.Adam(parameters, lr=2e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(search, steps)
    for step in range(steps):
        if step % every == 0:
            with torch.no_grad():
                hidden = model.hidden(*inputs(data.train, torch.float32))
            model.solve_readout(hidden, wanted, ridge=1e-5)
        chosen = torch.randperm(len(wanted), generator=generator)[:batch_size].tolist()
        hidden = model.hidden(*inputs([data.train[k] for k in chosen], torch.float32))
        blocks, goals = model.blocks_of(hidden), model.targets(hidden, [wanted[k] for k in chosen])
        # overlaps depend on two atoms only: the least squares solution has them right already
        loss = sum((blocks[key] - goals[key])[:, 0].square().sum() for key in blocks)
        search.zero_grad()
        (loss / batch_size).backward()
        search.step()
        rate.step()
    model = model.double()
    with torch.no_grad():
        hidden = model.hidden(*inputs(data.train))
    model.solve_readout(hidden, [one.matrices for one in data.train])
    return model


@torch.no_grad()
def predict(model: HamiltonianNetwork, samples: Sequence[Sample]) -> list[Tensor]:
    """Fock and overlap matrices of each molecule, `[2, orbitals, orbitals]`."""
    return model(*inputs(samples))


def energies(matrices: Tensor) -> np.ndarray:
    """Orbital energies in hartree, ascending: F C = S C e."""
    return eigh(matrices[0].numpy(), matrices[1].numpy(), eigvals_only=True)


@dataclass(frozen=True)
class Errors:
    """Errors; root mean squares, which don't depend on axes, for matrices, mean ones for energies.

    Attributes:
        fock: of the elements of Fock matrices, mHartree.
        overlap: of those of overlap matrices, in thousandths.
        occupied: of the energies of occupied orbitals, mHartree, both matrices predicted.
        all: of all orbital energies.
    """

    fock: float
    overlap: float
    occupied: float
    all: float

    def __str__(self) -> str:
        values = (self.fock, self.overlap, self.occupied, self.all)
        return " ".join(f"{value:14.9f}" for value in values)


def errors(samples: Sequence[Sample], predictions: Sequence[Tensor]) -> Errors:
    """Of predictions for molecules."""
    pairs = list(zip(samples, predictions, strict=True))
    squares = torch.cat([(found - one.matrices).square().flatten(1) for one, found in pairs], 1)
    gaps = [np.abs(energies(found) - energies(one.matrices)) for one, found in pairs]
    occupied = [gap[: one.n_occupied] for (one, _), gap in zip(pairs, gaps, strict=True)]
    means = [float(np.concatenate(some).mean()) for some in (occupied, gaps)]
    return Errors(*(MILLI * value for value in (*squares.mean(1).sqrt().tolist(), *means)))


def guess_of_means(data: Data, samples: Sequence[Sample]) -> list[Tensor]:
    """The mean matrices of each molecule in training: what knows nothing of geometry."""
    names = {one.name for one in data.train}
    means = {
        name: torch.stack([one.matrices for one in data.train if one.name == name]).mean(0)
        for name in names
    }
    return [means[one.name] for one in samples]


def turning_error(model: HamiltonianNetwork, samples: Sequence[Sample], matrix: Tensor) -> float:
    """Largest difference between turned predictions and those for turned molecules."""
    before = predict(model, samples)
    after = predict(model, [one.moved(matrix, model.shells) for one in samples])
    turns = [model.shells.rotation(one.structure.numbers, matrix) for one in samples]
    cases = zip(turns, before, after, strict=True)
    return max(float((d @ one @ d.T - other).abs().max()) for d, one, other in cases)


def mixing(shells: ShellBasis, structure: Structure, matrix: Tensor) -> dict[str, float]:
    """Largest element between symmetry orbitals of each two different irreps.

    The representation on orbitals moves atoms and turns their shells; irreps are projected out
    by their characters.
    """
    found = structure_operations(structure)
    places = shells.places(structure.numbers)
    ends = [(atom[0].start, atom[-1].stop) for atom in places]
    n = ends[-1][1]
    moves = torch.zeros(len(found), n, n, dtype=torch.float64)
    for k, rotation in enumerate(found.rotations):
        for i, j in enumerate(found.permutations[k].tolist()):
            turn = shells.rotation(structure.numbers[i : i + 1], rotation)
            moves[k, slice(*ends[j]), slice(*ends[i])] = turn
    projectors = {
        irrep.name: irrep.dimension
        / len(found)
        * torch.einsum("g,gab->ab", irrep.characters, moves)
        for irrep in found.group.irreps
    }
    here = [name for name, one in projectors.items() if float(one.norm()) > 1e-6]
    return {
        f"{a}-{b}": float((projectors[a] @ matrix @ projectors[b]).abs().max())
        for k, a in enumerate(here)
        for b in here[k + 1 :]
    }


def forbidden(shells: ShellBasis, structure: Structure, matrix: Tensor) -> tuple[int, float]:
    """How many directions `allowed` forbids in all blocks, and the largest part along them."""
    places, count, worst = shells.places(structure.numbers), 0, 0.0
    degrees = [shells.shells[z] for z in structure.numbers.tolist()]
    for i in range(structure.n_atoms):
        for j in range(i, structure.n_atoms):
            for a, rows in enumerate(places[i]):
                for b, columns in enumerate(places[j]):
                    same = a == b and degrees[i] == degrees[j]
                    block = orbital_block(
                        degrees[i][a], degrees[j][b], atoms=(i, j), same_shell=same
                    )
                    basis = allowed(structure, block).block_basis.flatten(1)
                    values = matrix[rows, columns].flatten()
                    worst = max(worst, float((values - basis.T @ (basis @ values)).abs().max()))
                    count += len(values) - len(basis)
    return count, worst


def draw(model: HamiltonianNetwork, sample: Sample, title: str, path: Path) -> None:
    """Predicted and true Fock matrix, their difference, and energies in several orientations."""
    from matplotlib.figure import Figure

    found, figure = predict(model, [sample])[0], Figure(figsize=(15, 4), layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.3))
    fock = sample.matrices[0]
    shown = (("true", fock, 1), ("predicted", found[0], 1), ("difference", found[0] - fock, MILLI))
    for axis, (name, values, unit) in zip(axes, shown, strict=False):
        limit = 1.0 if unit == 1 else float(values.abs().max()) * unit
        image = axis.imshow(values * unit, cmap="RdBu_r", vmin=-limit, vmax=limit)
        label = "hartree, cut at 1" if unit == 1 else "mHartree"
        figure.colorbar(image, ax=axis, shrink=0.8, label=label)
        axis.set_title(f"{name}, {sample.name}, {title}")
        _mark_atoms(axis, model.shells, sample.structure)
    generator = torch.Generator().manual_seed(2)
    turns = [torch.eye(3).double(), *(random_orthogonal(generator) for _ in range(3))]
    turns.append(-turns[0])
    names = ["true", "as trained", "turned", "turned", "turned", "mirrored"]
    levels = [energies(sample.matrices)]
    levels += [energies(predict(model, [sample.moved(m, model.shells)])[0]) for m in turns]
    for place, values in enumerate(levels):
        # the cores lie far below
        for number, value in enumerate(values[values > -3]):
            occupied = number + int((values <= -3).sum()) < sample.n_occupied
            colour = "tab:blue" if occupied else "tab:orange"
            axes[3].hlines(value, place - 0.4, place + 0.4, color=colour)
    axes[3].set_xticks(range(len(names)), names, rotation=30)
    axes[3].set(title="orbital energies (blue: occupied)", ylabel="hartree")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _mark_atoms(axis, shells: ShellBasis, structure: Structure) -> None:
    """Lines between the orbitals of different atoms, and the atoms' symbols."""
    stops = shells.sizes(structure.numbers).cumsum(0).tolist()
    middles = [(a + b - 1) / 2 for a, b in zip([0, *stops], stops, strict=False)]
    names = [SYMBOLS[z] for z in structure.numbers.tolist()]
    for stop in stops[:-1]:
        axis.axhline(stop - 0.5, color="grey", linewidth=0.6)
        axis.axvline(stop - 0.5, color="grey", linewidth=0.6)
    axis.set_xticks(middles, names)
    axis.set_yticks(middles, names)
    axis.tick_params(length=0)


def ideal(data: Data, name: str) -> Structure:
    """A molecule with its symmetry exact, which coordinates of six digits leave at 1e-6 Å."""
    return symmetrise(data.ideal[name].structure).structure


def report(model: HamiltonianNetwork, data: Data) -> None:
    """Errors as trained, turned and mirrored, and what is forbidden in ideal molecules."""
    print("errors on held-out geometries, in mHartree (overlap: thousandths):")
    print(f"{'':>12}  {'Fock, rms':>14} {'overlap, rms':>14} {'occupied':>14} {'all energies':>14}")
    print(f"{'mean matrix':>12}: {errors(data.held_out, guess_of_means(data, data.held_out))}")
    generator = torch.Generator().manual_seed(1)
    orientations = [("as trained", torch.eye(3, dtype=torch.float64))]
    orientations += [(f"turned, {k}", random_orthogonal(generator, improper=False)) for k in (0, 1)]
    orientations += [("mirrored", random_orthogonal(generator, improper=True))]
    for title, matrix in orientations:
        samples = [one.moved(matrix, data.shells) for one in data.held_out]
        print(f"{title:>12}: {errors(samples, predict(model, samples))}")
    worst = max(turning_error(model, data.held_out, matrix) for _, matrix in orientations)
    print(f"matrices turn with the molecules to {worst:.0e}")
    for name in ("H2O", "NH3", "CH4", "H2CO"):
        structure = ideal(data, name)
        fock = model(structure.numbers, structure.positions)[0][0].detach()
        count, largest = forbidden(data.shells, structure, fock)
        group = structure_operations(structure).group.name
        print(f"{name:>5} ({group}): {count} combinations forbidden, at most {largest:.0e} hartree")
    water = ideal(data, "H2O")
    fock = model(water.numbers, water.positions)[0][0].detach()
    mixed = mixing(data.shells, water, fock)
    print("water, between irreps:", ", ".join(f"{k} {v:.0e}" for k, v in mixed.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps; STO-3G alone")
    parser.add_argument("--basis", choices=("sto-3g", "6-31g"), help="one basis alone")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output")
    arguments = parser.parse_args()
    every = ("sto-3g",) if arguments.quick else ("sto-3g", "6-31g")
    for basis in (arguments.basis,) if arguments.basis else every:
        data = load(basis)
        print(f"[bold]{basis}[/bold]: {len(data.train)} geometries, one orientation")
        model = train(data, 20, 16) if arguments.quick else train(data, 360, 24)
        report(model, data)
        sample = next(one for one in data.held_out if one.name == "H2CO")
        draw(model, sample, basis, arguments.output / f"hamiltonian_{basis}.png")


if __name__ == "__main__":
    main()
