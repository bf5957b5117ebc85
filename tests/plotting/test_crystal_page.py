"""What the page says of crystals."""

import json

import numpy as np
import pytest

from geomae.data import Structure, load_source
from geomae.metrics.crystals import in_cell_of
from geomae.plotting.crystal import cell_parameters, crystal_details, powder_lines
from geomae.plotting.report import Pair, build_page

SITES = np.array([[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])


def perovskite(constant: float) -> Structure:
    return Structure([20, 22, 8, 8, 8], constant * SITES, cell=constant * np.eye(3))


def test_cell_parameters_are_those_of_ase():
    ase = pytest.importorskip("ase")
    rng = np.random.default_rng(0)
    for _ in range(5):
        cell = 3 * np.eye(3) + rng.normal(size=(3, 3))
        expected = [*ase.cell.Cell(cell).cellpar(), abs(np.linalg.det(cell))]
        assert np.allclose(cell_parameters(cell), expected)


def test_lattice_symmetry_and_differences():
    details = crystal_details(perovskite(3.9), perovskite(3.95))
    names, before, after, off = zip(*details["lattice"], strict=True)
    assert names[0] == "a / Å" and names[-1] == "volume / Å³"
    assert np.allclose(before[:6], [3.9] * 3 + [90] * 3) and np.allclose(off[:3], 0.05)
    assert np.isclose(after[-1], 3.95**3)
    first, *sites, last = details["symmetry"]["original"]
    assert "P m -3 m (221)" in first and len(sites) == 3 and last.startswith("atoms moved by")


def test_any_cell_of_a_crystal_gives_the_same_page():
    salt = next(s for s in load_source("aflow") if s.strukturbericht == "B1")
    cell = salt.cell[0].numpy()
    double = Structure(
        np.tile(salt.numbers.numpy(), 2),
        np.concatenate([salt.positions.numpy(), salt.positions.numpy() + cell[0]]),
        cell=np.diag([2, 1, 1]) @ cell,
    )
    one, other = (crystal_details(s, None) for s in (salt, double))
    for (name, a, _, _), (_, b, _, _) in zip(one["lattice"], other["lattice"], strict=True):
        assert np.isclose(a, b, atol=1e-6), name
    for (angle, height), (angle2, height2) in zip(
        one["powder"]["original"], other["powder"]["original"], strict=True
    ):
        assert abs(angle - angle2) < 2e-3 and abs(height - height2) < 0.02


def test_powder_lines_obey_bragg():
    lines = powder_lines(perovskite(3.9))
    assert max(height for _, height in lines) == 100
    for angle, _ in lines:
        square = (2 * 3.9 * np.sin(np.radians(angle / 2)) / 1.54184) ** 2
        assert abs(square - round(square)) < 2e-3, "h^2 + k^2 + l^2 is whole"


def test_decoded_crystal_in_the_cell_of_the_original():
    salt = perovskite(3.9)
    double = Structure(
        np.tile(salt.numbers.numpy(), 2),
        np.concatenate([salt.positions.numpy(), salt.positions.numpy() + np.array([0, 0, 3.9])]),
        cell=np.diag([3.9, 3.9, 7.8]),
    )
    filled = in_cell_of(double, salt)
    assert filled.n_atoms == 10 and np.allclose(filled.cell[0], double.cell[0])
    assert in_cell_of(double, perovskite(3.0)) is None


def test_page_carries_them():
    original, decoded = perovskite(3.9), perovskite(3.9)
    pair = Pair("p", original, decoded, {}, "matched", crystal=crystal_details(original, decoded))
    page = build_page([pair], {"n": 1, "match (usual)": 1.0}, title="crystals")
    assert "Matched, usual tolerances" in page and "100.00%" in page
    data = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    own = json.loads(data)["pairs"][0]
    assert own["status"] == "matched" and len(own["crystal"]["lattice"]) == 7
    assert own["crystal"]["powder"]["decoded"] == own["crystal"]["powder"]["original"]
