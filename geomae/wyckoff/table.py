"""All Wyckoff positions of a space group, from its operations alone.

A table of a point of each lies beside this file; `python -m geomae.wyckoff.table`
writes it again (half a minute).
"""

import json
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
from jaxtyping import Float

from geomae.wyckoff.positions import (
    FIXED,
    GENERIC,
    GroupAction,
    Position,
    group_action,
    position_of,
)

SHIFTS = np.array(list(product((0, -1, 1, -2, 2), repeat=3)), dtype=np.float64)
"""Lattice translations that may stand behind an operation which fixes a point of the cell."""


TABLE = Path(__file__).with_name("positions.json")
"""Points of all positions, of groups 1 to 230."""


@lru_cache(maxsize=256)
def positions_of_group(number: int) -> tuple[Position, ...]:
    """The Wyckoff positions of a group in moyo's standard primitive cell, the smallest first.

    Args:
        number: of the space group, 1 to 230.
    """
    action = group_action(number)
    return tuple(position_of(action, np.array(point)) for point in _table()[number - 1])


@lru_cache(maxsize=1)
def _table() -> list[list[list[float]]]:
    return json.loads(TABLE.read_text())


def found_positions(number: int) -> tuple[Position, ...]:
    """What `positions_of_group` knows, found anew.

    Points that single operations fix make lines, planes and points; where these meet there are
    more. Of those that the group makes of each other one is kept.

    Args:
        number: of the space group, 1 to 230.
    """
    action = group_action(number)
    spaces = _fixed_spaces(action)
    found = [position_of(action, GENERIC)]
    new = list(found)
    while new:
        own, *new = new
        for point in _meeting(own, *spaces):
            made = position_of(action, point - np.floor(point))
            if made.freedom < own.freedom and not any(
                same_position(action, made, old) for old in found
            ):
                found.append(made)
                new.append(made)
    return tuple(sorted(found, key=lambda own: (own.size, own.freedom)))


def _fixed_spaces(
    action: GroupAction,
) -> tuple[Float[np.ndarray, "k 3 3"], Float[np.ndarray, "k 3"]]:
    """Equations `A x = b` of the points that operations, with any translation, leave in place."""
    turn = np.eye(3) - action.rotations
    kept = np.abs(turn).max((1, 2)) > 0
    turn, moves = turn[kept], action.translations[kept]
    moves = (moves - moves.round())[:, None] + SHIFTS
    inverse = np.linalg.pinv(turn)
    there = np.einsum("gab,gbc,gnc->gna", turn, inverse, moves)
    solvable = np.abs(there - moves).max(2) < FIXED
    operation, shift = np.nonzero(solvable)
    first = np.einsum("gab,gb->ga", inverse[operation], moves[operation, shift])
    projection = (np.eye(3) - inverse @ turn)[operation]
    rows = np.concatenate([projection.reshape(-1, 9), first], 1).round(4) + 0.0
    _, kept = np.unique(rows, axis=0, return_index=True)
    return turn[operation[kept]], moves[operation[kept], shift[kept]]


def _meeting(
    own: Position, turns: Float[np.ndarray, "k 3 3"], moves: Float[np.ndarray, "k 3"]
) -> list[Float[np.ndarray, "3"]]:
    """A general point of each smaller space in which a position's meets others, in the cell."""
    held = np.eye(3) - own.free
    equations = np.concatenate([np.broadcast_to(held, turns.shape), turns], 1)
    wanted = np.concatenate([np.broadcast_to(held @ own.fixed, moves.shape), moves], 1)
    inverse = np.linalg.pinv(equations, rcond=1e-6)
    point = np.einsum("kab,kb->ka", inverse, wanted)
    meets = np.abs(np.einsum("kab,kb->ka", equations, point) - wanted).max(1) < FIXED
    free = np.eye(3) - inverse @ equations
    smaller = np.trace(free, axis1=1, axis2=2) < own.freedom - 0.5
    general = point + free @ (GENERIC - 0.5)
    inside = (np.abs(point) < 2 + FIXED).all(1)
    kept = general[meets & smaller & inside]
    return list(kept[np.unique(kept.round(4), axis=0, return_index=True)[1]])


def same_position(action: GroupAction, one: Position, other: Position) -> bool:
    """Whether the group makes one position's points of another's."""
    if one.size != other.size or one.freedom != other.freedom:
        return False
    gaps = action.images(one.generic()) - other.fixed
    held = np.eye(3) - other.free
    shifted = ((gaps - gaps.round()) @ held.T)[:, None] + SHIFTS @ held.T
    return bool((np.abs(shifted).max(2) < FIXED).any())


def main() -> None:
    """Write the table."""
    groups = [
        [(np.round(own.generic(), 6) + 0.0).tolist() for own in found_positions(number)]
        for number in range(1, 231)
    ]
    lines = ",\n".join(json.dumps(points) for points in groups)
    TABLE.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
