"""Figures of generated molecules, against molecules whose figures are known."""

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.io import write
from torch_geometric.data import Data

from geomae.data import Structure
from geomae.errors import StructureError
from geomae.metrics import generation_metrics
from geomae.metrics.distributions import jensen_shannon
from geomae.metrics.generation import largest_smiles

# one stable molecule, the same moved, one with an open valence, one in two pieces
WATER, METHANE = molecule("H2O"), molecule("CH4")
MOVED = WATER.copy()
MOVED.translate([3.0, 1.0, 0.0])
METHYL = METHANE[:4]
PAIR = WATER + METHANE
PAIR.positions[3:] += 8.0
CROWDED = WATER.copy()
CROWDED.positions[1:] *= 0.1


def test_shares_and_their_denominators():
    figures = generation_metrics([WATER, MOVED, METHYL, PAIR, None])
    assert figures["n"] == 5 and figures["n_failed"] == 1
    assert figures["atom_stability"] == pytest.approx((3 + 3 + 3 + 8) / (3 + 3 + 4 + 8))
    assert figures["molecule_stability"] == pytest.approx(3 / 5)
    # a radical is sanitised; the largest piece of the pair is methane
    assert figures["valid"] == pytest.approx(4 / 5)
    assert figures["valid_unique"] == pytest.approx(3 / 5)
    assert figures["unique"] == pytest.approx(3 / 4)
    assert figures["connected"] == pytest.approx(3 / 5)
    assert figures["mean_atoms"] == pytest.approx(18 / 4)


def test_too_many_bonds_are_invalid():
    five = Structure([6, 1, 1, 1, 1, 1], np.vstack([METHANE.positions, [0.0, 0.0, 1.0]]))
    figures = generation_metrics([five])
    assert figures["valid"] == 0 and figures["molecule_stability"] == 0


def test_novelty_is_asked_of_unique_ones():
    figures = generation_metrics([WATER, MOVED, METHANE], reference=[WATER])
    assert figures["novel"] == pytest.approx(1 / 2)
    named = generation_metrics([WATER, METHANE], train_smiles=[largest_smiles(of(METHANE))])
    assert named["novel"] == pytest.approx(1 / 2)


def of(atoms) -> Structure:
    return Structure(atoms.numbers, atoms.positions)


def test_everything_that_holds_molecules_is_taken(tmp_path):
    expected = generation_metrics([of(WATER), of(METHANE)])
    write(tmp_path / "two.xyz", [WATER, METHANE])
    pyg = [
        Data(z=torch.from_numpy(a.numbers), pos=torch.from_numpy(a.positions))
        for a in (WATER, METHANE)
    ]
    pairs = [(a.positions, a.numbers) for a in (WATER, METHANE)]
    tensors = [
        (torch.from_numpy(a.numbers), torch.from_numpy(a.positions)) for a in (WATER, METHANE)
    ]
    for given in ([WATER, METHANE], str(tmp_path / "two.xyz"), tmp_path / "two.xyz", pyg, pairs,
                  tensors, iter([WATER, METHANE])):  # fmt: skip
        assert generation_metrics(given) == expected
    one = generation_metrics([WATER])
    assert generation_metrics(WATER) == one
    assert generation_metrics((WATER.positions, WATER.numbers)) == one
    assert generation_metrics(pyg[0]) == one


def test_what_is_no_molecule_fails():
    broken = of(WATER)
    broken.positions[0, 0] = float("nan")
    figures = generation_metrics([broken, Structure([], np.zeros((0, 3))), WATER, "missing.xyz"])
    assert figures["n"] == 4 and figures["n_failed"] == 3 and figures["valid"] == 0.25
    with pytest.raises(StructureError):
        generation_metrics(7)


def test_atoms_of_foreign_elements_and_crowded_ones_count():
    figures = generation_metrics([molecule("SiH4"), CROWDED])
    assert figures["n_failed"] == 0 and figures["mean_atoms"] == 4
    # by the rules the crowded oxygen has its two bonds, each hydrogen one too many
    assert figures["atom_stability"] == 1 / 8 and figures["valid"] == 0


def test_nothing_gives_zeros():
    figures = generation_metrics([])
    assert figures["n"] == 0 and figures["valid"] == 0


def test_distances_to_a_reference():
    some = [molecule(name) for name in ("C2H6", "CH3CH2OH", "C3H8")]
    same = generation_metrics(some, reference=some)
    for name in ("bonds_js", "angles_js", "torsions_js", "composition_js"):
        assert same[name] == pytest.approx(0, abs=1e-6) or name == "torsions_js"
    stretched = [a.copy() for a in some]
    for atoms in stretched:
        atoms.positions *= 1.03
    other = generation_metrics(stretched, reference=some)
    assert other["bonds_js"] > 0.9 and other["composition_js"] == pytest.approx(0, abs=1e-6)
    assert other["angles_js"] < 0.3


def test_jensen_shannon_of_known_histograms():
    from collections import Counter

    assert jensen_shannon(Counter({(0,): 1}), Counter({(1,): 5})) == pytest.approx(1)
    half = jensen_shannon(Counter({(0,): 1}), Counter({(0,): 1, (1,): 1}))
    # H(3/4, 1/4) - H(1/2, 1/2) / 2 in bits
    assert half == pytest.approx((0.8112781 - 0.5) ** 0.5, abs=1e-6)
    assert jensen_shannon(Counter(), Counter({(0,): 1})) is None


def test_posebusters_shares():
    pytest.importorskip("posebusters")
    figures = generation_metrics([molecule("CH3CH2OH"), None], posebusters=True)
    assert figures["posebusters"] == 0.5
    assert figures["posebusters: bond_lengths"] == 0.5
