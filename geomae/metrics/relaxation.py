"""How far crystals are from a minimum of energy, by an interatomic potential."""

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geomae.crystals.symmetry import require_crystal
from geomae.data.collect import as_structures
from geomae.data.structure import Structure
from geomae.errors import GeomaeError, MissingExtraError, UnsupportedStructureError
from geomae.metrics.crystals import UNREDUCED_DEFAULT, compare_crystal
from geomae.metrics.generation import Figure

if TYPE_CHECKING:
    import ase
    from ase.calculators.calculator import BaseCalculator

FORCE = 0.05
"""Force in eV/Å below which a crystal is relaxed, also of the cell in ASE's FrechetCellFilter."""

STEPS = 500
"""Steps after which a relaxation is given up."""

SYMPREC = 0.01
"""Tolerance in Å of the space groups before and after."""


@dataclass(frozen=True)
class Relaxation:
    """A crystal and what became of it.

    Attributes:
        structure: relaxed, atoms in the order given; None if the calculator failed.
        displacement: root mean square displacement of atoms in Å, less the mean displacement: that
            of fractional coordinates in the mean of both cells, so strain alone does not count.
        rms: the root mean square distance that pymatgen's StructureMatcher finds at its own
            tolerances, without reducing cells, in lengths (volume / atoms)^(1/3); None if the two
            don't match.
        volume: its relative change.
        energy: change in eV an atom.
        steps: of the optimiser.
        converged: forces, also of the cell, came below the threshold.
        space_groups: numbers before and after, 0 where none was found.
        fault: what the calculator failed with.
    """

    structure: Structure | None
    displacement: float | None = None
    rms: float | None = None
    volume: float | None = None
    energy: float | None = None
    steps: int = 0
    converged: bool = False
    space_groups: tuple[int, int] = (0, 0)
    fault: str | None = None

    @property
    def kept(self) -> bool:
        """Whether the space group is the same after."""
        before, after = self.space_groups
        return before == after != 0


def relax(
    structures: Any,
    calculator: "BaseCalculator | None" = None,
    *,
    fmax: float = FORCE,
    steps: int = STEPS,
    cell: bool = True,
    symprec: float = SYMPREC,
    progress: bool = False,
) -> list[Relaxation]:
    """Relax crystals, positions and cell, and tell how far they moved.

    ASE's BFGS is used; forces of a symmetric crystal are symmetric, so a crystal on a saddle point
    may stay there.

    Args:
        structures: crystals; what `as_structures` takes.
        calculator: of ASE, with stress where the cell is relaxed; by default CHGNet (Deng et al.
            2023).
        fmax: largest force in eV/Å that counts as none.
        steps: after which a relaxation is given up.
        cell: relax the cell as well.
        symprec: tolerance in Å of the space groups.
        progress: show a bar.

    Returns:
        One for each structure; that of a crystal at which the calculator failed has a `fault`.

    Raises:
        StructureError: a structure can't be used, or is no crystal; says which.
        GeomaeError: `calculator` is none of ASE's, or a threshold or number of steps not positive.
        MissingExtraError: CHGNet, pymatgen or moyopy is not installed.
    """
    if not (fmax > 0 and steps > 0):
        raise GeomaeError(f"fmax and steps must be positive, got {fmax} and {steps}")
    given = list(as_structures(structures))
    for index, structure in enumerate(given):
        try:
            require_crystal(structure)
        except UnsupportedStructureError as error:
            raise UnsupportedStructureError(
                error.fault, index=index, source=error.source
            ) from error
    if calculator is None:
        calculator = chgnet()
    elif not hasattr(calculator, "get_potential_energy"):
        raise GeomaeError(f"calculator must be one of ASE's, got {type(calculator).__name__}")
    items: Any = given
    if progress:
        from rich.progress import track

        items = track(given, "relaxing")
    return [_relax(s, calculator, fmax, steps, cell, symprec) for s in items]


