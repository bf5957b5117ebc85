"""A rectangle becomes a square, a square never becomes a rectangle: unless x2 - y2 is added.

Four points carry a signal each, whose peak says where the point should go. An equivariant network
learns to send a rectangle's points to a square. The way back fails for every such network: the
square has sixteen operations, the rectangle eight, and what comes out keeps all sixteen. With
x2 - y2 added to the input it works, and a gradient on the input finds that by itself.

Run with `python examples/04_square_and_rectangle.py [--quick]`.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import print
from torch import Tensor

from geomae.data import Structure
from geomae.equivariant import dim, sphere_quadrature, spherical_harmonics
from geomae.equivariant.network import PointNetwork
from geomae.sphere import find_peaks, project
from geomae.symmetry.action import Action
from geomae.symmetry.actions import action_of
from geomae.symmetry.learning import Learning
from geomae.symmetry.order import OrderParameters, order_parameters

LMAX = 5
IRREPS = "1x0e + 1x1o + 1x2e + 1x3o + 1x4e + 1x5o"
CORNERS = torch.tensor([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]], dtype=torch.float64)
STRETCH = torch.tensor([1.3, 0.7, 1.0], dtype=torch.float64)


@dataclass(frozen=True)
class Task:
    """Points, where they should go, and the signals that say so.

    Attributes:
        name: of the task.
        start, goal: positions `[4, 3]`.
    """

    name: str
    start: Tensor
    goal: Tensor

    @property
    def signals(self) -> Tensor:
        """A peak along each point's displacement, as high as it is long, `[4, components]`."""
        moves = self.goal - self.start
        return project(moves, LMAX, moves.norm(dim=1) / dim(LMAX), torch.arange(4))

    @property
    def action(self) -> Action:
        """The operations of the points."""
        return action_of(Structure([1] * 4, self.start))


@dataclass(frozen=True)
class Result:
    """What a network learned.

    Attributes:
        task: the task.
        loss: at the end, relative to the target's size.
        floor: what no output with the symmetry of the input gets below.
        asymmetry: largest change of the output by an operation of the points, relative.
        output: signals `[4, components]`.
    """

    task: Task
    loss: float
    floor: float
    asymmetry: float
    output: Tensor


RECTANGLE = Task("rectangle to square", CORNERS * STRETCH, CORNERS)
SQUARE = Task("square to rectangle", CORNERS, CORNERS * STRETCH)


def x2_minus_y2() -> Tensor:
    """The function as a signal, `[components]`."""
    return signal_of(lambda p: p[:, 0] ** 2 - p[:, 1] ** 2)


def higher_x2_minus_y2() -> Tensor:
    """(x2 - y2)(7 z2 - r2), the same irrep in degree 4."""
    return signal_of(lambda p: (p[:, 0] ** 2 - p[:, 1] ** 2) * (7 * p[:, 2] ** 2 - 1))


def signal_of(function) -> Tensor:
    """A function on the sphere as a signal of length 1."""
    points, weights = sphere_quadrature(2 * LMAX)
    values = (weights * function(points)) @ spherical_harmonics(LMAX, points)
    return values / values.norm()


