"""New structures: from a flow or around a structure, with or without a symmetry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geomae.autoencoder import Latents
from geomae.autoencoder.base import chunks
from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.generation.latent_samples import SHARD
from geomae.generation.makers import Options, maker_of
from geomae.generation.reading import Decoded
from geomae.generation.request import Asked, find_models


@dataclass(frozen=True)
class Generated:
    """What was generated; entry i of everything is sample `first + i`.

    Attributes:
        structures: about their latents' points; None where there is nothing to return, for the
            reason in `faults`. They carry `confidence`, `residual`, `certified`, and `point_group`
            where a symmetry was asked for; crystals `space_group`.
        latents: as sampled.
        residuals: part of each latent that its structure does not explain, `[n]`.
        certified: the structure encodes to that very latent, `[n]`.
        groups: the point group that pymatgen found at 0.001 Å, where a symmetry was asked for; of
            crystals the space group that moyo found at 0.01 Å.
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
    fragment: Any = None,
    inventories: str | None = None,
    tries: int | None = None,
    temperature: float | None = None,
    near: Any = None,
    noise: float | None = None,
    seed: int = 0,
    steps: int | None = None,
    revisions: Sequence[float] = (),
    reject_doubtful: bool = False,
    progress: bool = False,
) -> Generated:
    """New structures of a model, from its flow or around a structure.

    Sample i depends on the seed and i, not on how many are made. With a symmetry every structure
    that is returned has at least that point group, as pymatgen's PointGroupAnalyzer confirms at
    0.001 Å; what it does not confirm is None, with the reason in `faults`. Crystals have at least
    that space group, as moyo confirms at 0.01 Å.

    Args:
        model: name or path of a flow, or of an autoencoder whose flow is called NAME-atoms or
            NAME-flow.
        n: samples.
        formula: such as 'C6H6'. A flow on atoms makes nothing else, nor does one on latents with a
            symmetry; without, a flow on latents is told and what comes out is left as it is.
        n_atoms: number of atoms, likewise; of crystals in a primitive cell, which may hold the
            formula several times.
        properties: scalars by name that the flow was trained on, in its data's units.
        symmetry: point group that every structure has at least, such as 'D6h'; of crystals the
            space group, by symbol ('Fm-3m') or number ('225').
        fragment: structure that every sample contains, heavy atoms in its shape (anything that
            `as_structures` takes); its hydrogens stand for places where something else may be.
            Flows on atoms complete it to something larger, without a symmetry.
        inventories: of a flow on atoms, what samples are made of: 'data' for sets of atoms that
            its data has, as often as there; 'learned' for those of a model that makes others as
            well, 'new' for these others alone; or name or path of such a model. If None 'learned'
            where the released model fits the flow, and 'data' with a symmetry.
        tries: of a flow on atoms: inventories of each sample that are tried in 12 steps; that which
            its skeleton keeps best, by neighbours and valences, is taken. If None 24 with a
            fragment, 4 where all inventories are new, and 1 otherwise; samples with a symmetry are
            chosen by their orbits anyway.
        temperature: of learned inventories: below 1 usual ones are preferred, which are stable
            more often and differ less, above 1 unusual ones; 0.9 if None,
            and 1 where all inventories are new.
        near: sample around this structure (anything that `as_structures` takes) instead of from a
            flow: its latent, and noise. A symmetry must be one that it has.
        noise: that noise, in parts of the spread that the data's latents have at each degree; 0.3
            if None.
        seed: of everything random.
        steps: evaluations of the flow; 50 of one on atoms and 20 of one on latents if None.
        revisions: of a flow on latents: times, ascending in [0, 1), from which the flow is
            finished again after a latent was drawn and its structure encoded;
            `geomae.generation.revision.TIMES` are good ones.
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
        fragment=fragment,
        inventories=inventories,
        tries=tries,
        temperature=temperature,
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
        fragment, inventories, tries, temperature, near, noise, seed, steps, revisions,
            reject_doubtful: see `generate`.
    """

    def __init__(
        self,
        model: str,
        asked: Asked,
        *,
        fragment: Any = None,
        inventories: str | None = None,
        tries: int | None = None,
        temperature: float | None = None,
        near: Any = None,
        noise: float | None = None,
        seed: int = 0,
        steps: int | None = None,
        revisions: Sequence[float] = (),
        reject_doubtful: bool = False,
    ):
        self.name, self.model, self.flow = find_models(model, near is not None)
        self.asked, self.seed, self.reject_doubtful = asked, seed, reject_doubtful
        self.options = Options(
            fragment, inventories, tries, temperature, near, noise, seed, steps, tuple(revisions)
        )
        self.maker = maker_of(self.name, self.model, self.flow, asked, self.options)

    def __call__(self, first: int, n: int) -> Generated:
        """Samples `first` to `first + n - 1`; `first` must begin a shard.

        Args:
            first: number of the first sample, a multiple of 32.
            n: how many, at most 32.
        """
        if first % SHARD or not 0 <= n <= SHARD:
            raise GeomaeError(f"a shard is {SHARD} samples from a multiple of {SHARD} on")
        if not n:
            return self.nothing()
        found, latents = self.maker.make(range(first, first + n))
        found = [self._settled(own) for own in found]
        return Generated(
            tuple(own.structure for own in found),
            latents,
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

    def _settled(self, decoded: Decoded) -> Decoded:
        """What is returned of a decoded sample."""
        if not (self.reject_doubtful and decoded.doubtful):
            return decoded
        return Decoded(None, decoded.residual, False, decoded.group, f"rejected: {decoded.fault}")
