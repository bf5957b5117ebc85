"""Barium titanate: which way does titanium leave the centre of its octahedron?

Cubic BaTiO3 has all the symmetry of the cube; in the tetragonal crystal titanium has moved along an
axis, one of six ways. An equivariant network that sees the cubic crystal alone must give all six
at once, and the crystal stays as it is. A vector added to its input picks one. The same holds for
an autoencoder: a latent as symmetric as the cube decodes to nothing less symmetric, and the vector
added to the latent picks one of six.

Run with `python examples/05_octahedron.py [--quick]`.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import print
from torch import Tensor, nn

from geomae.data import Structure
from geomae.equivariant import dim, spherical_harmonics
from geomae.equivariant.network import PointNetwork
from geomae.sphere import find_peaks, project
from geomae.symmetry.order import OrderParameters, order_parameters

LMAX = 4
SIGNAL = "1x0e + 1x1o + 1x2e + 1x3o + 1x4e"
EDGE = 4.0
"""Of the cubic cell, in Å."""
CUBIC = torch.tensor(
    [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]], dtype=torch.float64
)
TETRAGONAL_Z = torch.tensor([0.582541, 0.100043, 0.064221, 0.064221, 0.548972]).double()
"""Fractional coordinates of Ba, Ti and three O; the heights are those of the tetragonal crystal."""
ELEMENTS = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 2, 2]]
UP = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)


def crystal() -> Structure:
    """Cubic BaTiO3, five atoms."""
    cell = EDGE * torch.eye(3, dtype=torch.float64)
    return Structure([56, 22, 8, 8, 8], CUBIC @ cell, cell=cell)


def moves_up() -> Tensor:
    """Displacements of the atoms to the tetragonal crystal along z, of mean zero, in Å."""
    heights = EDGE * (TETRAGONAL_Z - CUBIC[:, 2])
    return (heights - heights.mean())[:, None] * UP


def minimise(loss_of: Callable[[], Tensor], model: nn.Module, steps: int) -> None:
    """Fits a model's parameters."""
    options = {"max_iter": steps, "tolerance_grad": 1e-15, "tolerance_change": 1e-16}
    search = torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe", **options)

    def closure() -> Tensor:
        search.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    search.step(closure)


@dataclass(frozen=True)
class Prediction:
    """What a network makes of the cubic crystal with a vector added.

    Attributes:
        signals: a peak along each atom's displacement, as high as it is long, `[5, components]`.
        loss: relative to the target's size.
    """

    signals: Tensor
    loss: float

    @property
    def moves(self) -> Tensor:
        """Displacements in Å: what of the signals is a vector, `[5, 3]`."""
        return self.signals[:, 1:4] * (dim(LMAX) / 3**0.5)

    @property
    def peaks(self) -> Tensor:
        """Heights of the peaks of titanium's signal, in Å."""
        return find_peaks(self.signals[1:2]).values


class Distortion(nn.Module):
    """Signals of the atoms' displacements, from elements, places and a vector."""

    def __init__(self):
        super().__init__()
        sizes = {"channels": 16, "lmax": LMAX, "layers": 2, "cutoff": 3.6, "n_neighbours": 14.0}
        self.network = PointNetwork("3x0e + 1x1o", SIGNAL, parity=False, **sizes)

    def forward(self, vector: Tensor) -> Tensor:
        return self.network(*self.inputs(vector))

    def inputs(self, vector: Tensor) -> tuple:
        """What the network takes for the cubic crystal with a vector at every atom."""
        features, cubic = torch.cat([ELEMENTS, vector.expand(5, 3)], 1), crystal()
        return features, cubic.positions, None, cubic.cell, cubic.pbc


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A module with the same random weights every time, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().double()


def signals_of(moves: Tensor) -> Tensor:
    return project(moves, LMAX, moves.norm(dim=1) / dim(LMAX), torch.arange(len(moves)))


def train(vector: Tensor, steps: int) -> Distortion:
    """A network that has learned the tetragonal crystal along z from the cubic and a vector."""
    model, target = seeded(Distortion), signals_of(moves_up())
    scale = target.square().sum()
    minimise(lambda: (model(vector) - target).square().sum() / scale, model, steps)
    with torch.no_grad():
        hidden = model.network.hidden(*model.inputs(vector))
    model.network.solve_readout(hidden, target)
    return model


