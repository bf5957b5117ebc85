"""How far apart two crystals are, in any cell, origin, orientation and hand."""

from functools import lru_cache

import torch
from ase.geometry import minkowski_reduce
from jaxtyping import Float
from torch import Tensor

from geomae.data.structure import Structure
from geomae.errors import MissingExtraError


def crystal_gap(one: Structure, other: Structure) -> float:
    """RMSD of the atoms in Å after pymatgen's StructureMatcher; infinite if they don't match.

    Lattices may differ by 2 % and 2 degrees and are brought together before atoms are compared,
    volumes not: what differs between them is added as a length.

    Args:
        one, other: with a cell, of any composition.
    """
    from geomae.data.convert import to_pymatgen

    found = _matcher().get_rms_dist(to_pymatgen(one), to_pymatgen(other))
    if found is None:
        return float("inf")
    spacings = [
        float(crystal.cell[0].det().abs() / crystal.n_atoms) ** (1 / 3) for crystal in (one, other)
    ]
    return float(found[0]) * spacings[0] + abs(spacings[0] - spacings[1])


def reduced(
    rows: Float[Tensor, "p 3"],
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "3 3"]]:
    """Atoms within a reduced (Minkowski), right-handed cell of the same lattice.

    Args:
        rows: positions in Å, the three lattice vectors behind them.
    """
    atoms, cell = rows[:-3], rows[-3:]
    if float(cell.det()) < 0:
        cell = -cell
    if float(cell.det()) > 1e-3:
        _, change = minkowski_reduce(cell.numpy())
        cell = torch.as_tensor(change, dtype=cell.dtype) @ cell
    fractions = atoms @ torch.linalg.inv(cell)
    return (fractions - (fractions + 1e-9).floor()) @ cell, cell


@lru_cache(maxsize=1)
def _matcher():
    try:
        from pymatgen.analysis.structure_matcher import StructureMatcher
    except ImportError as error:
        raise MissingExtraError("pymatgen", "crystals") from error
    return StructureMatcher(
        ltol=0.02, stol=0.2, angle_tol=2, primitive_cell=False, scale=False, attempt_supercell=False
    )
