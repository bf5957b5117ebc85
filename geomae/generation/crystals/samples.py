"""Samples of a flow on crystals, by their numbers; of a space group, if one is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from geomae.autoencoder import Latents
from geomae.crystals.model import CrystalAutoencoder
from geomae.data.elements import NUMBERS
from geomae.data.structure import Structure
from geomae.errors import StructureError
from geomae.generation.atoms.integration import Steps
from geomae.generation.crystals.candidates import candidates
from geomae.generation.crystals.flow import CrystalFlow
from geomae.generation.crystals.integration import drawn_elements, placed_crystals
from geomae.generation.crystals.request import SpaceGroupType, space_group_types
from geomae.generation.crystals.verify import TOLERANCE, found_by_moyo, symmetry_error
from geomae.generation.crystals.wanted import Wanted
from geomae.generation.latent_samples import SHARD
from geomae.generation.reading import Decoded, structure_or_fault
from geomae.generation.request import Asked
from geomae.metrics.crystals import is_valid
from geomae.wyckoff.template import Template


class CrystalSamples:
    """Makes samples by their numbers.

    Args:
        flow: a flow on crystals.
        model: the autoencoder that encodes what it makes.
        asked: what samples are to be; checked.
        counts: atoms of each element of a formula unit by symbol, if a formula is asked for.
        group: that samples have, if one is asked for.
        seed: of everything random.
        steps: how the flow is integrated.

    Raises:
        GroupError: whole orbits of the group can't come to the formula or the number of atoms.
        GeomaeError: whole formula units can't have so many atoms.
    """

    def __init__(
        self,
        flow: CrystalFlow,
        model: CrystalAutoencoder,
        asked: Asked,
        counts: Mapping[str, int] | None,
        group: SpaceGroupType | None,
        *,
        seed: int,
        steps: Steps,
    ):
        self.flow, self.model, self.group = flow, model, group
        self.seed, self.steps = seed, steps
        unit = None
        if counts is not None:
            table = {NUMBERS[symbol]: count for symbol, count in counts.items()}
            unit = np.array([table.get(z, 0) for z in flow.elements])
        self.wanted = Wanted(group, asked.formula, unit, asked.n_atoms, flow.config.max_atoms)
        self.skeletons = candidates(flow.templates, self.wanted, seed)

    def __call__(self, numbers: Sequence[int]) -> tuple[list[Decoded], Latents]:
        """What samples of some numbers are, and their latents.

        All of a shard are made, for rounding depends on the company.

        Args:
            numbers: ascending, of one shard.
        """
        first = numbers[0] - numbers[0] % SHARD
        shard = range(first, first + SHARD)
        generators = [np.random.default_rng([self.seed, 3, number]) for number in shard]
        templates = [self.skeletons(rng) for rng in generators]
        allowed = [self.wanted.allowed(own) for own in templates]
        elements = drawn_elements(self.flow, templates, allowed, generators)
        made = placed_crystals(
            self.flow, templates, elements, seed=self.seed, numbers=shard, steps=self.steps
        )
        array = torch.zeros(len(numbers), *self.model.encoder.latent_shape, dtype=self.model.dtype)
        found = []
        for place, number in enumerate(numbers):
            row = number - first
            fractions, cell = made[row]
            of_orbits = np.array(self.flow.elements)[elements[row][templates[row].member]]
            kinds = of_orbits[templates[row].owner]
            structure = Structure(kinds, fractions @ cell, cell=cell)
            decoded = self._checked(structure_or_fault(structure), templates[row])
            if decoded.structure is not None:
                decoded, array[place] = self._encoded(decoded)
            found.append(decoded)
        centres = torch.zeros(len(numbers), 3, dtype=torch.float64)
        return found, Latents(array, centres)

    def _encoded(self, decoded: Decoded) -> tuple[Decoded, torch.Tensor]:
        """A crystal about its anchor, and its latent; zero if the autoencoder can't take it."""
        structure = decoded.structure
        assert structure is not None, "only crystals are encoded"
        try:
            latents = self.model.encode([structure])
        except StructureError as error:
            nothing = torch.zeros(self.model.encoder.latent_shape, dtype=self.model.dtype)
            return Decoded(None, 0.0, False, decoded.group, f"the crystal {error.fault}"), nothing
        structure.positions = structure.positions - latents.centres[0]
        return decoded, latents.array[0]

    def _checked(self, decoded: Decoded, template: Template) -> Decoded:
        """What is returned of a crystal: with the group that moyo finds, and what is wrong."""
        structure = decoded.structure
        if structure is None:
            return decoded
        number = found_by_moyo(structure)
        name = space_group_types()[number - 1].name if number else None
        contained = number == template.number or (
            number > 0 and symmetry_error(structure, template) < TOLERANCE
        )
        if self.group is not None and not contained:
            fault = f"moyo finds {name or 'no group'}, not {self.group.name}, at {TOLERANCE:g} Å"
            return Decoded(None, decoded.residual, False, name, fault)
        if name is not None:
            structure.space_group = name
        fault = None if is_valid(structure) else "atoms are closer than 0.5 Å, or the cell is empty"
        return replace(decoded, group=name, fault=fault)
