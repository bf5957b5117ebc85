"""Eight Tetris pieces to one point each and back, exactly and in any orientation.

Inward, every point proposes a place by a learned displacement, proposals that coincide become a
cluster, and clusters become the piece's centroid. Outward, every point emits a signal whose peaks
are the points of the level below. Fitted to one orientation of each piece; equivariance does
the rest. Two versions: in 'hubs' the ends of a piece fold onto the point beside them, so that
clusters stand on points; in 'between' a group meets at its centre, where no point is.

Run with `python examples/02_tetris_autoencoder.py [--version between]`.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from geomae.data.sources.tetris import structures
from geomae.equivariant import dim, spherical_harmonics
from geomae.pooling import (
    DisplacementBloom,
    Hierarchy,
    Level,
    Levels,
    PeakBloom,
    PoolConfig,
    Unpool,
    UnpoolConfig,
    Unpooled,
)
from geomae.pooling.pool import merge

VERSIONS = ("hubs", "between")
SIZES = {"lmax": 4, "channels": 64, "n_radial": 8, "lmax_filter": 4, "cutoff": 3.5}
OWN = 0.05
"""A child closer to its parent than this stands on it."""


def pieces() -> tuple[list[str], Tensor]:
    """Names and positions `[8, 4, 3]` of the pieces."""
    loaded = structures()
    return [piece.name for piece in loaded], torch.stack([piece.positions for piece in loaded])


class TetrisAutoencoder(nn.Module):
    """A hierarchy of two steps inward, and two steps outward from its last point."""

    def __init__(self):
        super().__init__()
        inward = [
            PoolConfig(**SIZES, bloom="displacement", scale=2.0, tolerance=0.3),
            PoolConfig(**SIZES, bloom="centroid"),
        ]
        outward = UnpoolConfig(**SIZES, tolerance=0.1, floor=0.05, keep=True)
        self.encoder = Hierarchy(inward, 1, 0)
        sizes = SIZES["channels"], SIZES["lmax"]
        self.decoder = nn.ModuleList(Unpool(outward, *sizes) for _ in inward)

    def encode(self, positions: Tensor, batch: Tensor) -> Levels:
        """Levels of pieces; the features of the last are the latents."""
        ones = positions.new_ones(len(positions), 1, 1)
        return self.encoder(positions, ones, batch)

    def decode(self, positions: Tensor, latents: Tensor, batch: Tensor) -> list[Unpooled]:
        """Every level from the latents outward; the last holds the points of the pieces."""
        levels = []
        for unpool in self.decoder:
            level = unpool(positions, latents, batch)
            levels.append(level)
            positions, latents, batch = level.positions, level.features, level.batch
        return levels


def meeting_places(positions: Tensor, version: str) -> Tensor:
    """Where the points of each piece meet, `[pieces, 4, 3]`.

    An end meets the point beside it: on that point ('hubs'), or at the centre of all that
    meet there ('between'). A piece without ends stays ('hubs') or meets as a whole.
    """
    near = (torch.cdist(positions, positions) - 1).abs() < 0.1
    n_neighbours = near.sum(2)
    hub = torch.arange(4).expand(len(positions), 4).clone()
    ends = n_neighbours == 1
    hub[ends] = near.int().argmax(2)[ends]
    if version == "between":
        hub[~ends.any(1)] = 0
        same = (hub[:, :, None] == hub[:, None]).double()
        return same @ positions / same.sum(2, keepdim=True)
    return positions.gather(1, hub[..., None].expand(-1, -1, 3))


@dataclass(frozen=True)
class Family:
    """The children that an unpooling step should make of the points of a level.

    Attributes:
        parent, child: ends of the membership edges.
        vectors: from parent to child, `[edges, 3]`.
        signals: what the parents should emit, `[parents, components]`.
        keep: +1 for parents with a child at their place and others, else -1.
        outside: edges to children that are peaks.
    """

    parent: Tensor
    child: Tensor
    vectors: Tensor
    signals: Tensor
    keep: Tensor
    outside: Tensor


def family_of(parents: Tensor, children: Tensor, membership: Tensor) -> Family:
    """Targets from the memberships of the hierarchy, edges (child, parent)."""
    child, parent = membership
    vectors = children[child] - parents[parent]
    apart = vectors.norm(dim=1) > OWN
    alone = torch.bincount(parent, minlength=len(parents)) == 1
    outside = apart & ~alone[parent]
    signals = torch.stack(
        [peaked_signal(vectors[outside & (parent == p)]) for p in range(len(parents))]
    )
    lonely = alone[parent]
    signals[parent[lonely], 1:4] = vectors[lonely]
    inside = torch.bincount(parent[~apart], minlength=len(parents)) > 0
    keep = torch.where(inside & ~alone, 1.0, -1.0).to(parents)
    return Family(parent, child, vectors, signals, keep, outside)


def peaked_signal(vectors: Tensor) -> Tensor:
    """The signal closest to bumps in the given directions that has its peaks exactly there."""
    lmax = SIZES["lmax"]
    if not len(vectors):
        return vectors.new_zeros(dim(lmax))
    directions = nn.functional.normalize(vectors, dim=1)
    values = spherical_harmonics(lmax, directions)
    bumps = values.sum(0) / dim(lmax)
    slopes = torch.func.vmap(torch.func.jacrev(lambda d: spherical_harmonics(lmax, d)))(directions)
    conditions = torch.cat([values, slopes.transpose(1, 2).flatten(0, 1)])
    wanted = torch.cat([values.new_ones(len(values)), values.new_zeros(3 * len(values))])
    missing = wanted - conditions @ bumps
    return bumps + torch.linalg.pinv(conditions, rtol=1e-8) @ missing


@torch.no_grad()
def train(model: TetrisAutoencoder, positions: Tensor, version: str) -> float:
    """Fits what every bloom reads from its features; returns the largest error.

    All that a bloom reads is linear in the features, and the layers that make those are wide
    enough for eight pieces as they are. So each step is a linear least squares problem, solved
    given the true points of the steps before it.
    """
    batch = torch.arange(len(positions)).repeat_interleave(4)
    flat = positions.flatten(0, 1)
    targets = meeting_places(positions, version).flatten(0, 1)
    first, second = model.encoder.pools
    features = first.convolve(flat.new_ones(len(flat), 1, 1), flat, batch)
    worst = [fit_displacements(first.bloom, features, targets - flat)]
    middle = merge(replace(first.bloom(flat, features, batch), positions=targets), OWN)
    points = first.combine(features, flat, middle.positions, middle.membership)
    points = second.convolve(points, middle.positions, middle.batch)
    top = merge(second.bloom(middle.positions, None, middle.batch, middle.weights), OWN)
    latents = second.combine(points, middle.positions, top.positions, top.membership)
    parents, place = top, top.positions
    for unpool, children, members in (
        (model.decoder[0], middle.positions, top.membership),
        (model.decoder[1], flat, middle.membership),
    ):
        family = family_of(place, children, members)
        features = unpool.convolve(latents, place, parents.batch)
        worst += fit_peaks(unpool.bloom, features, family)
        latents = unpool.combine(features, place, children, members.flip(0))
        parents, place = middle, middle.positions
    return max(worst)


def fit_displacements(bloom: DisplacementBloom, features: Tensor, wanted: Tensor) -> float:
    """Sets the weights of a bloom that moves points; returns its largest error, in Å."""
    bend = (1 - wanted.square().sum(1, keepdim=True) / bloom.limit**2).rsqrt()
    vectors = features[:, 1:4].flatten(0, 1)
    bloom.mix.weight[1] = solve(vectors, (wanted * bend).flatten()[:, None] / bloom.scale)
    return float((bloom.displacements(features) - wanted).abs().max())


def fit_peaks(bloom: PeakBloom, features: Tensor, family: Family) -> list[float]:
    """Sets the weights of a bloom by peaks; returns the largest errors of what it reads."""
    for degree in range(bloom.lmax_signal + 1):
        part = slice(degree**2, (degree + 1) ** 2)
        target = family.signals[:, part].flatten()[:, None]
        bloom.mix.weight[degree] = solve(features[:, part].flatten(0, 1), target)
    vectors, parent = family.vectors[family.outside], family.parent[family.outside]
    harmonics = spherical_harmonics(bloom.lmax_signal, vectors)
    seen = harmonics[:, :, None] * features[parent]
    parts = [part.sum(1) for part in seen.split([2 * d + 1 for d in range(bloom.lmax + 1)], 1)]
    stretch = (vectors.norm(dim=1, keepdim=True) / bloom.radius).log()
    weight = solve(torch.cat(parts, 1), stretch)
    bloom.stretch.weight.copy_(weight.view_as(bloom.stretch.weight))
    bloom.gate.bias.zero_()
    bloom.gate.weight.copy_(solve(features[:, 0], family.keep[:, None]).T)
    errors = (
        bloom.signals(features) - family.signals,
        (harmonics * bloom.stretches(features)[parent]).sum(1) - stretch[:, 0],
        bloom.keeps(features) - family.keep,
    )
    return [float(error.abs().max()) for error in errors if error.numel()]


def solve(left: Tensor, right: Tensor) -> Tensor:
    """The shortest solution of a linear least squares problem."""
    return torch.linalg.pinv(left, rtol=1e-9) @ right


@torch.no_grad()
def errors(model: TetrisAutoencoder, positions: Tensor) -> Tensor:
    """Largest distance of a point from its place for each piece; infinite if the count is off."""
    batch = torch.arange(len(positions)).repeat_interleave(4)
    top = model.encode(positions.flatten(0, 1), batch).top
    last = model.decode(top.positions, top.features, top.batch)[-1]
    result = []
    for k, piece in enumerate(positions):
        mine = last.positions[last.batch == k]
        gaps = torch.cdist(piece, mine)
        good = len(mine) == 4
        result.append(
            max(gaps.amin(0).max(), gaps.amin(1).max()) if good else gaps.new_tensor(torch.inf)
        )
    return torch.stack(result)


def closest(model: TetrisAutoencoder, positions: Tensor) -> float:
    """Smallest distance of a cluster from a point of its piece, in Å."""
    batch = torch.arange(len(positions)).repeat_interleave(4)
    with torch.no_grad():
        clusters = model.encode(positions.flatten(0, 1), batch)[1]
    gaps = torch.cdist(clusters.positions, positions.flatten(0, 1))
    return float(gaps[clusters.batch[:, None] == batch].min())


def random_orientations(n: int, generator: torch.Generator) -> Tensor:
    """Orthogonal matrices `[n, 3, 3]`, every other one improper."""
    q = torch.linalg.qr(torch.randn(n, 3, 3, generator=generator, dtype=torch.float64)).Q
    sign = torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0) * torch.det(q)
    return q * sign[:, None, None]


def draw(model: TetrisAutoencoder, name: str, piece: Tensor, path: Path) -> None:
    """Every step of one piece: points, proposals, clusters, centroid; then signals and peaks."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    batch = torch.zeros(4, dtype=torch.long)
    with torch.no_grad():
        levels = model.encode(piece, batch)
        decoded = model.decode(levels.top.positions, levels.top.features, levels.top.batch)
    figure = plt.figure(figsize=(20, 4))
    axes = [figure.add_subplot(1, 5, k + 1, projection="3d") for k in range(5)]
    for axis, below, above, title in (
        (axes[0], levels[0], levels[1], "points bloom and cluster"),
        (axes[1], levels[1], levels[2], "clusters become one point"),
    ):
        axis.set_title(title)
        axis.scatter(*below.positions.T, s=120, color="tab:blue")
        proposals = above.proposals
        for start, end in zip(below.positions[proposals.source], proposals.positions, strict=True):
            axis.plot(*torch.stack([start, end]).T, color="tab:orange")
        axis.scatter(*above.positions.T, s=200, marker="*", color="tab:red")
    parents = [levels.top, decoded[0]]
    for number, (axis, level) in enumerate(zip(axes[2:4], parents, strict=True)):
        axis.set_title(f"signals and peaks, step {number + 1} outward")
        draw_signals(axis, model.decoder[number], level)
        axis.scatter(*decoded[number].positions.T, s=120, color="tab:green")
    axes[4].set_title("decoded points on the given ones")
    axes[4].scatter(*piece.T, s=300, facecolors="none", edgecolors="tab:blue")
    axes[4].scatter(*decoded[1].positions.T, s=60, color="tab:green")
    for axis in axes:
        centre = piece.mean(0)
        for set_limits, middle in zip(
            (axis.set_xlim, axis.set_ylim, axis.set_zlim), centre.tolist(), strict=True
        ):
            set_limits(middle - 1.6, middle + 1.6)
        axis.set_box_aspect((1, 1, 1), zoom=1.6)
        axis.set_axis_off()
    figure.suptitle(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80, bbox_inches="tight")
    plt.close(figure)


