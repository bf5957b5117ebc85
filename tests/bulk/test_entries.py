"""Entries of files, read frame by frame as whole files are read."""

import tracemalloc

import pytest
from ase.build import molecule
from ase.io import write

from geomae.bulk.entries import Inputs
from geomae.data import load_source
from geomae.data.read import read_items
from geomae.errors import StructureError


def opened(what) -> list:
    found = []
    for entry in Inputs(what):
        try:
            found.append(entry.open())
        except StructureError as error:
            found.append(error)
    return found


def same(ours, theirs) -> bool:
    if isinstance(theirs, StructureError):
        return isinstance(ours, StructureError) and ours.fault == theirs.fault
    return ours.formula == theirs.formula and bool((ours.positions == theirs.positions).all())


FILES = {
    "plain.xyz": "2\nc\nH 0 0 0\nH 0 0 1\n\n1\n\nO 1 2 3\n",
    "truncated.xyz": "1\n\nH 0 0 0\n3\n\nH 0 0 0\n",
    "disordered.xyz": "1\n\nH 0 0 0\nnothing\n1\n\nH 0 0 0\n",
    "coordinate.xyz": "1\n\nH 0 0 0\n2\n\nH 0 0 0\nH 0 0 x\n1\n\nO 0 0 0\n",
    "none.xyz": "1\n\nH 0 0 0\n0\n\n1\n\nO 0 0 0\n",
    "empty.xyz": "",
    "blank.xyz": "\n\n",
}


@pytest.mark.parametrize("name", FILES)
def test_frames_are_those_of_the_whole_file(tmp_path, name):
    path = tmp_path / name
    path.write_text(FILES[name])
    ours, theirs = opened(path), list(read_items(path))
    assert len(ours) == len(theirs)
    for own, other in zip(ours, theirs, strict=True):
        assert same(own, other)
        if isinstance(other, StructureError):
            assert own.source == other.source


def test_records_of_sd_files(tmp_path):
    rdkit = pytest.importorskip("rdkit.Chem")
    from rdkit.Chem import AllChem

    path = tmp_path / "two.sdf"
    with rdkit.SDWriter(str(path)) as writer:
        for smiles in ("CCO", "c1ccccc1", "N"):
            mol = rdkit.AddHs(rdkit.MolFromSmiles(smiles))
            AllChem.EmbedMolecule(mol, randomSeed=1)
            writer.write(mol)
    path.write_text(path.read_text() + "broken\n\n\n")
    ours, theirs = opened(path), list(read_items(path))
    assert len(ours) == len(theirs) == 4 and all(map(same, ours, theirs))
    assert ours[3].source == theirs[3].source


def test_other_files_and_folders(tmp_path):
    write(tmp_path / "a.traj", [molecule("H2O"), molecule("CH4")])
    write(tmp_path / "b.xyz", molecule("CO"), format="extxyz")
    assert [s.formula for s in opened(tmp_path)] == ["H2O", "CH4", "CO"]
    assert [e.name for e in Inputs(tmp_path)][1:] == [f"{tmp_path}/a.traj#2", "b"]


def test_a_source_is_what_load_source_gives():
    assert [s.formula for s in opened("tetris")] == [s.formula for s in load_source("tetris")]


def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for count in (100, 3000):
        path = tmp_path / f"{count}.xyz"
        path.write_text("2\n\nH 0 0 0\nH 0 0 1\n" * count)
        tracemalloc.start()
        assert sum(entry.open().n_atoms for entry in Inputs(path)) == 2 * count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 3 * peaks[0]
