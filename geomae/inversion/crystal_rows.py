"""Rows that a symmetry makes equal, or nearly so, and which atom has which of them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from geomae.inversion.descriptors.soap import Soap

EQUAL = (1e-3, 1e-5)
"""Relative difference of two rows below which their atoms are taken for equivalent: where data are
equivalent to rounding of their figures only, and where a symmetry is nearly there, but isn't."""

TRIES = 300
"""Assignments at random that are improved, at most."""

ROUNDS = 20
"""Improvements of each, at most."""

EXPLAINED = 0.05
"""Part of the rows' differences that may be left unexplained."""

FREE = 1e-7
"""Singular values of the derivatives below this, relative to the largest, count as zero."""


@dataclass(frozen=True)
class Classes:
    """Rows that are equal, and the element of each.

    Attributes:
        rows: of each class.
        element: of each class, an atomic number.
    """

    rows: tuple[tuple[int, ...], ...]
    element: tuple[int, ...]

    def sizes(self) -> dict[int, list[int]]:
        """Of each element, how large its classes are."""
        found: dict[int, list[int]] = {}
        for rows, z in zip(self.rows, self.element, strict=True):
            found.setdefault(z, []).append(len(rows))
        return found


def equal_rows(
    soap: Soap, values: Float[Tensor, " f"], numbers: Int[Tensor, " n"], equal: float = EQUAL[0]
) -> Classes:
    """Rows of one element that are nearly equal, so that their atoms may be equivalent.

    Args:
        soap: of all atoms, not averaged.
        values: its vectors, in a row.
        numbers: atomic number of each row.
        equal: relative difference below which rows count as equal.
    """
    table = values.reshape(len(numbers), -1)
    gaps = torch.cdist(table, table, compute_mode="donot_use_mm_for_euclid_dist")
    near = (gaps < equal * table.norm(dim=1)) & (numbers[:, None] == numbers)
    left, rows = list(range(len(numbers))), []
    while left:
        own = [i for i in left if bool(near[left[0], i])]
        rows.append(tuple(own))
        left = [i for i in left if i not in own]
    return Classes(tuple(rows), tuple(int(numbers[own[0]]) for own in rows))


def matched(
    slopes: Float[Tensor, "n f q"],
    wanted: Float[Tensor, "n f"],
    kinds: Int[Tensor, " n"],
    generator: torch.Generator,
) -> Int[Tensor, " n"]:
    """The row of each atom, such that small moves explain how the rows differ.

    Moves and assignments are improved in turn, from assignments at random.

    Args:
        slopes: derivatives of each atom's values by the parameters.
        wanted: what each row has beyond the values of any atom of its kind.
        kinds: atoms and rows of one number may belong together.
        generator: of the assignments.
    """
    n = len(wanted)
    _, _, basis = torch.linalg.svd(wanted, full_matrices=False)
    rows = wanted @ basis.T
    inverse = torch.linalg.pinv(slopes.flatten(0, 1), rtol=FREE).unflatten(1, (n, -1))
    inverse = (inverse @ basis.T).flatten(1)
    inside = (basis @ slopes).flatten(0, 1) @ inverse
    size, best, least = float(rows.norm()), torch.arange(n), float("inf")
    same = [torch.nonzero(kinds == kind)[:, 0] for kind in kinds.unique()]
    for _ in range(TRIES):
        row = torch.arange(n)
        for own in same:
            row[own] = own[torch.randperm(len(own), generator=generator)]
        for _ in range(ROUNDS):
            made = (inside @ rows[row].flatten()).unflatten(0, (n, -1))
            cost, changed = torch.cdist(made, rows).square(), row.clone()
            for own in same:
                _, column = linear_sum_assignment(cost[own][:, own].numpy())
                changed[own] = own[torch.as_tensor(column)]
            if bool((changed == row).all()):
                break
            row = changed
        left = float((rows[row] - made).norm())
        if left < least:
            best, least = row, left
        if least < EXPLAINED * size:
            break
    return best
