"""What `properties.py` predicts: QM9's scalars, and vectors and tensors in the molecules' frame."""

import csv
import json
from importlib.util import find_spec
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from sklearn.linear_model import LinearRegression, Ridge

from geomae.data import Structure
from geomae.data.sources.qm9 import QM9
from geomae.errors import MissingExtraError

ELEMENTS = np.array([1, 6, 7, 8, 9])
DEBYE = 4.80320
"""One e Å."""
MEV = 27211.386
"""One hartree."""

TARGETS = {
    "mu": ("D", 1.0),
    "alpha": ("bohr^3", 1.0),
    "homo": ("meV", MEV),
    "lumo": ("meV", MEV),
    "gap": ("meV", MEV),
    "r2": ("bohr^2", 1.0),
    "zpve": ("meV", MEV),
    "u0": ("meV", MEV),
    "cv": ("cal/mol/K", 1.0),
}
"""Unit in which errors are told, and what a value of the tables is in it."""


def composition(structures: list[Structure]) -> np.ndarray:
    """Atoms of each element, `[n, 5]`."""
    return np.array([[(s.numbers == z).sum() for z in ELEMENTS] for s in structures], dtype=float)


def scalar_targets(data: QM9, index: np.ndarray, counts: np.ndarray, n_train: int) -> np.ndarray:
    """Values of `TARGETS`, `[n, 9]`; of U0 what a linear fit to the composition leaves.

    The fit, which stands for energies of free atoms, sees the first `n_train` molecules alone.
    """
    columns = []
    for name, (_, size) in TARGETS.items():
        values = data.properties[name].numpy()[index] * size
        if name == "u0":
            fit = LinearRegression().fit(counts[:n_train], values[:n_train])
            values = values - fit.predict(counts)
        columns.append(values)
    return np.stack(columns, 1)


def mulliken_dipoles(data: QM9, index: np.ndarray, structures: list[Structure]) -> np.ndarray:
    """Dipole vectors of Mulliken's charges in debye, `[n, 3]`, in the positions' frame.

    QM9's tables hold the length of the dipole moment alone, and these charges.

    Raises:
        MissingExtraError: qm9pack, which has the charges, is not installed.
    """
    spec = find_spec("qm9pack")
    if spec is None or spec.origin is None:
        raise MissingExtraError("qm9pack", "qm9")
    wanted = {int(data.index[i]): k for k, i in enumerate(index)}
    vectors = np.full((len(index), 3), np.nan)
    for part in (1, 2, 3):
        path = Path(spec.origin).parent / "data" / f"qm9_part{part}.csv"
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                place = wanted.get(int(row["Index"]))
                if place is None:
                    continue
                charges = np.array(json.loads(row["Mulliken_pop"].replace("*^", "e")))
                vectors[place] = DEBYE * charges @ structures[place].positions.numpy()
    return vectors


def charge_axes(structure: Structure) -> np.ndarray:
    """Principal axes of the nuclear charges as columns `[3, 3]`, right-handed.

    From the widest extent (x) to the narrowest (z); their signs are arbitrary.
    """
    charges, points = structure.numbers.double().numpy(), structure.positions.numpy()
    points = points - charges @ points / charges.sum()
    axes = np.linalg.eigh(np.einsum("n,ni,nj->ij", charges, points, points))[1][:, ::-1].copy()
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    return axes


TURNS = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)])
"""Half turns about the axes, as signs of the axes."""


def polarizabilities(
    structures: list[Structure], tables: np.ndarray, n_train: int
) -> tuple[np.ndarray, np.ndarray]:
    """Polarizability tensors in the positions' frame, and which of them are sure.

    The tables give each tensor in the orientation that the quantum-chemical program turned the
    molecule to, along the principal axes of the nuclear charges, and not the signs of these axes.
    They are taken from a sum over pairs of atoms, each a uniaxial tensor along the pair whose
    size depends on elements and distance. It is fitted to the diagonals of the first `n_train`
    tensors, which don't depend on signs. A tensor is sure where one choice of signs fits that
    sum much better (a sixth of the squared error) than the three others.

    Args:
        structures: of the tensors.
        tables: `[n, 3, 3]` in bohr^3.
        n_train: how many of them, from the first, the sum is fitted to.
    """
    axes = np.stack([charge_axes(structure) for structure in structures])
    pairs = np.stack([_pair_tensors(s) for s in structures])
    turned = np.einsum("nia,nfij,njb->nfab", axes, pairs, axes)
    counts = np.repeat(composition(structures)[:, None], 3, 1)
    diagonals = np.concatenate([np.einsum("nfaa->naf", turned), counts], 2)
    wanted = np.einsum("naa->na", tables)
    fit = Ridge(alpha=0.05).fit(
        diagonals[:n_train].reshape(-1, diagonals.shape[2]), wanted[:n_train].reshape(-1)
    )
    guess = np.einsum("nfab,f->nab", turned, fit.coef_[: pairs.shape[1]])
    choices = tables[None] * (TURNS[:, :, None] * TURNS[:, None, :])[:, None]
    off = np.triu_indices(3, 1)
    errors = np.square((guess - choices)[..., off[0], off[1]]).sum(-1)
    best, (least, second) = errors.argmin(0), np.sort(errors, 0)[:2]
    chosen = choices[best, np.arange(len(best))]
    return axes @ chosen @ axes.transpose(0, 2, 1), (second > 6 * least) & (second > 4)


DISTANCES = np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 2.2, 2.5, 2.9, 3.5, 4.5])
PAIRS = {pair: k for k, pair in enumerate(combinations_with_replacement(ELEMENTS.tolist(), 2))}


def _pair_tensors(structure: Structure) -> np.ndarray:
    """Sums of uniaxial traceless tensors by elements and distance of pairs, `[f, 3, 3]`."""
    numbers, points = structure.numbers.numpy(), structure.positions.numpy()
    a, b = np.triu_indices(len(numbers), 1)
    vectors = points[a] - points[b]
    lengths = np.linalg.norm(vectors, axis=1)
    units = vectors / lengths[:, None]
    kinds = [PAIRS[min(x, y), max(x, y)] for x, y in zip(numbers[a], numbers[b], strict=True)]
    widths = np.where(DISTANCES < 2, 0.08, 0.4)
    weights = np.exp(-np.square((lengths[:, None] - DISTANCES) / widths))
    tensors = units[:, :, None] * units[:, None, :] - np.eye(3) / 3
    sums = np.zeros((len(PAIRS), len(DISTANCES), 3, 3))
    np.add.at(sums, kinds, weights[:, :, None, None] * tensors[:, None])
    return sums.reshape(-1, 3, 3)
