"""The data set of organic molecules: its builder and its source."""

import sys
from importlib import import_module
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from geomae.data import as_structures, load_source
from geomae.errors import GeomaeError

pytest.importorskip("rdkit")

FOLDER = Path(__file__).parents[2] / "datasets" / "organic"
KNOWN = (
    "c1ccccc1CCN(C)C(=O)c1ccco1", "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "C1CCCCC1O", "CCOC(=O)C=C",
    "CCCCCC", "CN1CCCC1c1cccnc1", "Clc1ccccc1C(=O)NCC1CC1", "CCS(=O)(=O)NC1CCOCC1",
    "C[Si](C)(C)CCO", "OB(O)c1ccccc1",
)  # fmt: skip


@pytest.fixture(scope="module")
def modules():
    """The builder's modules, with a few known molecules instead of RDKit's files."""
    sys.path.insert(0, str(FOLDER))
    try:
        found = {name: import_module(name) for name in ("fragments", "molecules", "build")}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(found["molecules"], "read_all", lambda: iter(KNOWN))
            patch.setattr(found["build"], "MOLECULES_A_PART", 8)
            yield found
    finally:
        sys.path.remove(str(FOLDER))
        for name in found:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def built(modules, tmp_path_factory):
    """A small data set, and where it is."""
    folder = tmp_path_factory.mktemp("cache")
    return modules["build"].build(20, folder=folder)


@pytest.fixture
def cache(built, monkeypatch):
    monkeypatch.setenv("GEOMAE_CACHE", str(built.parent))
    return built.parent


def test_pieces_can_be_joined_and_small_molecules_taken(modules):
    from rdkit import Chem

    table = modules["fragments"]
    for piece in (*table.RINGS, *table.LINKERS, *table.GROUPS):
        assert modules["molecules"].standard(piece), piece
        assert any(atom.GetTotalNumHs() for atom in Chem.MolFromSmiles(piece).GetAtoms()), piece
    assert all(modules["molecules"].standard(smiles) for smiles in table.SMALL)


def test_grown_molecules_are_valid_of_their_size_and_distinct(modules):
    from rdkit import Chem

    grow = modules["molecules"].grow
    made = [grow(size, Random(f"{size}")) for size in range(5, 51, 5)]
    made += [grow(20, Random(f"{number}")) for number in range(20)]
    for smiles, size in zip(made, [*range(5, 51, 5), *[20] * 20], strict=True):
        if smiles is not None:
            mol = Chem.MolFromSmiles(smiles)
            assert mol.GetNumHeavyAtoms() == size and Chem.MolToSmiles(mol) == smiles
            assert Chem.GetFormalCharge(mol) == 0
    found = [smiles for smiles in made if smiles]
    assert len(found) > 25 and len(set(found)) == len(found)
    assert made[0] == grow(5, Random("5"))


def test_what_is_not_taken(modules):
    standard = modules["molecules"].standard
    assert standard("CCO.Cl") == "CCO" and standard("[13CH3]C") == "CC"
    for strange in ("[Na]C", "C[NH3+]", "C[CH2]", "nonsense", "C" * 51, "C1" + "C" * 20 + "C1"):
        assert standard(strange) is None, strange


def test_sizes_are_spread_evenly(modules):
    sizes = [modules["molecules"].sizes(0, number)[0] for number in range(38 * 20)]
    counts = np.bincount(sizes)
    assert set(counts[5:41]) == {20} and set(counts[41:]) == {2} and set(counts[1:5]) == {5}


def test_splits_share_no_scaffold(modules):
    build = modules["build"]
    assert build.split_of("C" * 41) == "large"
    for ring in ("c1ccccc1", "C1CCNCC1", "c1ccc2ncccc2c1", "C1CC1", "c1ccsc1", "C1COCCO1"):
        places = {build.split_of(f"{start}{ring}") for start in ("", "C", "OCC", "NC(=O)", "ClCC")}
        assert len(places) == 1
    parts = [build.split_of(f"{'C' * a}O{'C' * b}") for a in range(1, 15) for b in range(a, 15)]
    assert set(parts) == {"train", "valid", "test"} and parts.count("train") > 0.8 * len(parts)


def test_conformers_differ_and_have_one_handedness(modules):
    from rdkit import Chem

    found = modules["build"].conformers("CCC(Cl)CC(F)CCO", 0)
    again = modules["build"].conformers("CCC(Cl)CC(F)CCO", 0)
    assert len({smiles for smiles, *_ in found}) == 1 and "@" in found[0][0]
    for one, other in zip(found, again, strict=True):
        assert np.array_equal(one[2], other[2])
    assert modules["build"].conformers("CB(C)C", 0)[0][4] is False
    assert Chem.MolFromSmiles(found[0][0]) is not None


def test_a_build_is_deterministic_and_goes_on(modules, built, tmp_path):
    build = modules["build"]
    build.make_part(tmp_path, 0, 0)  # a single part, as after an interruption
    folder = tmp_path / "organic-parts-0"
    folder.mkdir()
    (tmp_path / "00000.safetensors").rename(folder / "00000.safetensors")
    untouched = (folder / "00000.safetensors").stat().st_mtime_ns
    other = build.build(20, folder=tmp_path)
    assert (folder / "00000.safetensors").stat().st_mtime_ns == untouched
    one, two = load_file(built), load_file(other)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not list(tmp_path.rglob("*.tmp"))


def test_building_nothing_is_refused(modules, tmp_path):
    with pytest.raises(GeomaeError, match="positive, not 0"):
        modules["build"].build(0, folder=tmp_path)


def test_the_source_gives_sound_structures(cache):
    found = load_source("organic")
    assert len(found) >= 20 and as_structures(found) == found
    assert len({s.name for s in found}) == len(found)
    assert {s.force_field for s in found} <= {"MMFF94s", "UFF"}
    parts = [load_source("organic", split=split) for split in ("train", "valid", "test", "large")]
    assert sum(map(len, parts)) == len(found)
    assert load_source("organic", n=2)[1].name == found[1].name


def test_the_source_says_what_is_wrong(cache, tmp_path, monkeypatch):
    with pytest.raises(GeomaeError, match="splits train, valid, test, large and all, not 'dev'"):
        load_source("organic", split="dev")
    monkeypatch.setenv("GEOMAE_CACHE", str(tmp_path))
    with pytest.raises(GeomaeError, match=r"datasets/organic/build\.py"):
        load_source("organic")
    save_file({"sizes": torch.zeros(1)}, tmp_path / "organic.safetensors")
    with pytest.raises(GeomaeError, match="has the format None, not 1"):
        load_source("organic")
    (tmp_path / "organic.safetensors").write_bytes(b"nothing")
    with pytest.raises(GeomaeError, match="can't read"):
        load_source("organic")
