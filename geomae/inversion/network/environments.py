"""Environments of atoms in molecules as batches, each in its own frame."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.data.sources.qm9 import load_qm9, split_indices
from geomae.inversion.network.config import EnvironmentData
from geomae.training.order import Order, noise_seed


@dataclass(frozen=True)
class Environments:
    """Atoms around centres, padded.

    Attributes:
        numbers: atomic numbers, 0 where there is no atom.
        vectors: from the centre, in Å.
    """

    numbers: Int[Tensor, "b n"]
    vectors: Float[Tensor, "b n 3"]

    @property
    def present(self) -> Bool[Tensor, "b n"]:
        return self.numbers > 0

    def turned(self, frames: Float[Tensor, "b 3 3"]) -> "Environments":
        """In coordinates along frames, given as rows."""
        return Environments(self.numbers, self.vectors @ frames.mT)


class EnvironmentBatches:
    """Batches of environments in an order that the seed and the step decide, epoch by epoch."""

    def __init__(self, config: EnvironmentData, batch_size: int, seed: int):
        self.config, self.data, self.seed = config, load_qm9(), seed
        self.order = Order(split_indices(config.split), batch_size, seed, "structures")

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> Environments:
        rows = self.order.part(step, part, parts)
        chance = torch.Generator().manual_seed(noise_seed(self.seed, step, part))
        drawn = self._around(torch.from_numpy(rows), chance)
        return drawn.turned(canonical_frames(drawn))

    def _around(self, rows: Int[Tensor, " b"], chance: torch.Generator) -> Environments:
        """What is within a random cutoff of a random atom, two atoms at least."""
        starts = self.data.offsets[rows]
        sizes = self.data.offsets[rows + 1] - starts
        place = torch.arange(int(sizes.max()))
        inside = place < sizes[:, None]
        atoms = torch.where(inside, starts[:, None] + place, 0)
        centre = (torch.rand(len(rows), generator=chance) * sizes).long()
        positions = self.data.positions[atoms]
        vectors = positions - positions[torch.arange(len(rows)), centre][:, None]
        lengths = vectors.norm(dim=2)
        span = self.config.longest - self.config.shortest
        cutoff = self.config.shortest + span * torch.rand(len(rows), 1, generator=chance)
        seen = inside & (lengths < cutoff) & (place != centre[:, None])
        enough = seen.sum(1) >= 2
        numbers = torch.where(seen, self.data.numbers[atoms].long(), 0)[enough]
        return Environments(numbers, vectors[enough] * seen[enough][..., None])


def canonical_frames(environments: Environments) -> Float[Tensor, "b 3 3"]:
    """Axes that turn with environments, as rows; left-handed for one of two mirror images.

    By Gram and Schmidt from sums of vectors, `sum_i exp(-r_i^2 / 2s^2) r_i`: of heavy atoms
    with s = 3 Å, of hydrogens with s = 1.5 Å; the third is on the side of the sum of all
    with `|r_i|^2 r_i`. Two vectors are parallel more rarely than eigenvalues of a tensor coincide,
    so the axes jump in fewer places. Those of symmetric environments are arbitrary.
    """
    vectors, numbers = environments.vectors, environments.numbers
    squares = vectors.square().sum(-1)
    heavy, light = (numbers > 1).to(vectors), (numbers == 1).to(vectors)
    present = heavy + light
    weights = (
        heavy * torch.exp(-squares / 18) + 1e-3 * present,
        light * torch.exp(-squares / 4.5) + 1e-3 * heavy,
        present * squares,
    )
    sums = [torch.einsum("bn,bna->ba", weight, vectors) for weight in weights]
    first = _unit(sums[0], torch.tensor([0.0, 0.0, 1.0]).to(vectors))
    aside = sums[1] - (sums[1] * first).sum(1, keepdim=True) * first
    other = torch.nn.functional.one_hot(first.abs().argmin(1), 3).to(vectors)
    spare = other - (other * first).sum(1, keepdim=True) * first
    second = _unit(aside, spare / spare.norm(dim=1, keepdim=True))
    third = torch.linalg.cross(first, second)
    side = torch.where((sums[2] * third).sum(1, keepdim=True) < 0, -1.0, 1.0)
    return torch.stack([first, second, side * third], 1)


def _unit(vectors: Float[Tensor, "b 3"], otherwise: Float[Tensor, "*b 3"]) -> Tensor:
    lengths = vectors.norm(dim=1, keepdim=True)
    return torch.where(lengths > 1e-9, vectors / lengths.clamp(min=1e-9), otherwise)
