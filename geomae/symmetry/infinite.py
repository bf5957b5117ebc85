"""Groups with continuous rotations: their irreps, and how degrees fall apart into them."""

from collections import Counter

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from geomae.symmetry.naming import Symbol

GREEK = "ΣΠΔΦΓΗΙΚΛΜΝΟΡΤΥ"
ATOMIC = "SPDFGHIKLMNOQRT"
HIGHEST = 6
"""Irreps in a character table go up to this angular momentum."""


def decompose_degree(symbol: Symbol, ir: o3.Irrep) -> Counter[str]:
    """How often each irrep of an infinite group comes up in a degree and parity."""
    if symbol.family == "K":
        return Counter([_letter(ATOMIC, ir.l) + _parity(symbol, ir.p)])
    found = Counter([_letter(GREEK, 0) + _parity(symbol, ir.p) + _sign(symbol, ir)])
    found.update(_letter(GREEK, m) + _parity(symbol, ir.p) for m in range(1, ir.l + 1))
    return found


def irrep_characters(
    symbol: Symbol, operations: Float[Tensor, "g 3 3"]
) -> list[tuple[str, Float[Tensor, " g"]]]:
    """Names and characters of the first irreps on given operations, axis z."""
    proper = torch.linalg.det(operations) > 0
    if symbol.family == "K":
        return [
            (_letter(ATOMIC, l) + _parity(symbol, p), _spherical(operations, proper, l, p))
            for p in ((1, -1) if symbol.suffix == "h" else (1,))
            for l in range(HIGHEST + 1)
        ]
    along = operations[:, 2, 2] > 0  # the axis is kept, not turned over
    turn = torch.atan2(operations[:, 1, 0], operations[:, 0, 0])
    kept = proper == along  # rotations about the axis, or those times the horizontal mirror
    result = []
    for parity in (1, -1) if symbol.suffix == "h" else (1,):
        # inversion comes with the horizontal mirror, and makes C2' of a vertical one
        turned = torch.where(proper, 1.0, float(parity)).double()
        for sign in (1, -1) if _signed(symbol) else (1,):
            flipped = torch.where(
                proper & (symbol.suffix == "h"), float(sign * parity), float(sign)
            )
            name = "Σ" + _parity(symbol, parity) + ("+" if sign > 0 else "-") * _signed(symbol)
            result.append((name, torch.where(kept, turned, flipped.double())))
        for m in range(1, HIGHEST + 1):
            row = 2 * torch.cos(m * turn) * torch.where(proper, 1.0, float(parity * (-1) ** m))
            result.append(
                (_letter(GREEK, m) + _parity(symbol, parity), torch.where(kept, row, 0.0))
            )
    return result


def _spherical(operations: Tensor, proper: Tensor, l: int, p: int) -> Tensor:
    sign = torch.where(proper, 1.0, float(p)).double()
    rotations = operations * torch.where(proper, 1.0, -1.0).double()[:, None, None]
    cosine = (rotations.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    angle = cosine.clamp(-1, 1).acos()
    return sign * (1 + 2 * sum(torch.cos(m * angle) for m in range(1, l + 1)))


def _letter(letters: str, m: int) -> str:
    return letters[m] if m < len(letters) else f"[{m}]"


def _signed(symbol: Symbol) -> bool:
    return symbol.family == "D" or symbol.suffix == "v"


def _sign(symbol: Symbol, ir: o3.Irrep) -> str:
    """Of the component along the axis under C2' (D∞) or a mirror through the axis (others)."""
    if not _signed(symbol):
        return ""
    natural = (-1) ** ir.l if symbol.text == "D∞" else ir.p * (-1) ** ir.l
    return "+" if natural > 0 else "-"


def _parity(symbol: Symbol, parity: int) -> str:
    return ("g" if parity > 0 else "u") if symbol.suffix == "h" else ""
