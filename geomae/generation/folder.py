"""Samples in a folder, shard by shard, so that an interruption costs one shard at most."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from geomae.autoencoder import Latents
from geomae.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from geomae.data.cache import replacing
from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.generation.generate import SHARD, Generated, Sampler

SETTINGS = "settings.json"


@dataclass(frozen=True)
class GenerationFolder:
    """A folder whose `parts` hold shards of samples that were all made with the same settings.

    Attributes:
        path: of the folder.
        settings: what decides about samples, but for their number; plain JSON.
    """

    path: Path
    settings: dict

    def open(self) -> None:
        """Make the folder, or see that it holds samples of these settings.

        Raises:
            GeomaeError: it holds samples of other settings; says which differ.
        """
        file = self.path / SETTINGS
        if file.exists():
            there = json.loads(file.read_text())
            other = [k for k in self.settings | there if there.get(k) != self.settings.get(k)]
            if other:
                raise GeomaeError(
                    f"{self.path} holds samples that were made with other settings "
                    f"({', '.join(sorted(other))}): choose another folder, or remove it"
                )
            return
        (self.path / "parts").mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(self.settings, indent=2) + "\n")

    def fill(self, sampler: Sampler, n: int, done: Callable[[int], None]) -> Generated:
        """The first n samples: those that are there, and what is missing.

        Args:
            sampler: makes them.
            n: how many.
            done: called with the number of samples of each shard.
        """
        parts = []
        for first in range(0, n, SHARD):
            size = min(SHARD, n - first)
            file = self.path / "parts" / f"{first // SHARD:06d}.safetensors"
            part = read_part(file) if file.exists() else None
            if part is None or len(part) < size:
                part = sampler(first, size)
                write_part(file, part)
            parts.append(_head(part, size))
            done(size)
        return Generated.join(parts or [sampler.nothing()])


def write_part(path: Path, part: Generated) -> None:
    """Write some samples to a safetensors file; it is there whole or not at all."""
    sizes = [0 if s is None else s.n_atoms for s in part.structures]
    there = part.kept
    config = {
        "seed": part.seed,
        "first": part.first,
        "groups": list(part.groups),
        "faults": list(part.faults),
    }
    tensors = {
        "array": part.latents.array,
        "centres": part.latents.centres,
        "residuals": part.residuals,
        "certified": part.certified,
        "sizes": torch.tensor(sizes),
        "numbers": _joined([s.numbers for s in there], torch.zeros(0, dtype=torch.long)),
        "positions": _joined([s.positions for s in there], torch.zeros(0, 3).double()),
        "cells": _joined(
            [s.cell for s in there if s.periodic], torch.zeros(0, 3, 3, dtype=torch.float64)
        ),
        "confidence": _joined([s.confidence for s in there], torch.zeros(0).double()),
    }
    write_checkpoint(path, Checkpoint("samples", config, tensors))


def read_part(path: Path) -> Generated:
    """Read what `write_part` wrote.

    Raises:
        CheckpointError: the file is damaged or holds something else.
    """
    content = read_checkpoint(path, "samples")
    tensors, config = content.tensors, content.config
    sizes = tensors["sizes"].tolist()
    columns = [tensors[name].split(sizes) for name in ("numbers", "positions", "confidence")]
    structures: list[Structure | None] = []
    # of crystals there is a cell for each structure, in older files of molecules none at all
    cells = iter(tensors.get("cells", ()))
    for row, (numbers, positions, confidence) in enumerate(zip(*columns, strict=True)):
        if not len(numbers):
            structures.append(None)
            continue
        structure = Structure(
            numbers,
            positions,
            cell=next(cells, None),
            confidence=confidence,
            residual=float(tensors["residuals"][row]),
            certified=bool(tensors["certified"][row]),
        )
        if config["groups"][row] is not None:
            kind = "space_group" if structure.periodic else "point_group"
            setattr(structure, kind, config["groups"][row])
        structures.append(structure)
    return Generated(
        tuple(structures),
        Latents(tensors["array"], tensors["centres"]),
        tensors["residuals"],
        tensors["certified"],
        tuple(config["groups"]),
        tuple(config["faults"]),
        config["seed"],
        config["first"],
    )


def _joined(rows: list[Tensor], empty: Tensor) -> Tensor:
    return torch.cat(rows) if rows else empty


def _head(part: Generated, n: int) -> Generated:
    """The first n samples of some."""
    return Generated(
        part.structures[:n],
        part.latents[:n],
        part.residuals[:n],
        part.certified[:n],
        part.groups[:n],
        part.faults[:n],
        part.seed,
        part.first,
    )
