"""Samples of a flow on atoms, by their numbers; with a point group, if one is asked for."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from geomae.autoencoder import Autoencoder, Latents
from geomae.data.elements import NUMBERS, SYMBOLS
from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.generation.atoms.flow import AtomFlow, Placing
from geomae.generation.atoms.fragment import Fragment
from geomae.generation.atoms.integration import NormalNumbers, Projector, Steps, placed
from geomae.generation.atoms.sites import Coat, Seating, Sites, projection
from geomae.generation.compositions import fill_orbits
from geomae.generation.conditions import property_likelihood
from geomae.generation.latent_samples import SHARD
from geomae.generation.orbits import OrbitSizes, orbit_sizes
from geomae.generation.proposals import propose
from geomae.generation.reading import Decoded, checked, structure_or_fault
from geomae.generation.request import Asked, parse_formula
from geomae.metrics.bonds import VALENCE, bond_orders
from geomae.symmetry import PointGroup

INVENTORIES = 8
"""Inventories of a sample with a symmetry that are tried in a few steps."""

SEATINGS = 8
"""Ways to put the heavy atoms of each on orbits, likewise."""

FINALISTS = 4
"""Those of them that are tried in all steps; the one is taken whose skeleton keeps its inventory
best."""

COATS = 6
"""Ways to put the hydrogens on orbits, likewise."""

PILOT = Steps(12, light=1.0)

CROWDED = 0.1
"""Odds of an inventory for each orbit too many that it must have on an axis."""

REDRAWN = 60
"""Inventories that are drawn at most until as many are tried."""

STREAMS = 1000
"""Numbers of streams of noise that a sample has for itself."""

PROPOSED = 400
"""Inventories at most that are proposed where the data has none."""


class AtomSamples:
    """Makes samples by their numbers.

    Args:
        flow: a flow on atoms.
        model: the autoencoder that encodes what it makes.
        asked: what samples are to be; checked, and without a symmetry.
        seed: of everything random.
        steps: how the flow is integrated.
        fragment: that every sample has, and something besides.

    Raises:
        GeomaeError: nothing can be made of what is asked for.
    """

    def __init__(
        self,
        flow: AtomFlow,
        model: Autoencoder,
        asked: Asked,
        *,
        seed: int,
        steps: Steps,
        fragment: Fragment | None = None,
    ):
        self.flow = self.rough = flow
        self.model, self.seed, self.steps, self.fragment = model, seed, steps, fragment
        self.kinds = flow.kinds().numpy()
        values = [asked.properties.get(name, torch.nan) for name in flow.properties]
        self.properties = torch.tensor(values, dtype=torch.float64)
        self.inventories, self.shares = self._choices(asked)

    def _choices(
        self, asked: Asked
    ) -> tuple[Int[np.ndarray, "rows kinds"], Float[np.ndarray, " rows"]]:
        """Inventories to draw from, and how often each is."""
        known, formulas = self.flow.inventories(), self.flow.formulas()
        likelihood = property_likelihood(self.flow, asked.properties)
        shares = (self.flow.statistics["shares"].double().cpu() * likelihood).numpy()
        fits = np.ones(len(known), dtype=bool)
        if asked.formula is not None:
            counts = parse_formula(asked.formula)
            row = torch.tensor([counts.get(SYMBOLS[z], 0) for z in self.flow.elements])
            fits &= (formulas == row).all(1).numpy()
        if asked.n_atoms is not None:
            fits &= (formulas.sum(1) == asked.n_atoms).numpy()
        fits[fits] = self._possible(known.numpy()[fits])
        if fits.any():
            return known.numpy()[fits], shares[fits] / shares[fits].sum()
        found = self._proposed(asked)
        found = found[self._possible(found)]
        if not len(found):
            parts = [asked.formula, asked.n_atoms and f"{asked.n_atoms} atoms", asked.symmetry]
            parts.append(self.fragment and "the fragment and something besides")
            what = " and ".join(str(part) for part in parts if part) or "anything"
            raise GeomaeError(f"no set of atoms is known for {what}")
        return found, np.full(len(found), 1 / len(found))

    def _possible(self, inventories: Int[np.ndarray, "rows kinds"]) -> Bool[np.ndarray, " rows"]:
        """Which inventories can be placed."""
        fits = np.ones(len(inventories), dtype=bool)
        if self.fragment is None:
            return fits
        fits &= self.fragment.possible(self.kinds, inventories)
        rng = np.random.default_rng([self.seed, 0])
        for row in np.flatnonzero(fits):
            fits[row] = self.fragment.found_in(self.kinds, inventories[row], rng) is not None
        return fits

    def _orbits(self) -> OrbitSizes:
        """In which numbers atoms of a kind come."""
        return OrbitSizes((1,), False)

    def _proposed(self, asked: Asked) -> Int[np.ndarray, "rows kinds"]:
        """Inventories beyond those of the data."""
        shares, known = self.flow.statistics["shares"].double().cpu(), self.flow.inventories()
        counts, orbits = None, self._orbits()
        if asked.formula is not None:
            counts = {NUMBERS[symbol]: n for symbol, n in parse_formula(asked.formula).items()}
        return propose(
            self.kinds,
            (shares @ known.double()).numpy(),
            np.random.default_rng([self.seed, 1]),
            counts=counts,
            sizes=orbits.sizes,
            centre=orbits.centre,
            n_atoms=asked.n_atoms,
            most=self.model.config.max_atoms,
        )[:PROPOSED]

    def __call__(self, numbers: Sequence[int]) -> tuple[list[Decoded], Latents]:
        """What samples of some numbers are, and their latents.

        Args:
            numbers: ascending, of one shard.
        """
        found = [structure_or_fault(structure) for structure in self._structures(numbers)]
        shape = len(numbers), *self.model.encoder.latent_shape
        array = torch.zeros(shape, dtype=self.model.dtype)
        for row, decoded in enumerate(found):
            if decoded.structure is None:
                continue
            latents = self.model.encode([decoded.structure])
            array[row] = latents.array[0]
            decoded.structure.positions = decoded.structure.positions - latents.centres[0]
            found[row] = self._confirmed(decoded)
        return found, Latents(array, torch.zeros(len(numbers), 3, dtype=torch.float64))

    def _confirmed(self, decoded: Decoded) -> Decoded:
        """What is returned of a structure."""
        return decoded

    def _structures(self, numbers: Sequence[int]) -> list[Structure]:
        """The structures of samples; all of a shard are made, for rounding depends on the
        company.
        """
        first = numbers[0] - numbers[0] % SHARD
        shard = range(first, first + SHARD)
        kind = [self._atoms(*self._drawn(number)) for number in shard]
        parent = [np.repeat(np.arange(len(own)), self.kinds[own, 1]) for own in kind]
        made = self._coated(kind, self._skeletons(kind, shard), parent, shard)
        return [made[number - first] for number in numbers]

    def _atoms(
        self, inventory: Int[np.ndarray, " kinds"], rng: np.random.Generator
    ) -> Int[np.ndarray, " heavy"]:
        """Kinds of a sample's heavy atoms, those of the fragment first."""
        if self.fragment is None:
            return np.repeat(np.arange(len(self.kinds)), inventory)
        own = None
        while own is None:
            own = self.fragment.found_in(self.kinds, inventory, rng)
        rest = inventory - np.bincount(own, minlength=len(self.kinds))
        return np.concatenate([own, np.repeat(np.arange(len(self.kinds)), rest)])

    def _drawn(self, number: int) -> tuple[Int[np.ndarray, " kinds"], np.random.Generator]:
        """Inventory of a sample, and what else of it is drawn at random."""
        rng = np.random.default_rng([self.seed, 2, number])
        return self.inventories[rng.choice(len(self.shares), p=self.shares)], rng

    def _skeletons(
        self,
        kind: Sequence[np.ndarray],
        numbers: Sequence[int],
        project: Projector | None = None,
        rough: bool = False,
    ) -> list[Tensor]:
        """Heavy atoms, placed; positions in Å."""
        width = self._width(kind)
        placing = self.flow.bones(_padded([own + 1 for own in kind], width, 0))
        positions = self._placed(placing, numbers, "skeleton", project, rough)
        return [own[: len(k)] for own, k in zip(positions, kind, strict=True)]

    def _width(self, kind: Sequence[np.ndarray]) -> int:
        """Places for heavy atoms."""
        return max(self.flow.config.max_heavy, *(len(own) for own in kind))

    def _coated(
        self,
        kind: Sequence[np.ndarray],
        skeletons: Sequence[Tensor],
        parent: Sequence[np.ndarray],
        numbers: Sequence[int],
        project: Projector | None = None,
        rough: bool = False,
    ) -> list[Structure]:
        """Whole structures, hydrogens placed."""
        width = self._width(kind)
        light = max(1, *(len(own) for own in parent))
        bones = [nn.functional.pad(own, (0, 0, 0, width - len(own))) for own in skeletons]
        placing = self.flow.coat(
            _padded([own + 1 for own in kind], width, 0),
            torch.stack(bones),
            _padded(parent, light, -1),
        )
        positions = self._placed(placing, numbers, "hydrogens", project, rough)
        structures = []
        for own, above, places in zip(kind, parent, positions, strict=True):
            z = [*self.kinds[own, 0].tolist(), *[1] * len(above)]
            x = torch.cat([places[: len(own)], places[width : width + len(above)]])
            structures.append(Structure(torch.tensor(z), x.double()))
        return structures

    def _placed(
        self,
        placing: Placing,
        numbers: Sequence[int],
        purpose: str,
        project: Projector | None,
        rough: bool,
    ) -> Float[Tensor, "n a 3"]:
        flow, steps = (self.rough, PILOT) if rough else (self.flow, self.steps)
        like = torch.zeros((), dtype=flow.dtype)
        placing = replace(placing, base=placing.base.to(like))
        normal = NormalNumbers(self.seed, numbers, purpose, like)
        properties = self.properties.to(like).expand(len(numbers), -1)
        hold = None if self.fragment is None or not placing.free else self.fragment.held
        return placed(flow, placing, properties, normal, steps, project, hold)


