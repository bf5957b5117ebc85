"""Atoms at random, where nothing or little is known of them."""

from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

ATOM_VOLUME = 9.0
"""Å^3 an atom."""

SHAKEN = (0.1, 0.6)
"""Å by which atoms of a mutant are moved, from and to."""

BOND = 1.5
"""Å from the atom beside which a mutant's is put."""


def ball(n: int, k: int, generator: torch.Generator) -> Float[Tensor, "k n 3"]:
    """Points spread evenly in a ball that such a structure would fill, none upon another."""
    radius = (3 * ATOM_VOLUME * n / (4 * torch.pi)) ** (1 / 3)
    directions = torch.randn(k, n, 3, generator=generator, dtype=torch.float64)
    directions = torch.nn.functional.normalize(directions, dim=2)
    shares = torch.rand(k, n, 1, generator=generator, dtype=torch.float64)
    points = radius * directions * shares ** (1 / 3)
    for _ in range(10):
        gaps = points[:, :, None] - points[:, None]
        lengths = gaps.norm(dim=3, keepdim=True).clamp(min=1e-6)
        push = (1.0 - lengths).clamp(min=0) * gaps / lengths / 2
        points = points + push.sum(2)
    return points


def mutated(
    parents: Float[Tensor, "p n 3"], k: int, generator: torch.Generator
) -> Float[Tensor, "k n 3"]:
    """Structures near some of the parents: shaken, or with one atom put beside another."""
    n = parents.shape[1]
    made = parents[torch.randint(len(parents), (k,), generator=generator)]
    size = torch.rand(k, 1, 1, generator=generator, dtype=torch.float64)
    size = SHAKEN[0] + (SHAKEN[1] - SHAKEN[0]) * size
    made = made + size * torch.randn(made.shape, generator=generator, dtype=torch.float64)
    rows = torch.arange(k // 2)
    moved, beside = torch.randint(n, (2, k // 2), generator=generator)
    away = torch.randn(k // 2, 3, generator=generator, dtype=torch.float64)
    away = BOND * torch.nn.functional.normalize(away, dim=1)
    made[rows, moved] = made[rows, beside] + away
    return made


def sphere_points(n: int) -> Float[Tensor, "n 3"]:
    """Directions spread evenly over the sphere, along a Fibonacci spiral."""
    step = torch.arange(n, dtype=torch.float64)
    height = 1 - (2 * step + 1) / n
    angle = pi * (5**0.5 - 1) * step
    reach = (1 - height.square()).sqrt()
    return torch.stack([reach * angle.cos(), reach * angle.sin(), height], 1)


def random_directions(
    radii: Float[Tensor, " n"], k: int, generator: torch.Generator
) -> Float[Tensor, "k n 3"]:
    """Points at given distances from the origin, in directions at random."""
    noise = torch.randn(k, len(radii), 3, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(noise, dim=2) * radii[:, None]
