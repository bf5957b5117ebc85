"""Training an autoencoder of crystals: canonical forms of a data set, kept, as batches."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor

from geomae.autoencoder.config import Config
from geomae.crystals.batch import CrystalBatch, join, lists_of
from geomae.crystals.canonical import canonical, site_invariants
from geomae.crystals.config import CrystalConfig
from geomae.crystals.model import CrystalAutoencoder
from geomae.data import load_source
from geomae.data.cache import cache_directory, replacing
from geomae.data.structure import Structure
from geomae.training.config import Run, read_yaml
from geomae.training.order import Order
from geomae.training.task import Task

FORMAT = 1
"""Of the kept forms; part of their files' names."""

SAME, NEARBY = 0.05, 7.0
"""Relative difference of invariants below which crystals are taken to be the same one, and radius
in Å of the neighbourhoods that are compared."""


class CrystalData(Config):
    """What is learned from.

    Attributes:
        sources: data sets and their splits, such as `perov5/train`.
        without: data sets and splits whose crystals are left out, by identifier and by structure.
        test: the split that is evaluated.
        substitution: share of the crystals of a batch in which elements are exchanged for others at
            random, so that elements which are rare in the data are learned too.
        scaling: largest relative change of all lengths of a crystal in training, drawn anew each
            time.
    """

    sources: tuple[str, ...]
    without: tuple[str, ...] = ()
    test: str
    substitution: float = Field(0.0, ge=0, le=1)
    scaling: float = Field(0.0, ge=0, lt=0.5)


class CrystalRun(Run):
    """One training run on crystals: what it learns from, what it trains, and how."""

    data: CrystalData
    model: CrystalConfig


def read_run(path: Path | str) -> CrystalRun:
    """Read and check a YAML file.

    Raises:
        GeomaeError: it can't be read, or says what no configuration has.
    """
    return read_yaml(path, CrystalRun)


class Forms:
    """Canonical forms of a data set as flat arrays.

    Attributes:
        numbers, positions, cells, offsets: see `geomae.data.sources.crystals.Crystals`; the anchor
            is the first atom of each, at the origin.
    """

    def __init__(self, tensors: dict[str, Tensor]):
        self.numbers, self.positions = tensors["numbers"].long(), tensors["positions"]
        self.cells, self.offsets = tensors["cells"], tensors["offsets"]

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        span = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        return self.numbers[span], self.positions[span], self.cells[i]


def forms_of_source(source: str, symprec: float) -> Forms:
    """The canonical forms of a split such as `perov5/train`, from the cache where they are."""
    from rich.progress import track

    name, _, split = source.partition("/")
    structures = load_source(name, split=split or None)
    names = [str(s.get("name")) for s in structures]
    key = json.dumps(
        [FORMAT, symprec, source, hashlib.sha256("\n".join(names).encode()).hexdigest()]
    )
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    path = cache_directory() / f"{name}-forms-{digest}.safetensors"
    if not path.exists():
        forms = [
            canonical(structure, symprec=symprec).structure
            for structure in track(structures, f"canonical forms of {source}", transient=True)
        ]
        sizes = torch.tensor([0, *(form.n_atoms for form in forms)])
        tensors = {
            "numbers": torch.cat([form.numbers for form in forms]).to(torch.uint8),
            "positions": torch.cat([form.positions for form in forms]),
            "cells": torch.cat([form.cell for form in forms]),
            "offsets": torch.cumsum(sizes, 0),
        }
        with replacing(path) as temporary:
            save_file(tensors, temporary)
    return Forms(load_file(path))


