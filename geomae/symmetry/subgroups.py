"""All subgroups of a finite group, from its multiplication table."""

from collections.abc import Set
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.symmetry.errors import GroupError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.identify import identify
from geomae.symmetry.standard import multiplication_table, standard_operations


def subgroups(group: PointGroup, conjugates: bool) -> list[PointGroup]:
    """Subgroups from the largest to the smallest; see `PointGroup.subgroups`."""
    if group.infinite:
        raise GroupError(f"{group.name} has infinitely many subgroups; expected a finite group")
    sets = _sets_of(group.name)
    if not conjugates:
        sets = _one_of_each_class(sets, group.table)
    sets = sorted(sets, key=lambda own: (-len(own), sorted(own)))
    return [identify(group.operations[sorted(own)], near=group.frame) for own in sets]


@lru_cache(maxsize=64)
def _sets_of(name: str) -> frozenset[frozenset[int]]:
    return frozenset(subgroup_sets(multiplication_table(standard_operations(name))))


def subgroup_sets(table: Int[Tensor, "g g"]) -> set[frozenset[int]]:
    """Numbers of the operations of each subgroup.

    Every subgroup is reached from the trivial one by adding operations one after another.

    Args:
        table: number of each product, -1 for one that is missing: no subgroup has it.
    """
    rows = table.numpy()
    cyclic = {own for k in range(len(rows)) if (own := _closure({k}, rows)) is not None}
    found, new = set(cyclic), set(cyclic)
    while new:
        joined = {
            _closure(own | other, rows) for own in new for other in cyclic if not other <= own
        }
        new = {own for own in joined if own is not None} - found
        found |= new
    return found


def largest_group(table: Int[Tensor, "g g"], faults: Float[Tensor, " g"]) -> list[int]:
    """Numbers of the operations of the largest group among some that may be none together.

    Args:
        table: number of each product, -1 for one that is missing.
        faults: of each operation; of groups of one size, the one with the least is taken.
    """
    if bool((table >= 0).all()):
        return list(range(len(table)))
    sets = subgroup_sets(table)
    best = min(sets, key=lambda own: (-len(own), float(faults[sorted(own)].max()), sorted(own)))
    return sorted(best)


def _closure(members: set[int] | frozenset[int], rows: np.ndarray) -> frozenset[int] | None:
    """The group that some operations generate; None if a product is missing."""
    own = np.fromiter(members, dtype=np.int64)
    while True:
        made = np.unique(np.append(rows[np.ix_(own, own)], own))
        if made[0] < 0:
            return None
        if len(made) == len(own):
            return frozenset(made.tolist())
        own = made


def _one_of_each_class(
    sets: Set[frozenset[int]], table: Int[Tensor, "g g"]
) -> list[frozenset[int]]:
    rows = table.tolist()
    inverse = (table == 0).to(torch.int8).argmax(1).tolist()
    chosen, seen = [], set()
    for own in sorted(sets, key=sorted):
        if own in seen:
            continue
        chosen.append(own)
        for a in range(len(rows)):
            seen.add(frozenset(rows[rows[a][h]][inverse[a]] for h in own))
    return chosen
