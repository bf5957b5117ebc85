"""Structures to other packages and back, and theirs to ours and back."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Element, Lattice, Molecule, Species
from pymatgen.core import Structure as Crystal
from rdkit import Chem
from rdkit.Chem import AllChem
from torch_geometric.data import Batch, Data

from geomae.data.convert import (
    from_ase,
    from_pyg,
    from_pymatgen,
    from_rdkit,
    to_ase,
    to_pyg,
    to_pymatgen,
    to_rdkit,
)
from geomae.data.structure import Structure
from geomae.errors import StructureError

pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

PACKAGES = {
    "ase": (from_ase, to_ase),
    "pymatgen": (from_pymatgen, to_pymatgen),
    "rdkit": (from_rdkit, to_rdkit),
    "pyg": (from_pyg, to_pyg),
}


def assert_same_value(a, b, name: str = "") -> None:
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape, name
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12, equal_nan=True)
    elif isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b, name)
    else:
        assert a == b, name


def assert_same(a: Structure, b: Structure) -> None:
    assert sorted(a.keys()) == sorted(b.keys())
    for key in a.keys():  # noqa: SIM118
        assert_same_value(a[key], b[key], key)


numbers = st.integers(1, 94)
coordinates = st.floats(-20, 20, allow_nan=False, width=32)


@st.composite
def structures(draw) -> Structure:
    n = draw(st.integers(1, 5))
    cell = None
    if draw(st.booleans()):
        skew = draw(st.lists(st.floats(-0.5, 0.5), min_size=9, max_size=9))
        cell = np.eye(3) * draw(st.floats(2, 9)) + np.reshape(skew, (3, 3))
    flags = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    random = {"generator": generator, "dtype": torch.float64}
    made = Structure(
        draw(st.lists(numbers, min_size=n, max_size=n)),
        [draw(st.tuples(coordinates, coordinates, coordinates)) for _ in range(n)],
        cell=cell,
        pbc=None if cell is None else flags,
    )
    choices = {
        "forces": torch.randn(n, 3, **random),
        "tags": torch.arange(n),
        "charges": torch.randn(n, **random),
        "energy": torch.randn(1, **random),
        "dipole": torch.randn(1, 3, **random),
        "polarizability": torch.randn(1, 3, 3, **random),
        "count": torch.tensor([7]),
        "stable": torch.tensor([True]),
        "name": 'benzene, "C6H6"',
    }
    for name in draw(st.sets(st.sampled_from(sorted(choices)))):
        made[name] = choices[name]
    return made


@pytest.mark.parametrize("package", PACKAGES)
@settings(max_examples=40, deadline=None)
@given(structure=structures())
def test_structures_come_back_with_all_they_have(package, structure):
    there, back = reversed(PACKAGES[package])
    assert_same(structure, there_and_back(structure, there, back))


def there_and_back(structure, to, back):
    return back(to(structure))


def slab() -> Atoms:
    atoms = fcc111("Cu", (2, 1, 2), vacuum=4.0)
    atoms.set_constraint(FixAtoms([0, 1]))
    atoms.info.update(name="slab", miller=np.array([1, 1, 1]), note={"a": [1, 2]}, temperature=3.5)
    atoms.info["per atom or not"] = np.arange(len(atoms))
    atoms.arrays["residues"] = np.array(["a", "bc", "d", "e"])
    atoms.calc = SinglePointCalculator(
        atoms, energy=-1.5, forces=np.ones((4, 3)), stress=np.ones(6)
    )
    return atoms


def one_atom() -> Atoms:
    """Where a row an atom and a leading 1 look the same."""
    atoms = bulk("Cu")
    atoms.info.update(vector=np.arange(3.0), number=2)
    atoms.arrays["bader"] = np.array([0.5])
    atoms.arrays["quadrupole"] = np.ones((1, 3, 3))
    return atoms


def odd_names() -> Atoms:
    """Names that mean something else here, or aren't text."""
    atoms = molecule("H2O")
    atoms.info.update(
        {"cell": 1.0, "positions": "here", "formula": "H2O", "_hidden": 4, 7: "seven", "keys": 1}
    )
    atoms.info["tags"] = "of the whole"
    atoms.arrays["batch"] = np.array([1, 2, 3])
    return atoms


