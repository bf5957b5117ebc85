"""Shells put in place as a whole: their angles by algebra, and from these all their directions."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.linalg import qr
from torch import Tensor

from geomae.inversion.angles import Angles, angles_of
from geomae.inversion.arrangements import NOTHING, Arrangement, Arranger

if TYPE_CHECKING:
    from geomae.inversion.algebra import Shells

SHORT = 0.3
"""Radius, relative to its softened length, below which directions are told by degree 1 alone."""

TRUSTED = 1e-6
"""Products of radii, relative to softened lengths, to the power of a degree that is relied on."""

STANDING = 6
"""Atoms alone at their radius from which others are placed."""

ROUGH = 1e-5
"""Error of the moments of shells whose radii are not quite one, in parts of the pairs."""

SUMMED = 1e-3
"""How far the sums of a shell's directions may be from those told."""

MOST_FORMS = 64
"""Arrangements that are made at most."""


class ShellForms:
    """Arrangements of shells that have the angles which all degrees tell.

    Args:
        shells: with their moments.

    Attributes:
        certain: whether all arrangements that there are were made, after `made` has ended.
    """

    def __init__(self, shells: "Shells"):
        self.shells = shells
        self.counts = shells.counts.numpy()
        self.moments = shells.moments.numpy()
        self.relative = shells.relative.numpy()
        self.sums = shells.sums.numpy()
        self.owner = np.repeat(np.arange(len(self.counts)), self.counts)
        self.tables = cache(self._table)
        self.certain = False

    def made(self) -> Iterator[tuple[Float[Tensor, "n 3"], Bool[Tensor, " n"]]]:
        """Directions of all atoms, and which of them are in place; the others' are zero."""
        arranger = Arranger(self.counts, self.tables)
        start, wanted = self._start()
        complete, number = True, 0
        for number, found in enumerate(arranger.arranged(start, wanted), 1):
            directions = self._turned(found)
            if directions is not None:
                known = np.isin(self.owner, found.owner) | (self.counts == 1)[self.owner]
                complete &= bool((known | self._central).all())
                yield torch.from_numpy(directions), torch.from_numpy(known)
            if number >= MOST_FORMS:
                return
        tables = [self.tables(*pair) for pair in arranger.used]
        sure = all(table is not None and table.sure for table in tables)
        short = (self.relative < SHORT)[self.owner] & ~self._central
        self.certain = complete and arranger.exhausted and sure and not short.any()

    def alone(self) -> list[tuple[Float[Tensor, "n 3"], Bool[Tensor, " n"]]]:
        """Directions of atoms alone at their radius, as `made` gives them; empty if none is."""
        single = torch.from_numpy((self.counts == 1)[self.owner] & ~self._central)
        sums = torch.from_numpy(self.sums[self.owner])
        return [(sums * single[:, None], single)] if bool(single.any()) else []

    def shapes(self) -> dict[int, Float[Tensor, "n 3"]]:
        """Directions of each shell of several atoms whose angles are known, turned anyhow."""
        found = {}
        for shell in np.flatnonzero((self.counts > 1) & (self.relative > SHORT)).tolist():
            arranger = Arranger(self.counts, self.tables)
            made = next(arranger.arranged(NOTHING, {shell}), NOTHING)
            if len(made.owner) == self.counts[shell]:
                found[shell] = torch.from_numpy(made.directions)
        return found

    @property
    def _central(self) -> Bool[np.ndarray, " n"]:
        return (self.shells.central.numpy())[self.owner]

    def _start(self) -> tuple[Arrangement, set[int]]:
        """Atoms alone at their radius, in the frame of degree 1, and shells to be added."""
        long = self.relative > SHORT
        wanted = {int(s) for s in np.flatnonzero(long & (self.counts > 1))}
        alone = np.flatnonzero(long & (self.counts == 1))
        if not len(alone):
            return NOTHING, wanted
        if len(alone) > STANDING:
            order = qr(self.sums[alone].T, mode="r", pivoting=True)[-1]
            alone = alone[order[:STANDING]]
        start = NOTHING
        for shell in alone.tolist():
            size = np.linalg.norm(self.sums[shell])
            start = start.with_atoms(shell, self.sums[shell][None] / max(size, 1e-9))
        return start, wanted

    def _turned(self, found: Arrangement) -> Float[np.ndarray, "n 3"] | None:
        """Directions in the frame of degree 1; None if sums of shells are not those told."""
        placed = np.unique(found.owner)
        member = (found.owner[:, None] == placed).astype(float)
        own, goal = member.T @ found.directions, self.sums[placed]
        left, _, right = np.linalg.svd(own.T @ goal)
        turn = left @ right
        if np.abs(own @ turn - goal).max(initial=0) > SUMMED:
            return None
        directions = np.where((self.counts == 1)[self.owner][:, None], self.sums[self.owner], 0.0)
        for shell in placed[self.counts[placed] > 1].tolist():
            directions[self.owner == shell] = found.directions[found.owner == shell] @ turn
        return directions

    def _table(self, a: int, b: int) -> Angles | None:
        """Cosines between two shells, or within one, by the degrees that are exact."""
        size = self.relative[a] * self.relative[b]
        if size < TRUSTED:
            return None
        degrees = len(self.moments) - 1
        if size < 1:
            degrees = min(degrees, int(np.log(TRUSTED) / np.log(size)))
        sums = self.moments[: degrees + 1, a, b]
        if a == b:
            sums = (sums - self.counts[a]) / 2
        if len(sums) < 2 or sums[0] < 0.5:
            return None
        found = angles_of(sums)
        if found is None:
            rough = angles_of(sums, tolerance=ROUGH)
            found = None if rough is None else replace(rough, sure=False)
        return found
