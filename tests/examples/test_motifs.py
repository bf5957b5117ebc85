"""The survey of functional groups: its arithmetic, and what it finds in a few molecules."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

import geomae
from geomae.data import as_structures

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "17_motifs.py"))


def molecule(smiles: str) -> Chem.Mol:
    """With a conformer."""
    made = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(made, randomSeed=1)
    return made


def test_likeness_of_equal_and_of_opposite_rows():
    rows = {"a": np.tile([1.0, -1.0], (3, 1)), "b": np.tile([-1.0, 1.0], (3, 1))}
    within, between = EXAMPLE["likeness"](rows)
    assert within == pytest.approx({"a": 1.0, "b": 1.0})
    assert between == pytest.approx(-1.0)


def test_survey_finds_groups_and_their_motifs():
    structures = as_structures([molecule("CC#N"), molecule("CC(N)=O"), molecule("OC(C)=O")])
    found = EXAMPLE["survey"](geomae.load("qm9"), structures)
    assert {kind: len(own.whole) for kind, own in found.items()} == {
        "methyl": 3,
        "phenyl": 0,
        "carboxyl": 1,
        "amide": 1,
        "nitrile": 1,
        "hydroxyl": 0,
    }
    assert all(found["methyl"].whole)
