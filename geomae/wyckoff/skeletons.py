"""Skeletons of crystals: a space group, and which sites are occupied by the same element."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.crystals.symmetry import columns, moyo_dataset
from geomae.data.structure import Structure
from geomae.errors import StructureError
from geomae.known import Known
from geomae.wyckoff.positions import Position, group_action, position_of

CLOSE = 1e-3
"""Distance in fractions of the cell below which points are the same."""

SHIFTS = np.stack(np.meshgrid(*[[0, -1, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)


@dataclass(frozen=True)
class Arrangement:
    """A crystal in moyo's standard primitive cell, orbit by orbit.

    Attributes:
        number: of its space group.
        positions: number of each orbit's Wyckoff position among those of the group that were met.
        elements: atomic number of each orbit.
        points: of each orbit the atom that lies where the position's first point can,
            `[orbits, 3]` in fractions of the cell.
        metric: scalar products of the cell's vectors in Å^2, `[3, 3]`.
        n_atoms: of the primitive cell.
    """

    number: int
    positions: tuple[int, ...]
    elements: tuple[int, ...]
    points: Float[np.ndarray, "orbits 3"]
    metric: Float[np.ndarray, "3 3"]
    n_atoms: int


class Positions:
    """Wyckoff positions met so far, by space group.

    Moyo's letters are not used: in its standard cells the same letter may stand at places that
    differ by a change of origin which the group allows.
    """

    def __init__(self) -> None:
        self.known: dict[int, list[Position]] = {}

    def arranged(self, structure: Structure, symprec: float) -> Arrangement | None:
        """A crystal orbit by orbit; None if moyo does not find a symmetry that its atoms keep.

        Raises:
            MissingExtraError: moyopy is not installed.
        """
        try:
            found = moyo_dataset(*columns(structure), symprec)
        except StructureError:
            return None
        standard = found.prim_std_cell
        basis, points = np.array(standard.basis), np.array(standard.positions)
        left, chosen = set(range(len(points))), []
        while left:
            orbit = _orbit(found.number, points, min(left))
            placed = self._placed(found.number, points[orbit])
            if placed is None or not set(orbit) <= left:
                return None
            chosen.append((*placed, int(standard.numbers[orbit[0]])))
            left -= set(orbit)
        numbers, places, elements = zip(*chosen, strict=True)
        return Arrangement(
            found.number, numbers, elements, np.array(places), basis @ basis.T, len(points)
        )

    def _placed(
        self, number: int, orbit: Float[np.ndarray, "k 3"]
    ) -> tuple[int, Float[np.ndarray, "3"]] | None:
        """The position of an orbit, and the point of it that lies where its first one can."""
        known = self.known.setdefault(number, [])
        new = position_of(group_action(number), orbit[0])
        if new.size != len(orbit):
            return None
        images = orbit[:, None] + SHIFTS
        for row, own in enumerate(known):
            if own.size == new.size and own.freedom == new.freedom:
                on_it = np.abs(images - images @ own.free.T - own.fixed).max(-1) < CLOSE
                if on_it.any():
                    return row, own.free @ images[on_it][0] + own.fixed
        known.append(new)
        return len(known) - 1, new.free @ orbit[0] + new.fixed


def _orbit(number: int, points: Float[np.ndarray, "n 3"], first: int) -> list[int]:
    """Atoms that the group makes of one, itself first."""
    images = group_action(number).images(points[first])
    gaps = images[:, None] - points
    near = np.abs(gaps - np.round(gaps)).max(-1) < CLOSE
    orbit = sorted(set(np.argwhere(near)[:, 1].tolist()))
    return [first, *(i for i in orbit if i != first)]


Key = tuple[int, tuple[tuple[int, ...], ...]]
"""Space group, and the positions of the sites of each element, sorted."""


def ordered(own: Arrangement) -> tuple[Key, list[int], list[int]]:
    """A crystal's skeleton, the order of its orbits in it, and the element of each class."""
    sites: dict[int, list[int]] = {}
    for row in np.argsort(own.positions, kind="stable").tolist():
        sites.setdefault(own.elements[row], []).append(row)
    classes = sorted(sites, key=lambda z: (tuple(own.positions[row] for row in sites[z]), z))
    taken = tuple(tuple(own.positions[row] for row in sites[z]) for z in classes)
    return (own.number, taken), [row for z in classes for row in sites[z]], classes


