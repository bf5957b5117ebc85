"""Skeletons as they are computed with: a reduced cell, its operations and what they leave free."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from geomae.crystals.lattice import niggli
from geomae.wyckoff.positions import (
    FIXED,
    GroupAction,
    Position,
    group_action,
    position_of,
)
from geomae.wyckoff.skeletons import Skeletons

METRIC = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
"""Where a metric's components stand in a row of `Skeletons.metric`."""


@dataclass(frozen=True, eq=False)
class Template:
    """Orbits of a space group in a cell that is reduced in the mean of the data.

    Coordinates of orbit k's first point are `fixed[k] + y[k] basis[k]` for any numbers y.

    Attributes:
        number: of the space group.
        turns, moves: other ways to say where each orbit is: its first point may be any of its
            points that lie where the first can, and y becomes `y turns + moves`; the first way
            changes nothing and fills up, `[orbits, ways, 3, 3]` and `[orbits, ways, 3]`.
        member: class of each orbit, sites of which hold the same element, `[orbits]`.
        position: number of each orbit's position among the data's, or a higher one where it does
            not occur there, `[orbits]`.
        size: points of each orbit, `[orbits]`.
        freedom: free coordinates of each orbit, `[orbits]`.
        basis: `[orbits, 3, 3]`, rows of zeros below the free ones.
        inverse: what makes y of coordinates less the fixed ones, `[orbits, 3, 3]`.
        fixed: `[orbits, 3]`.
        free: projection of displacements of coordinates on free ones, `[orbits, 3, 3]`.
        owner: orbit of each atom, `[atoms]`.
        rotations, shifts: what makes each atom's coordinates of its orbit's first point's,
            `[atoms, 3, 3]` and `[atoms, 3]`.
        operations: of the group in this cell.
        frame: vectors of the mean cell at volume 1, as rows, `[3, 3]`.
        strain: projection of strains, rows of a matrix one after the other, on those that the
            group leaves as they are, `[9, 9]`.
        polar: projection of displacements of coordinates on those along which nothing fixes the
            origin, `[3, 3]`.
        change: the cell's vectors in those of the standard primitive cell, `[3, 3]`.
    """

    number: int
    turns: Float[np.ndarray, "orbits ways 3 3"]
    moves: Float[np.ndarray, "orbits ways 3"]
    member: Int[np.ndarray, " orbits"]
    position: Int[np.ndarray, " orbits"]
    size: Int[np.ndarray, " orbits"]
    freedom: Int[np.ndarray, " orbits"]
    basis: Float[np.ndarray, "orbits 3 3"]
    inverse: Float[np.ndarray, "orbits 3 3"]
    fixed: Float[np.ndarray, "orbits 3"]
    free: Float[np.ndarray, "orbits 3 3"]
    owner: Int[np.ndarray, " atoms"]
    rotations: Float[np.ndarray, "atoms 3 3"]
    shifts: Float[np.ndarray, "atoms 3"]
    operations: GroupAction
    frame: Float[np.ndarray, "3 3"]
    strain: Float[np.ndarray, "9 9"]
    polar: Float[np.ndarray, "3 3"]
    change: Int[np.ndarray, "3 3"]

    @property
    def n_atoms(self) -> int:
        """Of a primitive cell."""
        return len(self.owner)

    @property
    def classes(self) -> int:
        """Different elements."""
        return int(self.member.max()) + 1

    def counts(self) -> Int[np.ndarray, " classes"]:
        """Atoms of each class."""
        return np.bincount(self.member, weights=self.size).astype(int)

    def coordinates(self, points: Float[np.ndarray, "orbits 3"]) -> Float[np.ndarray, "orbits 3"]:
        """Free coordinates y of first points given in the standard primitive cell."""
        own = points @ np.linalg.inv(self.change)
        return np.einsum("ok,okj->oj", own - self.fixed, self.inverse)

    def strain_of(self, metric: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
        """Logarithmic strain of the frame that makes it a cell of some metric.

        Args:
            metric: in the standard primitive cell, in units in which the frame has volume 1.
        """
        own = self.change @ metric @ self.change.T
        inverse = np.linalg.inv(self.frame)
        values, vectors = np.linalg.eigh(inverse @ own @ inverse.T)
        return vectors * (0.5 * np.log(values)) @ vectors.T


class Templates:
    """Templates of skeletons, made when they are asked for.

    Args:
        skeletons: that occur in the data, or are proposed.
    """

    def __init__(self, skeletons: Skeletons):
        self.group = skeletons.group.cpu().numpy()
        self.share = skeletons.share.double().cpu().numpy()
        self.metric = skeletons.metric.double().cpu().numpy()
        self.position = skeletons.position.cpu().numpy()
        self.member = skeletons.member.cpu().numpy()
        self.place = skeletons.place.double().cpu().numpy()
        owner = skeletons.owner.cpu().numpy()
        self.starts = np.searchsorted(owner, np.arange(len(self.group) + 1))
        self._positions: dict[int, Position] = {}
        self._templates: dict[int, Template] = {}

    def __len__(self) -> int:
        return len(self.group)

    def __getitem__(self, skeleton: int) -> Template:
        if skeleton not in self._templates:
            self._templates[skeleton] = self._made(skeleton)
        return self._templates[skeleton]

    def positions(self, skeleton: int) -> list[Position]:
        """Positions of a skeleton's orbits in the standard primitive cell."""
        action, found = group_action(int(self.group[skeleton])), []
        for number in self.position[self._span(skeleton)].tolist():
            if number not in self._positions:
                self._positions[number] = position_of(action, self.place[number])
            found.append(self._positions[number])
        return found

    def counts(self, skeleton: int) -> Int[np.ndarray, " classes"]:
        """Atoms of each class of a skeleton, in a primitive cell."""
        sizes = [own.size for own in self.positions(skeleton)]
        return np.bincount(self.member[self._span(skeleton)], weights=sizes).astype(int)

    def _span(self, skeleton: int) -> slice:
        return slice(self.starts[skeleton], self.starts[skeleton + 1])

    def _made(self, skeleton: int) -> Template:
        standard, positions = group_action(int(self.group[skeleton])), self.positions(skeleton)
        metric = self.metric[skeleton][METRIC]
        metric = np.einsum("gji,jk,gkl->il", standard.rotations, metric, standard.rotations)
        metric /= np.linalg.det(metric) ** (1 / 3)
        rough = np.linalg.cholesky(metric)
        change = np.round(niggli(rough) @ np.linalg.inv(rough)).astype(np.int64)
        frame = change @ rough
        turn = np.round(np.linalg.inv(change.T))  # of coordinates, whole numbers too
        action = GroupAction(
            standard.number,
            np.round(turn @ standard.rotations @ change.T).astype(np.int64),
            standard.translations @ turn.T,
        )
        cosets = [own.cosets for own in positions]
        atoms = np.concatenate(cosets)
        turned = frame.T @ action.rotations @ np.linalg.inv(frame.T)
        strain = np.einsum("gij,gkl->ikjl", turned, turned).reshape(9, 9) / len(turned)
        span = self._span(skeleton)
        basis = np.stack(
            [np.pad(own.basis @ turn.T, ((0, 3 - own.freedom), (0, 0))) for own in positions]
        )
        turns, moves = _ways(positions, standard)
        return Template(
            standard.number,
            turns,
            moves,
            self.member[span],
            self.position[span],
            np.array([own.size for own in positions]),
            np.array([own.freedom for own in positions]),
            basis,
            np.linalg.pinv(basis),
            np.stack([turn @ own.fixed for own in positions]),
            np.stack([turn @ own.free @ change.T for own in positions]),
            np.repeat(np.arange(len(positions)), [len(own) for own in cosets]),
            action.rotations[atoms].astype(np.float64),
            action.translations[atoms],
            action,
            frame,
            strain,
            action.rotations.mean(0),
            change,
        )


SHIFTS = np.stack(np.meshgrid(*[range(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)


def _ways(
    positions: Sequence[Position], action: GroupAction
) -> tuple[Float[np.ndarray, "orbits ways 3 3"], Float[np.ndarray, "orbits ways 3"]]:
    """See `Template.turns` and `Template.moves`; y is the same in every cell."""
    found = [_ways_of(own, action) for own in positions]
    most = max(len(own) for own in found)
    filled = [own + [own[0]] * (most - len(own)) for own in found]
    turns = np.array([[turn for turn, _ in own] for own in filled])
    return turns, np.array([[move for _, move in own] for own in filled])


def _ways_of(own: Position, action: GroupAction) -> list[tuple[np.ndarray, np.ndarray]]:
    """Operations that leave the places of first points as a whole where they are, on y."""
    basis = np.pad(own.basis, ((0, 3 - own.freedom), (0, 0))).astype(np.float64)
    inverse, held = np.linalg.pinv(basis), np.eye(3) - own.free
    ways = [(np.eye(3), np.zeros(3))]
    for number in own.cosets[1:].tolist():
        rotation = action.rotations[number]
        turned = basis @ rotation.T
        gaps = rotation @ own.fixed + action.translations[number] - own.fixed + SHIFTS
        there = np.abs(gaps @ held.T).max(1) < FIXED
        if np.abs(turned @ held.T).max() < FIXED and there.any():
            ways.append((turned @ inverse, gaps[there][0] @ inverse))
    return ways
