"""Crystals of data sets on their skeletons, as batches."""

from collections.abc import Sequence

import numpy as np
import torch

from geomae.data import load_source
from geomae.data.structure import Structure
from geomae.generation.crystals.batch import joined
from geomae.generation.crystals.config import CrystalFlowConfig, CrystalFlowData
from geomae.generation.crystals.flow import CrystalBatch, classes_of
from geomae.metrics.crystals import reduced_formula
from geomae.training.order import Order
from geomae.wyckoff.skeletons import CrystalSet, Positions, collected
from geomae.wyckoff.template import Templates

Identity = tuple
"""Reduced formula, space group and number of atoms of a primitive cell."""


def crystals_of(config: CrystalFlowData, model: CrystalFlowConfig) -> CrystalSet:
    """The crystals of data sets that a flow is made for, without those that are left out.

    Raises:
        GeomaeError: there is no such data set, or its files are not there.
        MissingExtraError: moyopy is not installed.
    """
    positions, aside = Positions(), Positions()
    names: set[str] = set()
    known: set[Identity] = set()
    for source in config.without:
        for structure in _structures(source):
            names.add(str(structure.get("name")))
            own = aside.arranged(structure, config.symprec)
            if own is not None:
                known.add((reduced_formula(structure), own.number, own.n_atoms))
    found = []
    for source in config.sources:
        for structure in _structures(source):
            if not set(structure.numbers.tolist()) <= set(model.elements):
                continue
            if str(structure.get("name")) in names:
                continue
            own = positions.arranged(structure, config.symprec)
            if own is None or own.n_atoms > model.max_atoms:
                continue
            if (reduced_formula(structure), own.number, own.n_atoms) not in known:
                found.append(own)
    return collected(found, positions, model.elements)


def _structures(source: str) -> Sequence[Structure]:
    name, _, split = source.partition("/")
    return load_source(name, split=split or None)


class ShuffledCrystals:
    """Batches of crystals in an order that the seed and the step decide, epoch by epoch.

    Args:
        data: the crystals.
        elements: atomic numbers of the flow.
        batch_size: crystals a batch.
        seed: of their order.
    """

    def __init__(self, data: CrystalSet, elements: Sequence[int], batch_size: int, seed: int):
        self.data, self.templates = data, Templates(data.skeletons)
        self.order = Order(np.arange(len(data)), batch_size, seed, "crystals")
        self.volume = data.skeletons.volume.double().numpy()
        column = {z: i for i, z in enumerate(elements)}
        self.elements = [np.array([column[z] for z in own]) for own in data.elements]

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> CrystalBatch:
        return self.batch(self.order.part(step, part, parts).tolist())

    def batch(self, rows: Sequence[int]) -> CrystalBatch:
        """Some of the crystals, in single precision."""
        templates = [self.templates[int(self.data.skeleton[row])] for row in rows]
        elements = [self.elements[row] for row in rows]
        sites = joined(templates, elements, self.volume)
        coordinates, strains = [], []
        for row, own, kinds in zip(rows, templates, elements, strict=True):
            coordinates.append(own.coordinates(self.data.points[row]))
            scale = float(self.volume[kinds] @ own.counts()) ** (2 / 3)
            strains.append(own.strain_of(self.data.metric[row] / scale))
        return CrystalBatch(
            templates,
            sites.to(torch.float32),
            torch.from_numpy(np.concatenate(coordinates)).float(),
            torch.from_numpy(np.stack(strains)).float(),
            classes_of(
                templates, len(self.data.skeletons.place), [torch.from_numpy(k) for k in elements]
            ),
        )
