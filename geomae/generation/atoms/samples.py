"""Samples of a flow on atoms, by their numbers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from geomae.autoencoder import Autoencoder, Latents
from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.generation.atoms.candidates import Candidates, Inventories, Test
from geomae.generation.atoms.flow import AtomFlow, Placing
from geomae.generation.atoms.fragment import Fragment
from geomae.generation.atoms.integration import NormalNumbers, Projector, Steps, placed
from geomae.generation.inventories.draws import Learned, even_marks
from geomae.generation.latent_samples import SHARD
from geomae.generation.reading import Decoded, structure_or_fault
from geomae.generation.request import Asked
from geomae.metrics.bonds import VALENCES, bond_orders
from geomae.symmetry.orbits import OrbitSizes

PILOT = Steps(12, light=1.0, sharpness=1.0)
"""Few steps, which tell what all of them would make."""

FRAGMENT_TRIES = 24
NEW_TRIES = 4
"""Inventories that are tried in these for each sample, with a fragment and where all are new: not
all of them are good for it."""

STREAMS = 1000
"""Numbers of streams of noise that a sample has for itself."""


class AtomSamples:
    """Makes samples by their numbers.

    Args:
        flow: a flow on atoms.
        model: the autoencoder that encodes what it makes.
        asked: what samples are to be; checked, and without a symmetry.
        seed: of everything random.
        steps: how the flow is integrated.
        fragment: that every sample has, and something besides.
        learned: model that inventories are drawn from; as in the flow's data if None.
        tries: inventories of each sample that are tried in a few steps; that which its skeleton
            keeps best is taken. If None 24 with a fragment, 4 where all inventories are new, and 1
            otherwise.

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
        learned: Learned | None = None,
        tries: int | None = None,
    ):
        self.flow = self.rough = flow
        self.model, self.seed, self.steps, self.fragment = model, seed, steps, fragment
        self.tries = tries or self._usual_tries(learned)
        self.kinds = flow.kinds().numpy()
        values = [asked.properties.get(name, torch.nan) for name in flow.properties]
        self.properties = torch.tensor(values, dtype=torch.float64)
        self.inventories = self._inventories(asked, learned)

    def _usual_tries(self, learned: Learned | None) -> int:
        if self.fragment is not None:
            return FRAGMENT_TRIES
        return NEW_TRIES if learned is not None and learned.left_out else 1

    def _inventories(self, asked: Asked, learned: Learned | None) -> Inventories:
        """Draws what samples are made of."""
        found = Candidates(
            self.flow, learned, asked, self.seed, self._orbits(), self._test(),
            self.model.config.max_atoms,
        ).found()  # fmt: skip
        if found is not None:
            return found
        parts = [asked.formula, asked.n_atoms and f"{asked.n_atoms} atoms", asked.symmetry]
        parts.append(self.fragment and "the fragment and something besides")
        what = " and ".join(str(part) for part in parts if part) or "anything"
        raise GeomaeError(f"no set of atoms is known for {what}")

    def _test(self) -> Test | None:
        """Which inventories can be placed; None if all can."""
        return None if self.fragment is None else self._possible

    def _possible(self, inventories: Int[np.ndarray, "rows kinds"]) -> Bool[np.ndarray, " rows"]:
        """Which inventories have the fragment and something besides."""
        assert self.fragment is not None, "without a fragment nothing is tested"
        fits, rng = self.fragment.possible(self.kinds, inventories), self._tests()
        for row in np.flatnonzero(fits):
            fits[row] = self.fragment.found_in(self.kinds, inventories[row], rng) is not None
        return fits

    def _tests(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, 0])

    def _orbits(self) -> OrbitSizes:
        """In which numbers atoms of a kind come."""
        return OrbitSizes((1,), False)

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
        kind, streams = self._chosen(shard)
        parent = [np.repeat(np.arange(len(own)), self.kinds[own, 1]) for own in kind]
        made = self._coated(kind, self._skeletons(kind, streams), parent, shard)
        return [made[number - first] for number in numbers]

    def _chosen(self, shard: Sequence[int]) -> tuple[list[np.ndarray], Sequence[int]]:
        """Kinds of samples' heavy atoms, and the streams of noise that place these: of as many as
        are tried those that keep their inventory best after a few steps.
        """
        rngs = [self._drawing(number) for number in shard]
        if self.tries == 1:
            return self._drawn(shard, rngs), shard
        kinds = [
            self._drawn([self.tries * number + i for number in shard], rngs)
            for i in range(self.tries)
        ]
        streams = [[number * STREAMS + i for number in shard] for i in range(self.tries)]
        scores = np.zeros((self.tries, len(shard)))
        for row, kind, own in zip(scores, kinds, streams, strict=True):
            skeletons = self._skeletons(kind, own, rough=True)
            row[:] = [self._kept(*pair) for pair in zip(kind, skeletons, strict=True)]
        best = enumerate(scores.argmax(0).tolist())
        chosen = [(kinds[i][sample], streams[i][sample]) for sample, i in best]
        return [kind for kind, _ in chosen], [stream for _, stream in chosen]

    def _drawn(
        self, numbers: Sequence[int], rngs: Sequence[np.random.Generator]
    ) -> list[Int[np.ndarray, " heavy"]]:
        """Kinds of heavy atoms, of inventories by their numbers."""
        drawn = self.inventories(even_marks(self.seed, numbers), rngs)
        return [self._atoms(*own) for own in zip(drawn, rngs, strict=True)]

    def _kept(self, kind: Int[np.ndarray, " heavy"], skeleton: Float[Tensor, "heavy 3"]) -> float:
        """How far heavy atoms have the neighbours that their kind says, and a whole valence; by
        distances alone, which take benzene's bonds for single ones, this counts for less.
        """
        keys = torch.from_numpy(self.kinds[kind])
        orders = bond_orders(keys[:, 0], skeleton)
        neighbours = (orders > 0).sum(1) == keys[:, 2]
        full = orders.sum(1) + keys[:, 1] == VALENCES[keys[:, 0]]
        return float((neighbours.double() + 0.25 * full.double()).mean())

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

    def _drawing(self, number: int) -> np.random.Generator:
        """What draws the atoms of a sample."""
        return np.random.default_rng([self.seed, 2, number])

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


def _padded(rows: Sequence[np.ndarray], width: int, value: int) -> Int[Tensor, "n width"]:
    table = torch.full((len(rows), width), value, dtype=torch.long)
    for row, own in enumerate(rows):
        table[row, : len(own)] = torch.from_numpy(np.asarray(own, dtype=int))
    return table
