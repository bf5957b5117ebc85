"""Blooming: how points propose the places of new ones."""

from math import inf
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch_geometric.utils import to_dense_batch

from geomae.equivariant import Linear, dim, spherical_harmonics
from geomae.pooling.cluster import symmetric_cluster
from geomae.pooling.growth import CLUSTER_FRACTION
from geomae.pooling.mean_shift import mean_shift
from geomae.pooling.proposals import Points, PoolingError, Proposals, check_features, points_of
from geomae.pooling.tree import weighted_means


class MeanShiftBloom(nn.Module):
    """Every point climbs to a mode of the points' density; those that meet there are a group.

    No parameters. What a point proposes is the weighted centre of its group, linear in the
    points as in `grow_tree`, or the mode itself: the fixed point of the kernel's weighted mean,
    through which gradients go by the implicit function theorem.

    Args:
        scale: width of the density's kernel, in Å.
        place: propose the group's 'centre' or its 'mode'.
    """

    def __init__(self, scale: float, *, place: Literal["centre", "mode"] = "centre"):
        super().__init__()
        if not 0 < scale < inf:
            raise PoolingError(f"scale must be positive and finite, got {scale}")
        if place not in ("centre", "mode"):
            raise PoolingError(f"place must be 'centre' or 'mode', got {place!r}")
        self.scale, self.place = scale, place

    def forward(
        self,
        positions: Float[Tensor, "n 3"],
        features: Tensor | None = None,
        batch: Int[Tensor, " n"] | None = None,
        weights: Float[Tensor, " n"] | None = None,
    ) -> Proposals:
        """One proposal a point. Features don't matter.

        Args:
            positions: in Å.
            features: ignored.
            batch: structure of each point, ascending.
            weights: of the points in the density and in centres; 1 by default.
        """
        points = points_of(positions, batch, weights)
        own = torch.arange(len(positions), device=positions.device)
        modes = mean_shift(positions.detach(), points.weights.detach(), self.scale, points.batch)
        if self.place == "mode":
            places = attach_modes(modes.positions, points, self.scale)
        else:
            groups = symmetric_cluster(modes.positions, CLUSTER_FRACTION * self.scale, points.batch)
            member, group = groups.membership
            centres = weighted_means(positions, points.weights, groups.membership, len(groups))
            places = centres[group[torch.argsort(member)]]
        return Proposals(places, own, points.batch, points.weights)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, place={self.place!r}"


def attach_modes(modes: Float[Tensor, "n 3"], points: Points, scale: float) -> Float[Tensor, "n 3"]:
    """Modes of the points' density as functions of the points: same values, with gradients.

    A mode is a fixed point of y = T(y), the kernel's weighted mean, so
    `dy = (1 - dT/dy)^-1 dT` with `dT/dy` the covariance within the kernel over scale^2. Where
    that matrix is singular two modes are merging, and `dT` alone is used.
    """
    if not len(modes) or not (points.positions.requires_grad or points.weights.requires_grad):
        return modes
    x, mask = to_dense_batch(points.positions, points.batch)
    mass, _ = to_dense_batch(points.weights, points.batch)
    y, _ = to_dense_batch(modes.detach(), points.batch)
    squares = (y[:, :, None] - x[:, None]).square().sum(-1) / (2 * scale**2)
    share = mass[:, None] * torch.exp(squares.detach().amin(-1, keepdim=True) - squares)
    share = share / share.sum(-1, keepdim=True).clamp(min=torch.finfo(share.dtype).tiny)
    centre = share @ x
    offset = (x[:, None] - centre[:, :, None]).detach()
    spread = torch.einsum("bnm,bnmi,bnmj->bnij", share.detach(), offset, offset)
    matrix = torch.eye(3, dtype=x.dtype, device=x.device) - spread / scale**2
    change = (centre - centre.detach())[mask]
    solved, failed = torch.linalg.solve_ex(matrix[mask], change)
    return modes.detach() + torch.where((failed == 0)[:, None], solved, change)


