"""Data sets by name."""

import pytest
import torch
from ase.build import molecule
from ase.io import write

from geomae.data import as_structures, load_source, source_names
from geomae.errors import GeomaeError, StructureError


def test_names():
    crystals = {"perov5", "carbon24", "supercon", "mp20", "mpts52", "wbm"}
    own = {"tetris", "g2", "qm9", "organic", "aflow", "degenerate"}
    assert set(source_names()) == own | crystals


@pytest.mark.parametrize(("name", "n"), [("tetris", 8), ("g2", 162), ("aflow", 288)])
def test_sources_are_whole_named_and_sound(name, n):
    made = load_source(name)
    assert len(made) == n and len({s.name for s in made}) == n
    assert as_structures(made) == made
    assert [s.name for s in load_source(name, n=3)] == [s.name for s in made[:3]]
    assert all(s.periodic == (name == "aflow") for s in made)


def test_tetris_pieces_are_eight_shapes_two_of_them_mirror_images():
    pieces = {s.name: s.positions for s in load_source("tetris")}
    assert all(set(s.numbers.tolist()) == {1} for s in load_source("tetris"))
    distances = {name: torch.pdist(p).sort().values.round(decimals=6) for name, p in pieces.items()}
    first, second, *others = distances
    assert torch.equal(distances[first], distances[second])
    for k, name in enumerate([first, *others]):
        for other in [first, *others][k + 1 :]:
            assert not torch.equal(distances[name], distances[other])

    def volume(points):
        return float(torch.det(points[1:] - points[0]))

    assert volume(pieces[first]) == pytest.approx(-volume(pieces[second]))
    assert volume(pieces[first]) != 0
    neighbours = torch.stack([(torch.cdist(p, p) - 1).abs().min(1).values for p in pieces.values()])
    assert neighbours.max() < 1e-9


def test_g2_is_ase_s():
    made = {s.name: s for s in load_source("g2")}
    expected = molecule("CH3CH2OH")
    assert made["CH3CH2OH"].positions.tolist() == expected.positions.tolist()
    assert made["CH3CH2OH"].numbers.tolist() == expected.numbers.tolist()
    assert made["O2"].initial_magmoms.tolist() == [1.0, 1.0]


def test_aflow_prototypes_have_their_tags():
    diamond = next(s for s in load_source("aflow") if s.mineral == "diamond")
    assert diamond.strukturbericht == "A4" and diamond.formula == "C2"


def test_folders_and_files_are_sources(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        write(tmp_path / split / "a.xyz", [molecule("H2O"), molecule("CH4")], format="extxyz")
    write(tmp_path / "b.xyz", molecule("CO"))
    assert [s.formula for s in load_source(tmp_path)] == ["CO"]
    assert [s.formula for s in load_source(str(tmp_path), split="train")] == ["H2O", "CH4"]
    assert [s.formula for s in load_source(tmp_path, split="test", n=1)] == ["H2O"]
    assert len(load_source(tmp_path / "b.xyz")) == 1
    with pytest.raises(GeomaeError, match="no folder 'valid'"):
        load_source(tmp_path, split="valid")
    (tmp_path / "c.xyz").write_text("")
    with pytest.raises(StructureError, match=r"c\.xyz"):
        load_source(tmp_path)


@pytest.mark.parametrize("name", ["tetris", "g2", "aflow"])
def test_sources_without_splits_say_so(name):
    with pytest.raises(GeomaeError, match=f"{name} has no splits"):
        load_source(name, split="train")
    assert load_source(name, split="all", n=1)


@pytest.mark.parametrize(
    ("name", "close"), [("qm8", "qm9"), ("AFLOW", "aflow"), ("tertis", "tetris")]
)
def test_unknown_names_get_all_and_the_closest(name, close):
    with pytest.raises(
        GeomaeError, match=f"'{name}'.*tetris, g2, qm9, organic, aflow, .*; did you mean '{close}'"
    ):
        load_source(name)
