"""Signals: functions on the sphere, given by coefficients of spherical harmonics.

A signal's value is `sum_m c_m Y_m`, with the harmonics of `geomae.equivariant` ('component'
normalisation, e3nn's order: l = 1 is x, y, z). They are orthonormal under the mean over the sphere:
a coefficient is the mean of signal times harmonic, the first is the signal's mean, and the
sum of squares is the mean square.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.equivariant.harmonics import spherical_harmonics
from geomae.equivariant.quadrature import sphere_quadrature
from geomae.sphere.series import lmax_of, scaled_parts, series


@dataclass(frozen=True)
class SphereDerivatives:
    """A signal's value, slope and curvature at directions.

    Attributes:
        values: `[*]`.
        gradients: on the sphere, as vectors in space tangent to it, per radian, `[*, 3]`.
        hessians: covariant, as matrices in space; the direction itself is in the null space,
            `[*, 3, 3]`.
    """

    values: Float[Tensor, "*batch"]
    gradients: Float[Tensor, "*batch 3"]
    hessians: Float[Tensor, "*batch 3 3"]


def project(
    vectors: Float[Tensor, "p 3"],
    lmax: int,
    weights: Float[Tensor, " p"] | None = None,
    batch: Int[Tensor, " p"] | None = None,
    *,
    size: int | None = None,
) -> Float[Tensor, "n m"]:
    """Signals that are sums of weighted delta functions, up to degree `lmax`.

    A delta function is normalised to a mean of 1 over the sphere (an integral of 4 pi), so that
    the first coefficient is the sum of weights; its height is (lmax + 1)^2.

    Args:
        vectors: towards the delta functions; their lengths don't matter. A zero vector has no
            direction: it's a constant, and counts in degree 0 only.
        lmax: highest degree.
        weights: 1 by default.
        batch: signal of each vector; without it there is one signal.
        size: number of signals, if the last ones may have no vector.

    Returns:
        `[n, (lmax + 1)^2]`.
    """
    length = vectors.square().sum(-1, keepdim=True)
    zero = length == 0
    safe = torch.where(zero, torch.ones_like(vectors), vectors)
    harmonics = spherical_harmonics(lmax, safe)
    above = torch.arange(harmonics.shape[1], device=vectors.device) > 0
    harmonics = torch.where(zero & above, torch.zeros_like(harmonics), harmonics)
    if weights is not None:
        harmonics = harmonics * weights[:, None]
    if batch is None:
        batch, size = torch.zeros_like(zero[:, 0], dtype=torch.long), size or 1
    if size is None:
        size = int(batch.max()) + 1 if len(batch) else 0
    return harmonics.new_zeros(size, harmonics.shape[1]).index_add(0, batch, harmonics)


def evaluate(
    coefficients: Float[Tensor, "*signals m"], directions: Float[Tensor, "*points 3"]
) -> Float[Tensor, "*batch"]:
    """Values of signals at directions.

    Leading axes broadcast: `[m]` at `[g, 3]` gives `[g]`, `[n, 1, m]` at `[g, 3]` gives `[n, g]`,
    and `[p, m]` at `[p, 3]` one value for each signal at its own direction.

    Args:
        coefficients: of all degrees 0 to some lmax.
        directions: of any length but zero.
    """
    harmonics = spherical_harmonics(lmax_of(coefficients), directions)
    return torch.einsum("...m,...m->...", coefficients, harmonics.to(coefficients))


def evaluate_derivatives(
    coefficients: Float[Tensor, "*signals m"], directions: Float[Tensor, "*points 3"]
) -> SphereDerivatives:
    """Values, gradients and Hessians of signals on the sphere; leading axes broadcast.

    Args:
        coefficients: of all degrees 0 to some lmax.
        directions: of any length but zero; the derivatives are those on the unit sphere.
    """
    shape = torch.broadcast_shapes(coefficients.shape[:-1], directions.shape[:-1])
    own = coefficients.expand(*shape, -1).flatten(0, -2) if shape else coefficients[None]
    points = directions.to(own).expand(*shape, 3).reshape(-1, 3)
    points = torch.nn.functional.normalize(points, dim=1)
    jet = series(scaled_parts(own).T.contiguous(), points.T.contiguous())
    slope = jet.gradient.T
    entries = torch.tensor([0, 3, 4, 3, 1, 5, 4, 5, 2], device=own.device)
    matrix = jet.hessian[entries].T.reshape(-1, 3, 3)
    eye = torch.eye(3, dtype=own.dtype, device=own.device)
    tangent = eye - points[:, :, None] * points[:, None]
    radial = (points * slope).sum(1)[:, None, None]
    return SphereDerivatives(
        jet.value.reshape(shape),
        (tangent @ slope[..., None]).reshape(*shape, 3),
        (tangent @ matrix @ tangent - radial * tangent).reshape(*shape, 3, 3),
    )


def rotate(
    coefficients: Float[Tensor, "*batch m"], matrix: Float[Tensor, "*matrices 3 3"]
) -> Float[Tensor, "*all m"]:
    """Signals that are turned or reflected: the result at `R x` is the signal at `x`.

    Evaluated on the turned nodes of an exact quadrature: no angles, no singular orientations, and
    differentiable in the matrix. Degrees l have natural parity (-1)^l.

    Args:
        coefficients: of all degrees 0 to some lmax.
        matrix: orthogonal, proper or improper; leading axes broadcast with those of the
            coefficients.

    Raises:
        ValueError: if the matrix isn't orthogonal.
    """
    lmax = lmax_of(coefficients)
    eye = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    if not torch.allclose(matrix.detach() @ matrix.detach().mT, eye, atol=1e-4):
        raise ValueError("expected an orthogonal matrix, got one whose rows aren't orthonormal")
    nodes, weights = (part.to(coefficients) for part in sphere_quadrature(max(1, 2 * lmax)))
    sampled = spherical_harmonics(lmax, nodes) * weights[:, None]
    turned = spherical_harmonics(lmax, nodes @ matrix.to(coefficients))
    return torch.einsum("...gm,gk,...m->...k", turned, sampled, coefficients)