@torch.no_grad()
def predict(model: Distortion, vector: Tensor, moves: Tensor) -> Prediction:
    """What the model gives for a vector, and how far it is from the displacements' signals."""
    signals, target = model(vector), signals_of(moves)
    return Prediction(signals, float((signals - target).square().sum() / target.square().sum()))


def order() -> OrderParameters:
    """The order parameter by group theory: a vector, and six solutions."""
    return order_parameters(crystal(), moves_up(), "1x1o")


def octahedron(heights: Tensor) -> Tensor:
    """Titanium and its six oxygens about the centre of these, from fractional heights, `[7, 3]`."""
    up = EDGE * heights
    side = EDGE / 2 * torch.eye(3, dtype=torch.float64)[:2]
    oxygens = torch.cat([side + up[2] * UP, -side + up[3] * UP, up[4] * UP, (up[4] - EDGE) * UP])
    return torch.cat([up[1] * UP, oxygens]) - oxygens.mean(0)


class Autoencoder(nn.Module):
    """An octahedron to one point and back.

    The point has scalars to degree 4. Outward it emits a signal whose peaks are the directions of
    the oxygens, a second one whose value there is the logarithm of their distance, and a vector
    that leads to titanium.
    """

    LATENT = "8x0e + 8x1o + 8x2e + 8x3o + 8x4e"

    def __init__(self):
        super().__init__()
        sizes = {"channels": 12, "lmax": LMAX, "cutoff": 3.6, "parity": False}
        self.inward = PointNetwork("2x0e", self.LATENT, layers=1, reduce="mean", **sizes)
        outward = f"{SIGNAL} + {SIGNAL} + 1x1o"
        self.outward = PointNetwork(f"{self.LATENT} + 1x1o", outward, layers=2, **sizes)
        self.kinds = torch.eye(2, dtype=torch.float64)[[0, 1, 1, 1, 1, 1, 1]]

    def encode(self, positions: Tensor) -> Tensor:
        """The latent, `[1, 200]`."""
        return self.inward(self.kinds, positions)

    def outward_inputs(self, latent: Tensor, vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the outward network takes: points that don't see each other."""
        batch = torch.arange(len(latent))
        return torch.cat([latent, vector], 1), latent.new_zeros(len(latent), 3), batch

    def decode(self, latent: Tensor, vector: Tensor) -> Tensor:
        """Titanium, then an atom for each peak, `[1 + peaks, 3]`."""
        with torch.no_grad():
            emitted = self.outward(*self.outward_inputs(latent, vector))[0]
            signal, stretch, titanium = emitted.split([dim(LMAX), dim(LMAX), 3])
            peaks = find_peaks(signal[None]).directions
            lengths = (spherical_harmonics(LMAX, peaks) @ stretch).exp()
        return torch.cat([titanium[None], lengths[:, None] * peaks])


def peaked(directions: Tensor) -> Tensor:
    """The shortest signal of height 1 and slope 0 in the directions, `[components]`."""
    values = spherical_harmonics(LMAX, directions)
    slopes = torch.func.vmap(torch.func.jacrev(lambda d: spherical_harmonics(LMAX, d)))(directions)
    conditions = torch.cat([values, slopes.transpose(1, 2).flatten(0, 1)])
    bumps = values.sum(0) / dim(LMAX)
    wanted = torch.cat([values.new_ones(len(values)), values.new_zeros(3 * len(values))])
    return bumps + torch.linalg.pinv(conditions, rtol=1e-8) @ (wanted - conditions @ bumps)


def emission(goal: Tensor) -> Tensor:
    """What should be emitted for an octahedron to be drawn, `[53]`."""
    lengths = goal[1:].norm(dim=1)
    directions = goal[1:] / lengths[:, None]
    harmonics = spherical_harmonics(LMAX, directions)
    stretch = torch.linalg.pinv(harmonics, rtol=1e-8) @ lengths.log()
    return torch.cat([peaked(directions), stretch, goal[0]])


def train_autoencoder(pairs: list[tuple[Tensor, Tensor, Tensor]], steps: int) -> Autoencoder:
    """Fits inward and outward at once.

    Args:
        pairs: structure to encode, vector to add to its latent, structure to decode.
        steps: of the search.
    """
    model, target = seeded(Autoencoder), torch.stack([emission(goal) for _, _, goal in pairs])
    vectors = torch.cat([vector for _, vector, _ in pairs])

    def inputs() -> tuple:
        latents = torch.cat([model.encode(structure) for structure, _, _ in pairs])
        return model.outward_inputs(latents, vectors)

    minimise(lambda: (model.outward(*inputs()) - target).square().mean(), model, steps)
    with torch.no_grad():
        hidden = model.outward.hidden(*inputs())
    model.outward.solve_readout(hidden, target)
    return model


def distance(found: Tensor, expected: Tensor) -> float:
    """Largest distance between atoms of two octahedra, matched; infinite if counts differ."""
    if len(found) != len(expected):
        return float("inf")
    gaps = torch.cdist(found[1:], expected[1:])
    both = torch.cat([gaps.amin(0), gaps.amin(1), (found[0] - expected[0]).norm()[None]])
    return float(both.max())


def draw(
    predictions: list[tuple[str, Prediction]], decoded: list[tuple[str, Tensor, float]], path: Path
) -> None:
    """Signals of titanium, and decoded octahedra."""
    from matplotlib.figure import Figure

    from geomae.plotting.signals import draw_signal, draw_structure

    columns = max(len(predictions), len(decoded))
    figure = Figure(figsize=(3 * columns, 6.5), layout="constrained")
    for k, (title, prediction) in enumerate(predictions):
        axis = figure.add_subplot(2, columns, k + 1, projection="3d")
        draw_signal(axis, prediction.signals[1])
        axis.set_title(title, fontsize=9)
    for k, (title, positions, _) in enumerate(decoded):
        axis = figure.add_subplot(2, columns, columns + k + 1, projection="3d")
        draw_structure(axis, Structure([22, *[8] * (len(positions) - 1)], positions))
        axis.set_title(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output")
    arguments = parser.parse_args()
    steps = 10 if arguments.quick else 40
    nothing, found = 0 * UP, order()
    print(found)
    plain = predict(train(nothing, steps), nothing, moves_up())
    print(
        f"nothing added: loss {plain.loss:.3f}, titanium's signal has {len(plain.peaks)} peaks of "
        f"one height, atoms move {float(plain.moves.norm(dim=1).max()):.0e} Å"
    )
    model, solutions = train(UP, steps), found.solutions(UP)
    predictions = [("nothing added", plain)]
    for vector, moves in zip(solutions.breakers, solutions.targets, strict=True):
        one = predict(model, vector, moves)
        predictions.append((title_of(vector), one))
        print(f"{title_of(vector):>18}: mismatch {one.loss:.0e}, atoms within ", end="")
        print(f"{float((one.moves - moves).norm(dim=1).max()):.0e} Å")
    print("as an autoencoder, from the latent of the cubic octahedron:")
    goals = found.action.matrices[solutions.operations] @ octahedron(TETRAGONAL_Z).T
    decoded = octahedra(steps, solutions.breakers, goals.transpose(1, 2))
    for title, _, error in decoded:
        print(f"{title:>18}: atoms within {error:.0e} Å")
    draw(predictions, decoded, arguments.output / "octahedron.png")


def octahedra(steps: int, vectors: Tensor, goals: Tensor) -> list[tuple[str, Tensor, float]]:
    """Octahedra decoded from the cubic one's latent: title, atoms, distance from what was asked.

    First without a vector, from an autoencoder that was asked to give the tetragonal one all the
    same; then with each of the vectors, from one that has learned cubic, tetragonal, and cubic
    with a vector along z.

    Args:
        steps: of the search.
        vectors: to be added.
        goals: the tetragonal octahedra that each should lead to.
    """
    cubic, tetragonal, nothing = octahedron(CUBIC[:, 2]), octahedron(TETRAGONAL_Z), 0 * UP
    failing = train_autoencoder([(cubic, nothing, tetragonal)], steps)
    found = failing.decode(failing.encode(cubic), nothing)
    result = [("nothing added", found, distance(found, tetragonal))]
    pairs = [(cubic, nothing, cubic), (tetragonal, nothing, tetragonal), (cubic, UP, tetragonal)]
    model = train_autoencoder(pairs, steps)
    for vector, goal in zip(vectors, goals, strict=True):
        found = model.decode(model.encode(cubic), vector)
        result.append((title_of(vector), found, distance(found, goal)))
    return result


def title_of(vector: Tensor) -> str:
    return f"vector {vector[0].round().int().tolist()}"


if __name__ == "__main__":
    main()
