"""Samples of a flow on atoms that have a point group, by their numbers."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from geomae.autoencoder import Autoencoder
from geomae.data.structure import Structure
from geomae.generation.atoms.candidates import Test
from geomae.generation.atoms.flow import AtomFlow
from geomae.generation.atoms.integration import Projector, Steps
from geomae.generation.atoms.samples import STREAMS, AtomSamples
from geomae.generation.atoms.sites import Coat, Seating, Sites, projection
from geomae.generation.compositions import fill_orbits
from geomae.generation.inventories.draws import Learned
from geomae.generation.inventories.feasible import unbranched
from geomae.generation.reading import Decoded, checked
from geomae.generation.request import Asked
from geomae.metrics.bonds import bond_orders, soundness
from geomae.symmetry import PointGroup
from geomae.symmetry.orbits import OrbitSizes, orbit_sizes

INVENTORIES = 8
"""Inventories of a sample with a symmetry that are tried in a few steps."""

SEATINGS = 8
"""Ways to put the heavy atoms of each on orbits, likewise."""

FINALISTS = 4
"""Those of them that are tried in all steps; the one is taken whose skeleton keeps its inventory
best."""

ATTEMPTS = 4
"""How often all this is done at most, until all valences are whole by distances."""

SEATED = 100
"""Seatings of an attempt at most."""

COATS = 6
"""Ways to put the hydrogens on orbits, likewise."""

CROWDED = 0.1
"""Odds of an inventory for each orbit too many that it must have on an axis."""

REDRAWN = 60
"""Inventories that are drawn at most until as many are tried."""


class SymmetricAtomSamples(AtomSamples):
    """Makes samples that have a point group, by their numbers.

    Args:
        flow, model, seed, steps, learned: see `AtomSamples`.
        asked: what samples are to be.
        group: that they have.
    """

    def __init__(
        self,
        flow: AtomFlow,
        model: Autoencoder,
        asked: Asked,
        group: PointGroup,
        *,
        seed: int,
        steps: Steps,
        learned: Learned | None = None,
    ):
        self.group, self.sites = group, Sites(group)
        # symmetry has to last to the rounding of float64
        super().__init__(
            deepcopy(flow).double(), model, asked, seed=seed, steps=steps, learned=learned
        )
        self.rough = flow

    def _orbits(self) -> OrbitSizes:
        return orbit_sizes(self.group.name)

    def _test(self) -> Test:
        return self._possible

    def _possible(self, inventories: Int[np.ndarray, "rows kinds"]) -> Bool[np.ndarray, " rows"]:
        parts = np.concatenate([inventories, inventories @ self.kinds[:, 1:2]], 1)
        fits, rng = fill_orbits(parts, self._orbits()), self._tests()
        if self.group.infinite:
            fits &= unbranched(self.kinds, inventories)
        for row in np.flatnonzero(fits):
            fits[row] = self.sites.seated(self.kinds, inventories[row], rng) is not None
        return fits

    def _structures(self, numbers: Sequence[int]) -> list[Structure]:
        return [self._structure(number) for number in numbers]

    def _structure(self, number: int) -> Structure:
        """A structure on orbits: of several the one that is most like a molecule."""
        rng, made, scores = self._drawing(number), [], []
        for attempt in range(ATTEMPTS):
            made.append(self._attempt(number, attempt, rng))
            scores.append(_sound(made[-1]))
            if scores[-1] == (True, 1.0):
                break
        return made[scores.index(max(scores))]

    def _attempt(self, number: int, attempt: int, rng: np.random.Generator) -> Structure:
        """A structure of the one of many seatings whose skeleton comes out best."""
        seatings, stream = self._seatings(rng), number * STREAMS + attempt * SEATED
        rough = self._seated(seatings, stream, rough=True)
        seatings = self._best(seatings, rough)[:FINALISTS]
        skeletons = self._seated(seatings, stream)
        seating = self._best(seatings, skeletons)[0]
        skeleton = skeletons[seatings.index(seating)]
        coats = [self.sites.coat(self.kinds, seating, rng) for _ in range(COATS)]
        tried = [self._dressed(seating, skeleton, coat, number, rough=True) for coat in coats]
        best = int(np.argmax([_hydrogens_fit(*pair) for pair in zip(tried, coats, strict=True)]))
        return self._dressed(seating, skeleton, coats[best], number)

    def _seatings(self, rng: np.random.Generator) -> list[Seating]:
        """Ways to put some inventories on orbits."""
        (drawn,) = self.inventories(np.array([rng.random()]), [rng])
        found: list[Seating] = []
        for _ in range(REDRAWN):
            tried = [self.sites.seated(self.kinds, drawn, rng) for _ in range(4 * SEATINGS)]
            own = {(s.sites, s.kind.tobytes()): s for s in tried if s is not None}
            ordered = sorted(own.values(), key=lambda seating: seating.crowding)
            if rng.random() < CROWDED ** ordered[0].crowding:
                found += ordered[:SEATINGS]
            if len(found) >= INVENTORIES * SEATINGS:
                break
            (drawn,) = self.inventories(np.array([rng.random()]), [rng])
        return found[:SEATED] or ordered[:SEATINGS]

    def _best(self, seatings: list[Seating], skeletons: Sequence[Tensor]) -> list[Seating]:
        """Seatings, those first whose skeletons keep their inventories best."""
        pairs = zip(seatings, skeletons, strict=True)
        scores = [self._kept(seating.kind, skeleton) for seating, skeleton in pairs]
        return [seatings[i] for i in np.argsort(-np.array(scores), kind="stable")]

    def _seated(
        self, seatings: Sequence[Seating], stream: int, *, rough: bool = False
    ) -> list[Tensor]:
        """Skeletons of seatings, of streams of noise from one on."""
        kind = [seating.kind for seating in seatings]
        moves = [_filled(seating.moves, self._width(kind)) for seating in seatings]
        streams = range(stream, stream + len(seatings))
        return self._skeletons(kind, streams, self._projector(moves), rough)

    def _dressed(
        self,
        seating: Seating,
        skeleton: Tensor,
        coat: Coat,
        number: int,
        *,
        rough: bool = False,
    ) -> Structure:
        """A skeleton and its hydrogens."""
        heavy = _filled(seating.moves, self._width([seating.kind]))
        light = coat.moves if coat.moves.shape[1] else np.zeros((len(heavy), 1), dtype=int)
        project = self._projector([np.concatenate([heavy, heavy.shape[1] + light], 1)])
        parts = [seating.kind], [skeleton], [coat.parent]
        return self._coated(*parts, [number], project, rough)[0]

    def _projector(self, moves: Sequence[Int[np.ndarray, "g a"]]) -> Projector:
        return projection(self.group.operations, torch.from_numpy(np.stack(moves)))

    def _confirmed(self, decoded: Decoded) -> Decoded:
        return checked(decoded, self.group)


def _sound(structure: Structure) -> tuple[bool, float]:
    """Whether a structure is in one piece, and the share of atoms with a whole valence."""
    orders = bond_orders(structure.numbers, structure.positions)
    connected, whole = soundness(structure.numbers, orders)
    return connected, whole / structure.n_atoms


def _hydrogens_fit(structure: Structure, coat: Coat) -> float:
    """Share of hydrogens that are bonded to their own heavy atom and to nothing else."""
    if not len(coat.parent):
        return 1.0
    heavy = structure.n_atoms - len(coat.parent)
    bonds = bond_orders(structure.numbers, structure.positions)[heavy:] > 0
    own = bonds[torch.arange(len(bonds)), torch.from_numpy(coat.parent)]
    return float((own & (bonds.sum(1) == 1)).double().mean())


def _filled(moves: np.ndarray, width: int) -> Int[np.ndarray, "g width"]:
    """Moves of atoms, and of places without one that stay."""
    rest = np.arange(moves.shape[1], width)
    return np.concatenate([moves, np.broadcast_to(rest, (len(moves), len(rest)))], 1)
