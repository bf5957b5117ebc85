"""Files of every format, whole and damaged."""

import numpy as np
import pytest
import torch
from ase.build import bulk, fcc111, molecule
from ase.constraints import FixAtoms
from ase.io import write
from rdkit import Chem
from rdkit.Chem import AllChem

from geomae.data.convert import from_ase
from geomae.data.read import read_file, read_items
from geomae.data.structure import Structure
from geomae.errors import StructureError

WATER = "3\nwater\nO 0 0 0.119262\nH 0 0.763239 -0.477047\nH 0 -0.763239 -0.477047\n"


def save(folder, name: str, text: str):
    path = folder / name
    path.write_text(text)
    return path


def embedded(smiles: str, name: str = "") -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    mol.SetProp("_Name", name)
    return mol


@pytest.fixture
def sdf(tmp_path):
    with Chem.SDWriter(str(tmp_path / "some.sdf")) as writer:
        for smiles, name in (("CCO", "ethanol"), ("[NH4+]", ""), ("c1ccccc1", "benzene")):
            mol = embedded(smiles, name)
            mol.SetProp("activity", "0.50")
            writer.write(mol)
    return tmp_path / "some.sdf"


def test_a_plain_xyz_file(tmp_path):
    path = save(tmp_path, "water.xyz", WATER)
    (water,) = read_file(path)
    assert water.formula == "H2O" and not water.periodic
    assert (water.source, water.name, water.comment) == (str(path), "water", "water")
    assert water.positions[1].tolist() == [0, 0.763239, -0.477047]


def test_frames_are_numbered(tmp_path):
    path = save(tmp_path, "two.xyz", WATER + "\n" + "1\n\n8 0 0 1.5D0\n\n\n")
    first, second = read_file(str(path))
    assert (first.source, second.source) == (f"{path}#1", f"{path}#2")
    assert (first.name, second.name) == ("two-1", "two-2")
    assert second.numbers.tolist() == [8] and second.positions.tolist() == [[0, 0, 1.5]]


def test_further_columns_are_kept(tmp_path):
    (made,) = read_file(save(tmp_path, "q.xyz", "2\n\nC 0 0 0 0.5 1\no 0 0 1.1 -0.5 2\n"))
    assert made.columns.tolist() == [[0.5, 1], [-0.5, 2]] and made.formula == "CO"


def test_deuterium_is_hydrogen_with_an_isotope(tmp_path):
    (made,) = read_file(save(tmp_path, "d.xyz", WATER.replace("H 0 0", "D 0 0")))
    assert made.formula == "H2O" and made.isotopes.tolist() == [0, 2, 0]


def test_extended_xyz_keeps_what_it_has(tmp_path):
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.pbc = [True, True, False]
    atoms.info.update(name="salt", temperature=300.0, tensor=np.arange(9.0).reshape(3, 3))
    atoms.arrays["charges"] = np.array([1.0, -1.0] * 4)
    atoms.arrays["vectors"] = np.arange(24.0).reshape(8, 3)
    write(tmp_path / "salt.extxyz", [atoms, atoms], format="extxyz")
    first, second = read_file(tmp_path / "salt.extxyz")
    assert first.name == second.name == "salt" and first.pbc.tolist() == [[True, True, False]]
    assert first.temperature.tolist() == [300.0] and first.tensor.shape == (1, 3, 3)
    assert first.charges.tolist() == [1.0, -1.0] * 4 and first.vectors.shape == (8, 3)
    torch.testing.assert_close(first.cell[0], torch.from_numpy(atoms.cell.array))


def test_sd_files_keep_titles_fields_and_bonds(sdf):
    ethanol, ammonium, benzene = read_file(sdf)
    assert [s.formula for s in (ethanol, ammonium, benzene)] == ["C2H6O", "H4N", "C6H6"]
    assert [s.name for s in (ethanol, ammonium, benzene)] == ["ethanol", "some-2", "benzene"]
    assert [s.smiles for s in (ethanol, ammonium, benzene)] == ["CCO", "[NH4+]", "c1ccccc1"]
    assert ethanol.activity == "0.50" and ethanol.source == f"{sdf}#1"
    assert ammonium.formal_charges.tolist() == [1, 0, 0, 0, 0]


