"""How good generated molecules are: the figures of EDM's table, and how they are distributed.

Bonds come from distances alone (`geomae.metrics.bonds`); stability, validity and uniqueness are
counted as EDM does (Hoogeboom et al., "Equivariant diffusion for molecule generation in 3D", 2022).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from geomae.data.collect import as_structures
from geomae.data.elements import NUMBERS
from geomae.data.structure import Structure
from geomae.data.validate import find_fault
from geomae.errors import StructureError
from geomae.metrics.bonds import VALENCE, bond_orders, molecule_of, rdkit_quiet, soundness
from geomae.metrics.distributions import Shape, shape_distances, shape_of

Figure = int | float | None


@dataclass(frozen=True)
class Molecule:
    """One generated molecule, judged.

    Attributes:
        n_atoms: atoms.
        stable_atoms: those whose bond orders sum to their valence.
        smiles: of the largest fragment; None if RDKit does not sanitise the molecule.
        connected: all atoms hang together.
        shape: bond lengths, angles, torsions and composition; None without bonds by EDM's rules.
    """

    n_atoms: int
    stable_atoms: int
    smiles: str | None
    connected: bool
    shape: Shape | None

    @property
    def stable(self) -> bool:
        """Every atom is."""
        return 0 < self.n_atoms == self.stable_atoms


def generation_metrics(
    structures: Any,
    reference: Any = None,
    *,
    train_smiles: Iterable[str] | None = None,
    posebusters: bool = False,
    progress: bool = False,
) -> dict[str, Figure]:
    """Figures of generated molecules as a dictionary of plain numbers; shares from 0 to 1.

    | key | figure |
    |---|---|
    | n | molecules, those that could not be read or decoded included |
    | n_failed | of these; they count as failures everywhere |
    | atom_stability | atoms whose bond orders sum to their valence, of all atoms |
    | molecule_stability | molecules all of whose atoms are stable, of n |
    | valid | molecules that RDKit sanitises, of n |
    | valid_unique | different SMILES of largest fragments of valid ones, over n |
    | unique | the same, over the valid ones |
    | connected | molecules in one piece, of n |
    | mean_atoms | atoms a molecule |
    | novel | valid, unique ones whose SMILES the reference lacks, over the valid, unique ones |
    | bonds_js, angles_js, torsions_js, composition_js | Jensen-Shannon distances to the reference |

    Args:
        structures: generated: what `as_structures` takes, and pairs (positions, numbers) of arrays;
            None stands for one that could not be decoded. Of H, C, N, O and F: others have no
            bonds by the rules, and count as failures.
        reference: molecules of the data, for novelty and distances; anything as above.
        train_smiles: SMILES, as `largest_smiles` makes them, that novelty is asked against
            instead of the reference.
        posebusters: tell as `posebusters` the share of n that passes all of PoseBusters' tests but
            those of energy, and each test's own share as `posebusters: NAME`; 0.1 s a molecule.
        progress: show a bar.

    Raises:
        MissingExtraError: RDKit, or PoseBusters where it is asked for, is not installed.
        StructureError: what is given is nothing that structures can be made of.
    """
    given = gather(structures)
    judged = [judge(item) for item in _tracked(given, "judging" if progress else None)]
    known = None if reference is None else [judge(item) for item in gather(reference)]
    return summary_of(judged, known, train_smiles) | (_plausibility(given) if posebusters else {})


def summary_of(
    judged: Sequence[Molecule],
    reference: Sequence[Molecule] | None = None,
    train_smiles: Iterable[str] | None = None,
) -> dict[str, Figure]:
    """The figures of `generation_metrics` of molecules that are judged already."""
    n, atoms = len(judged), sum(m.n_atoms for m in judged)
    smiles = [m.smiles for m in judged if m.smiles is not None]
    different = set(smiles)
    figures: dict[str, Figure] = {
        "n": n,
        "n_failed": sum(m.n_atoms == 0 for m in judged),
        "atom_stability": _share(sum(m.stable_atoms for m in judged), atoms),
        "molecule_stability": _share(sum(m.stable for m in judged), n),
        "valid": _share(len(smiles), n),
        "valid_unique": _share(len(different), n),
        "unique": _share(len(different), len(smiles)),
        "connected": _share(sum(m.connected for m in judged), n),
        "mean_atoms": _share(atoms, sum(m.n_atoms > 0 for m in judged)),
    }
    if reference is not None and train_smiles is None:
        train_smiles = [m.smiles for m in reference if m.smiles is not None]
    if train_smiles is not None:
        figures["novel"] = _share(len(different - set(train_smiles)), len(different))
    if reference is not None:
        figures |= shape_distances(_shapes(judged), _shapes(reference))
    return figures


def judge(structure: Structure | None) -> Molecule:
    """One molecule's share in the figures; None, no atoms and positions that are not finite fail.

    Raises:
        MissingExtraError: RDKit is not installed.
    """
    if structure is None:
        return Molecule(0, 0, None, False, None)
    numbers = structure.numbers.cpu()
    if not set(numbers.tolist()) <= KNOWN:
        return Molecule(len(numbers), 0, None, False, None)
    positions = structure.positions.detach().cpu().double()
    orders = bond_orders(numbers, positions)
    connected, stable = soundness(numbers, orders)
    return Molecule(
        len(numbers),
        stable,
        _largest(numbers, orders),
        connected,
        shape_of(numbers.numpy(), positions.numpy(), orders.numpy()),
    )


KNOWN = {NUMBERS[symbol] for symbol in VALENCE}


def largest_smiles(structure: Structure) -> str | None:
    """SMILES of the largest fragment by EDM's rules; None if RDKit can't sanitise it all."""
    numbers = structure.numbers.cpu()
    return _largest(numbers, bond_orders(numbers, structure.positions.detach().cpu()))


def _largest(numbers: Tensor, orders: Tensor) -> str | None:
    molecule = molecule_of(numbers, orders)
    from rdkit import Chem

    with rdkit_quiet():
        try:
            Chem.SanitizeMol(molecule)
            fragments = Chem.GetMolFrags(molecule, asMols=True)
            return Chem.MolToSmiles(max(fragments, key=lambda m: m.GetNumAtoms()))
        except ValueError:
            return None


def gather(structures: Any) -> list[Structure | None]:
    """Structures of anything, None for each that can't be used.

    Args:
        structures: what `as_structures` takes, pairs (positions, numbers), and None.

    Raises:
        StructureError: what is given as a whole is of no accepted type.
    """
    if isinstance(structures, Structure) or _is_pair(structures):
        structures = [structures]
    several = isinstance(structures, Iterable) and not isinstance(structures, str | bytes)
    if not several or _converts(structures):
        return _read(structures, on_top=True)
    return [found for item in structures for found in _read(item)]


def _read(item: Any, on_top: bool = False) -> list[Structure | None]:
    if item is None:
        return [None]
    if _is_pair(item):
        positions, numbers = map(_array, item)
        item = Structure(numbers, positions) if numbers.ndim == 1 else Structure(positions, numbers)
    if isinstance(item, Structure):
        fault = find_fault(item)
        # atoms on top of each other are bad, but can be judged
        return [item if fault is None or "closer than" in fault else None]
    try:
        found = as_structures(item, on_error="skip")
    except StructureError:
        if on_top:
            raise
        return [None]
    return [*found, *[None] * len(found.skipped)]


def _converts(item: Any) -> bool:
    """Whether `as_structures` takes it as one thing, although it can be iterated."""
    return hasattr(item, "positions") or hasattr(item, "pos") or hasattr(item, "GetAtoms")


def _is_pair(item: Any) -> bool:
    """Positions `[n, 3]` with `[n]` atomic numbers, or the other way round."""
    if not isinstance(item, tuple | list) or len(item) != 2:
        return False
    if any(not isinstance(part, np.ndarray | Tensor | list | tuple) for part in item):
        return False
    try:
        shapes = sorted((_array(part).shape for part in item), key=len)
    except (ValueError, TypeError):
        return False
    return len(shapes[0]) == 1 and shapes[1] == (shapes[0][0], 3)


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _shapes(judged: Sequence[Molecule]) -> list[Shape]:
    return [m.shape for m in judged if m.shape is not None]


def _plausibility(structures: Sequence[Structure | None]) -> dict[str, Figure]:
    from geomae.metrics.plausibility import plausibility

    return dict(plausibility(structures))


def _tracked(items: Sequence, label: str | None) -> Iterable:
    if label is None:
        return items
    from rich.progress import track

    return track(items, label, transient=True)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
