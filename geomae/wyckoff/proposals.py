"""Skeletons on any Wyckoff positions of the 230 groups, whether the data has them or not."""

from collections.abc import Sequence

import numpy as np
import torch

from geomae.wyckoff.filling import Chosen
from geomae.wyckoff.groups import GroupStatistics
from geomae.wyckoff.positions import group_action, position_of
from geomae.wyckoff.skeletons import Skeletons
from geomae.wyckoff.table import positions_of_group, same_position
from geomae.wyckoff.template import Templates


def proposed(
    keys: Sequence[tuple[int, Chosen]], known: Templates, statistics: GroupStatistics
) -> Templates:
    """Skeletons of groups and positions, all of them equally frequent.

    Positions that the data's skeletons have keep their numbers, and the others' follow.

    Args:
        keys: space group, and the positions of each class of sites; one at least.
        known: skeletons of the data.
        statistics: of the groups, for the mean shapes of cells.
    """
    numbers, places = {}, list(known.place)
    for group in sorted({group for group, _ in keys}):
        numbers |= {(group, row): own for row, own in known_positions(known, group).items()}
    rows = []
    for owner, (group, classes) in enumerate(keys):
        for member, sites in enumerate(classes):
            for row in sites:
                if (group, row) not in numbers:
                    numbers[group, row] = len(places)
                    places.append(positions_of_group(group)[row].generic())
                rows.append((owner, numbers[group, row], member))
    owner, position, member = torch.tensor(rows).unbind(1)
    groups = np.array([group for group, _ in keys])
    return Templates(
        Skeletons(
            torch.from_numpy(groups),
            torch.full((len(keys),), 1 / len(keys), dtype=torch.float64),
            torch.from_numpy(statistics.metric[groups - 1]),
            owner,
            position,
            member,
            torch.from_numpy(np.stack(places)),
            torch.ones(1),
        )
    )


def known_positions(known: Templates, group: int) -> dict[int, int]:
    """The data's number of each Wyckoff position of a group that its skeletons have.

    Where the data tells the same position twice, by points that are lattice vectors apart, it is
    the number that more of its orbits have.

    Args:
        known: skeletons of the data.
        group: number of the space group.
    """
    groups = np.repeat(known.group, np.diff(known.starts))
    numbers, orbits = np.unique(known.position[groups == group], return_counts=True)
    action, found = group_action(group), {}
    for number in numbers[np.argsort(-orbits, kind="stable")].tolist():
        met = position_of(action, known.place[number])
        for row, own in enumerate(positions_of_group(group)):
            if row not in found and same_position(action, own, met):
                found[row] = number
                break
    return found
