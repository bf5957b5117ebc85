"""New structures: latents from a flow or around a structure, read with or without a symmetry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geomae.autoencoder import Latents
from geomae.autoencoder.base import chunks
from geomae.data.elements import NUMBERS
from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.generation.compositions import symmetric_compositions
from geomae.generation.conditions import Conditions, check_conditions
from geomae.generation.noise import latent_spread, normal_noise
from geomae.generation.reading import Decoded, FreeReader, SymmetricReader
from geomae.generation.request import (
    Asked,
    check_asked,
    check_properties,
    find_models,
    group_of,
    near_structure,
)
from geomae.generation.revision import redrawing, revise
from geomae.symmetry import GroupError, projector

SHARD = 32
"""Samples that are made together, all of them whether asked for or not where rounding would depend
on the company: their noise comes from one seed, and refinement stops for all at a time."""

STEPS = 20
"""Evaluations of a flow's velocity."""

NOISE = 0.3
"""Noise around a structure, in parts of the spread of the data's latents."""


@dataclass(frozen=True)
class Generated:
    """What was generated; entry i of everything is sample `first + i`.

    Attributes:
        structures: about their latents' points; None where there is nothing to return, for the
            reason in `faults`. They carry `confidence`, `residual`, `certified`, and `point_group`
            where a symmetry was asked for.
        latents: as sampled.
        residuals: part of each latent that its structure does not explain, `[n]`.
        certified: the structure encodes to that very latent, `[n]`.
        groups: the point group that pymatgen found at 0.001 Å, where a symmetry was asked for.
        faults: what is wrong: why there is no structure, or why it is doubtful; None if nothing is.
        seed: with the number of a sample it gives that sample again.
        first: number of the first sample.
    """

    structures: tuple[Structure | None, ...]
    latents: Latents
    residuals: Float[Tensor, " n"]
    certified: Bool[Tensor, " n"]
    groups: tuple[str | None, ...]
    faults: tuple[str | None, ...]
    seed: int
    first: int = 0

    def __len__(self) -> int:
        return len(self.structures)

    @property
    def kept(self) -> list[Structure]:
        """The structures that there are."""
        return [structure for structure in self.structures if structure is not None]

    @property
    def doubtful(self) -> list[int]:
        """Entries with a structure that should not be trusted."""
        pairs = zip(self.structures, self.faults, strict=True)
        return [i for i, (structure, fault) in enumerate(pairs) if structure is not None and fault]

    @staticmethod
    def join(parts: Sequence["Generated"]) -> "Generated":
        """Several in a row."""
        return Generated(
            tuple(s for part in parts for s in part.structures),
            Latents.join([part.latents for part in parts]),
            torch.cat([part.residuals for part in parts]),
            torch.cat([part.certified for part in parts]),
            tuple(g for part in parts for g in part.groups),
            tuple(f for part in parts for f in part.faults),
            parts[0].seed,
            parts[0].first,
        )


def generate(
    model: str | Path = "qm9",
    n: int = 1,
    *,
    formula: str | None = None,
    n_atoms: int | None = None,
    properties: Mapping[str, float] | None = None,
    symmetry: str | None = None,
    near: Any = None,
    noise: float | None = None,
    seed: int = 0,
    steps: int = STEPS,
    revisions: Sequence[float] = (),
    reject_doubtful: bool = False,
    progress: bool = False,
) -> Generated:
    """New structures of a model, from its flow or around a structure.

    Sample i depends on the seed and i, not on how many are made. With a symmetry every structure
    that is returned has at least that point group, as pymatgen's PointGroupAnalyzer confirms at
    0.001 Å; what it does not confirm is None, with the reason in `faults`.

    Args:
        model: name or path of a flow, or of an autoencoder whose flow is called NAME-flow.
        n: samples.
        formula: such as 'C6H6'. With a symmetry every structure has it; without, the flow is told
            and what comes out is left as it is.
        n_atoms: number of atoms, likewise.
        properties: scalars by name that the flow was trained on, in its data's units.
        symmetry: point group that every structure has at least, such as 'D6h'.
        near: sample around this structure (anything that `as_structures` takes) instead of from a
            flow: its latent, and noise. A symmetry must be one that it has.
        noise: that noise, in parts of the spread that the data's latents have at each degree; 0.3
            if None.
        seed: of everything random.
        steps: evaluations of the flow's velocity.
        revisions: times, ascending in [0, 1), from which the flow is finished again after a latent
            was drawn and its structure encoded; `geomae.generation.revision.TIMES` are good ones.
        reject_doubtful: return no structure whose latent is far from the structure's own.
        progress: show a bar.

    Raises:
        GeomaeError: before anything is sampled: an unknown model, group or property, a formula that
            is none or that the model does not take, a group and a formula that exclude each
            other, a structure without the symmetry that is asked for.
    """
    if n < 0:
        raise GeomaeError(f"the number of samples must not be negative, got {n}")
    sampler = Sampler(
        str(model),
        Asked(formula, n_atoms, properties or {}, symmetry),
        near=near,
        noise=noise,
        seed=seed,
        steps=steps,
        revisions=revisions,
        reject_doubtful=reject_doubtful,
    )
    label = "generating" if progress else None
    parts = [sampler(numbers[0], len(numbers)) for numbers in chunks(range(n), SHARD, label)]
    return Generated.join(parts or [sampler.nothing()])


