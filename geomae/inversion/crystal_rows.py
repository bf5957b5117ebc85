"""Which atom has which row, where a symmetry nearly makes the rows equal."""

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

TRIES = 300
"""Assignments at random that are improved, at most."""

ROUNDS = 20
"""Improvements of each, at most."""

EXPLAINED = 0.05
"""Part of the rows' differences that may be left unexplained."""

FREE = 1e-7
"""Singular values of the derivatives below this, relative to the largest, count as zero."""


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