class SymmetricAtomSamples(AtomSamples):
    """Makes samples that have a point group, by their numbers.

    Args:
        flow, model, seed, steps: see `AtomSamples`.
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
    ):
        self.group, self.sites = group, Sites(group)
        # symmetry has to last to the rounding of float64
        super().__init__(deepcopy(flow).double(), model, asked, seed=seed, steps=steps)
        self.rough = flow

    def _orbits(self) -> OrbitSizes:
        return orbit_sizes(self.group.name)

    def _possible(self, inventories: Int[np.ndarray, "rows kinds"]) -> Bool[np.ndarray, " rows"]:
        parts = np.concatenate([inventories, inventories @ self.kinds[:, 1:2]], 1)
        fits, rng = fill_orbits(parts, self._orbits()), np.random.default_rng([self.seed, 0])
        for row in np.flatnonzero(fits):
            fits[row] = self.sites.seated(self.kinds, inventories[row], rng) is not None
        return fits

    def _structures(self, numbers: Sequence[int]) -> list[Structure]:
        return [self._structure(number) for number in numbers]

    def _structure(self, number: int) -> Structure:
        """A structure on orbits: of many seatings the one whose skeleton comes out best."""
        seatings, rng = self._seatings(number)
        seatings = self._best(seatings, self._seated(seatings, number, rough=True))[:FINALISTS]
        skeletons = self._seated(seatings, number)
        seating = self._best(seatings, skeletons)[0]
        skeleton = skeletons[seatings.index(seating)]
        coats = [self.sites.coat(self.kinds, seating, rng) for _ in range(COATS)]
        tried = [self._dressed(seating, skeleton, coat, number, rough=True) for coat in coats]
        best = int(np.argmax([_hydrogens_fit(*pair) for pair in zip(tried, coats, strict=True)]))
        return self._dressed(seating, skeleton, coats[best], number)

    def _seatings(self, number: int) -> tuple[list[Seating], np.random.Generator]:
        """Ways to put some inventories on orbits, and randomness for what is left."""
        drawn, rng = self._drawn(number)
        found: list[Seating] = []
        for _ in range(REDRAWN):
            tried = [self.sites.seated(self.kinds, drawn, rng) for _ in range(4 * SEATINGS)]
            own = {(s.sites, s.kind.tobytes()): s for s in tried if s is not None}
            ordered = sorted(own.values(), key=lambda seating: seating.crowding)
            if rng.random() < CROWDED ** ordered[0].crowding:
                found += ordered[:SEATINGS]
            if len(found) >= INVENTORIES * SEATINGS:
                break
            drawn = self.inventories[rng.choice(len(self.shares), p=self.shares)]
        return found or ordered[:SEATINGS], rng

    def _best(self, seatings: list[Seating], skeletons: Sequence[Tensor]) -> list[Seating]:
        """Seatings, those first whose skeletons keep their inventories best."""
        scores = [self._kept(*pair) for pair in zip(seatings, skeletons, strict=True)]
        return [seatings[i] for i in np.argsort(-np.array(scores), kind="stable")]

    def _seated(
        self, seatings: Sequence[Seating], number: int, *, rough: bool = False
    ) -> list[Tensor]:
        """Skeletons of seatings."""
        kind = [seating.kind for seating in seatings]
        moves = [_filled(seating.moves, self._width(kind)) for seating in seatings]
        streams = [number * STREAMS + i for i in range(len(seatings))]
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

    def _kept(self, seating: Seating, skeleton: Tensor) -> float:
        """How far heavy atoms have the neighbours that their kind says, and a whole valence; by
        distances alone, which take benzene's bonds for single ones, this counts for less.
        """
        keys = torch.from_numpy(self.kinds[seating.kind])
        orders = bond_orders(keys[:, 0], skeleton)
        neighbours = (orders > 0).sum(1) == keys[:, 2]
        valence = torch.tensor([VALENCE[SYMBOLS[z]] for z in keys[:, 0].tolist()])
        full = orders.sum(1) + keys[:, 1] == valence
        return float((neighbours.double() + 0.25 * full.double()).mean())

    def _confirmed(self, decoded: Decoded) -> Decoded:
        return checked(decoded, self.group)


def _hydrogens_fit(structure: Structure, coat: Coat) -> float:
    """Share of hydrogens that are bonded to their own heavy atom and to nothing else."""
    if not len(coat.parent):
        return 1.0
    heavy = structure.n_atoms - len(coat.parent)
    bonds = bond_orders(structure.numbers, structure.positions)[heavy:] > 0
    own = bonds[torch.arange(len(bonds)), torch.from_numpy(coat.parent)]
    return float((own & (bonds.sum(1) == 1)).double().mean())


def _padded(rows: Sequence[np.ndarray], width: int, value: int) -> Int[Tensor, "n width"]:
    table = torch.full((len(rows), width), value, dtype=torch.long)
    for row, own in enumerate(rows):
        table[row, : len(own)] = torch.from_numpy(np.asarray(own, dtype=int))
    return table


def _filled(moves: np.ndarray, width: int) -> Int[np.ndarray, "g width"]:
    """Moves of atoms, and of places without one that stay."""
    rest = np.arange(moves.shape[1], width)
    return np.concatenate([moves, np.broadcast_to(rest, (len(moves), len(rest)))], 1)
