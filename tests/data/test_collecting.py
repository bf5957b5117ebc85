"""Structures from anything, good and bad mixed."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from pymatgen.core import Lattice, Molecule
from pymatgen.core import Structure as Crystal
from rdkit import Chem
from rdkit.Chem import AllChem
from torch.utils.data import Subset
from torch_geometric.data import Batch, Data

from geomae.data import Skipped, Structure, Structures, as_structures
from geomae.errors import GeomaeError, StructureError


def ethanol() -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    return mol


@pytest.fixture
def folder(tmp_path):
    """Three good structures in two files, and three bad in three."""
    write(tmp_path / "a.xyz", [molecule("H2O"), molecule("CH4")], format="extxyz")
    (tmp_path / "b.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.01\n1\n\nH 0 0 0\n2\n\nH 0 0 0\n")
    (tmp_path / "c.cif").write_text("nonsense")
    (tmp_path / "notes.md").write_text("no structure, and not meant to be")
    (tmp_path / ".hidden.xyz").write_text("hidden")
    return tmp_path


ONE = {
    "Structure": lambda: Structure([8, 1, 1], molecule("H2O").positions),
    "Atoms": lambda: molecule("H2O"),
    "crystal": lambda: bulk("Cu"),
    "pymatgen Structure": lambda: Crystal(Lattice.cubic(3), ["Fe"], [[0, 0, 0]]),
    "pymatgen Molecule": lambda: Molecule(["He"], [[0, 0, 0]]),
    "Mol": ethanol,
    "Data": lambda: Data(z=torch.tensor([2]), pos=torch.zeros(1, 3)),
}


@pytest.mark.parametrize("kind", ONE)
def test_one_of_each_kind(kind):
    (made,) = as_structures(ONE[kind]())
    assert isinstance(made, Structure) and made.n_atoms


def test_all_kinds_nested():
    values = [make() for make in ONE.values()]
    nested = [values[:2], (values[2], [values[3]]), iter(values[4:]), []]
    made = as_structures(nested)
    expected = ["H2O", "H2O", "Cu", "Fe", "He", "C2H6O", "He"]
    assert [s.formula for s in made] == expected and made.skipped == []


def test_a_structure_is_itself():
    made = ONE["Structure"]()
    assert as_structures([made])[0] is made
    assert as_structures([]) == []


def test_batches_and_datasets_are_taken_apart():
    data = [Data(z=torch.tensor([n]), pos=torch.zeros(1, 3)) for n in (2, 10, 18)]
    names = ["He", "Ne", "Ar"]
    assert [s.formula for s in as_structures(Batch.from_data_list(data))] == names
    ours = as_structures(data)
    assert [s.formula for s in as_structures(Batch.from_data_list(ours))] == names
    assert [s.formula for s in as_structures(Subset(ours, [2, 0]))] == ["Ar", "He"]


def test_paths_of_files_and_folders(folder):
    for path in (folder / "a.xyz", str(folder / "a.xyz"), [folder / "a.xyz"]):
        assert [s.formula for s in as_structures(path)] == ["H2O", "CH4"]


def test_the_first_bad_one_is_raised(folder):
    with pytest.raises(StructureError, match=r"structure 2 \(.*b\.xyz#1\): .*0\.01 Å apart"):
        as_structures(folder)


def test_bad_ones_are_skipped_and_good_ones_kept(folder):
    made = as_structures(folder, on_error="skip")
    assert isinstance(made, Structures) and isinstance(made, list)
    assert [s.formula for s in made] == ["H2O", "CH4", "H"]
    assert [s.source for s in made] == [
        f"{folder / 'a.xyz'}#1",
        f"{folder / 'a.xyz'}#2",
        f"{folder / 'b.xyz'}#2",
    ]
    assert [s.index for s in made.skipped] == [2, 4, 5]
    assert [s.source for s in made.skipped] == [
        f"{folder / 'b.xyz'}#1",
        f"{folder / 'b.xyz'}:8",
        str(folder / "c.cif"),
    ]
    assert ["apart" in s.fault or "truncated" in s.fault for s in made.skipped][:2] == [True] * 2
    assert isinstance(made.skipped[0], Skipped)


def test_bad_objects_in_lists():
    bad = Atoms("H", [[0, 0, np.nan]])
    disordered = Crystal(Lattice.cubic(3), [{"Fe": 0.5}], [[0, 0, 0]])
    mixed = [bad, molecule("H2O"), disordered, 42, Chem.MolFromSmiles("C"), "nothing.xyz"]
    made = as_structures(mixed, on_error="skip")
    assert [s.formula for s in made] == ["H2O"]
    assert [s.index for s in made.skipped] == [0, 2, 3, 4, 5]
    faults = " | ".join(s.fault for s in made.skipped)
    for word in ("finite", "disordered", "int", "conformer", "no such file"):
        assert word in faults
    with pytest.raises(StructureError, match=r"structure 1: .*finite"):
        as_structures([molecule("H2O"), bad])


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (42, "int"),
        (None, "NoneType"),
        ({"z": [1]}, "dict"),
        (np.zeros((3, 3)), "numpy.ndarray"),
        (torch.zeros(3, 3), "torch.Tensor"),
        (b"a.xyz", "bytes"),
        (Lattice.cubic(3), "Lattice"),
    ],
)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_other_types_are_named_with_those_accepted(value, name, on_error):
    with pytest.raises(GeomaeError, match=rf"{name}; expected a geomae Structure, ASE Atoms"):
        as_structures(value, on_error=on_error)


def test_other_ways_with_errors_are_refused():
    unchecked = inspect.unwrap(as_structures)
    with pytest.raises(GeomaeError, match="'raise' or 'skip', not 'ignore'"):
        unchecked([], on_error="ignore")


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(StructureError, match="no structure file"):
        as_structures(tmp_path)


def test_importing_is_cheap():
    code = (
        "import sys, geomae.data as d; d.as_structures([d.Structure([1], [[0, 0, 0]])]);"
        "print([m for m in ('ase', 'pymatgen', 'rdkit', 'vesin') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