@torch.no_grad()
def draw_signals(axis, unpool: Unpool, level: Level | Unpooled) -> None:
    """The signal of each point as a surface around it: the higher, the farther out."""
    theta = torch.linspace(0, torch.pi, 40).double()[:, None]
    phi = torch.linspace(0, 2 * torch.pi, 60).double()
    sphere = torch.stack(
        [theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos().expand(-1, 60)], -1
    )
    features = unpool.convolve(level.features, level.positions, level.batch)
    harmonics = spherical_harmonics(unpool.bloom.lmax_signal, sphere)
    for centre, signal in zip(level.positions, unpool.bloom.signals(features), strict=True):
        surface = centre + 0.6 * (harmonics @ signal).clamp(min=0)[..., None] * sphere
        axis.plot_surface(*surface.permute(2, 0, 1).numpy(), alpha=0.4, color="tab:purple")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version", choices=VERSIONS, help="both by default")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output")
    arguments = parser.parse_args()
    names, positions = pieces()
    generator = torch.Generator().manual_seed(0)
    for version in [arguments.version] if arguments.version else VERSIONS:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = TetrisAutoencoder().double()
        start = time.perf_counter()
        error = train(model, positions, version)
        seconds = time.perf_counter() - start
        print(f"version '{version}': fitted within {error:.0e} in {seconds:.1f} s")
        worst = torch.zeros(len(names)).double()
        for matrix in random_orientations(20, generator):
            shift = 5 * torch.randn(3, generator=generator, dtype=torch.float64)
            worst = torch.maximum(worst, errors(model, positions @ matrix.T + shift))
        for name, error in zip(names, worst.tolist(), strict=True):
            print(f"{name:>12}  farthest point {error:.0e} from its place, 20 orientations")
        print(f"clusters are at least {closest(model, positions):.1e} from all points")
        for name, piece in zip(names, positions, strict=True):
            file = f"tetris_{version}_{name.replace(' ', '_')}.png"
            draw(model, f"{name}, clusters: {version}", piece, arguments.output / file)


if __name__ == "__main__":
    main()
