"""Example reconstructions: ASE's g2 molecules and a crystal, perturbed."""

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from geomae.data.structure import Structure
from geomae.plotting.report import Pair

BAD_NAME = "</script><img src=x onerror=alert(1)>\u2028 ' \" & <!--<script>"


def structure_of(atoms) -> Structure:
    cell = np.array(atoms.cell) if atoms.pbc.any() else None
    return Structure(atoms.numbers, atoms.positions, cell)


def perturbed(structure: Structure, size: float, seed: int = 0) -> tuple[Structure, list[int]]:
    """Shuffled and displaced by `size` Å at most along each axis, with the matching."""
    random = np.random.default_rng(seed)
    order = random.permutation(structure.n_atoms)
    noise = torch.from_numpy(random.uniform(-size, size, (structure.n_atoms, 3)))
    positions = (structure.positions + noise)[order]
    moved = Structure(structure.numbers[order], positions, structure.get("cell"))
    return moved, np.argsort(order).tolist()


@pytest.fixture
def pairs() -> list[Pair]:
    """One of every kind: exact, wrong, other composition, crystal, refused, unreadable."""
    ethanol, benzene = structure_of(molecule("CH3CH2OH")), structure_of(molecule("C6H6"))
    crystal = structure_of(bulk("NaCl", "rocksalt", 5.64, cubic=True))
    shorter = Structure(ethanol.numbers[:-1], ethanol.positions[:-1])
    good = {"rmsd": 0.01, "max_error": 0.02, "residual": 1e-6, "certified": True}
    return [
        Pair("benzene", benzene, perturbed(benzene, 0.001)[0], good, "exact"),
        Pair("ethanol", ethanol, perturbed(ethanol, 0.6)[0], {"certified": True}, "wrong"),
        Pair("short", ethanol, shorter, {"rmsd": float("nan"), "residual": 0.1}, "doubtful"),
        Pair("salt", crystal, perturbed(crystal, 0.1)[0], {}, "reconstructed"),
        Pair(BAD_NAME, ethanol, None, {"note": BAD_NAME}, "refused", f"no {BAD_NAME}"),
        Pair("unreadable", None, None, {}, "error", "line 3 is short"),
    ]


@pytest.fixture
def summary() -> dict:
    return {"composition_accuracy": 0.75, "n": 4, "n_failed": 1, "rmsd": 0.01, "max_error": 0.02,
            "reconstructed": 0.5, "exact": 0.25}  # fmt: skip
