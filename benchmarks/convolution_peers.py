"""e3nn's tensor products as convolution layers, and batches to time layers on."""

from dataclasses import dataclass
from functools import cached_property

import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from torch import Tensor, nn

from geomae.equivariant import Layout, RadialBasis, irreps_of, spherical_harmonics
from geomae.testing import edges_within, random_molecule


@dataclass(frozen=True)
class Batch:
    """Molecules of equal size, as edges and as tables of pairs.

    Attributes:
        positions: `[molecules, atoms, 3]`, in Å.
        cutoff: in Å.
    """

    positions: Tensor
    cutoff: float

    @property
    def device(self) -> torch.device:
        return self.positions.device

    @property
    def shape(self) -> tuple[int, int]:
        return self.positions.shape[0], self.positions.shape[1]

    @property
    def n_points(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def n_edges(self) -> int:
        return self.edges.shape[1]

    @property
    def neighbours(self) -> float:
        return self.n_edges / self.n_points

    @cached_property
    def edges(self) -> Tensor:
        molecules, atoms = self.shape
        batch = torch.arange(molecules, device=self.device).repeat_interleave(atoms)
        source, target = edges_within(self.positions.flatten(0, 1), self.cutoff, batch)
        order = torch.argsort(target, stable=True)
        return torch.stack([source[order], target[order]])

    @cached_property
    def vectors(self) -> Tensor:
        flat = self.positions.flatten(0, 1)
        return flat[self.edges[0]] - flat[self.edges[1]]

    @cached_property
    def pairs(self) -> Tensor:
        return self.positions[:, None] - self.positions[:, :, None]

    def harmonics(self, lmax: int) -> Tensor:
        return spherical_harmonics(lmax, self.vectors)

    def radial(self, n: int) -> Tensor:
        return RadialBasis(n, self.cutoff, kind="gaussian")(self.vectors.norm(dim=-1))

    def pair_harmonics(self, lmax: int) -> Tensor:
        return spherical_harmonics(lmax, self.pairs)

    def pair_radial(self, n: int) -> Tensor:
        radial = RadialBasis(n, self.cutoff, kind="gaussian")(self.pairs.norm(dim=-1))
        others = ~torch.eye(self.shape[1], dtype=torch.bool, device=self.device)
        return radial * others[..., None]


def random_batch(molecules: int, atoms: int, cutoff: float, device: str) -> Batch:
    """Random molecules, float32."""
    generator = torch.Generator().manual_seed(0)
    drawn = [random_molecule(generator, n_atoms=atoms) for _ in range(molecules)]
    positions = torch.stack([molecule.positions for molecule in drawn])
    return Batch(positions.float().to(device), cutoff)


class FullyConnected(nn.Module):
    """e3nn's FullyConnectedTensorProduct with weights from an MLP of the distance."""

    def __init__(self, channels: int, degree: int, n_radial: int, neighbours: float):
        super().__init__()
        irreps, harmonics = irreps_of(Layout(degree), channels), irreps_of(Layout(degree), 1)
        self.product = o3.FullyConnectedTensorProduct(
            irreps, harmonics, irreps, shared_weights=False
        )
        self.radial = e3nn_nn.FullyConnectedNet(
            [n_radial, 64, self.product.weight_numel], torch.nn.functional.silu
        )
        self.scale = neighbours**-0.5

    def forward(self, features: Tensor, harmonics: Tensor, radial: Tensor, edges: Tensor) -> Tensor:
        source, target = edges
        messages = self.product(features[source], harmonics, self.radial(radial))
        return torch.zeros_like(features).index_add(0, target, messages) * self.scale


class Depthwise(nn.Module):
    """e3nn's 'uvu' product between linear maps, weights from an MLP: as in NequIP and MACE."""

    def __init__(self, channels: int, degree: int, n_radial: int, neighbours: float):
        super().__init__()
        irreps, harmonics = irreps_of(Layout(degree), channels), irreps_of(Layout(degree), 1)
        middle, paths = [], []
        for i, (mul, left) in enumerate(irreps):
            for j, (_, filtered) in enumerate(harmonics):
                for end in left * filtered:
                    if end in irreps:
                        paths.append((i, j, len(middle), "uvu", True))
                        middle.append((mul, end))
        ends, order, _ = o3.Irreps(middle).sort()
        paths = [(i, j, order[k], mode, train) for i, j, k, mode, train in paths]
        self.before, self.after = o3.Linear(irreps, irreps), o3.Linear(ends.simplify(), irreps)
        self.product = o3.TensorProduct(
            irreps, harmonics, ends, paths, shared_weights=False, internal_weights=False
        )
        self.radial = e3nn_nn.FullyConnectedNet(
            [n_radial, 64, 64, self.product.weight_numel], torch.nn.functional.silu
        )
        self.scale = neighbours**-0.5

    def forward(self, features: Tensor, harmonics: Tensor, radial: Tensor, edges: Tensor) -> Tensor:
        source, target = edges
        mixed = self.before(features)[source]
        messages = self.product(mixed, harmonics, self.radial(radial))
        summed = messages.new_zeros(len(features), messages.shape[1])
        return self.after(summed.index_add(0, target, messages) * self.scale)
