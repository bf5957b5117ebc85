"""What the tests of pooling share."""

import pytest
import torch

from geomae.equivariant import spherical_harmonics


@pytest.fixture
def wigner():
    """How features of natural parity turn, exact in float64, improper rotations included."""

    def matrix(lmax: int, rotation: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        directions = torch.randn(8 * (lmax + 1) ** 2, 3, generator=generator, dtype=torch.float64)
        before = spherical_harmonics(lmax, directions)
        after = spherical_harmonics(lmax, directions @ rotation.T)
        return torch.linalg.lstsq(before, after).solution.T

    return matrix