@dataclass(frozen=True)
class Skeletons(Known):
    """The skeletons that occur in a data set, and what is known of its elements.

    Attributes:
        group: space group of each, `[skeletons]`.
        share: of the crystals that have it, `[skeletons]`.
        metric: mean of the crystals' metrics at volume 1 Å^3, `[skeletons, 6]`: 11, 22, 33, 23,
            13, 12.
        owner: skeleton of each orbit, ascending, `[orbits]`.
        position: number of each orbit's position, `[orbits]`.
        member: class of each orbit, sites of which hold the same element, from 0, `[orbits]`.
        place: a generic point of each position, in the standard primitive cell, `[positions, 3]`.
        volume: of an atom of each element in Å^3, `[elements]`.
    """

    whole = ("group", "owner", "position", "member")

    group: Int[Tensor, " skeletons"]
    share: Float[Tensor, " skeletons"]
    metric: Float[Tensor, "skeletons 6"]
    owner: Int[Tensor, " orbits"]
    position: Int[Tensor, " orbits"]
    member: Int[Tensor, " orbits"]
    place: Float[Tensor, "positions 3"]
    volume: Float[Tensor, " elements"]


@dataclass(frozen=True)
class CrystalSet:
    """Crystals on skeletons.

    Attributes:
        skeletons: that occur.
        skeleton: of each crystal, `[n]`.
        metric: of each crystal's standard primitive cell in Å^2, `[n, 3, 3]`, float64.
        points: coordinates of each crystal's orbits in the skeleton's order.
        elements: atomic number of each crystal's classes.
    """

    skeletons: Skeletons
    skeleton: Int[np.ndarray, " n"]
    metric: Float[np.ndarray, "n 3 3"]
    points: tuple[Float[np.ndarray, "_ 3"], ...]
    elements: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.skeleton)


def collected(
    crystals: Sequence[Arrangement], positions: Positions, elements: Sequence[int]
) -> CrystalSet:
    """Crystals on the skeletons that they have.

    Args:
        crystals: of these elements.
        positions: that they were arranged on.
        elements: atomic numbers, ascending.
    """
    sorted_ones = [ordered(own) for own in crystals]
    counts = Counter(key for key, _, _ in sorted_ones)
    keys = sorted(counts)
    number = {key: i for i, key in enumerate(keys)}
    skeleton = np.array([number[key] for key, _, _ in sorted_ones])
    metric = np.stack([own.metric for own in crystals])
    places = {
        (group, row): i
        for i, (group, row) in enumerate(
            (group, row)
            for group, own in sorted(positions.known.items())
            for row in range(len(own))
        )
    }
    orbits = [
        (i, places[group, position], member)
        for i, (group, classes) in enumerate(keys)
        for member, sites in enumerate(classes)
        for position in sites
    ]
    owner, position, member = torch.tensor(orbits).unbind(1)
    shape = metric / np.linalg.det(metric)[:, None, None] ** (1 / 3)
    means = np.zeros((len(keys), 3, 3))
    np.add.at(means, skeleton, shape)
    means /= np.linalg.det(means)[:, None, None] ** (1 / 3)
    rows, columns = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
    known = Skeletons(
        torch.tensor([group for group, _ in keys]),
        torch.tensor([counts[key] / len(crystals) for key in keys]),
        torch.from_numpy(means[:, rows, columns]),
        owner,
        position,
        member,
        torch.from_numpy(
            np.stack([positions.known[group][row].generic() for group, row in places])
        ),
        torch.from_numpy(_volumes(crystals, positions, elements)),
    )
    points = tuple(
        own.points[order] for own, (_, order, _) in zip(crystals, sorted_ones, strict=True)
    )
    return CrystalSet(
        known, skeleton, metric, points, tuple(tuple(classes) for _, _, classes in sorted_ones)
    )


def _volumes(
    crystals: Sequence[Arrangement], positions: Positions, elements: Sequence[int]
) -> Float[np.ndarray, " elements"]:
    """Volumes of the elements' atoms in Å^3 that add up to those of the cells, by least squares of
    relative errors; drawn towards the mean where an element is rare.
    """
    column = {z: i for i, z in enumerate(elements)}
    table = np.zeros((len(crystals), len(elements)))
    for row, own in zip(table, crystals, strict=True):
        for position, z in zip(own.positions, own.elements, strict=True):
            row[column[z]] += positions.known[own.number][position].size
    volume = np.sqrt([np.linalg.det(own.metric) for own in crystals])
    mean = volume.sum() / table.sum()
    relative = table / volume[:, None]
    ridge = 3 / mean * np.eye(len(elements))
    stacked = np.concatenate([relative, ridge])
    wanted = np.concatenate([np.ones(len(crystals)), 3 * np.ones(len(elements))])
    found = np.linalg.lstsq(stacked, wanted, rcond=None)[0]
    return np.clip(found, 0.3 * mean, 3 * mean)