class DisplacementBloom(nn.Module):
    """Every point proposes one place: its own, moved by the l = 1 part of its mixed features.

    Args:
        channels, lmax: size of the features; lmax at least 1.
        scale: length in Å of a displacement of size 1 in the features' unit.
        limit: displacements bend smoothly so as to stay below this length, in Å;
            infinite leaves them as they are.
    """

    def __init__(self, channels: int, lmax: int, *, scale: float = 1.0, limit: float = inf):
        super().__init__()
        if lmax < 1:
            raise PoolingError(f"a displacement needs features of degree 1, got lmax = {lmax}")
        if scale <= 0 or limit <= 0:
            raise PoolingError(f"scale and limit must be positive, got {scale} and {limit}")
        self.channels, self.lmax, self.scale, self.limit = channels, lmax, scale, limit
        self.mix = Linear(channels, 1, 1, bias=False)

    def forward(
        self,
        positions: Float[Tensor, "n 3"],
        features: Float[Tensor, "n m c"] | None,
        batch: Int[Tensor, " n"] | None = None,
        weights: Float[Tensor, " n"] | None = None,
    ) -> Proposals:
        """One proposal a point.

        Args:
            positions: in Å.
            features: of the points.
            batch: structure of each point, ascending.
            weights: handed on to the proposals; 1 by default.
        """
        points = points_of(positions, batch, weights)
        features = check_features(features, len(positions), self.lmax, self.channels)
        own = torch.arange(len(positions), device=positions.device)
        moved = positions + self.displacements(features).to(positions.dtype)
        return Proposals(moved, own, points.batch, points.weights)

    def displacements(self, features: Float[Tensor, "n m c"]) -> Float[Tensor, "n 3"]:
        """How far each point moves, in Å."""
        return bend(self.scale * self.mix(features[:, :4])[:, 1:, 0], self.limit)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, limit={self.limit}"


def bend(vectors: Float[Tensor, "n 3"], limit: float) -> Float[Tensor, "n 3"]:
    """Vectors that are left alone while short, and never longer than the limit."""
    return vectors * (1 + vectors.square().sum(1, keepdim=True) / limit**2).rsqrt()


class PeakBloom(nn.Module):
    """Every point emits a signal, mixed from its features; the signal's peaks are its proposals.

    Args:
        channels, lmax: size of the features.
        lmax_signal: highest degree of the signal, at most lmax; lmax by default.
        radius: distance of the proposals from their point, in Å.
        learned_radius: a second signal s, mixed in the same way, stretches each direction's
            radius by exp(s).
        threshold: peaks lower than this fraction of their signal's highest don't count; heights
            are measured from the signal's mean.
        floor: a signal whose degrees above 1 are smaller than this has no peaks.
        keep: a point with peaks proposes its own place too where a scalar, mixed from its
            features, is positive.
    """

    def __init__(
        self,
        channels: int,
        lmax: int,
        *,
        lmax_signal: int | None = None,
        radius: float = 1.0,
        learned_radius: bool = False,
        threshold: float = 0.5,
        floor: float = 1e-6,
        keep: bool = False,
    ):
        super().__init__()
        self.lmax_signal = lmax if lmax_signal is None else lmax_signal
        if not 1 <= self.lmax_signal <= lmax:
            raise PoolingError(
                f"lmax_signal must be from 1 to lmax ({lmax}), got {self.lmax_signal}"
            )
        if radius <= 0:
            raise PoolingError(f"radius must be positive, got {radius}")
        self.channels, self.lmax, self.radius = channels, lmax, radius
        self.threshold, self.floor = threshold, floor
        self.mix = Linear(channels, 1, self.lmax_signal, bias=False)
        self.stretch = Linear(channels, 1, self.lmax_signal) if learned_radius else None
        if self.stretch is not None:
            nn.init.zeros_(self.stretch.weight)
        self.gate = nn.Linear(channels, 1) if keep else None

    def forward(
        self,
        positions: Float[Tensor, "n 3"],
        features: Float[Tensor, "n m c"] | None,
        batch: Int[Tensor, " n"] | None = None,
        weights: Float[Tensor, " n"] | None = None,
    ) -> Proposals:
        """One proposal a peak.

        Args:
            positions: in Å.
            features: of the points.
            batch: structure of each point, ascending.
            weights: shared among the proposals of each point; 1 by default.
        """
        features = check_features(features, len(positions), self.lmax, self.channels)
        return propose_peaks(
            self.signals(features),
            positions,
            self.radius,
            batch,
            weights,
            stretch=self.stretches(features),
            threshold=self.threshold,
            floor=self.floor,
            keep=None if self.gate is None else self.keeps(features) > 0,
        )

    def signals(self, features: Float[Tensor, "n m c"]) -> Float[Tensor, "n k"]:
        """Coefficients of the points' signals."""
        return self.mix(features[:, : dim(self.lmax_signal)])[..., 0]

    def stretches(self, features: Float[Tensor, "n m c"]) -> Float[Tensor, "n k"] | None:
        """Coefficients of the logarithm of the radius over `radius`; None if that is fixed."""
        if self.stretch is None:
            return None
        return self.stretch(features[:, : dim(self.lmax_signal)])[..., 0]

    def keeps(self, features: Float[Tensor, "n m c"]) -> Float[Tensor, " n"]:
        """Scalars that say, by their sign, whether a point proposes its own place too."""
        if self.gate is None:
            return features.new_full((len(features),), -inf)
        return self.gate(features[:, 0])[:, 0]

    def extra_repr(self) -> str:
        return (
            f"radius={self.radius}, learned_radius={self.stretch is not None}, "
            f"threshold={self.threshold}, floor={self.floor}, keep={self.gate is not None}"
        )


