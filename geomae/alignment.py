"""Turning one latent onto another, so that what lies between them has a meaning."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from torch import Tensor

from geomae.autoencoder.latents import Latents
from geomae.equivariant import wigner_matrices
from geomae.errors import GeomaeError

STARTS = 256
"""Rotations, evenly spread by chance, from which the best are refined."""

REFINED = 4


def align(
    reference: Latents, moving: Latents, *, improper: bool = False, starts: int = STARTS
) -> Float[Tensor, "3 3"]:
    """The rotation R for which `moving.rotate(R)` is closest to `reference`.

    Latents of the same molecule in two orientations then agree; of different molecules, the
    parts that are alike come to lie on each other. The best of many rotations, always the same
    ones, are refined; scalars don't count, for they don't turn.

    Args:
        reference, moving: batches of one, of the same shape.
        improper: allow reflections, too.
        starts: rotations to start from.

    Raises:
        GeomaeError: the latents are not one and one, or have different shapes.
    """
    if len(reference) != 1 or len(moving) != 1 or reference.array.shape != moving.array.shape:
        raise GeomaeError(
            "alignment takes two batches of one latent of the same shape, got "
            f"{list(reference.array.shape)} and {list(moving.array.shape)}"
        )
    products = _products(reference.array[0].double(), moving.array[0].double())
    signs = (1.0, -1.0) if improper else (1.0,)
    best, most = torch.eye(3, dtype=torch.float64), -np.inf
    for sign in signs:
        turned = [table * sign**degree for degree, table in enumerate(products)]

        def loss(vector: np.ndarray, tables: list[Tensor] = turned) -> float:
            return -_overlap(_matrix(vector), tables)

        vectors = Rotation.random(starts, rng=np.random.default_rng(0)).as_rotvec()
        for vector in sorted(vectors, key=loss)[:REFINED]:
            found = minimize(loss, vector, method="BFGS", options={"gtol": 1e-10})
            if -found.fun > most:
                best, most = sign * _matrix(found.x), -found.fun
    return best


def _products(a: Tensor, b: Tensor) -> list[Tensor]:
    """For each degree the products of components, summed over channels, `[m, m]`."""
    lmax = round(a.shape[0] ** 0.5) - 1
    sizes = [2 * degree + 1 for degree in range(lmax + 1)]
    tables = [x @ y.T for x, y in zip(a.split(sizes), b.split(sizes), strict=True)]
    size = sum(float(table.norm()) for table in tables[1:]) or 1.0
    return [table / size for table in tables]


def _overlap(matrix: Tensor, products: list[Tensor]) -> float:
    """Inner product of the one latent and the turned other, over all but scalars."""
    turns = wigner_matrices(len(products) - 1, matrix)
    pairs = zip(turns[1:], products[1:], strict=True)
    return float(sum((turn * product).sum() for turn, product in pairs))


def _matrix(vector: np.ndarray) -> Tensor:
    return torch.from_numpy(Rotation.from_rotvec(vector).as_matrix())