@pytest.mark.parametrize("v3000", [False, True])
def test_mol_files(tmp_path, v3000):
    mol = embedded("C[C@H](F)Cl", "chiral")
    path = save(tmp_path, "one.mol", Chem.MolToMolBlock(mol, forceV3000=v3000))
    (made,) = read_file(path)
    assert made.name == "chiral" and made.smiles == "C[C@H](F)Cl" and made.source == str(path)


def test_a_cif_with_symmetry_and_several_blocks(tmp_path):
    text = """data_rock_salt
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
_symmetry_Int_Tables_number 225
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na 0 0 0 1
Cl1 Cl 0.5 0.5 0.5 1
"""
    path = save(tmp_path, "salt.cif", "data_global\n_x 1\n" + text + text.replace("rock", "more"))
    first, second = read_file(path)
    assert first.formula == "Cl4Na4" and first.pbc.all()
    assert (first.name, second.name) == ("rock_salt", "more_salt")
    assert second.source == f"{path}#2"
    mixed = save(tmp_path, "mixed.cif", text.replace("0.5 1\n", "0.5 0.5\n"))
    with pytest.raises(StructureError, match=r"mixed\.cif:1.*disordered"):
        read_file(mixed)
    lacking = save(
        tmp_path, "lacking.cif", text.replace("loop_", "_chemical_formula_sum NaCl2\nloop_")
    )
    with pytest.raises(StructureError, match="don't make up its formula"):
        read_file(lacking)
    cut = save(tmp_path, "cut.cif", text[: text.index("0.5 0.5")])
    with pytest.raises(StructureError, match=r"cut\.cif"):
        read_file(cut)


def test_cif_without_pymatgen(tmp_path, monkeypatch):
    from geomae.data.formats import cif

    write(tmp_path / "cu.cif", bulk("Cu", cubic=True))
    monkeypatch.setattr(cif, "find_spec", lambda name: None)
    (made,) = read_file(tmp_path / "cu.cif")
    assert made.formula == "Cu4" and made.name == "cu"
    text = (tmp_path / "cu.cif").read_text().replace("1.0000\n", "0.5000\n")
    with pytest.raises(StructureError, match="disordered"):
        read_file(save(tmp_path, "half.cif", text))


@pytest.mark.parametrize("name", ["POSCAR", "CONTCAR.relaxed", "slab.vasp", "slab.poscar"])
def test_files_of_vasp(tmp_path, name):
    atoms = fcc111("Cu", (1, 1, 2), vacuum=4)
    atoms.set_constraint(FixAtoms([0]))
    write(tmp_path / name, atoms, format="vasp")
    (made,) = read_file(tmp_path / name)
    assert made.formula == "Cu2" and made.periodic
    assert made.constraints[0]["kwargs"]["indices"] == [0]


@pytest.mark.parametrize("name", ["a.pdb", "a.traj", "a.xsf", "a.json"])
def test_whatever_ase_reads(tmp_path, name):
    atoms = molecule("CH3OH")
    write(tmp_path / name, atoms)
    (made,) = read_file(tmp_path / name)
    np.testing.assert_allclose(made.positions, atoms.positions, atol=1e-3)
    assert made.numbers.tolist() == atoms.numbers.tolist()


