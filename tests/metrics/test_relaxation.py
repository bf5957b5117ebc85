"""How far crystals move when they are relaxed, by potentials that ASE ships."""

import sys

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from geomae.data import Structure
from geomae.errors import GeomaeError, MissingExtraError, StructureError
from geomae.metrics import relax, relaxation_metrics


def of(atoms) -> Structure:
    return Structure(atoms.numbers, atoms.positions, cell=atoms.cell.array)


def shaken(size: float = 0.1) -> tuple[Structure, float]:
    """Copper out of place, and how far: root mean square in Å, less the mean."""
    atoms = bulk("Cu", cubic=True)
    moves = size * np.random.default_rng(0).normal(size=(4, 3))
    atoms.positions += moves
    return of(atoms), float(np.sqrt(np.square(moves - moves.mean(0)).sum(1).mean()))


def test_a_displaced_crystal_goes_back():
    given, away = shaken()
    found = relax(given, EMT(), fmax=1e-4)[0]
    assert found.converged and found.fault is None and found.steps > 0
    assert found.displacement == pytest.approx(away, rel=0.02)
    assert found.space_groups == (1, 225) and not found.kept
    assert found.energy < -0.01 and found.rms is not None
    assert abs(found.volume) < 0.1


def test_a_relaxed_crystal_stays():
    once = relax(shaken()[0], EMT(), fmax=1e-4)[0].structure
    assert once is not None
    again = relax(once, EMT(), fmax=1e-3)[0]
    assert again.displacement < 1e-6 and again.kept and again.steps == 0
    assert again.energy == 0 and again.volume == 0


def test_strain_alone_is_no_displacement():
    atoms = bulk("Ar", "fcc", 5.6, cubic=True)
    found = relax(of(atoms), LennardJones(epsilon=0.0104, sigma=3.4, rc=12), fmax=1e-4)[0]
    assert found.volume < -0.05 and found.displacement < 1e-9 and found.kept
    held = relax(of(atoms), LennardJones(epsilon=0.0104, sigma=3.4, rc=12), cell=False)[0]
    assert held.volume == 0


def test_drift_is_no_displacement():
    atoms = bulk("Cu", cubic=True)
    atoms.positions[0] += [0.4, 0, 0]
    found = relax(of(atoms), EMT(), fmax=1e-4, cell=False)[0]
    assert found.displacement == pytest.approx(0.4 * np.sqrt(3) / 4, rel=1e-2)


def test_what_was_given_stays_as_it_was():
    given, _ = shaken()
    before = given.positions.clone()
    relax(given, EMT())
    assert bool((given.positions == before).all())


def test_a_calculator_that_fails_stops_no_others():
    """EMT has no sodium."""
    given = [of(bulk("Na")), of(bulk("Cu"))]
    failed, found = relax(given, EMT())
    assert failed.structure is None and "Na" in failed.fault and not failed.kept
    assert found.structure is not None
    figures = relaxation_metrics([failed, found])
    assert figures["n"] == 2 and figures["n_failed"] == 1
    assert figures["converged"] == figures["space_group_kept"] == figures["matched"] == 0.5


def test_steps_that_do_not_suffice():
    found = relax(shaken(0.2)[0], EMT(), fmax=1e-6, steps=1)[0]
    assert not found.converged and found.structure is not None


def test_no_relaxations_have_no_figures():
    figures = relaxation_metrics([])
    assert figures["n"] == 0 and figures["displacement"] is None and figures["converged"] == 0


def test_bad_input_is_named():
    copper, water = of(bulk("Cu")), molecule("H2O")
    with pytest.raises(StructureError, match=r"structure 1.*finite"):
        relax([copper, Structure(water.numbers, water.positions)], EMT())
    with pytest.raises(GeomaeError, match=r"calculator.*str"):
        relax(copper, "chgnet")  # pyright: ignore
    with pytest.raises(GeomaeError, match="positive, got 0"):
        relax(copper, EMT(), fmax=0.0)


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "chgnet.model", None)
    with pytest.raises(MissingExtraError, match=r"chgnet.*geomae\[relax\]"):
        relax(of(bulk("Cu")))


def test_chgnet_is_the_default():
    pytest.importorskip("chgnet")
    found = relax(of(bulk("NaCl", "rocksalt", 5.9)))[0]
    assert found.converged and found.kept and found.volume < -0.03
