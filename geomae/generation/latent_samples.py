"""Samples of latents, from a flow or around a structure, and the structures that are read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geomae.autoencoder import Autoencoder, Latents
from geomae.data.elements import NUMBERS
from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.generation.compositions import symmetric_compositions
from geomae.generation.conditions import Conditions, check_conditions
from geomae.generation.flow import LatentFlow
from geomae.generation.noise import latent_spread, normal_noise
from geomae.generation.reading import Decoded, FreeReader, SymmetricReader
from geomae.generation.request import Asked, group_of, near_structure
from geomae.generation.revision import redrawing, revise
from geomae.symmetry import GroupError, PointGroup, projector

SHARD = 32
"""Samples that are made together, all of them whether asked for or not where rounding would depend
on the company: their noise comes from one seed, and refinement stops for all at a time."""


class LatentSamples:
    """Makes samples by their numbers: latents, and what is read of them.

    Args:
        model: the autoencoder that reads them.
        asked: what samples are to be; checked.
        counts: atoms of each element by symbol, if a formula is asked for.
        group: that samples have, if one is asked for.
        seed: of everything random.
    """

    def __init__(
        self,
        model: Autoencoder,
        asked: Asked,
        counts: Mapping[str, int] | None,
        group: PointGroup | None,
        seed: int,
    ):
        self.model, self.asked, self.counts = model, asked, counts
        self.group, self.seed = group, seed
        self.read = (
            FreeReader(model) if group is None else SymmetricReader(model, group, self._wanted())
        )

    def __call__(self, numbers: Sequence[int]) -> tuple[list[Decoded], Latents]:
        """What samples of some numbers are, and their latents.

        Args:
            numbers: ascending, of one shard.
        """
        first = numbers[0] - numbers[0] % SHARD
        latents = self._latents(first)
        rows = [number - first for number in numbers]
        together = latents if self.group is None else latents[rows]
        found = self.read(together)
        if self.group is None:
            found = [found[row] for row in rows]
        array = latents[rows].to(self.model.dtype)
        return found, Latents(array, torch.zeros(len(rows), 3, dtype=torch.float64))

    def _latents(self, first: int) -> Float[Tensor, "n m c"]:
        """Latents of a whole shard, about their points, float64."""
        raise NotImplementedError

    def _project(self, latents: Float[Tensor, "n m c"]) -> Float[Tensor, "n m c"]:
        """What the group leaves of latents; all of it without a group."""
        if self.group is None:
            return latents
        matrix = projector(self.group, round(latents.shape[1] ** 0.5) - 1).to(latents)
        return torch.einsum("ij,njc->nic", matrix, latents)

    def _wanted(self) -> Callable[[tuple[int, ...]], bool] | None:
        """Which formulas will do; None if any."""
        if self.counts is not None:
            own = {NUMBERS[symbol]: count for symbol, count in self.counts.items()}
            row = tuple(own.get(z, 0) for z in self.model.elements)
            return lambda total: total == row
        if self.asked.n_atoms is not None:
            return lambda total: sum(total) == self.asked.n_atoms
        return None


class FlowSamples(LatentSamples):
    """Latents from a flow.

    Args:
        flow: it.
        model, asked, counts, group, seed: see `LatentSamples`.
        steps: evaluations of its velocity.
        revisions: times from which it is finished again.

    Raises:
        GeomaeError: conditions that the flow can't meet.
    """

    def __init__(
        self,
        flow: LatentFlow,
        model: Autoencoder,
        asked: Asked,
        counts: Mapping[str, int] | None,
        group: PointGroup | None,
        *,
        seed: int,
        steps: int,
        revisions: Sequence[float] = (),
    ):
        super().__init__(model, asked, counts, group, seed)
        self.flow, self.steps, self.revisions = flow, steps, tuple(revisions)
        check_conditions(flow, SHARD, self._conditions(0))

    @torch.no_grad()
    def _latents(self, first: int) -> Float[Tensor, "n m c"]:
        how = {
            "conditions": self._conditions(first),
            "project": None if self.group is None else self._project,
            "steps": self.steps,
            "seed": shard_seed(self.seed, first // SHARD),
        }
        sampled = self.flow.sample(SHARD, **how)
        if self.revisions:
            redraw = redrawing(self.model) if self.group is None else self._redrawn
            sampled = revise(self.flow, sampled, redraw, times=self.revisions, **how)
        # rounding of a flow in float32 is all that can be left of what the symmetry forbids
        return self._project(sampled.array.double())

    def _redrawn(self, latents: Latents) -> Latents:
        """Latents of the symmetric structures that latents draw; those that draw none stay."""
        array = latents.array.clone()
        for row, own in enumerate(self.read(latents.array.double())):
            if own.structure is not None and own.structure.n_atoms <= self.model.config.max_atoms:
                encoded = self.model.encode([own.structure]).array.double()
                array[row] = self._project(encoded)[0].to(array)
        return Latents(array, latents.centres)

    def _conditions(self, first: int) -> Conditions:
        """What the flow is told of a shard's samples."""
        counts, sizes = None, None
        if self.counts is not None:
            own = {NUMBERS[symbol]: count for symbol, count in self.counts.items()}
            row = [own.get(z, 0) for z in self.flow.elements]
            counts = torch.tensor(row).expand(SHARD, -1).contiguous()
        elif self.group is not None:
            numbers = range(first, first + SHARD)
            counts = symmetric_compositions(
                self.flow, self.group, self.seed, numbers, self.asked.n_atoms
            )
        if counts is None and self.asked.n_atoms is not None:
            sizes = torch.full((SHARD,), self.asked.n_atoms)
        return Conditions(counts, sizes, dict(self.asked.properties))


class NearSamples(LatentSamples):
    """Latents around that of a structure.

    Args:
        near: anything that `as_structures` takes.
        name: name or path of the model.
        model, asked, counts, group, seed: see `LatentSamples`.
        noise: in parts of the spread that the data's latents have at each degree.

    Raises:
        GeomaeError: the structure has not the symmetry that is asked for, or something is asked
            that can't be around a structure.
    """

    def __init__(
        self,
        near: Any,
        name: str,
        model: Autoencoder,
        asked: Asked,
        counts: Mapping[str, int] | None,
        group: PointGroup | None,
        *,
        seed: int,
        noise: float,
    ):
        structure = near_structure(near, model)
        if asked.properties:
            raise GeomaeError("properties can be asked of a flow, not around a structure (near)")
        if not 0 <= noise < float("inf"):
            raise GeomaeError(f"noise must be a number from 0 up, not {noise}")
        if counts is not None and group is None:
            raise GeomaeError(
                "around a structure (near) a formula can be asked with a symmetry only"
            )
        own = None if group is None else group_of(structure, group)
        super().__init__(model, asked, counts, own, seed)
        latents = model.encode([structure])
        self.centre = latents.array.double()
        self.noise = noise * latent_spread(name, model)
        self.structure = Structure(structure.numbers, structure.positions - latents.centres[0])
        change = float((self._project(self.centre) - self.centre).norm() / self.centre.norm())
        if own is not None and change > 1e-2:
            raise GroupError(
                f"the latent of the structure has no {own.name} about its point: it changes "
                f"by {change:.2g} of its length"
            )

    def _latents(self, first: int) -> Float[Tensor, "n m c"]:
        noise = normal_noise(tuple(self.noise.shape), self.seed, range(first, first + SHARD))
        return self._project(self.centre + self.noise * noise)


def shard_seed(seed: int, shard: int) -> int:
    """The seed of a shard's samples."""
    words = np.random.SeedSequence([seed, shard]).generate_state(2, np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1
