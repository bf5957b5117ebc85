"""Bonds of molecules of H, C, N, O and F from distances, by the rules that EDM uses.

Lengths in pm and margins: Hoogeboom et al., "Equivariant diffusion for molecule generation in
3D", 2022. A pair is single-bonded if it is shorter than the single bond's length plus 10 pm, double
if also shorter than the double bond's plus 5, triple if also shorter than the triple bond's plus 3.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from geomae.data.elements import NUMBERS, SYMBOLS
from geomae.data.structure import Structure
from geomae.errors import MissingExtraError, UnsupportedStructureError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

ELEMENTS = ("H", "C", "N", "O", "F")

SINGLE = {
    "HH": 74, "HC": 109, "HN": 101, "HO": 96, "HF": 92, "CC": 154, "CN": 147, "CO": 143,
    "CF": 135, "NN": 145, "NO": 140, "NF": 136, "OO": 148, "OF": 142, "FF": 142,
}  # fmt: skip
DOUBLE = {"CC": 134, "CN": 129, "CO": 120, "NN": 125, "NO": 121, "OO": 121}
TRIPLE = {"CC": 120, "CN": 116, "CO": 113, "NN": 110}
MARGINS = (10, 5, 3)
VALENCE = {"H": 1, "C": 4, "N": 3, "O": 2, "F": 1}


def _thresholds() -> Float[Tensor, "3 119 119"]:
    """Longest distances in Å of single, double and triple bonds; zero where there is none."""
    table = torch.zeros(3, len(SYMBOLS), len(SYMBOLS), dtype=torch.float64)
    for order, (lengths, margin) in enumerate(zip((SINGLE, DOUBLE, TRIPLE), MARGINS, strict=True)):
        for pair, length in lengths.items():
            a, b = NUMBERS[pair[0]], NUMBERS[pair[1]]
            table[order, a, b] = table[order, b, a] = (length + margin) / 100
    return table


THRESHOLDS = _thresholds()


def _valences() -> Int[Tensor, "119"]:
    table = torch.zeros(len(SYMBOLS), dtype=torch.long)
    for symbol, valence in VALENCE.items():
        table[NUMBERS[symbol]] = valence
    return table


VALENCES = _valences()
"""Valence by atomic number."""


def bond_orders(numbers: Int[Tensor, " n"], positions: Float[Tensor, "n 3"]) -> Int[Tensor, "n n"]:
    """Bond order of every pair of atoms: 0 to 3, symmetric.

    Args:
        numbers: atomic numbers, of H, C, N, O and F.
        positions: in Å.

    Raises:
        UnsupportedStructureError: another element; the rules have no lengths for it.
    """
    strange = {SYMBOLS[z] for z in numbers.tolist()} - set(ELEMENTS)
    if strange:
        raise UnsupportedStructureError(
            f"has {', '.join(sorted(strange))}; bonds by distance are known for "
            f"{', '.join(ELEMENTS)}"
        )
    distances = torch.cdist(
        positions.double(), positions.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    close = distances < THRESHOLDS[:, numbers[:, None], numbers[None, :]]
    orders = torch.cumprod(close.long(), 0).sum(0)
    return orders.fill_diagonal_(0)


def soundness(numbers: Int[Tensor, " n"], orders: Int[Tensor, "n n"]) -> tuple[bool, int]:
    """Whether atoms are in one piece, and how many have a whole valence.

    Args:
        numbers: atomic numbers.
        orders: from `bond_orders`.
    """
    pieces, _ = connected_components(csr_matrix(orders.numpy()), directed=False)
    return pieces == 1, int((orders.sum(1) == VALENCES[numbers]).sum())


def molecule_of(numbers: Int[Tensor, " n"], orders: Int[Tensor, "n n"]) -> "Mol":
    """RDKit's molecule of atoms and bond orders, hydrogens as atoms, not sanitised.

    Raises:
        MissingExtraError: RDKit is not installed.
    """
    try:
        from rdkit import Chem
    except ImportError as error:
        raise MissingExtraError("rdkit", "rdkit") from error
    kinds = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}
    molecule = Chem.RWMol()
    for number in numbers.tolist():
        molecule.AddAtom(Chem.Atom(number))
    table = orders.numpy()
    for a, b in zip(*np.nonzero(np.triu(table)), strict=True):
        molecule.AddBond(int(a), int(b), kinds[int(table[a, b])])
    return molecule


@contextmanager
def rdkit_quiet() -> Iterator[None]:
    """RDKit says nothing of what it can't sanitise."""
    from rdkit import RDLogger

    logger = RDLogger.logger()
    logger.setLevel(RDLogger.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(RDLogger.ERROR)


def smiles_of(structure: Structure) -> str | None:
    """SMILES of the molecule that the distances give; None if it breaks valence rules.

    Raises:
        MissingExtraError: RDKit is not installed.
    """
    orders = bond_orders(structure.numbers, structure.positions)
    molecule = molecule_of(structure.numbers, orders)
    from rdkit import Chem

    with rdkit_quiet():
        try:
            Chem.SanitizeMol(molecule)
            return Chem.MolToSmiles(Chem.RemoveHs(molecule))
        except ValueError:
            return None
