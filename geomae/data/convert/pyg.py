"""PyTorch Geometric's Data."""

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from geomae.data.convert.properties import RESERVED
from geomae.data.structure import Structure
from geomae.errors import StructureError

NAMES = {"numbers": ("z", "numbers", "atomic_numbers"), "positions": ("pos", "positions")}
"""Names under which data sets keep what a `Structure` keeps under the first."""


def from_pyg(data: Data) -> Structure:
    """A structure of a PyG Data with `z` and `pos`; all its other attributes are kept.

    A `cell` (`[3, 3]` or `[1, 3, 3]`) and `pbc` are the structure's own.

    Raises:
        StructureError: there are no atomic numbers or positions, or it is a batch of several.
    """
    if isinstance(data, Batch):
        raise StructureError("a Batch holds many structures: as_structures takes it apart")
    found = {}
    for name, choices in NAMES.items():
        keys = [key for key in choices if isinstance(data.get(key), Tensor)]
        if not keys:
            raise StructureError(f"the Data has no {name}: expected a tensor {choices[0]}")
        found[name] = keys[0]
    cell, pbc = data.get("cell"), data.get("pbc")
    values = {name: _plain(data[key]) for name, key in found.items()}
    structure = Structure(
        **values,
        cell=None if cell is None else _plain(torch.as_tensor(cell)).reshape(3, 3),
        pbc=None if pbc is None else _plain(torch.as_tensor(pbc)).reshape(-1),
    )
    for key in data.keys():  # noqa: SIM118 - a Data isn't iterated by its keys
        if key not in (*found.values(), *RESERVED, "num_nodes"):
            structure[key] = data[key]
    return structure


def to_pyg(structure: Structure, dtype: torch.dtype = torch.float64) -> Data:
    """A plain PyG Data with `z` `[n]`, `pos` `[n, 3]` and all that the structure has besides.

    Args:
        structure: molecule or crystal.
        dtype: of the positions and the cell.
    """
    data = Data(z=structure.numbers.clone(), pos=structure.positions.to(dtype, copy=True))
    if structure.get("cell") is not None:
        data.cell = structure.cell.to(dtype, copy=True)
    if structure.get("pbc") is not None:
        data.pbc = structure.pbc.clone()
    for key, value in structure.properties.items():
        data[key] = value
    return data


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu()
