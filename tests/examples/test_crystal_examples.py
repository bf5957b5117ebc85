"""The examples that put latents of crystals to work, and that follow them under strain."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import geomae
from geomae.data import Structure

pytest.importorskip("sklearn")
EXAMPLES = Path(__file__).parents[2] / "examples"
WEIGHTS = EXAMPLES.parent / "models" / "perov5" / "weights.safetensors"


def example(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not WEIGHTS.exists(), reason="weights are not here")
def test_latents_jump_where_the_anchor_changes_and_nowhere_else():
    strained = example("18_strained_crystals")
    model = geomae.load("perov5")
    largest = {}
    for name, path in strained.PATHS.items():
        crystals = [path(float(share)) for share in np.linspace(-1, 1, 21)]
        array = model.encode(crystals).array
        steps = (array[1:] - array[:-1]).flatten(1).norm(dim=1)
        largest[name] = float(steps.max() / steps.median())
    assert largest["SrTiO3 stretched"] < 1.5
    assert largest["SrTiO3 sheared"] < 4
    assert largest["La2O3, La moved"] > 50


def test_stand_ins_tell_the_structure_alone():
    atlas = example("14_crystal_map")
    salts = [
        Structure(numbers, [[0, 0, 0], [half, half, half]], cell=half * (1 - np.eye(3)))
        for numbers, half in (([11, 17], 2.8), ([12, 8], 2.1))
    ]
    made = [atlas.with_stand_ins(salt, atlas.orders(salt)[0]) for salt in salts]
    assert made[0].numbers.tolist() == [38, 22] and made[1].numbers.tolist() == [22, 38]
    assert np.allclose(made[0].cell, made[1].cell) and len(atlas.orders(salts[0])) == 2
    perovskite = Structure([20, 22, 8, 8, 8], np.eye(5, 3) * 2, cell=4 * np.eye(3))
    orders = atlas.orders(perovskite)
    assert sorted(orders) == [(20, 22, 8), (22, 20, 8)], "the rarest first, ties both ways"


def test_distances_of_what_is_the_same_vanish():
    atlas = example("14_crystal_map")
    table = np.random.default_rng(0).normal(size=(20, 6))
    gaps = atlas.distances(table[:3], table)
    assert np.allclose(gaps[np.arange(3), np.arange(3)], 0) and np.isclose(np.median(gaps), 1)
