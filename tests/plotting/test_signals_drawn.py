"""Pictures of signals, levels and structures."""

import sys

import numpy as np
import pytest
import torch

from geomae.data.structure import Structure
from geomae.errors import GeomaeError, MissingExtraError
from geomae.plotting import (
    draw_levels,
    draw_signal,
    draw_structure,
    save_levels,
    save_signal,
    save_structure,
)
from geomae.plotting.signals import new_axes, signal_surface
from geomae.pooling import grow_tree
from geomae.testing import random_molecule

pytest.importorskip("matplotlib")


@pytest.fixture
def tree():
    generator = torch.Generator().manual_seed(0)
    molecules = [random_molecule(generator, n_atoms=n) for n in (7, 9)]
    return grow_tree(
        torch.cat([m.numbers for m in molecules]),
        torch.cat([m.positions for m in molecules]),
        torch.tensor([0] * 7 + [1] * 9),
        scales=(0.5, 1.4, float("inf")),
    )


def test_constant_signal_is_a_sphere():
    points, values = signal_surface(torch.tensor([-2.0]), 12)
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 2, rtol=1e-12)
    np.testing.assert_allclose(values, -2)


def test_dipole_lies_along_its_axis():
    """The l = 1 component 'x' has two lobes on the x axis, of sqrt(3) with this normalisation."""
    points, values = signal_surface(torch.tensor([0, 1.0, 0, 0]), 31)
    assert np.abs(points[..., 0]).max() == pytest.approx(3**0.5)
    assert np.abs(points[..., 1:]).max() <= 3**0.5 / 2 + 1e-12
    assert values.min() < -1.7 < 1.7 < values.max()


def test_signal_is_coloured_by_its_sign():
    ax = draw_signal(None, torch.tensor([0, 1.0, 0, 0]), resolution=13)
    ax.figure.canvas.draw()
    (surface,) = ax.collections
    colours = surface.get_facecolor()
    assert 0.4 < (colours[:, 2] > colours[:, 0]).mean() < 0.6


@pytest.mark.parametrize("number", [0, 3, 5])
def test_wrong_number_of_coefficients(number):
    with pytest.raises(GeomaeError, match="coefficients"):
        draw_signal(None, torch.zeros(number))


def test_levels_hold_every_point_and_membership(tree):
    ax = draw_levels(None, tree, structure=1)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["atoms", "level 1", "level 2", "level 3"]
    one = tree.select(torch.tensor([1]))
    sizes = [len(c._offsets3d[0]) for c in ax.collections if hasattr(c, "_offsets3d")]
    assert sizes == [len(p) for p in one.positions]
    lines = [len(c._segments3d) for c in ax.collections if hasattr(c, "_segments3d")]
    assert lines == [m.shape[1] for m in one.memberships]


def test_levels_of_a_structure_that_is_not_there(tree):
    with pytest.raises(GeomaeError, match="2 structures"):
        draw_levels(None, tree, structure=2)


def test_structure_with_bonds_and_cell():
    ax = draw_structure(None, Structure([6, 8], [[0, 0, 0], [1.13, 0, 0]]))
    assert len(ax.collections) == 2
    crystal = Structure([11, 17], [[0, 0, 0], [2.8, 2.8, 2.8]], 5.6 * np.eye(3))
    edges = [c._segments3d for c in draw_structure(None, crystal).collections[:-1]]
    lengths = np.linalg.norm(np.diff(edges[-1], axis=1), axis=-1)
    np.testing.assert_allclose(lengths, np.full((12, 1), 5.6))
    with pytest.raises(GeomaeError, match="atoms"):
        draw_structure(None, Structure([], np.zeros((0, 3))))


def test_given_axes_are_drawn_on(tree):
    for draw, what in (
        (draw_signal, torch.ones(4)),
        (draw_levels, tree),
        (draw_structure, Structure([6], [[0, 0, 0]])),
    ):
        ax = new_axes()
        assert draw(ax, what) is ax
        assert ax.collections


def test_files(tree, tmp_path):
    save_signal(tmp_path / "new" / "signal.png", torch.ones(9))
    save_levels(tmp_path / "levels.svg", tree)
    save_structure(tmp_path / "structure.png", random_molecule())
    assert (tmp_path / "new" / "signal.png").read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in (tmp_path / "levels.svg").read_bytes()
    assert (tmp_path / "structure.png").stat().st_size > 5000


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"geomae\[viz\]"):
        draw_structure(None, Structure([6], [[0, 0, 0]]))