@pytest.mark.parametrize("atoms", [slab(), one_atom(), odd_names(), molecule("O2")], ids=str)
def test_atoms_of_ase_come_back(atoms):
    back = to_ase(from_ase(atoms))
    assert (back.cell == atoms.cell).all() and (back.pbc == atoms.pbc).all()
    assert set(back.arrays) == set(atoms.arrays) and set(back.info) == set(atoms.info)
    for kind in ("arrays", "info"):
        for key, value in getattr(atoms, kind).items():
            assert type(getattr(back, kind)[key]) is type(value), key
            assert_same_value(getattr(back, kind)[key], value, key)
    assert [c.todict() for c in back.constraints] == [c.todict() for c in atoms.constraints]
    results = getattr(atoms.calc, "results", {})
    for key, value in results.items():
        assert_same_value(back.calc.results[key], value, key)


def test_places_survive_copies():
    made = from_ase(one_atom())
    for copy in (made.clone(), Batch.from_data_list([made]).to_data_list()[0]):
        assert to_ase(copy).info["number"] == 2
    assert "bader" in to_ase(made.clone()).arrays


def test_results_of_atoms_that_moved_are_left():
    atoms = bulk("Cu")
    atoms.calc = EMT()
    energy = atoms.get_potential_energy()
    assert from_ase(atoms).energy.tolist() == [energy]
    atoms.rattle()
    assert "energy" not in from_ase(atoms)


def crystal() -> Crystal:
    return Crystal(
        Lattice([[3, 0, 0], [0.2, 4, 0], [0.1, 0.3, 9]], pbc=(True, True, False)),
        [Species("Fe", 3, spin=5), Species("Fe", 2.5), "D", "T", "H", "O"],
        np.random.default_rng(0).uniform(-1, 2, (6, 3)),
        charge=2,
        site_properties={
            "magmom": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            "selective_dynamics": [[True, False, True]] * 6,
            "site": ["a", "b", None, "c", "d", "e"],
        },
        labels=["Fe1", "Fe2", "D1", "T1", "H1", "O1"],
        properties={"space_group": 1, "reference": "none", "nested": {"a": [1, 2]}},
    )


@pytest.mark.filterwarnings("ignore:Structure charge")
def test_crystals_of_pymatgen_come_back():
    first = crystal()
    made = from_pymatgen(first)
    assert made.numbers.tolist() == [26, 26, 1, 1, 1, 8]
    assert made.isotopes.tolist() == [0, 0, 2, 3, 0, 0]
    back = to_pymatgen(made)
    assert back.lattice == first.lattice
    assert back.lattice.pbc == first.lattice.pbc
    assert [site.specie for site in back] == [site.specie for site in first]
    assert [site.specie.Z for site in back] == [site.specie.Z for site in first]
    assert back.labels == first.labels and back.charge == first.charge
    assert back.site_properties == first.site_properties
    assert back.properties == first.properties
    np.testing.assert_allclose(back.frac_coords, first.frac_coords, atol=1e-14)


def test_molecules_of_pymatgen_come_back():
    first = Molecule(
        ["O", "D"],
        [[0, 0, 0], [0, 0, 1]],
        charge=-1,
        spin_multiplicity=1,
        site_properties={"charge": [0.5, -0.5]},
        properties={"dipole": [1, 2, 3]},
    )
    back = to_pymatgen(from_pymatgen(first))
    assert isinstance(back, Molecule)
    assert (back.charge, back.spin_multiplicity) == (-1, 1)
    assert back[1].specie == Element("D") and back.site_properties == first.site_properties
    assert back.properties == first.properties
    assert (back.cart_coords == first.cart_coords).all()


def embedded(smiles: str) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    return mol