class ShuffledCrystals:
    """Batches of crystals in an order that the seed and the step decide, epoch by epoch.

    Args:
        crystals: numbers, positions and cell of each.
        config: of the model.
        batch_size: crystals a batch.
        seed: of their order and of the variations.
        substitution, scaling: see `CrystalData`.
    """

    def __init__(
        self,
        crystals: Sequence[tuple[Tensor, Tensor, Tensor]],
        config: CrystalConfig,
        batch_size: int,
        seed: int,
        *,
        substitution: float = 0.0,
        scaling: float = 0.0,
    ):
        self.crystals, self.config, self.seed = crystals, config, seed
        self.order = Order(np.arange(len(crystals)), batch_size, seed, "crystals")
        self.substitution, self.scaling = substitution, scaling
        self.lists: list[dict[str, np.ndarray] | None] = [None] * len(crystals)

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> CrystalBatch:
        draw = np.random.default_rng((self.seed, step, 1))
        varied = {i: self._varied(*self.crystals[i], draw) for i in self.order(step).tolist()}
        ids = self.order.part(step, part, parts).tolist()
        return join([varied[i] for i in ids], [self._list(i) for i in ids], torch.float32)

    def _varied(
        self, numbers: Tensor, positions: Tensor, cell: Tensor, draw: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A crystal with other elements or lengths, as far as variations are asked for."""
        if draw.random() < self.substitution:
            own, kind = np.unique(numbers.numpy(), return_inverse=True)
            others = np.setdiff1d(self.config.elements, own)
            exchanged = draw.random(len(own)) < 0.5
            if exchanged.sum() <= len(others):
                own[exchanged] = draw.choice(others, exchanged.sum(), replace=False)
                numbers = torch.from_numpy(own[kind.reshape(-1)])
        factor = 1 + self.scaling * draw.uniform(-1, 1)
        return numbers, positions * factor, cell * factor

    def _list(self, i: int) -> dict[str, np.ndarray]:
        """The lists of a crystal, which hold for all lengths that it may be given."""
        own = self.lists[i]
        if own is None:
            numbers, positions, cell = self.crystals[i]
            least = 1 - self.scaling
            own = lists_of(numbers, positions * least, cell * least, self.config)
            self.lists[i] = own
        return own


def training_data(config: CrystalRun) -> ShuffledCrystals:
    """The batches that a configuration asks for: crystals of its elements and sizes, but for those
    that are left out, by identifier or by structure.
    """
    model = config.model
    excluded = [forms_of_source(source, model.symprec) for source in config.data.without]
    names = {name for source in config.data.without for name in _names(source)}
    crystals = []
    for source in config.data.sources:
        forms = forms_of_source(source, model.symprec)
        known = np.zeros(len(forms), dtype=bool)
        for others in excluded:
            known |= repeated(forms, others)
        for i, own in enumerate(_names(source)):
            numbers, positions, cell = forms[i]
            fits = len(numbers) <= model.max_atoms and set(numbers.tolist()) <= set(model.elements)
            if fits and not known[i] and own not in names:
                crystals.append((numbers, positions, cell))
    return ShuffledCrystals(
        crystals,
        model,
        config.training.batch_size,
        config.training.seed,
        substitution=config.data.substitution,
        scaling=config.data.scaling,
    )


def _names(source: str) -> list[str]:
    """Identifiers of the crystals of a split such as `perov5/train`."""
    name, _, split = source.partition("/")
    return [str(s.get("name")) for s in load_source(name, split=split or None)]


def repeated(forms: Forms, others: Forms, tolerance: float = SAME) -> np.ndarray:
    """Which crystals are among others: of the same primitive formula, and with anchors whose
    surroundings have the same invariants.

    Args:
        forms, others: canonical forms.
        tolerance: relative difference of the invariants.
    """
    by_formula: dict[tuple, list[int]] = {}
    for i in range(len(others)):
        by_formula.setdefault(tuple(sorted(others[i][0].tolist())), []).append(i)
    found = np.zeros(len(forms), dtype=bool)
    for i in range(len(forms)):
        same = by_formula.get(tuple(sorted(forms[i][0].tolist())), [])
        if same:
            own = _invariants(*forms[i])
            gaps = [np.linalg.norm(_invariants(*others[j]) - own) for j in same]
            found[i] = min(gaps) < tolerance * np.linalg.norm(own)
    return found


def _invariants(numbers: Tensor, positions: Tensor, cell: Tensor) -> np.ndarray:
    structure = Structure(numbers, positions, cell=cell)
    return site_invariants(structure, np.zeros(1, dtype=np.int64), NEARBY)[0]


def task(config: CrystalRun) -> Task:
    """The model with its first weights, and its data."""
    return Task(CrystalAutoencoder(config.model), training_data(config))