class Sampler:
    """Makes samples by their numbers; see `generate`.

    Args:
        model: name or path.
        asked: what samples are to be.
        near, noise, seed, steps, revisions, reject_doubtful: see `generate`.
    """

    def __init__(
        self,
        model: str,
        asked: Asked,
        *,
        near: Any = None,
        noise: float | None = None,
        seed: int = 0,
        steps: int = STEPS,
        revisions: Sequence[float] = (),
        reject_doubtful: bool = False,
    ):
        if not 0 <= seed < 2**63:
            raise GeomaeError(f"the seed must be a number from 0 to 2^63 - 1, not {seed}")
        if steps < 1:
            raise GeomaeError(f"a flow takes 1 step or more, not {steps}")
        self.name, self.model, self.flow = find_models(model, near is not None)
        self.asked, self.seed, self.steps = asked, seed, steps
        self.revisions, self.reject_doubtful = tuple(revisions), reject_doubtful
        self.counts, self.group = check_asked(asked, self.model)
        self.around: Structure | None = None
        if near is None:
            if noise is not None:
                raise GeomaeError("noise goes with a structure to sample around (near)")
            if self.flow is None:
                raise GeomaeError(f"'{model}' has no flow")
            check_properties(asked.properties, self.flow)
            check_conditions(self.flow, SHARD, self._conditions(0))
        else:
            self.flow = None
            self.around = self._stand_near(near, NOISE if noise is None else noise)
        self.read = (
            FreeReader(self.model)
            if self.group is None
            else SymmetricReader(self.model, self.group, self._wanted)
        )

    def _stand_near(self, near: Any, noise: float) -> Structure:
        """Prepare to sample around a structure; it, about its latent's point."""
        if self.asked.properties:
            raise GeomaeError("properties can be asked of a flow, not around a structure (near)")
        if not 0 <= noise < float("inf"):
            raise GeomaeError(f"noise must be a number from 0 up, not {noise}")
        structure = near_structure(near, self.model)
        if self.counts is not None and self.group is None:
            raise GeomaeError(
                "around a structure (near) a formula can be asked with a symmetry only"
            )
        latents = self.model.encode([structure])
        self.centre = latents.array.double()
        self.noise = noise * latent_spread(self.name, self.model)
        centred = Structure(structure.numbers, structure.positions - latents.centres[0])
        if self.group is None:
            return centred
        self.group = group_of(structure, self.group)
        invariant = self._project(self.centre)
        change = float((invariant - self.centre).norm() / self.centre.norm())
        if change > 1e-2:
            raise GroupError(
                f"the latent of the structure has no {self.group.name} about its point: it changes "
                f"by {change:.2g} of its length"
            )
        return centred

    def __call__(self, first: int, n: int) -> Generated:
        """Samples `first` to `first + n - 1`; `first` must begin a shard.

        Args:
            first: number of the first sample, a multiple of 32.
            n: how many, at most 32.
        """
        if first % SHARD or not 0 <= n <= SHARD:
            raise GeomaeError(f"a shard is {SHARD} samples from a multiple of {SHARD} on")
        latents = self._latents(first)
        together = SHARD if self.group is None and n else n
        found = [self._settled(own) for own in self.read(latents[:together])[:n]]
        latents = latents[:n]
        return Generated(
            tuple(own.structure for own in found),
            Latents(latents.to(self.model.dtype), torch.zeros(n, 3, dtype=torch.float64)),
            torch.tensor([own.residual for own in found], dtype=torch.float64),
            torch.tensor([own.certified for own in found], dtype=torch.bool),
            tuple(own.group for own in found),
            tuple(own.fault for own in found),
            self.seed,
            first,
        )

    def nothing(self) -> Generated:
        """No sample at all."""
        empty = self.model.joined([])
        none = torch.zeros(0)
        return Generated((), empty, none.double(), none.bool(), (), (), self.seed)

    @torch.no_grad()
    def _latents(self, first: int) -> Float[Tensor, "n m c"]:
        """Latents of a whole shard, about their points, float64."""
        if self.flow is None:
            noise = normal_noise(tuple(self.noise.shape), self.seed, range(first, first + SHARD))
            return self._project(self.centre + self.noise * noise)
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

    def _project(self, latents: Float[Tensor, "n m c"]) -> Float[Tensor, "n m c"]:
        """What the group leaves of latents; all of it without a group."""
        if self.group is None:
            return latents
        matrix = projector(self.group, round(latents.shape[1] ** 0.5) - 1).to(latents)
        return torch.einsum("ij,njc->nic", matrix, latents)

    def _conditions(self, first: int) -> Conditions:
        """What the flow is told of a shard's samples."""
        counts, sizes = None, None
        if self.counts is not None and self.flow is not None:
            own = {NUMBERS[symbol]: count for symbol, count in self.counts.items()}
            row = [own.get(z, 0) for z in self.flow.elements]
            counts = torch.tensor(row).expand(SHARD, -1).contiguous()
        elif self.group is not None and self.flow is not None:
            numbers = range(first, first + SHARD)
            counts = symmetric_compositions(
                self.flow, self.group, self.seed, numbers, self.asked.n_atoms
            )
        if counts is None and self.asked.n_atoms is not None:
            sizes = torch.full((SHARD,), self.asked.n_atoms)
        return Conditions(counts, sizes, dict(self.asked.properties))

    @property
    def _wanted(self):
        """Which formulas will do; None if any."""
        if self.counts is not None:
            own = {NUMBERS[symbol]: count for symbol, count in self.counts.items()}
            row = tuple(own.get(z, 0) for z in self.model.elements)
            return lambda total: total == row
        if self.asked.n_atoms is not None:
            return lambda total: sum(total) == self.asked.n_atoms
        return None

    def _settled(self, decoded: Decoded) -> Decoded:
        """What is returned of a decoded sample."""
        if not (self.reject_doubtful and decoded.doubtful):
            return decoded
        return Decoded(None, decoded.residual, False, decoded.group, f"rejected: {decoded.fault}")


def shard_seed(seed: int, shard: int) -> int:
    """The seed of a shard's samples."""
    words = np.random.SeedSequence([seed, shard]).generate_state(2, np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1
