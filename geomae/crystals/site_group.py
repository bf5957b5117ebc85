"""The symmetry of the anchor's surroundings, which a latent tells exactly, imposed on what is read
from it.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from geomae.crystals.lattice import change_of_basis, niggli
from geomae.crystals.reading import Draft, Sketch
from geomae.crystals.symmetry import nearest
from geomae.errors import GeomaeError

APART = 0.7
"""Distance in Å below which images of one place are one atom, and an atom is too close to others
to be put in."""

ALIKE = 0.3
"""Distance in Å within which atoms count as equivalent by an operation."""

WHOLE = 0.4
"""Largest deviation from whole numbers, of a lattice's images in its own basis."""

TOLERANCE = 1e-3
"""Relative change of a latent below which an operation is its own."""


@dataclass(frozen=True)
class SiteGroup:
    """Operations about the anchor under which a crystal is unchanged.

    Attributes:
        rotations: orthogonal matrices, `[g, 3, 3]`.
    """

    rotations: Float[np.ndarray, "g 3 3"]

    @classmethod
    def of(cls, latent: Float[Tensor, "m c"]) -> "SiteGroup":
        """The operations that leave a latent as it is, which are those of its crystal."""
        from geomae.symmetry.harmonics import signal_group

        try:
            group = signal_group(latent.double(), TOLERANCE)
        except GeomaeError:
            return cls(np.eye(3)[None])
        if group.infinite:
            return cls(np.eye(3)[None])
        return cls(group.operations.double().numpy())

    def lattice(self, cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"] | None:
        """The lattice nearest to one that the operations leave as it is, Niggli-reduced; None if
        they do not nearly leave that one.
        """
        mean = np.zeros((3, 3))
        for rotation in self.rotations:
            turned = cell @ rotation.T
            whole = change_of_basis(turned, cell, WHOLE)
            if whole is None:
                return None
            mean += np.linalg.solve(whole, turned)
        return niggli(mean / len(self.rotations))

    def images(
        self, place: Float[np.ndarray, " 3"], cell: Float[np.ndarray, "3 3"]
    ) -> Float[np.ndarray, "k 3"]:
        """The places equivalent to one modulo the lattice; those close to each other as one, on the
        element of symmetry between them.
        """
        if len(self.rotations) == 1:
            return nearest(place[None], cell)[0]
        gaps, lengths = nearest(self.rotations @ place - place, cell)
        centre = place + gaps[lengths < APART].mean(0)
        turned = self.rotations @ centre
        _, between = nearest(turned[:, None] - turned, cell)
        first = np.array([not (between[i, :i] < APART).any() for i in range(len(turned))])
        return nearest(turned[first], cell)[0]

    def orbits(self, draft: Draft) -> list[Int[np.ndarray, " _"]]:
        """The atoms of a crystal in sets that the operations mix, the anchor in the first."""
        label = np.arange(len(draft.numbers))
        other = draft.numbers[:, None] != draft.numbers
        for rotation in self.rotations:
            turned = draft.positions @ rotation.T
            _, lengths = nearest(turned[:, None] - draft.positions, draft.cell)
            lengths[other] = np.inf
            for i, j in enumerate(lengths.argmin(1)):
                if lengths[i, j] < ALIKE:
                    label[label == max(label[i], label[j])] = min(label[i], label[j])
        return [np.flatnonzero(label == own) for own in np.unique(label)]

    def symmetrised(self, sketch: Sketch) -> Sketch | None:
        """A sketch in which lattice, places and what is said of them have the symmetry; None if its
        lattice can't have it.

        Orbits of which peaks are missing are made whole; what is missing counts as of no
        confidence.
        """
        cell = None if sketch.cell is None else self.lattice(sketch.cell)
        if cell is None:
            return None
        left = np.ones(len(sketch.places), dtype=bool)
        left[0] = False
        places, confidence, likelihood = (
            [np.zeros((1, 3))],
            [np.full(1, np.inf)],
            [sketch.likelihood[:1]],
        )
        for i in range(1, len(left)):
            if not left[i]:
                continue
            orbit = self.images(self._mean(i, sketch.places, cell), cell)
            _, lengths = nearest(orbit[:, None] - sketch.places, cell)
            own = left & (lengths < APART).any(0)
            left &= ~own
            if lengths[:, 0].min() < APART or not own.any():
                continue
            size = len(orbit)
            share = np.minimum(sketch.confidence[own].sum() / size, 1.0)
            places.append(orbit)
            confidence.append(np.full(size, share))
            likelihood.append(np.repeat(sketch.likelihood[own].mean(0, keepdims=True), size, 0))
        columns = [np.concatenate(column) for column in (places, confidence, likelihood)]
        order = np.argsort(-columns[1], kind="stable")
        return replace(
            sketch, cell=cell, places=columns[0][order], confidence=columns[1][order],
            likelihood=columns[2][order],
        )  # fmt: skip

    def _mean(self, i: int, places: np.ndarray, cell: np.ndarray) -> Float[np.ndarray, " 3"]:
        """A place, as it and those equivalent to it tell."""
        turned = self.rotations @ places[i]
        gaps, lengths = nearest(places[None] - turned[:, None], cell)
        partner = lengths.argmin(1)
        rows = np.arange(len(turned))
        close = lengths[rows, partner] < APART
        back = np.einsum("gji,gj->gi", self.rotations, gaps[rows, partner])
        return places[i] + back[close].mean(0)
