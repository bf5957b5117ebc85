"""Fields on the ball around a point: radial functions times spherical harmonics."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.equivariant.harmonics import dim, soften, spherical_harmonics
from geomae.equivariant.radial import RadialBasis
from geomae.sphere.ascent import Maxima, follow, maximise, merge_maxima


@dataclass(frozen=True)
class BallPeaks:
    """Local maxima of fields, sorted by field, then by falling value.

    Attributes:
        positions: `[p, 3]` in Å.
        values: `[p]`.
        curvatures: eigenvalues of the Hessian, ascending, all negative, `[p, 3]` in 1/Å^2.
        field: field that each belongs to, `[p]`.
        degenerate: of each field: it has maxima that aren't points (rings, shells, plateaus),
            which are not among the peaks, `[n]`.
    """

    positions: Float[Tensor, "p 3"]
    values: Float[Tensor, " p"]
    curvatures: Float[Tensor, "p 3"]
    field: Int[Tensor, " p"]
    degenerate: Bool[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.field)


class BallField:
    """Fields `f(r) = sum_n,lm c_n,lm R_n(|r|) Y_lm(r)` around a point.

    Radial functions are Gaussians, evenly spaced from the centre to the rim. Directions are
    softened, which makes the fields smooth at the centre. Fields turn with their
    coefficients, degree by degree, with natural parity.

    Args:
        coefficients: of each field, `[n, radial, (lmax + 1)^2]`.
        radius: of the ball, in Å.
        softening: length in Å below which directions fade.
    """

    def __init__(
        self, coefficients: Float[Tensor, "n r m"], radius: float, *, softening: float = 0.5
    ):
        components = coefficients.shape[-1]
        lmax = round(components**0.5) - 1
        if coefficients.ndim != 3 or 0 in coefficients.shape[1:] or dim(lmax) != components:
            raise ValueError(
                "expected coefficients [fields, radial functions, (lmax + 1)^2], got "
                f"{list(coefficients.shape)}"
            )
        if radius <= 0 or softening <= 0:
            raise ValueError(
                f"expected positive radius and softening in Å, got {radius} and {softening}"
            )
        self.coefficients, self.radius, self.softening = coefficients, radius, softening
        self.lmax = lmax
        reach = (radius**2 + softening**2) ** 0.5
        self.basis = RadialBasis(coefficients.shape[1], reach, kind="gaussian", envelope=False)

    def __len__(self) -> int:
        return len(self.coefficients)

    def evaluate(
        self, positions: Float[Tensor, "p 3"], field: Int[Tensor, " p"] | None = None
    ) -> Float[Tensor, "*values"]:
        """Values at positions in Å: of all fields at all of them `[n, p]`, or one each `[p]`.

        Args:
            positions: displacements from the centre.
            field: the field to evaluate at each position; without it, every field at every one.
        """
        vectors, lengths = soften(positions, self.softening)
        harmonics = spherical_harmonics(self.lmax, vectors, normalize=False)
        radial = self.basis(lengths)
        if field is None:
            return torch.einsum("nrm,pr,pm->np", self.coefficients, radial, harmonics)
        own = self.coefficients[field]
        return (torch.einsum("prm,pm->pr", own, harmonics) * radial).sum(1)

    def find_peaks(
        self, *, threshold: float | None = None, spacing: float | None = None
    ) -> BallPeaks:
        """The maxima in the ball.

        Local maxima on a cubic grid climb by Newton steps within a trust region. As on the
        sphere, what the grid can't tell apart counts once. Positions and values carry gradients
        to the coefficients if these require them, to first order.

        Args:
            threshold: least value of a peak; None for all maxima.
            spacing: of the grid, in Å; by default several points for each wave of the fields.
        """
        waves = max(self.basis.n - 1, self.lmax, 1)
        spacing = spacing or min(self.radius / (2 * waves), self.radius / 4)
        with torch.no_grad():
            seeds, field = self._grid_maxima(spacing)
            lost = self.radius + 3 * spacing
            climbed = maximise(self._detached.evaluate, seeds, field, reach=spacing, radius=lost)
            ended = climbed.curvatures[:, -1]
            size = climbed.curvatures.abs().amax(1)
            flat = ~climbed.converged & (ended.abs() <= 1e-4 * size)
            flat &= climbed.slopes <= 1e-4 * size * spacing
            degenerate = torch.zeros(len(self), dtype=torch.bool, device=seeds.device)
            degenerate[field[flat]] = True
            maxima = merge_maxima(climbed, tolerance=spacing / 4)
            inside = maxima.positions.norm(dim=1) <= self.radius
            if threshold is not None:
                inside &= maxima.values >= threshold
            maxima = maxima[inside]
        peaks = BallPeaks(
            maxima.positions, maxima.values, maxima.curvatures, maxima.owner, degenerate
        )
        if torch.is_grad_enabled() and self.coefficients.requires_grad:
            return self.follow(peaks)
        return peaks

    def follow(self, peaks: BallPeaks) -> BallPeaks:
        """The same peaks, differentiable in the coefficients by the implicit function theorem."""
        maxima = Maxima(
            peaks.positions.detach(),
            peaks.values.detach(),
            peaks.curvatures,
            peaks.field,
            torch.ones_like(peaks.field, dtype=torch.bool),
            torch.zeros_like(peaks.values),
            torch.zeros_like(peaks.curvatures).diag_embed(),
        )
        rest = {f.name: getattr(peaks, f.name) for f in fields(peaks)}
        rest["positions"] = follow(self.evaluate, maxima)
        rest["values"] = self.evaluate(maxima.positions, peaks.field)
        return BallPeaks(**rest)

    @property
    def _detached(self) -> "BallField":
        return BallField(self.coefficients.detach(), self.radius, softening=self.softening)

    def _grid_maxima(self, spacing: float) -> tuple[Tensor, Tensor]:
        """Places on a cubic grid as high as the six beside them, and their fields."""
        steps = int(self.radius / spacing) + 2
        like = self.coefficients
        axis = spacing * torch.arange(-steps, steps + 1, dtype=like.dtype, device=like.device)
        grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
        inside = grid.norm(dim=-1) <= self.radius + 1.5 * spacing
        values = like.new_full((len(self), *inside.shape), -torch.inf)
        if not len(self):
            return grid.new_zeros(0, 3), torch.zeros(0, dtype=torch.long, device=like.device)
        values[:, inside] = self._detached.evaluate(grid[inside])
        peaked = inside.expand_as(values)
        for kernel in ((3, 1, 1), (1, 3, 1), (1, 1, 3)):
            padding = tuple(side // 2 for side in kernel)
            line = torch.nn.functional.max_pool3d(values, kernel, stride=1, padding=padding)
            peaked = peaked & (values >= line)
        field, *place = torch.nonzero(peaked, as_tuple=True)
        return grid[tuple(place)], field
