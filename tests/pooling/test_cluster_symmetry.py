"""Clusters of symmetric molecules keep the whole point group."""

from functools import cache

import pytest
import torch
from ase.build import molecule
from torch import Tensor

from geomae.equivariant import spherical_harmonics
from geomae.pooling import MeanShiftBloom, propose_peaks, symmetric_cluster

ORDERS = {"benzene": 24, "cubane": 48, "C60": 120, "icosahedron": 120}


def atoms_of(name: str) -> tuple[Tensor, Tensor]:
    """Atomic numbers and positions in Å, centred."""
    if name == "cubane":
        corner = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).double()
        numbers = torch.tensor([6] * 8 + [1] * 8)
        return numbers, torch.cat([0.785 * corner, 1.42 * corner])
    if name == "icosahedron":
        golden = (1 + 5**0.5) / 2
        rows = [[0, a, b * golden] for a in (-1, 1) for b in (-1, 1)]
        corners = torch.tensor(rows, dtype=torch.float64)
        return torch.full((12,), 5), torch.cat([corners.roll(k, 1) for k in range(3)])
    atoms = molecule({"benzene": "C6H6"}.get(name, name))
    positions = torch.from_numpy(atoms.get_positions())
    return torch.from_numpy(atoms.numbers).long(), positions - positions.mean(0)


def frame(a: Tensor, b: Tensor, sign: float) -> Tensor:
    return torch.stack([a, b, sign * torch.linalg.cross(a, b)], -1)


def operations_of(positions: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Orthogonal matrices that keep a set of points, and the permutations that they make.

    Found by mapping one pair of points onto every pair of the same shape.
    """
    distances = torch.cdist(positions, positions)
    first = 0
    products = (positions @ positions[first]).abs() / positions.norm(dim=1)
    second = int(products.argmin())
    start = torch.linalg.inv(frame(positions[first], positions[second], 1.0))
    radii = positions.norm(dim=1)
    matches = (
        ((distances - distances[first, second]).abs() < tolerance)
        & ((radii - radii[first]).abs() < tolerance)[:, None]
        & ((radii - radii[second]).abs() < tolerance)[None]
    )
    found, permutations = [], []
    for i, j in torch.nonzero(matches).tolist():
        for sign in (1.0, -1.0):
            left, _, right = torch.linalg.svd(frame(positions[i], positions[j], sign) @ start)
            matrix = left @ right
            gaps = torch.cdist(positions @ matrix.T, positions)
            if gaps.amin(1).max() < tolerance:
                found.append(matrix)
                permutations.append(gaps.argmin(1))
    return torch.stack(found), torch.stack(permutations)


@cache
def symmetric(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers, positions and operations, the positions made exactly symmetric."""
    numbers, positions = atoms_of(name)
    for tolerance in (0.05, 0.02, 0.01, 1e-3):
        operations, permutations = operations_of(positions, tolerance)
        images = torch.stack(
            [positions[p] @ m for m, p in zip(operations, permutations, strict=True)]
        )
        positions = images.mean(0)
    return numbers, positions, operations


def keeps_group(centres: Tensor, operations: Tensor, tolerance: float = 1e-7) -> bool:
    images = torch.einsum("gij,nj->gni", operations, centres)
    gaps = (images[:, :, None] - centres).norm(dim=-1)
    return max(float(gaps.amin(1).max()), float(gaps.amin(2).max())) < tolerance


@pytest.mark.parametrize("name", ORDERS)
def test_the_group_has_its_order(name):
    assert len(symmetric(name)[2]) == ORDERS[name]


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("scale", [0.45, 0.6, 0.75, 0.9, 1.1, 1.4, 2.0, 3.0])
def test_clusters_of_modes_keep_the_group(name, scale):
    numbers, positions, operations = symmetric(name)
    weights = torch.where(numbers > 1, 6.0, 1.0).double()
    for place in ("centre", "mode"):
        proposals = MeanShiftBloom(scale, place=place)(positions, weights=weights)
        clusters = symmetric_cluster(
            proposals.positions, 0.05 * scale, proposals.batch, proposals.weights
        )
        assert keeps_group(clusters.centres, operations)


@pytest.mark.parametrize(
    "name, scale, size", [("benzene", 0.6, 6), ("cubane", 0.6, 8), ("C60", 1.2, 12)]
)
def test_groups_of_atoms_are_the_expected_ones(name, scale, size):
    numbers, positions, _ = symmetric(name)
    weights = torch.where(numbers > 1, 6.0, 1.0).double()
    proposals = MeanShiftBloom(scale)(positions, weights=weights)
    clusters = symmetric_cluster(proposals.positions, 0.05 * scale)
    members = torch.bincount(clusters.membership[1])
    assert members.tolist() == [len(positions) // size] * size


@pytest.mark.parametrize("name", ORDERS)
def test_clusters_of_peaks_keep_the_group(name):
    _, positions, operations = symmetric(name)
    gaps = torch.cdist(positions, positions)
    shortest = gaps[gaps > 0.1].min()
    near = (gaps > 0.1) & (gaps < 1.3 * shortest)
    i, j = torch.nonzero(near, as_tuple=True)
    harmonics = spherical_harmonics(6, positions[j] - positions[i])
    signals = harmonics.new_zeros(len(positions), 49).index_add(0, i, harmonics)
    proposals = propose_peaks(signals, positions, float(shortest) / 2)
    clusters = symmetric_cluster(
        proposals.positions, 0.1, proposals.batch, proposals.weights, proposals.source
    )
    assert len(clusters) > 1
    assert keeps_group(clusters.centres, operations)