@pytest.mark.parametrize(
    "smiles",
    ["C[C@H](F)[NH3+]", "c1ccccc1O", "[2H]C([2H])O", "C/C=C/Cl", "C[N+](=O)[O-]", "[CH2]C", "O"],
)
def test_molecules_of_rdkit_come_back(smiles):
    first = embedded(smiles)
    first.SetProp("_Name", "a name")
    first.SetProp("text", "007")
    first.SetDoubleProp("number", 1.5)
    first.SetIntProp("count", 3)
    first.SetBoolProp("flag", True)
    first.GetAtomWithIdx(0).SetDoubleProp("charge", 0.25)
    made = from_rdkit(first)
    assert made.smiles == Chem.MolToSmiles(Chem.MolFromSmiles(smiles))
    assert made.name == "a name" and made.bond_index.shape == (2, first.GetNumBonds())
    back = to_rdkit(made)
    assert Chem.MolToSmiles(back) == Chem.MolToSmiles(first)
    assert back.GetPropsAsDict() == first.GetPropsAsDict()
    assert back.GetProp("_Name") == "a name"
    assert back.GetAtomWithIdx(0).GetDoubleProp("charge") == 0.25
    assert not back.GetAtomWithIdx(1).HasProp("charge")
    positions = [mol.GetConformer().GetPositions() for mol in (first, back)]
    assert (positions[0] == positions[1]).all()


def test_hydrogens_left_out_stay_out():
    mol = Chem.RemoveHs(embedded("CCO"))
    back = to_rdkit(from_rdkit(mol))
    assert back.GetNumAtoms() == 3 and Chem.MolToSmiles(back) == "CCO"


def test_the_conformer_asked_for():
    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    AllChem.EmbedMultipleConfs(mol, 3, randomSeed=1)
    expected = mol.GetConformer(2).GetPositions()
    assert (from_rdkit(mol, conformer=2).positions.numpy() == expected).all()
    with pytest.raises(StructureError, match="no conformer 7"):
        from_rdkit(mol, conformer=7)


def test_data_of_pyg_come_back():
    first = Data(
        z=torch.tensor([6, 8]),
        pos=torch.rand(2, 3),
        x=torch.rand(2, 5),
        edge_index=torch.tensor([[0, 1], [1, 0]]),
        y=torch.rand(1, 19),
        name="CO",
    )
    back = to_pyg(from_pyg(first), torch.float32)
    assert sorted(back.keys()) == sorted(first.keys())
    for key in first.keys():  # noqa: SIM118
        assert_same_value(back[key], first[key], key)


def test_deuterium_keeps_its_mass_through_rdkit_and_pymatgen():
    made = from_rdkit(embedded("[2H]O[2H]"))
    assert made.formula == "H2O" and sorted(made.isotopes.tolist()) == [0, 2, 2]
    there = to_pymatgen(made)
    assert sum(site.specie.name == "D" for site in there) == 2
    assert_same_value(from_pymatgen(there).isotopes, made.isotopes)


@pytest.mark.parametrize(
    ("convert", "value", "message"),
    [
        (
            from_pymatgen,
            Crystal(Lattice.cubic(3), [{"Fe": 0.5, "Co": 0.5}], [[0, 0, 0]]),
            "site 0 is disordered",
        ),
        (from_pymatgen, Crystal(Lattice.cubic(3), [{"Fe": 0.5}], [[0, 0, 0]]), "disordered"),
        (from_pymatgen, Crystal(Lattice.cubic(3), ["X"], [[0, 0, 0]]), "not an element"),
        (from_rdkit, Chem.MolFromSmiles("CCO"), "no conformer"),
        (from_pyg, Data(pos=torch.rand(2, 3)), "no numbers"),
        (from_pyg, Data(z=torch.tensor([1, 2])), "no positions"),
    ],
)
def test_what_has_no_structure_is_refused(convert, value, message):
    with pytest.raises(StructureError, match=message):
        convert(value)


def test_drawings_are_refused():
    mol = Chem.MolFromSmiles("CCO")
    AllChem.Compute2DCoords(mol)
    with pytest.raises(StructureError, match="drawing"):
        from_rdkit(mol)


def test_batches_are_refused_by_the_converter():
    with pytest.raises(StructureError, match="Batch"):
        from_pyg(Batch.from_data_list([Data(z=torch.tensor([1]), pos=torch.rand(1, 3))]))
