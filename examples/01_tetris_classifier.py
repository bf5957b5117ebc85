"""Names the eight Tetris pieces in any orientation, after seeing one orientation of each.

Two of the pieces are mirror images of each other. Lengths, angles and even-parity features are
the same for both; a pseudoscalar, which changes sign in a mirror, tells them apart. Features with
both parities have one. Run with `python examples/01_tetris_classifier.py`.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from geomae.data.sources.tetris import structures
from geomae.equivariant import (
    Convolution,
    EdgeCoupling,
    Gate,
    PairKernel,
    RadialBasis,
    degrees,
    spherical_harmonics,
)

CUTOFF = 2.5
N_RADIAL = 3


def pieces() -> tuple[list[str], Tensor]:
    """Names and positions `[8, 4, 3]` of the pieces; the first two are mirror images."""
    loaded = structures()
    return [piece.name for piece in loaded], torch.stack([piece.positions for piece in loaded])


def random_rotations(n: int, generator: torch.Generator) -> Tensor:
    """Proper rotations `[n, 3, 3]`, uniform."""
    matrix = torch.randn(n, 3, 3, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(matrix)
    q = q * torch.sign(torch.diagonal(r, dim1=1, dim2=2))[:, None]
    return q * torch.det(q)[:, None, None]


class Pairs:
    """All pairs of points of each piece; those within the cutoff are neighbours.

    Args:
        positions: `[pieces, points, 3]`.
    """

    def __init__(self, positions: Tensor):
        self.n_pieces, self.size, _ = positions.shape
        vectors = positions[:, None] - positions[:, :, None]
        lengths = vectors.norm(dim=-1)
        self.near = (lengths < CUTOFF) & (lengths > 0)
        up = torch.tensor([0.0, 0.0, 1.0]).to(positions)
        self.vectors = torch.where(self.near[..., None], vectors, up)
        self.lengths = self.vectors.norm(dim=-1)


class TetrisClassifier(nn.Module):
    """Two convolutions with a gate between them, on features of both parities.

    Args:
        channels: channels of the hidden features, for either parity and the degrees 0 and 1.
        lmax: highest degree of the filters and of the first features.
        n_classes: pieces; the first two are told apart by the pseudoscalar.
    """

    def __init__(self, channels: int = 16, lmax: int = 3, n_classes: int = 8):
        super().__init__()
        self.lmax = lmax
        self.basis = RadialBasis(N_RADIAL, CUTOFF, kind="gaussian")
        sizes = {"n_radial": N_RADIAL, "parity": True, "neighbours": 2.5}
        self.first = Convolution(1, channels, lmax, lmax, 1, **sizes)
        self.gate = Gate(channels, 1, parity=True)
        self.second = Convolution(channels, n_classes - 1, 1, lmax, 0, **sizes)

    def kernels(self, pairs: Pairs) -> tuple[Tensor, PairKernel, PairKernel]:
        """What depends on geometry alone: the first features and both convolutions' kernels.

        The first features `[pieces, points, 2, components, 1]` are the density of the
        neighbours, its even degrees in the even half and its odd ones in the odd.
        """
        harmonics = spherical_harmonics(self.lmax, pairs.vectors)
        radial = self.basis(pairs.lengths) * pairs.near[..., None]
        density = (harmonics * radial.sum(-1, keepdim=True)).sum(2)
        odd = (degrees(self.lmax) % 2).to(density)
        features = torch.stack([density * (1 - odd), density * odd], 2)[..., None]
        first = EdgeCoupling(self.lmax, self.lmax, 1, parity=True).pairs(harmonics, radial)
        second = EdgeCoupling(1, self.lmax, 0, parity=True).pairs(harmonics, radial)
        return features, first, second

    def forward(self, pairs: Pairs, kernels: tuple | None = None) -> Tensor:
        """Logits `[pieces, classes]`."""
        features, first, second = self.kernels(pairs) if kernels is None else kernels
        hidden = self.gate(self.first.dense(features, first).flatten(0, 1))
        hidden = hidden.unflatten(0, (pairs.n_pieces, pairs.size))
        even, odd = self.second.dense(hidden, second)[:, :, :, 0].mean(1).unbind(1)
        handed = torch.stack([even[:, 0] + odd[:, 0], even[:, 0] - odd[:, 0]], 1)
        return torch.cat([handed, even[:, 1:]], 1)


def train(
    model: nn.Module,
    positions: Tensor,
    *,
    goal: float = 0.01,
    lr: float = 0.05,
    max_steps: int = 1000,
) -> int:
    """Trains until the mean cross-entropy is below the goal; returns the number of steps."""
    pairs, labels = Pairs(positions), torch.arange(len(positions))
    kernels = model.kernels(pairs)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for step in range(1, max_steps + 1):
        loss = nn.functional.cross_entropy(model(pairs, kernels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < goal:
            return step
    raise RuntimeError(f"the loss is {loss.item():.3f} after {max_steps} steps, expected {goal}")


@torch.no_grad()
def accuracy(model: nn.Module, positions: Tensor, rotations: Tensor) -> Tensor:
    """Fraction of the rotations in which each piece is named, `[pieces]`."""
    turned = torch.einsum("rij,pnj->prni", rotations, positions.double())
    shifted = turned + torch.tensor([3.0, -2.0, 1.0])
    logits = model(Pairs(shifted.flatten(0, 1).to(positions.dtype)))
    named = logits.argmax(1).view(len(positions), -1)
    return (named == torch.arange(len(positions))[:, None]).double().mean(1)


def draw(names: list[str], positions: Tensor, logits: Tensor, path: Path) -> None:
    """Pictures of the pieces over the probabilities that they are given."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(16, 5))
    probabilities = torch.softmax(logits, 1)
    for k, (name, piece) in enumerate(zip(names, positions.double(), strict=True)):
        axis = figure.add_subplot(2, len(names), k + 1, projection="3d")
        axis.scatter(*piece.T.numpy(), s=250, edgecolor="black")
        for a, b in torch.nonzero(torch.cdist(piece, piece).round(decimals=3) == 1).tolist():
            axis.plot(*piece[[a, b]].T.numpy(), color="black")
        axis.set_title(name, fontsize=9)
        axis.set_axis_off()
        axis.set_box_aspect((piece.amax(0) - piece.amin(0) + 0.5).tolist())
        bars = figure.add_subplot(2, len(names), len(names) + k + 1, yticks=[0, 1])
        bars.bar(range(len(names)), probabilities[k].tolist())
        bars.set_ylim(0, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rotations", type=int, default=100, help="random rotations of each piece")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output")
    arguments = parser.parse_args()
    names, positions = pieces()
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = TetrisClassifier()
    start = time.perf_counter()
    steps = train(model, positions.float())
    print(f"trained in {steps} steps, {time.perf_counter() - start:.2f} s")
    named = accuracy(model, positions.float(), random_rotations(arguments.rotations, generator))
    for name, share in zip(names, named.tolist(), strict=True):
        print(f"{name:>12}  {100 * share:6.1f} %  of {arguments.rotations} rotations")
    mirrored = model(Pairs((positions * torch.tensor([-1.0, 1, 1])).float())).argmax(1)
    print(f"in a mirror, {names[0]} and {names[1]} are named", end=" ")
    print(" and ".join(names[k] for k in mirrored[:2]))
    with torch.no_grad():
        logits = model(Pairs(positions.float()))
    draw(names, positions, logits, arguments.output / "tetris_classifier.png")


if __name__ == "__main__":
    main()
