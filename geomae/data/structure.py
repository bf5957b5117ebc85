"""The one structure type: a molecule or a crystal."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.storage import GlobalStorage

INDICES = ("edge_index", "bond_index", "adj_t", "face")
"""Endings of the names of properties that hold numbers of atoms."""


class AtomStorage(GlobalStorage):
    """PyG's storage, told that `numbers` count the nodes: batches get their `batch` and `ptr`."""

    @property
    def can_infer_num_nodes(self) -> bool:
        return "numbers" in self

    @property
    def num_nodes(self) -> int:
        return len(self["numbers"]) if "numbers" in self else 0


class Structure(Data):
    """Atoms in space, finite or periodic; a PyTorch Geometric `Data`, so it batches as one.

    | key | shape | unit |
    |---|---|---|
    | numbers | `[n]`, int64 | atomic number |
    | positions | `[n, 3]`, float64 | Å |
    | cell | `[1, 3, 3]` or absent | Å, rows are lattice vectors |
    | pbc | `[1, 3]` bool or absent | periodic along each lattice vector |

    Every other keyword is a named property and is kept as it is given; tensors with one row an
    atom are joined by PyG when structures are batched.

    Args:
        numbers: atomic numbers.
        positions: positions in Å.
        cell: lattice vectors as rows, in Å.
        pbc: periodicity; all True if only a cell is given.
        **properties: anything else worth carrying.
    """

    def __init__(
        self,
        numbers: Sequence[int] | np.ndarray | Tensor | None = None,
        positions: Sequence | np.ndarray | Tensor | None = None,
        cell: Sequence | np.ndarray | Tensor | None = None,
        pbc: Sequence[bool] | np.ndarray | Tensor | bool | None = None,
        **properties,
    ):
        super().__init__()
        self.__dict__["_store"] = AtomStorage(_parent=self)
        if numbers is not None:
            self.numbers = torch.as_tensor(np.array(numbers), dtype=torch.long).reshape(-1)
        if positions is not None:
            array = torch.as_tensor(np.array(positions), dtype=torch.float64)
            self.positions = array.reshape(-1, 3)
        if cell is not None:
            self.cell = torch.as_tensor(np.array(cell), dtype=torch.float64).reshape(1, 3, 3)
            pbc = True if pbc is None else pbc
        if pbc is not None:
            flags = torch.as_tensor(np.array(pbc), dtype=torch.bool)
            self.pbc = flags.expand(3).reshape(1, 3).clone()
        for key, value in properties.items():
            self[key] = value

    @property
    def n_atoms(self) -> int:
        return 0 if self.get("numbers") is None else len(self.numbers)

    @property
    def num_nodes(self) -> int:
        return self.n_atoms

    @property
    def periodic(self) -> bool:
        """Whether it repeats along any direction."""
        pbc = self.get("pbc")
        return pbc is not None and bool(pbc.any())

    @property
    def properties(self) -> dict:
        """The named properties: everything but atoms and cell."""
        return {
            key: self[key]
            for key in self.keys()
            if key not in ("numbers", "positions", "cell", "pbc")
        }

    @property
    def formula(self) -> str:
        """Hill formula: carbon, hydrogen, then the rest by the alphabet."""
        from geomae.data.elements import SYMBOLS

        symbols, counts = np.unique([SYMBOLS[z] for z in self.numbers.tolist()], return_counts=True)
        count = dict(zip(symbols.tolist(), counts.tolist(), strict=True))
        first = [s for s in ("C", "H") if s in count] if "C" in count else []
        order = first + sorted(s for s in count if s not in first)
        return "".join(f"{s}{count[s] if count[s] > 1 else ''}" for s in order)

    def __inc__(self, key: str, value, *args, **kwargs):
        """Only edges and bonds count atoms, not every name with 'index' or 'batch' in it."""
        return super().__inc__(key if key.endswith(INDICES) else "", value, *args, **kwargs)

    def __cat_dim__(self, key: str, value, *args, **kwargs):
        return super().__cat_dim__(key if key.endswith(INDICES) else "", value, *args, **kwargs)

    def __repr__(self) -> str:
        kind = "crystal" if self.periodic else "molecule"
        names = ", ".join(self.properties)
        return f"Structure({self.formula}, {kind}, {self.n_atoms} atoms{', ' * bool(names)}{names})"
