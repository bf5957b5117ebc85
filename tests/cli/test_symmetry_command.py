"""`geomae symmetry`, as a user calls it."""

import json

import pytest
from ase.build import bulk, molecule
from ase.io import read, write
from typer.testing import CliRunner

from geomae.cli import app


@pytest.fixture
def run():
    def call(*arguments: object, status: int = 0) -> str:
        result = CliRunner().invoke(app, ["symmetry", *map(str, arguments)])
        assert result.exit_code == status, result.output + str(result.exception)
        return result.output

    return call


@pytest.fixture
def benzene(tmp_path):
    path = tmp_path / "benzene.xyz"
    write(path, molecule("C6H6"))
    return path


def test_a_molecule_and_its_properties(run, benzene, tmp_path):
    out = tmp_path / "out.json"
    text = run(benzene, "-p", "polarizability", "-p", "dipole", "--json", out)
    assert "D6h (6/mmm), 24 operations" in text
    assert "2 of 6 components are independent" in text and "xx = yy = a" in text
    assert "forbidden, all 3 components" in text
    content = json.loads(out.read_text())
    assert content["point_group"] == "D6h" and len(content["operations"]) == 24
    assert [each["n_components"] for each in content["properties"]] == [2, 0]


def test_a_crystal(run, tmp_path):
    path = tmp_path / "zno.cif"
    write(path, bulk("ZnO", "wurtzite", a=3.25, c=5.2, u=0.382))
    text = run(path, "--property", "piezoelectricity", "--tolerance", "0.01")
    assert "P 6_3 m c (186)" in text and "Wyckoff position b" in text and "(C3v)" in text
    assert "3 of 18 components" in text


def test_a_structure_is_symmetrised_and_a_picture_drawn(run, tmp_path):
    atoms = molecule("C6H6")
    atoms.rattle(2e-3, seed=1)
    path, exact, picture = tmp_path / "a.xyz", tmp_path / "b.xyz", tmp_path / "c.png"
    write(path, atoms)
    run(path, "--tolerance", 0.03, "--symmetrise", exact, "-p", "vibrations", "--picture", picture)
    assert "D6h" in run(exact, "--tolerance", 1e-6)
    assert abs(read(exact).positions - atoms.positions).max() < 0.01
    assert picture.stat().st_size > 10_000


def test_a_space_group_of_choice(run, tmp_path):
    atoms = bulk("CsCl", "cesiumchloride", a=4.1)
    atoms.rattle(3e-3, seed=1)
    path, exact, out = tmp_path / "a.cif", tmp_path / "b.xyz", tmp_path / "c.json"
    write(path, atoms)
    assert "with --tolerance" in run(path, "--tolerance", 1e-3)
    text = run(path, "--tolerance", 0.05, "--symmetrise", exact, "--group", "P4mm", "--json", out)
    assert "symmetrised to space group 99" in text
    assert json.loads(out.read_text())["symmetrised"]["space_group_number"] == 99
    assert "4mm" in run(exact, "--tolerance", 1e-6)
    run(path, "--tolerance", 0.05, "--symmetrise", exact, "--group", "P6mm", status=2)
    run(path, "--group", "P4mm", status=2)


def test_time_reversal_and_moments_of_a_file(run, benzene, tmp_path):
    assert "6/mmm1'" in run(benzene, "--magnetic", "-p", "magnetic moment")
    iron = bulk("Fe", cubic=True)
    iron.set_initial_magnetic_moments([2.2, 2.2])
    path, out = tmp_path / "iron.xyz", tmp_path / "out.json"
    write(path, iron, format="extxyz")
    text = run(path, "--magnetic", "-p", "magnetic moment", "--json", out)
    assert "magnetic point group 4/mm'm' (D4h(C4h)): 8 of its operations" in text
    assert "z = a" in text
    assert json.loads(out.read_text())["magnetic_group"] == "4/mm'm'"
    assert "2 of 18 components" in run("4'/mmm'", "-p", "piezomagnetism")


def test_blocks_and_values_of_each_atom(run, benzene, tmp_path):
    picture = tmp_path / "forces.png"
    text = run(benzene, "-p", "force", "--each-atom", "--picture", picture)
    assert "2 of 36 components" in text and picture.stat().st_size > 10_000
    assert "3 independent of 9 elements" in run(benzene, "-p", "p-p of atoms 0 and 6")
    run(benzene, "-p", "charge", "--each-atom", "--picture", picture, status=2)


def test_a_group_will_do(run):
    assert "forbidden" in run("Oh", "-p", "piezoelectricity")
    assert "piezoelectricity" in run("Oh", "-p", "list")


def test_bad_input_is_told_in_a_line(run, benzene, tmp_path):
    run(benzene, "-p", "polarisability!", status=2)
    run(tmp_path / "none.xyz", status=2)
    run(benzene, "--tolerance", 2, status=2)
    run(benzene, "--picture", tmp_path / "a.png", status=2)
    run("Oh", "--symmetrise", tmp_path / "a.xyz", status=2)