def propose_peaks(
    signals: Float[Tensor, "n k"],
    positions: Float[Tensor, "n 3"],
    radius: float | Float[Tensor, " n"],
    batch: Int[Tensor, " n"] | None = None,
    weights: Float[Tensor, " n"] | None = None,
    *,
    stretch: Float[Tensor, "n s"] | None = None,
    threshold: float = 0.5,
    floor: float = 1e-6,
    keep: Bool[Tensor, " n"] | None = None,
) -> Proposals:
    """The peaks of every point's signal as places at a distance from it.

    A signal without peaks proposes its own point, moved by the l = 1 part if it has one (in Å).
    A signal of degrees 0 and 1 alone is of that kind: its one peak would be that vector without
    its length. Gradients reach the signals through the peaks.

    Args:
        signals: coefficients of each point's signal, 'component' normalisation.
        positions: of the points, in Å.
        radius: distance of the proposals, in Å; one for all points or each its own.
        batch: structure of each point, ascending.
        weights: shared among the proposals of each point; 1 by default.
        stretch: coefficients of the logarithm of what multiplies the radius in each direction.
        threshold: peaks lower than this fraction of their signal's highest don't count.
        floor: a signal whose degrees above 1 are smaller than this has no peaks.
        keep: points with peaks that propose their own place too.
    """
    points = points_of(positions, batch, weights)
    if signals.ndim != 2 or len(signals) != len(positions):
        raise PoolingError(
            f"{len(positions)} points need a signal each, [{len(positions)}, components], got "
            f"{list(signals.shape)}"
        )
    signals = signals.to(positions.dtype)
    directions, source = _peaks(signals, threshold, floor)
    lengths = _lengths(radius, stretch, directions, source, positions)
    places = positions[source] + lengths[:, None] * directions
    count = torch.bincount(source, minlength=len(positions))
    alone = torch.nonzero(count == 0)[:, 0]
    moved = positions[alone] + _first_degree(signals)[alone]
    own = alone[:0] if keep is None else torch.nonzero(keep & (count > 0))[:, 0]
    source, order = torch.sort(torch.cat([source, alone, own]), stable=True)
    places = torch.cat([places, moved, positions[own]])[order]
    count = torch.bincount(source, minlength=len(positions))
    shares = (points.weights / count.clamp(min=1))[source]
    return Proposals(places, source, points.batch[source], shares)


def _lengths(
    radius: float | Tensor,
    stretch: Tensor | None,
    directions: Tensor,
    source: Tensor,
    positions: Tensor,
) -> Float[Tensor, " p"]:
    """Distance of each peak's place from its point, in Å."""
    radii = torch.as_tensor(radius, dtype=positions.dtype, device=positions.device)
    lengths = radii.expand(len(positions))[source]
    if stretch is None:
        return lengths
    harmonics = spherical_harmonics(round(stretch.shape[1] ** 0.5) - 1, directions)
    return lengths * torch.exp((harmonics * stretch.to(positions.dtype)[source]).sum(1))


def _first_degree(signals: Float[Tensor, "n k"]) -> Float[Tensor, "n 3"]:
    """The l = 1 part; zero for signals of degree 0."""
    return signals[:, 1:4] if signals.shape[1] > 1 else signals.new_zeros(len(signals), 3)


def _peaks(
    signals: Float[Tensor, "n k"], threshold: float, floor: float
) -> tuple[Float[Tensor, "p 3"], Int[Tensor, " p"]]:
    """Directions of the peaks that count, and the signal of each; ascending by signal.

    Maxima that aren't points, rings for example, don't count.
    """
    high, size = signals.detach()[:, 4:].norm(dim=1), signals.detach().norm(dim=1)
    rich = torch.nonzero((high > floor) & (high > 1e-6 * size))[:, 0]
    if not len(rich):
        return signals.new_zeros(0, 3), rich
    from geomae.sphere.peaks import find_peaks

    peaks = find_peaks(signals[rich], relative_threshold=threshold)
    points = ~peaks.degenerate
    return peaks.directions[points], rich[peaks.signal[points]]