BAD = {
    "empty.xyz": ("", "empty"),
    "blank.xyz": ("\n  \n", "empty"),
    "none.xyz": ("0\n\n", "none.xyz:1.*no atoms"),
    "prose.xyz": ("once upon a time\n", "prose.xyz:1.*number of atoms, found 'once"),
    "cut.xyz": (WATER[:-25], "cut.xyz:1.*truncated"),
    "second.xyz": (WATER + WATER[:30], "second.xyz:6.*truncated"),
    "half.xyz": (WATER[:-12], "half.xyz:5.*three coordinates"),
    "word.xyz": (WATER.replace("0.119262", "zero"), "word.xyz:3.*coordinate, found 'zero'"),
    "element.xyz": (WATER.replace("O 0", "Oo 0"), "element.xyz:3.*element, found 'Oo'"),
    "dummy.xyz": (WATER.replace("O 0", "X 0"), "dummy.xyz:3.*element, found 'X'"),
    "short.xyz": (WATER + "H 0 0 0\n", "short.xyz:6.*number of atoms"),
    "columns.extxyz": (
        '1\nProperties=species:S:1:pos:R:3:forces:R:3 Lattice="1 0 0 0 1 0 0 0 1"\nH 0 0 0 1 1\n',
        "columns.extxyz:1.*extended XYZ",
    ),
    "empty.sdf": ("", "empty"),
    "header.sdf": ("a\nb\n", "header.sdf:1.*header"),
    "prose.sdf": ("a\nb\nc\nonce upon a time\n", "prose.sdf:4.*numbers of atoms"),
    "none.mol": ("\n\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n", "no atoms"),
    "prose.cif": ("once upon a time\n", "prose.cif.*no structure"),
    "POSCAR": ("Cu\n1.0\n3 0 0\n0 3 0\n", "POSCAR.*vasp"),
    "POSCAR.cut": ("Cu\n1\n3 0 0\n0 3 0\n0 0 3\nCu\n2\nDirect\n0 0 0\n", "POSCAR.cut.*vasp"),
    "words.txt": ("once upon a time\n", "words.txt.*format"),
    "arrays.npz": ("PK", "holds arrays"),
    "weights.pt": ("PK", "holds arrays"),
    "image.traj": ("not a trajectory", "image.traj"),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_files_are_named(tmp_path, name):
    text, message = BAD[name]
    with pytest.raises(StructureError, match=message):
        read_file(save(tmp_path, name, text))


def test_files_that_are_none(tmp_path):
    with pytest.raises(StructureError, match=r"nothing\.xyz.*no such file"):
        read_file(tmp_path / "nothing.xyz")
    with pytest.raises(StructureError, match="folder"):
        read_file(tmp_path)
    (tmp_path / "binary.xyz").write_bytes(bytes(range(256)))
    with pytest.raises(StructureError, match=r"binary\.xyz:1"):
        read_file(tmp_path / "binary.xyz")


def test_damaged_records_are_named_by_their_lines(sdf):
    lines = sdf.read_text().splitlines()
    start = lines.index("$$$$") + 1
    del lines[start + 4 : start + 12]
    sdf.write_text("\n".join(lines))
    with pytest.raises(StructureError, match=rf"some\.sdf:{start + 4}.*truncated"):
        read_file(sdf)
    kinds = [type(item) for item in read_items(sdf)]
    assert kinds == [Structure, StructureError, Structure]


def test_a_record_cut_off_is_no_structure(sdf):
    lines = sdf.read_text().splitlines()
    for end in range(len(lines) - 18, len(lines) - 4):
        sdf.write_text("\n".join(lines[:end]))
        assert sum(isinstance(item, Structure) for item in read_items(sdf)) == 2


def test_unreadable_records_say_where(sdf):
    text = sdf.read_text()
    sdf.write_text(text.replace(" O  ", " Qq ", 1))
    with pytest.raises(StructureError, match=r"some\.sdf:1"):
        read_file(sdf)


def test_drawings_are_no_structures(tmp_path):
    mol = Chem.MolFromSmiles("CCO")
    AllChem.Compute2DCoords(mol)
    path = save(tmp_path, "flat.mol", Chem.MolToMolBlock(mol))
    with pytest.raises(StructureError, match="drawing"):
        read_file(path)


def test_every_cut_of_an_xyz_file_is_seen(tmp_path):
    """A cut within the last line's last number can't be told; every other can."""
    path = tmp_path / "cut.xyz"
    for end in range(1, WATER.rindex("-0.477") + 1):
        path.write_text(WATER[:end])
        with pytest.raises(StructureError, match=r"cut\.xyz"):
            read_file(path)


def test_reading_is_converting(tmp_path):
    atoms = molecule("C6H6")
    write(tmp_path / "benzene.extxyz", atoms, format="extxyz")
    (made,) = read_file(tmp_path / "benzene.extxyz")
    np.testing.assert_allclose(made.positions, from_ase(atoms).positions, atol=1e-8)
