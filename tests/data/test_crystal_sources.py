"""Data sets of crystals, from small files of the same form."""

import csv
import gzip
import json
import zipfile

import numpy as np
import pytest

from geomae.data import load_source
from geomae.data.sources import crystals
from geomae.errors import GeomaeError, StructureError

POSCAR = "System\n1.0\n{a} 0.0 0.0\n0.0 {a} 0.0\n0.0 0.0 {a}\nNa Cl\n1 1\ndirect\n0 0 0\n.5 .5 .5\n"

CIF = """# generated using pymatgen
data_NaCl
_symmetry_space_group_name_H-M   'P 1'
_cell_length_a   3.95979797
_cell_length_b   3.95979797
_cell_length_c   3.95979797
_cell_angle_alpha   60.00000000
_cell_angle_beta   60.00000000
_cell_angle_gamma   60.00000000
_symmetry_Int_Tables_number   1
_chemical_formula_structural   NaCl
_chemical_formula_sum   'Na1 Cl1'
_cell_volume   43.90400000
_cell_formula_units_Z   1
loop_
 _symmetry_equiv_pos_site_id
 _symmetry_equiv_pos_as_xyz
  1  'x, y, z'
loop_
 _atom_site_type_symbol
 _atom_site_label
 _atom_site_symmetry_multiplicity
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
  Na  Na0  1  0.00000000  0.00000000  0.00000000  1
  Cl  Cl1  1  0.50000000  0.50000000  0.50000000  1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Small files in a folder that the environment names, and a cache beside it."""
    monkeypatch.setenv("GEOMAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GEOMAE_DATA", str(tmp_path))
    (tmp_path / "crystals").mkdir()
    splits = {
        split: {f"{split}-{k}": POSCAR.format(a=3 + k).replace("\n", "\\n") for k in range(n)}
        for split, n in (("train", 3), ("val", 2), ("test", 1))
    }
    with zipfile.ZipFile(tmp_path / "crystals" / "perov5_heat_ref.json.zip", "w") as archive:
        archive.writestr("perov5_heat_ref.json", json.dumps(splits))
    columns = ["material_id", "cif", "formation_energy_per_atom", "band_gap", "e_above_hull"]
    for split in ("val", "test"):
        path = tmp_path / "crystals" / f"mp_20_biternary_{split}.csv.gz"
        with gzip.open(path, "wt", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerow([f"mp-{split}", CIF, "-2.1", "5.0", ""])
    crystals.load_crystals.cache_clear()
    yield tmp_path
    crystals.load_crystals.cache_clear()


def test_splits_and_names(folder):
    made = load_source("perov5", split="train")
    assert [s.name for s in made] == ["train-0", "train-1", "train-2"]
    assert [float(s.cell[0, 0, 0]) for s in made] == [3.0, 4.0, 5.0]
    assert [s.name for s in load_source("perov5", split="valid", n=1)] == ["val-0"]
    assert len(load_source("perov5")) == 6
    assert made[1].numbers.tolist() == [11, 17] and made[1].periodic
    assert np.allclose(made[1].positions, [[0, 0, 0], [2, 2, 2]])


def test_properties_and_cells_of_tables(folder):
    (salt,) = load_source("mp20", split="test")
    assert salt.name == "mp-test" and salt.band_gap == 5.0
    assert salt.formation_energy_per_atom == -2.1 and salt.get("e_above_hull") is None
    assert np.linalg.det(salt.cell[0]) == pytest.approx(43.904, rel=1e-6)


def test_plain_and_other_cif_read_the_same(folder):
    quick = crystals._from_plain_cif(CIF)
    whole = crystals._from_any_cif(CIF)
    assert quick.numbers.tolist() == whole.numbers.tolist()
    metrics, fractions = zip(
        *((s.cell[0] @ s.cell[0].T, s.positions @ s.cell[0].inverse()) for s in (quick, whole)),
        strict=True,
    )
    assert np.allclose(*metrics) and np.allclose(*fractions)
    assert crystals._from_plain_cif(CIF.replace("0.50000000  1\n", "0.50000000  0.5\n")) is None
    with pytest.raises(StructureError, match="disordered"):
        crystals._from_cif(CIF.replace("0.50000000  1\n", "0.50000000  0.5\n"))


def test_cache_serves_without_the_files(folder, monkeypatch):
    before = load_source("perov5", split="test")
    crystals.load_crystals.cache_clear()
    monkeypatch.delenv("GEOMAE_DATA")
    after = load_source("perov5", split="test")
    assert after[0].positions.tolist() == before[0].positions.tolist()


def test_missing_files_say_where_they_come_from(folder, monkeypatch):
    with pytest.raises(GeomaeError, match=r"no file wbm_val.csv.gz of wbm.*GEOMAE_DATA"):
        load_source("wbm")
    monkeypatch.delenv("GEOMAE_DATA")
    with pytest.raises(GeomaeError, match=r"get carbon24.* from .*jarvis"):
        load_source("carbon24")


def test_splits_that_are_not_there(folder):
    with pytest.raises(GeomaeError, match="valid, test and all, not 'train'"):
        load_source("mp20", split="train")
    with pytest.raises(GeomaeError, match="no data set 'mp21'"):
        crystals.structures("mp21")
