"""Conformers and mirror images of one molecule are different structures to the released model."""

import pytest
import torch

from geomae.autoencoder import Autoencoder, load
from geomae.data.structure import Structure
from geomae.invariants import invariants
from geomae.metrics import compare

Chem = pytest.importorskip("rdkit.Chem")


@pytest.fixture(scope="module")
def qm9() -> Autoencoder:
    model = load("qm9")
    assert isinstance(model, Autoencoder)
    return model


def embedded(smiles: str) -> Chem.Mol:
    """A molecule with hydrogens and conformers, by ETKDG and MMFF."""
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMultipleConfs(mol, 8, randomSeed=1)
    rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol)
    return mol


def structure(mol: Chem.Mol, conformer: int) -> Structure:
    numbers = torch.tensor([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    return Structure(numbers, torch.tensor(mol.GetConformer(conformer).GetPositions()))


def come_back_apart(model: Autoencoder, pair: list[Structure]) -> None:
    """Latents differ by more than a tenth of their length, and each tells its own structure."""
    latents = model.encode(pair)
    one, other = latents.array
    assert (one - other).norm() > 0.1 * one.norm()
    for own, decoded in zip(pair, model.decode(latents), strict=True):
        same = compare(own, decoded)
        assert decoded.certified and same.exact and same.max_error < 1e-6


def test_two_conformers(qm9):
    from rdkit.Chem import rdMolAlign

    mol = embedded("CCCCCO")
    apart = [rdMolAlign.GetBestRMS(Chem.Mol(mol), mol, i, 0) for i in range(8)]
    far = max(range(8), key=lambda i: apart[i])
    assert apart[far] > 0.3
    pair = [structure(mol, 0), structure(mol, far)]
    come_back_apart(qm9, pair)
    one, other = invariants(qm9.encode(pair), "power")
    assert (one - other).norm() > 0.01 * one.norm()


def test_two_enantiomers(qm9):
    own = structure(embedded("C[C@H](O)F"), 0)
    mirror = own.positions * own.positions.new_tensor([-1.0, 1, 1])
    pair = [own, Structure(own.numbers, mirror)]
    come_back_apart(qm9, pair)
    one, other = invariants(qm9.encode(pair), "power")
    assert torch.allclose(one, other, atol=1e-5)
