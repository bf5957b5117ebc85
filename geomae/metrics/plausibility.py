"""PoseBusters' tests of molecules (Buttenschoen et al. 2024), without those of energy."""

from collections.abc import Sequence

from geomae.data.structure import Structure
from geomae.errors import MissingExtraError, UnsupportedStructureError
from geomae.metrics.bonds import bond_orders, molecule_of, rdkit_quiet

VERSION = "0.6.5"
"""Release whose tests are meant; others have other columns."""

TOGETHER = 100
"""Molecules that are tested in one call."""


def plausibility(structures: Sequence[Structure | None]) -> dict[str, float]:
    """Shares of molecules that pass: all tests as `posebusters`, each as `posebusters: NAME`.

    The tests of PoseBusters' configuration `mol_fast`: sanitisation, InChI, connectedness,
    radicals, bond lengths and angles, clashes, flatness of rings and double bonds. A molecule that
    is None, or that RDKit can't take, fails all of them.

    Args:
        structures: of H, C, N, O and F; bonds by EDM's rules.

    Raises:
        MissingExtraError: PoseBusters is not installed.
    """
    try:
        from posebusters import PoseBusters
    except ImportError as error:
        raise MissingExtraError("posebusters", "generation") from error
    n = len(structures)
    molecules = [m for m in map(_with_conformer, structures) if m is not None]
    passed: dict[str, int] = {}
    alright = 0
    for start in range(0, len(molecules), TOGETHER):
        with rdkit_quiet():
            table = PoseBusters(config="mol_fast").bust(molecules[start : start + TOGETHER])
        table = table.fillna(False).astype(bool)
        for name in table.columns:
            passed[name] = passed.get(name, 0) + int(table[name].sum())
        alright += int(table.all(axis=1).sum())
    shares = {f"posebusters: {name}": count / n for name, count in passed.items()}
    return {"posebusters": alright / n if n else 0.0} | shares


def _with_conformer(structure: Structure | None):
    """RDKit's molecule with its positions; None if there are no bonds by the rules."""
    if structure is None:
        return None
    try:
        orders = bond_orders(structure.numbers.cpu(), structure.positions.detach().cpu())
    except UnsupportedStructureError:
        return None
    molecule = molecule_of(structure.numbers.cpu(), orders)
    from rdkit import Chem
    from rdkit.Geometry import Point3D

    conformer = Chem.Conformer(structure.n_atoms)
    for atom, position in enumerate(structure.positions.tolist()):
        conformer.SetAtomPosition(atom, Point3D(*position))
    molecule.AddConformer(conformer)
    with rdkit_quiet():
        Chem.SanitizeMol(molecule, catchErrors=True)
    return molecule.GetMol()
