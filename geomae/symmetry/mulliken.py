"""Mulliken's names of irreps, by the characters that define them."""

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.symmetry.naming import Symbol
from geomae.symmetry.standard import about_z, locate

NEAR = 1e-6
MIRROR_Z = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
MIRROR_Y = torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))
TURN_X = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
TURN_Y = torch.diag(torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64))
TURN_Z = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
INVERSION = -torch.eye(3, dtype=torch.float64)


def mulliken_names(
    symbol: Symbol, operations: Float[Tensor, "g 3 3"], characters: Float[Tensor, "k g"]
) -> list[tuple[int, str]]:
    """Rows of characters in the tables' order, with their names.

    Args:
        symbol: of the group.
        operations: in the standard setting.
        characters: of the real irreps, in any order.
    """
    naming = _Naming(symbol, operations)
    parts = [naming.parts(row) for row in characters]
    several = {part[0] for part in parts if _several(part, parts)}
    names = []
    for letter, number, parity in parts:
        index = str(number) if number and letter in several else ""
        names.append(letter + index + parity)
    place = {"": 0, "g": 0, "'": 0, "u": 1, "''": 1}
    letters = "ABETGH"
    order = sorted(
        range(len(parts)),
        key=lambda k: (place[parts[k][2]], letters.index(parts[k][0]), parts[k][1]),
    )
    return [(k, names[k]) for k in order]


def _several(part: tuple, parts: list[tuple]) -> bool:
    """Whether another irrep has the same letter and parity."""
    return sum(other[0] == part[0] and other[2] == part[2] for other in parts) > 1


class _Naming:
    """Letter, index and parity of irreps of one group."""

    def __init__(self, symbol: Symbol, operations: Tensor):
        self.symbol, self.operations = symbol, operations
        self.inversion = self.number(INVERSION)
        self.mirror = self.number(MIRROR_Z) if symbol.family in ("Cs", "C", "D") else None

    def number(self, matrix: Tensor) -> int | None:
        """Number of an operation, if the group has it."""
        index, gap = locate(matrix, self.operations)
        return int(index) if gap < NEAR else None

    def _own(self, matrix: Tensor) -> int:
        """Number of an operation that the group has."""
        number = self.number(matrix)
        assert number is not None
        return number

    def parts(self, row: Tensor) -> tuple[str, int, str]:
        dimension = round(float(row[0]))
        letter = {1: "A", 2: "E", 3: "T", 4: "G", 5: "H"}[dimension]
        if self.symbol.family in "TOI":
            return letter, self._cubic_index(row, dimension), self._parity(row)
        if dimension == 2:
            return "E", self._turns(row), self._parity(row)
        letter, index = self._one_dimensional(row)
        return letter, index, self._parity(row)

    def _parity(self, row: Tensor) -> str:
        if self.inversion is not None:
            return "g" if row[self.inversion] > 0 else "u"
        if self.mirror is not None and self.symbol.text != "C2v":
            return "'" if row[self.mirror] > 0 else "''"
        return ""

    def _cubic_index(self, row: Tensor, dimension: int) -> int:
        if self.symbol.family == "I":
            if dimension != 3:
                return 0
            return 1 if row.max() < 4 and self._five(row) > 0 else 2
        four = self.number(about_z(1, 4))
        four = self.number(about_z(1, 4) @ MIRROR_Z) if four is None else four
        if four is None or dimension == 2:
            return 0
        return 1 if row[four] > 0 else 2

    def _five(self, row: Tensor) -> float:
        """Character of the smallest rotation about a five-fold axis."""
        traces = self.operations.diagonal(dim1=1, dim2=2).sum(1)
        five = (traces - (1 + 5**0.5) / 2).abs().argmin()
        return float(row[five])

    def _turns(self, row: Tensor) -> int:
        """Angular momentum about the axis: how often the pair turns when the molecule does."""
        step, order = self._principal()
        wanted = float(row[step])
        index = torch.arange(1, (order - 1) // 2 + 1, dtype=torch.float64)
        return int((2 * torch.cos(2 * torch.pi * index / order) - wanted).abs().argmin()) + 1

    def _principal(self) -> tuple[int, int]:
        """Operation by which A and B, E1 and E2 are told apart, and its order."""
        n = self.symbol.n
        if self.symbol.family == "S":
            if n % 4:
                return self._own(about_z(1, n // 2)), n // 2
            return self._own(about_z(1, n) @ MIRROR_Z), n
        if self.symbol.suffix == "d" and n % 2 == 0:
            return self._own(about_z(1, 2 * n) @ MIRROR_Z), 2 * n
        return self._own(about_z(1, n)), n

    def _one_dimensional(self, row: Tensor) -> tuple[str, int]:
        if self.symbol.family in ("Cs", "Ci"):
            return "A", 0
        if self.symbol.text in ("D2", "D2h"):
            signs = [bool(row[self.number(turn)] > 0) for turn in (TURN_Z, TURN_Y, TURN_X)]
            return ("A", 0) if all(signs) else ("B", signs.index(True) + 1)
        step, _ = self._principal()
        letter = "A" if row[step] > 0 else "B"
        if self.symbol.family == "D":
            return letter, 1 if row[self.number(TURN_X)] > 0 else 2
        if self.symbol.suffix == "v":
            return letter, 1 if row[self.number(MIRROR_Y)] > 0 else 2
        return letter, 0
