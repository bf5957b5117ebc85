"""RDKit's molecules with a conformer."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from geomae.data.convert.properties import Property, properties_of, put
from geomae.data.structure import Structure
from geomae.errors import MissingExtraError, StructureError

if TYPE_CHECKING:
    import rdkit.Chem

PREFIX = "geomae."
"""Before the names of what RDKit has no place for: it is kept as JSON."""

ATOM_VALUES = {
    "formal_charges": ("GetFormalCharge", "SetFormalCharge"),
    "isotopes": ("GetIsotope", "SetIsotope"),
    "radicals": ("GetNumRadicalElectrons", "SetNumRadicalElectrons"),
    "implicit_hydrogens": ("GetTotalNumHs", "SetNumExplicitHs"),
}
"""What RDKit keeps in atoms, and the methods that read and write it."""

CHEMISTRY = {*ATOM_VALUES, "bond_index", "bond_types"}


def from_rdkit(mol: "rdkit.Chem.Mol", conformer: int = -1) -> Structure:
    """A structure of a molecule's conformer.

    Its atoms are those of the molecule: add hydrogens before embedding if they are wanted.
    Properties of the molecule and of its atoms are kept, the title as `name`. Where there are
    bonds, so are `bond_index` `[2, b]` (each bond once), `bond_types` `[b]` (numbers of RDKit's
    BondType) and `smiles` (without hydrogens); and where any isn't 0, `formal_charges`, `isotopes`
    (mass numbers), `radicals` (electrons) and `implicit_hydrogens`, each `[n]`.

    Args:
        mol: with a conformer in three dimensions.
        conformer: its id; the first by default.

    Raises:
        StructureError: there is no such conformer, or it is a drawing in the plane.
    """
    from rdkit import Chem

    mol = Chem.Mol(mol)
    mol.UpdatePropertyCache(strict=False)
    atoms = list(mol.GetAtoms())
    structure = Structure([a.GetAtomicNum() for a in atoms], _positions(mol, atoms, conformer))
    for key, value in mol.GetPropsAsDict(autoConvertStrings=False).items():
        if key.startswith(PREFIX):
            _read(structure, key.removeprefix(PREFIX), json.loads(value))
        else:
            put(structure, "whole", key, value, "mol")
    if mol.HasProp("_Name") and mol.GetProp("_Name"):
        put(structure, "whole", "name", mol.GetProp("_Name"), "mol")
    values = [atom.GetPropsAsDict(False, False, autoConvertStrings=False) for atom in atoms]
    for key in sorted({key for of_atom in values for key in of_atom} - {"isImplicit"}):
        put(structure, "atoms", key, [of_atom.get(key) for of_atom in values], "atom")
    _put_chemistry(structure, mol, atoms, conformer)
    return structure


def to_rdkit(structure: Structure) -> "rdkit.Chem.Mol":
    """A molecule of the structure's atoms with one conformer, and no more hydrogens than those.

    Bonds are those of `bond_index` and `bond_types`, where the structure has them; none are
    guessed. Numbers and text become properties of the molecule; all other properties, and the
    cell, are kept as JSON under names after 'geomae.', from which `from_rdkit` reads them.
    """
    try:
        from rdkit import Chem
    except ImportError as error:
        raise MissingExtraError("rdkit", "rdkit") from error
    mol = Chem.RWMol()
    for number in structure.numbers.tolist():
        mol.AddAtom(Chem.Atom(number))
    _set_chemistry(mol, structure)
    conformer = Chem.Conformer(structure.n_atoms)
    conformer.SetPositions(structure.positions.detach().cpu().numpy().astype(np.float64))
    conformer.Set3D(True)
    mol.AddConformer(conformer, assignId=True)
    if mol.GetNumBonds():
        Chem.SanitizeMol(mol, catchErrors=True)
        Chem.AssignStereochemistryFrom3D(mol)
    mol.UpdatePropertyCache(strict=False)
    result = mol.GetMol()
    for key in ("cell", "pbc"):
        if structure.get(key) is not None:
            result.SetProp(PREFIX + key, _write(structure[key]))
    for item in properties_of(structure):
        if item.name not in CHEMISTRY and item.place.origin != "chemistry":
            _set(result, structure, item)
    return result


def _positions(mol: Any, atoms: list, conformer: int) -> np.ndarray:
    known = [c.GetId() for c in mol.GetConformers()]
    if not atoms:
        return np.zeros((0, 3))
    if not known:
        raise StructureError(
            "the molecule has no conformer, so its atoms have no positions: "
            "rdkit.Chem.AllChem.EmbedMolecule makes one"
        )
    if conformer >= 0 and conformer not in known:
        raise StructureError(f"the molecule has no conformer {conformer}, only {known}")
    chosen = mol.GetConformer(conformer)
    positions = np.array(chosen.GetPositions())
    hidden = any(atom.GetTotalNumHs() for atom in atoms)
    if hidden and not chosen.Is3D() and not positions[:, 2].any():
        raise StructureError("the molecule is a drawing in the plane, not a structure in space")
    return positions


def _put_chemistry(structure: Structure, mol: Any, atoms: list, conformer: int) -> None:
    bonds = list(mol.GetBonds())
    if bonds:
        pairs = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in bonds]
        structure.bond_index = torch.tensor(pairs).T.contiguous()
        structure.bond_types = torch.tensor([int(bond.GetBondType()) for bond in bonds])
        if "smiles" not in structure:
            put(structure, "whole", "smiles", _smiles(mol, conformer), "chemistry")
    for name, (getter, _) in ATOM_VALUES.items():
        values = [getattr(atom, getter)() for atom in atoms]
        if any(values):
            put(structure, "atoms", name, np.array(values), "chemistry")


def _smiles(mol: Any, conformer: int) -> str:
    """Canonical, with the stereochemistry of the conformer and without plain hydrogens."""
    from rdkit import Chem

    copy = Chem.Mol(mol)
    Chem.SanitizeMol(copy, catchErrors=True)
    Chem.AssignStereochemistryFrom3D(copy, conformer)
    return Chem.MolToSmiles(Chem.RemoveHs(copy, sanitize=False))


def _set_chemistry(mol: Any, structure: Structure) -> None:
    from rdkit import Chem

    for atom in mol.GetAtoms():
        atom.SetNoImplicit(True)
        for name, (_, setter) in ATOM_VALUES.items():
            if structure.get(name) is not None:
                getattr(atom, setter)(int(structure[name][atom.GetIdx()]))
    if structure.get("bond_index") is None:
        return
    types = structure.get("bond_types")
    types = [1] * structure.bond_index.shape[1] if types is None else types.tolist()
    for (begin, end), kind in zip(structure.bond_index.T.tolist(), types, strict=True):
        mol.AddBond(begin, end, Chem.BondType.values[kind])
        if Chem.BondType.values[kind] == Chem.BondType.AROMATIC:
            for part in (
                mol.GetBondBetweenAtoms(begin, end),
                *map(mol.GetAtomWithIdx, (begin, end)),
            ):
                part.SetIsAromatic(True)


def _set(mol: Any, structure: Structure, item: Property) -> None:
    """One property, as RDKit's own if it has such, else as JSON."""
    key, value, kept = item.place.key, item.value, structure[item.name]
    if item.place.origin == "atom":
        for atom, of_atom in zip(mol.GetAtoms(), value.tolist(), strict=True):
            if of_atom is not None:
                _set_plain(atom, key, of_atom)
    elif (
        isinstance(key, str)
        and _is_plain(value)
        and (not isinstance(kept, Tensor) or kept.dtype in (torch.float64, torch.int64, torch.bool))
    ):
        _set_plain(mol, "_Name" if key == "name" and isinstance(value, str) else key, value)
    else:
        mol.SetProp(PREFIX + item.name, _write(kept))


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 2**31)


def _set_plain(holder: Any, key: str, value: Any) -> None:
    setters = {bool: "SetBoolProp", int: "SetIntProp", float: "SetDoubleProp", str: "SetProp"}
    getattr(holder, setters[type(value)])(key, value)


def _write(value: Any) -> str:
    """JSON of a value; of what JSON has not, its text."""
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return json.dumps({"tensor": value.detach().tolist(), "dtype": kind}, default=str)
    if isinstance(value, np.ndarray):
        return json.dumps({"array": value.tolist()}, default=str)
    return json.dumps({"value": value}, default=str)


def _read(structure: Structure, name: str, content: dict) -> None:
    if "tensor" in content:
        value = torch.tensor(content["tensor"], dtype=getattr(torch, content["dtype"]))
        structure[name] = value
    else:
        structure[name] = np.array(content["array"]) if "array" in content else content["value"]
