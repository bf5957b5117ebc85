"""Point groups in their standard setting, and the algebra of their operations."""

from functools import lru_cache
from math import cos, pi, sin, sqrt

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.symmetry.errors import GroupError
from geomae.symmetry.naming import Symbol, read_symbol

STEPS = 30
"""Order of the axis that stands for an infinite one: as good for degrees below it."""

GOLDEN = (1 + sqrt(5)) / 2


@lru_cache(maxsize=256)
def standard_operations(name: str) -> Float[Tensor, "g 3 3"]:
    """Matrices of a group in its standard setting, identity first, rotations before the rest.

    The principal axis is z, C2' of D groups and the mirrors of Cnv hold x, the mirror of Cs is
    normal to z. Cubic groups have their C2 or C4 axes on x, y, z, so have icosahedral ones
    their C2 axes, with C5 in the plane xz. An infinite axis is stood for by one of order 30, K
    and Kh by I and Ih.
    """
    symbol = read_symbol(name)
    if symbol.family in "TOIK":
        return _polyhedral(symbol)
    eye = torch.eye(3, dtype=torch.float64)
    if symbol.family == "Cs":
        return torch.stack([eye, _flip(1, 1, -1)])
    if symbol.family == "Ci":
        return torch.stack([eye, -eye])
    return _axial(symbol)


def _axial(symbol: Symbol) -> Tensor:
    n = STEPS if symbol.infinite else symbol.n
    if symbol.family == "S":
        even = torch.stack([about_z(k, n) for k in range(0, n, 2)])
        odd = torch.stack([about_z(k, n) for k in range(1, n, 2)])
        return torch.cat([even, odd @ _flip(1, 1, -1)])
    result = torch.stack([about_z(k, n) for k in range(n)])
    if symbol.family == "D":
        result = torch.cat([result, result @ _flip(1, -1, -1)])
    if symbol.suffix == "v":
        result = torch.cat([result, result @ _flip(1, -1, 1)])
    if symbol.suffix == "h":
        result = torch.cat([result, result @ _flip(1, 1, -1)])
    if symbol.suffix == "d":
        turns = torch.stack([about_z(2 * k + 1, 2 * n) for k in range(n)])
        result = torch.cat([result, turns @ _flip(1, 1, -1), turns @ _flip(1, -1, 1)])
    return result


def _polyhedral(symbol: Symbol) -> Tensor:
    family, suffix = ("I" if symbol.family == "K" else symbol.family), symbol.suffix
    cycle = torch.eye(3, dtype=torch.float64).roll(1, 0)
    generators = [_flip(-1, -1, 1), _flip(1, -1, -1), cycle]
    if family == "O":
        generators.append(about_z(1, 4))
    if family == "I":
        long, short = GOLDEN / 2, 1 / (2 * GOLDEN)
        generators.append(_five_fold(long, short))
    if suffix == "h":
        generators.append(-torch.eye(3, dtype=torch.float64))
    if suffix == "d":
        generators.append(about_z(1, 4) @ _flip(1, 1, -1))
    made = generated(torch.stack(generators))
    values = torch.tensor([0, 0.5, 1, GOLDEN / 2, 1 / (2 * GOLDEN)], dtype=torch.float64)
    values = torch.cat([values, -values[1:]])
    exact = values[(made[..., None] - values).abs().argmin(-1)]
    return exact[torch.argsort(torch.linalg.det(exact) < 0, stable=True)]


def _five_fold(long: float, short: float) -> Tensor:
    """The rotation by 72 degrees about (1, 0, golden ratio)."""
    axis = torch.tensor([1.0, 0.0, GOLDEN], dtype=torch.float64)
    return rotation_about(axis, 2 * pi / 5)


def about_z(k: int, n: int) -> Float[Tensor, "3 3"]:
    """Rotation by k/n turns about z; exact for quarters."""
    quarters = {0: (1.0, 0.0), 1: (0.0, 1.0), 2: (-1.0, 0.0), 3: (0.0, -1.0)}
    angle = 2 * pi * (k % n) / n
    c, s = quarters[4 * k // n % 4] if (4 * k) % n == 0 else (cos(angle), sin(angle))
    return torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)


def rotation_about(axis: Float[Tensor, "3"], angle: float) -> Float[Tensor, "3 3"]:
    """Rotation by an angle about an axis of any length."""
    x, y, z = (axis / axis.norm()).tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.eye(3, dtype=torch.float64) + sin(angle) * cross + (1 - cos(angle)) * cross @ cross


def _flip(*signs: int) -> Tensor:
    return torch.diag(torch.tensor(signs, dtype=torch.float64))


def generated(generators: Float[Tensor, "k 3 3"], *, largest: int = 1000) -> Float[Tensor, "g 3 3"]:
    """All products of some operations, identity first.

    Raises:
        GroupError: they generate more than `largest` operations: no finite group is meant.
    """
    found = torch.eye(3, dtype=torch.float64)[None]
    while True:
        products = torch.cat([found, (generators[:, None] @ found).flatten(0, 1)])
        unique = distinct(products)
        if len(unique) == len(found):
            return found
        if len(unique) > largest:
            raise GroupError(f"these operations generate more than {largest}: no finite group")
        found = unique


def distinct(matrices: Float[Tensor, "k 3 3"], gap: float = 1e-4) -> Float[Tensor, "g 3 3"]:
    """Matrices without repetition, each at its first place."""
    if not len(matrices):
        return matrices
    far = torch.cdist(matrices.flatten(1), matrices.flatten(1)) > gap
    first = (~far).to(torch.int8).argmax(1)
    return matrices[first == torch.arange(len(matrices))]


def locate(
    matrices: Float[Tensor, "*batch 3 3"], among: Float[Tensor, "g 3 3"]
) -> tuple[Int[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Number of the nearest operation for each matrix, and the Frobenius distance to it."""
    overlap = matrices.flatten(-2) @ among.flatten(1).T
    best = overlap.max(-1).indices
    return best, (matrices - among[best]).flatten(-2).norm(dim=-1)


def multiplication_table(operations: Float[Tensor, "g 3 3"]) -> Int[Tensor, "g g"]:
    """Number of the operation "first b, then a" for each a and b.

    Raises:
        GroupError: the operations are no group.
    """
    table, gaps = locate(operations[:, None] @ operations, operations)
    if gaps.max() > 1e-6:
        raise GroupError("these operations are no group: a product of two is not among them")
    return table
