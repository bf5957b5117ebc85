"""`geomae invert`, as a user calls it."""

import json

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.io import read
from typer.testing import CliRunner

from geomae.cli import app
from geomae.inversion import read_descriptor

OPTIONS = "kind: structure\nspecies: [H, C, N, O]\nn_radial: 16\nlmax: 3\ncutoff: 6.0\n"


@pytest.fixture
def files(tmp_path):
    """A descriptor's options, and the values of water turned out of its axes."""
    options, values = tmp_path / "spectra.yaml", tmp_path / "values.npz"
    options.write_text(OPTIONS)
    atoms = molecule("H2O")
    atoms.rotate(40, (1, 2, 3))
    descriptor = read_descriptor(options)
    positions = torch.as_tensor(atoms.positions)
    positions = positions - positions.mean(0)
    made = descriptor(torch.as_tensor(atoms.numbers), positions)
    np.savez(values, values=made.numpy())
    return options, values


def test_it_writes_the_structure_and_a_page(files, tmp_path):
    options, values = files
    folder = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["invert", str(values), "-d", str(options), "-o", str(folder), "--solutions", "1"]
    )
    assert result.exit_code == 0, result.output
    found, water = read(folder / "solutions.xyz"), molecule("H2O")
    assert found.get_chemical_formula() == "H2O"
    distances = np.sort(found.get_all_distances().ravel())
    assert np.allclose(distances, np.sort(water.get_all_distances().ravel()), atol=1e-6)
    assert json.loads((folder / "result.json").read_text())["residual"] < 1e-8
    assert "solution 1" in (folder / "report.html").read_text()


def test_values_of_another_length_are_refused(files, tmp_path):
    options, _ = files
    np.savez(tmp_path / "short.npz", values=np.ones(7))
    arguments = ["invert", str(tmp_path / "short.npz"), "-d", str(options), "-o", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and "not an array of [7]" in result.output


def test_a_network_that_there_is_not_is_named(files, tmp_path):
    options, values = files
    arguments = ["invert", str(values), "-d", str(options), "-o", str(tmp_path)]
    result = CliRunner().invoke(app, [*arguments, "--network", "nothing"])
    assert result.exit_code == 2 and "there is no model 'nothing'" in result.output