def network(seed: int = 0) -> PointNetwork:
    """A network whose weights no training has touched."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = {"channels": 8, "lmax": LMAX, "layers": 2, "cutoff": 4.0, "n_neighbours": 3.0}
        return PointNetwork(IRREPS, IRREPS, parity=False, **sizes).double()


def inputs(breaker: Tensor) -> Tensor:
    """Features of the four points: a one, and what is added to every point."""
    one = torch.zeros(dim(LMAX), dtype=torch.float64)
    one[0] = 1
    return (one + breaker).expand(4, -1)


def fit(task: Task, breaker: Tensor, steps: int) -> Result:
    """Trains a network on a task with something added to its input, its last layer to the end."""
    model, target = network(), task.signals
    scale = target.square().sum()
    options = {"max_iter": steps, "tolerance_grad": 1e-14, "tolerance_change": 1e-14}
    search = torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe", **options)

    def closure() -> Tensor:
        search.zero_grad()
        loss = (model(inputs(breaker), task.start) - target).square().sum() / scale
        loss.backward()
        return loss

    search.step(closure)
    with torch.no_grad():
        model.solve_readout(model.hidden(inputs(breaker), task.start), target)
        output = model(inputs(breaker), task.start)
    action = task.action
    allowed = action.apply(target, IRREPS, "atoms").mean(0)
    change = action.apply(output, IRREPS, "atoms") - output
    return Result(
        task,
        float((output - target).square().sum() / scale),
        float((allowed - target).square().sum() / scale),
        float(change.abs().max() / output.abs().max()),
        output,
    )


def learn(steps: int, start: float = 0.0) -> OrderParameters:
    """Network and order parameter together, from nothing added (or from random values)."""
    model = network()
    return order_parameters(
        Structure([1] * 4, SQUARE.start),
        SQUARE.signals,
        IRREPS,
        target_irreps=IRREPS,
        model=lambda breaker: model(inputs(breaker), SQUARE.start),
        parameters=model.parameters(),
        learning=Learning(steps=steps, start=start),
    )


def moved(result: Result) -> list[Tensor]:
    """Places that the peaks of each point's signal lead to, `[peaks, 3]` for each point.

    Peaks count that are more than half as high as they should be.
    """
    wanted = (result.task.goal - result.task.start).norm(dim=1)
    peaks = find_peaks(result.output)
    places = []
    for k in range(4):
        mine = (peaks.signal == k) & (peaks.values > 0.3 * wanted[k])
        steps = peaks.values[mine, None] * peaks.directions[mine]
        places.append(result.task.start[k] + steps)
    return places


def draw(results: list[Result], learned: OrderParameters, path: Path) -> None:
    """Each task with the signals of its points, and the learned order parameter."""
    from matplotlib.figure import Figure

    angle = torch.linspace(0, 2 * torch.pi, 361, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin(), 0 * angle], 1)
    figure = Figure(figsize=(4 * len(results) + 4, 4), layout="constrained")
    axes = figure.subplots(1, len(results) + 1)
    for axis, (title, result) in zip(axes, results, strict=False):
        for k in range(4):
            values = spherical_harmonics(LMAX, circle) @ result.output[k]
            curve = result.task.start[k] + 2 * values.clamp(min=0)[:, None] * circle
            axis.fill(*curve[:, :2].T, alpha=0.4, color="tab:purple")
        peaks = torch.cat(moved(result))
        axis.scatter(*peaks[:, :2].T, color="tab:red", zorder=3, label="peaks of the output")
        axis.scatter(*result.task.start[:, :2].T, color="tab:blue", zorder=3, label="start")
        axis.scatter(
            *result.task.goal[:, :2].T, s=150, facecolors="none", edgecolors="black", zorder=2,
            label="goal",
        )  # fmt: skip
        axis.set(title=f"{title}\nloss {result.loss:.1e}", aspect="equal")
        axis.set(xlim=(-2, 2), ylim=(-2, 2), xticks=[], yticks=[])
    axes[0].legend(loc="center", frameon=False)
    parts = learned.learned.breaker[0].split([2 * degree + 1 for degree in range(LMAX + 1)])
    labels = [f"l = {degree}" for degree in range(LMAX + 1)]
    axes[-1].bar(labels, [float(part.norm()) for part in parts], color="tab:purple")
    axes[-1].set_title(f"learned order parameter\nloss {learned.learned.loss:.1e}")
    axes[-1].set(ylabel="length of its part of each degree")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output")
    arguments = parser.parse_args()
    steps = 60 if arguments.quick else 150
    nothing = torch.zeros(dim(LMAX), dtype=torch.float64)
    results = [
        ("rectangle to square", fit(RECTANGLE, nothing, steps)),
        ("square to rectangle", fit(SQUARE, nothing, steps)),
        ("the same with x2 - y2", fit(SQUARE, x2_minus_y2(), steps)),
    ]
    for title, result in results:
        print(
            f"{title:>22}: loss {result.loss:.1e}, at best {result.floor:.3g} without anything "
            f"added; {result.task.action.name} kept to {result.asymmetry:.0e}"
        )
    learned = learn(steps)
    print(learned)
    draw(results, learned, arguments.output / "square_and_rectangle.png")


if __name__ == "__main__":
    main()