def relaxation_metrics(relaxations: Sequence[Relaxation]) -> dict[str, Figure]:
    """Figures of relaxations; shares are of n, from 0 to 1, all others of those that did not fail.

    | key | figure |
    |---|---|
    | n, n_failed | crystals; those at which the calculator failed |
    | converged | forces, also of the cell, came below the threshold |
    | displacement, displacement (90 %) | median and ninth decile of RMS displacements in Å |
    | matched, rms | StructureMatcher matches both, and the mean rms of those that it matches |
    | volume, volume (mean) | median size of the relative change of volume; mean, with its sign |
    | energy | median change in eV an atom |
    | space_group_kept | the same after |
    """
    done = [r for r in relaxations if r.structure is not None]
    n = len(relaxations)

    def share(flags: list[bool]) -> float:
        return sum(flags) / n if n else 0.0

    def values(name: str) -> np.ndarray:
        found = [getattr(r, name) for r in done]
        return np.array([v for v in found if v is not None], dtype=float)

    def figure(of: Callable[..., np.floating], found: np.ndarray, *more: float) -> float | None:
        return float(of(found, *more)) if len(found) else None

    moved, rms = values("displacement"), values("rms")
    volume, energy = values("volume"), values("energy")
    return {
        "n": n,
        "n_failed": n - len(done),
        "converged": share([r.converged for r in done]),
        "displacement": figure(np.median, moved),
        "displacement (90 %)": figure(np.quantile, moved, 0.9),
        "matched": share([r.rms is not None for r in done]),
        "rms": figure(np.mean, rms),
        "volume": figure(np.median, np.abs(volume)),
        "volume (mean)": figure(np.mean, volume),
        "energy": figure(np.median, energy),
        "space_group_kept": share([r.kept for r in done]),
    }


def chgnet() -> "BaseCalculator":
    """CHGNet's ASE calculator, with the weights that its package ships.

    Raises:
        MissingExtraError: CHGNet is not installed.
    """
    try:
        from chgnet.model import CHGNetCalculator
    except ImportError as error:
        raise MissingExtraError("chgnet", "relax") from error
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its device
        return CHGNetCalculator(on_isolated_atoms="ignore")


def _relax(
    structure: Structure,
    calculator: "BaseCalculator",
    fmax: float,
    steps: int,
    cell: bool,
    symprec: float,
) -> Relaxation:
    from ase import Atoms
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    atoms = Atoms(
        structure.numbers.numpy(),
        structure.positions.numpy(),
        cell=structure.cell[0].numpy(),
        pbc=True,
        calculator=calculator,
    )
    start = atoms.copy()
    try:
        before = atoms.get_potential_energy()
        optimiser = BFGS(FrechetCellFilter(atoms) if cell else atoms, logfile=None)
        converged = bool(optimiser.run(fmax=fmax, steps=steps))
        gained = (atoms.get_potential_energy() - before) / len(atoms)
    except Exception as error:  # a calculator raises whatever it likes; the others go on
        return Relaxation(None, fault=f"{type(error).__name__}: {error}")
    if not (np.isfinite(gained) and np.isfinite(atoms.positions).all()):
        return Relaxation(None, fault="energy or positions are no longer finite")
    relaxed = Structure(atoms.numbers, atoms.positions, cell=atoms.cell.array)
    told = compare_crystal(structure, relaxed, protocols=(UNREDUCED_DEFAULT,), symprecs=(symprec,))
    return Relaxation(
        structure=relaxed,
        displacement=_displacement(start, atoms),
        rms=told.rms[UNREDUCED_DEFAULT.name],
        volume=float(atoms.get_volume() / start.get_volume() - 1),
        energy=float(gained),
        steps=optimiser.nsteps,
        converged=converged,
        space_groups=told.space_groups[symprec],
    )


def _displacement(before: "ase.Atoms", after: "ase.Atoms") -> float:
    """Root mean square in Å, of fractional coordinates in the mean cell, less the mean."""
    fractions = [atoms.positions @ np.linalg.inv(atoms.cell.array) for atoms in (before, after)]
    moved = (fractions[1] - fractions[0]) @ ((before.cell.array + after.cell.array) / 2)
    return float(np.sqrt(np.square(moved - moved.mean(0)).sum(1).mean()))
