"""The example that maps QM9 and walks through its latents."""

import importlib.util
from argparse import Namespace
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


@pytest.mark.slow
def test_it_draws_a_map_and_a_walk(tmp_path, capsys):
    path = Path(__file__).parents[2] / "examples" / "10_map_of_qm9.py"
    spec = importlib.util.spec_from_file_location("map_of_qm9", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    options = {"model": "qm9", "n": 30, "latents": None, "map": "pca", "property": "gap"}
    options |= {"first": 0, "second": None, "steps": 3, "output": tmp_path}
    module.main(Namespace(**options))
    assert {p.name for p in tmp_path.iterdir()} == {"map_of_qm9.png", "walk_through_latents.png"}
    lines = capsys.readouterr().out.splitlines()
    head = next(k for k, line in enumerate(lines) if line.startswith("nearest to"))
    nearest = lines[head + 1].split()
    assert float(nearest[0]) < 1e-3 and lines[head].endswith(f"{nearest[1]}:")
    residuals = [float(line.split()[-1]) for line in lines if "residual" in line]
    assert len(residuals) == 3 and residuals[0] < 1e-5 and residuals[2] < 1e-5
