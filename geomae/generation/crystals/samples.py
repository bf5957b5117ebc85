"""Samples of a flow on crystals, by their numbers; of a space group, if one is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int

from geomae.autoencoder import Latents
from geomae.crystals.model import CrystalAutoencoder
from geomae.data.elements import NUMBERS
from geomae.data.structure import Structure
from geomae.errors import GeomaeError, StructureError
from geomae.generation.atoms.integration import Steps
from geomae.generation.crystals.flow import CrystalFlow
from geomae.generation.crystals.integration import drawn_elements, placed_crystals
from geomae.generation.crystals.request import SpaceGroupType, space_group_types
from geomae.generation.crystals.verify import TOLERANCE, found_by_moyo, symmetry_error
from geomae.generation.latent_samples import SHARD
from geomae.generation.reading import Decoded, structure_or_fault
from geomae.generation.request import Asked
from geomae.metrics.crystals import is_valid
from geomae.symmetry import GroupError
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
        GroupError: the data has no skeleton of the group, or none that the formula fills.
        GeomaeError: it has none for the formula or the number of atoms.
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
        self.unit: Int[np.ndarray, " elements"] | None = None
        if counts is not None:
            table = {NUMBERS[symbol]: count for symbol, count in counts.items()}
            self.unit = np.array([table.get(z, 0) for z in flow.elements])
        self.skeletons, self.shares = self._choices(asked)

    def _choices(self, asked: Asked) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Skeletons to draw from, and how often each is."""
        templates = self.flow.templates
        rows = np.arange(len(templates))
        if self.group is not None:
            rows = rows[templates.group[rows] == self.group.number]
            if not len(rows):
                raise GroupError(
                    f"no crystal of the flow's data has the space group {self.group.name} "
                    f"({self.group.number}), so it can't be made"
                )
        fits = [row for row in rows.tolist() if self._fits(templates.counts(row), asked.n_atoms)]
        if not fits:
            what = [asked.formula, asked.n_atoms and f"{asked.n_atoms} atoms a primitive cell"]
            words = " and ".join(str(part) for part in what if part)
            if self.group is None:
                raise GeomaeError(f"no crystal of the flow's data has sites for {words}")
            raise GroupError(
                f"{words} and {self.group.name} exclude each other in a primitive cell of at most "
                f"{self.flow.config.max_atoms} atoms: no skeleton of that space group in the "
                "flow's data has whole orbits for it"
            )
        chosen = np.array(fits)
        return chosen, templates.share[chosen] / templates.share[chosen].sum()

    def _fits(self, counts: Int[np.ndarray, " classes"], n_atoms: int | None) -> bool:
        """Whether a skeleton has the formula and number of atoms that are asked for."""
        if n_atoms is not None and counts.sum() != n_atoms:
            return False
        return self.unit is None or self._units(counts) is not None

    def _units(self, counts: Int[np.ndarray, " classes"]) -> int | None:
        """Formula units that the classes of a skeleton come to; None if to no whole number."""
        assert self.unit is not None, "asked where there is a formula"
        own = np.sort(self.unit[self.unit > 0])
        units, rest = divmod(int(counts.sum()), int(own.sum()))
        return None if rest or not np.array_equal(np.sort(counts), units * own) else units

    def _allowed(self, template: Template) -> Float[np.ndarray, "classes elements"] | None:
        """Which elements each class may have; None if any."""
        if self.unit is None:
            return None
        counts = template.counts()
        units = self._units(counts)
        assert units is not None, "skeletons were chosen so"
        return (counts[:, None] == units * self.unit).astype(np.float64)

    def __call__(self, numbers: Sequence[int]) -> tuple[list[Decoded], Latents]:
        """What samples of some numbers are, and their latents.

        All of a shard are made, for rounding depends on the company.

        Args:
            numbers: ascending, of one shard.
        """
        first = numbers[0] - numbers[0] % SHARD
        shard = range(first, first + SHARD)
        generators = [np.random.default_rng([self.seed, 3, number]) for number in shard]
        rows = [int(rng.choice(self.skeletons, p=self.shares)) for rng in generators]
        templates = [self.flow.templates[row] for row in rows]
        allowed = [self._allowed(own) for own in templates]
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
