"""Molecules side by side."""

import pytest
import torch

from geomae.data import Structure
from geomae.errors import GeomaeError
from geomae.plotting.gallery import laid_out, save_gallery


def test_the_longest_axis_lies_across():
    tall = torch.tensor([[0.0, 0.0, z] for z in (0.0, 1.0, 2.0, 5.0)])
    found = laid_out(tall)
    assert found[:, 0].abs().max() == pytest.approx(2.5) and found[:, 1:].abs().max() < 1e-6
    assert torch.allclose(torch.cdist(found, found), torch.cdist(tall, tall), atol=1e-6)
    assert laid_out(torch.ones(1, 3)).abs().max() == 0


def test_pictures_are_written(tmp_path):
    molecules = [Structure([6, 8], [[0, 0, 0], [0, 0, 1.13]]), Structure([6], [[0, 0, 0]])]
    save_gallery(tmp_path / "new" / "gallery.png", molecules, ["CO", "C"], columns=1)
    assert (tmp_path / "new" / "gallery.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(GeomaeError, match="without atoms"):
        save_gallery(tmp_path / "none.png", [Structure([], torch.zeros(0, 3))], ["nothing"])
