"""One vertex of a triangular prism, and a brick that becomes a square one.

The six vertices of a prism are equivalent: no equivariant network can point at one of them, unless
it is given one of six symmetry-breaking inputs, and each of the six picks another vertex. A brick
(D2h) becomes a square prism (D4h) without any help, the square prism becomes a brick only with an
order parameter, and there are two bricks.

Run with `python examples/06_prism_and_brick.py [--quick]`.
"""

import argparse
from dataclasses import dataclass
from itertools import product
from math import pi
from pathlib import Path

import torch
from rich import print
from torch import Tensor

from geomae.data import Structure
from geomae.equivariant.network import PointNetwork
from geomae.symmetry.order import OrderError, OrderParameters, order_parameters

BREAKERS = "1x1o + 1x2e"
"""What may be added to the input, the same at every point: a vector, and a signal of degree 2."""


@dataclass(frozen=True)
class Task:
    """Points, and what a network should give for each.

    Attributes:
        name: of the task.
        points: `[n, 3]`.
        target: `[n, d]`.
        irreps: of the target.
    """

    name: str
    points: Tensor
    target: Tensor
    irreps: str

    @property
    def structure(self) -> Structure:
        return Structure([1] * len(self.points), self.points)


def prism() -> Task:
    """One of six vertices has a one."""
    angles = torch.arange(3).double() * 2 * pi / 3
    triangle = torch.stack([angles.cos(), angles.sin()], 1)
    points = torch.cat([torch.cat([triangle, z + 0 * angles[:, None]], 1) for z in (0.8, -0.8)])
    return Task("prism: choose a vertex", points, torch.eye(6, dtype=torch.float64)[:, :1], "1x0e")


def brick(a: float, b: float, c: float = 0.7) -> Tensor:
    """The corners of a brick, `[8, 3]`."""
    return torch.tensor(list(product((a, -a), (b, -b), (c, -c))), dtype=torch.float64)


def bricks() -> tuple[Task, Task]:
    """Displacements of a brick's corners to those of a square prism, and back."""
    long, square = brick(1.3, 0.8), brick(1.0, 1.0)
    there = Task("brick to square prism", long, square - long, "1x1o")
    return there, Task("square prism to brick", square, long - square, "1x1o")


def train(task: Task, breaker: Tensor, steps: int) -> PointNetwork:
    """A network that has learned a task with something added to its input."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"channels": 12, "lmax": 2, "layers": 2, "cutoff": 4.0, "n_neighbours": 5.0}
        model = PointNetwork(f"1x0e + {BREAKERS}", task.irreps, **sizes).double()
    options = {"max_iter": steps, "tolerance_grad": 1e-14, "tolerance_change": 1e-14}
    search = torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe", **options)

    def closure() -> Tensor:
        search.zero_grad()
        loss = loss_of(model(inputs(task, breaker), task.points), task.target)
        loss.backward()
        return loss

    search.step(closure)
    with torch.no_grad():
        hidden = model.hidden(inputs(task, breaker), task.points)
    model.solve_readout(hidden, task.target)
    return model


def inputs(task: Task, breaker: Tensor) -> Tensor:
    """A one at every point, and what is added."""
    return torch.cat([breaker.new_ones(1, 1), breaker], 1).expand(len(task.points), -1)


def loss_of(values: Tensor, target: Tensor) -> Tensor:
    """Squared errors relative to the target's size."""
    return (values - target).square().sum() / target.square().sum()


@dataclass(frozen=True)
class Result:
    """What became of a task.

    Attributes:
        task: the task.
        order: its order parameter; None where nothing has to be broken.
        loss: of a network without anything added.
        output: of that network.
        losses: of one network for each of the equivalent order parameters, against the solution
            that belongs to it.
        outputs: of that network.
    """

    task: Task
    order: OrderParameters | None
    loss: float
    output: Tensor
    losses: list[float]
    outputs: list[Tensor]


def solve(task: Task, steps: int) -> Result:
    """Trains without anything added, then with an order parameter, and tries all of these."""
    nothing = torch.zeros(1, 8, dtype=torch.float64)
    plain = train(task, nothing, steps)
    with torch.no_grad():
        output = plain(inputs(task, nothing), task.points)
    loss = float(loss_of(output, task.target))
    try:
        order = order_parameters(task.structure, task.target, BREAKERS, target_irreps=task.irreps)
    except OrderError:
        return Result(task, None, loss, output, [], [])
    solutions, model = order.solutions(), train(task, order.breaker, steps)
    with torch.no_grad():
        outputs = [model(inputs(task, one), task.points) for one in solutions.breakers]
    pairs = zip(outputs, solutions.targets, strict=True)
    return Result(task, order, loss, output, [float(loss_of(o, t)) for o, t in pairs], outputs)


def edges(points: Tensor) -> list[tuple[int, int]]:
    """Pairs of points that no third one is nearer to both of."""
    lengths = torch.cdist(points, points)
    between = torch.maximum(lengths[:, None], lengths[None]) < lengths[:, :, None] - 1e-9
    return [(i, j) for i, j in (~between.any(2)).nonzero().tolist() if i < j]


def draw(results: list[Result], path: Path) -> None:
    """Every output: the size of a point is its scalar; the corners go where the arrows point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5.6), layout="constrained")
    vertices, bricks = figure.subfigures(2, 1)
    vertices.suptitle(f"{results[0].task.name} (D3h)")
    panels = [(result, values) for result in results[:1] for values in all_outputs(result)]
    for place, (result, (title, loss, values)) in enumerate(panels):
        axis = vertices.add_subplot(1, len(panels), place + 1, projection="3d")
        axis.set_title(f"{title}\nloss {loss:.2g}", fontsize=9)
        frame(axis, result.task.points, "grey")
        sizes = 25 + 400 * values[:, 0].clamp(min=0)
        axis.scatter(*result.task.points.T, s=sizes, color="tab:red", depthshade=False, alpha=1)
    bricks.suptitle("brick (D2h) to square prism (D4h), and back")
    panels = [(result, values) for result in results[1:] for values in all_outputs(result)]
    for place, (result, (title, loss, values)) in enumerate(panels):
        axis = bricks.add_subplot(1, len(panels), place + 1, projection="3d")
        axis.set_title(f"{result.task.name}\n{title}, loss {loss:.2g}", fontsize=9)
        frame(axis, result.task.points, "lightgrey")
        frame(axis, result.task.points + values, "tab:blue")
        axis.quiver(*result.task.points.T, *values.T, color="tab:red", arrow_length_ratio=0.4)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def all_outputs(result: Result) -> list[tuple[str, float, Tensor]]:
    """Title, loss and values of what the networks gave."""
    solutions = zip(result.losses, result.outputs, strict=True)
    return [
        ("nothing added", result.loss, result.output),
        *((f"solution {k + 1}", *one) for k, one in enumerate(solutions)),
    ]


def frame(axis, points: Tensor, colour: str) -> None:
    """The edges between points, on axes of a fixed size."""
    for i, j in edges(points):
        axis.plot(*points[[i, j]].T, color=colour, linewidth=1.4)
    axis.set_axis_off()
    axis.set_box_aspect((1, 1, 1), zoom=1.25)
    axis.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), zlim=(-1.3, 1.3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output")
    arguments = parser.parse_args()
    results = [solve(task, 5 if arguments.quick else 30) for task in (prism(), *bricks())]
    for result in results:
        print(f"[bold]{result.task.name}[/bold]: loss {result.loss:.1e} with nothing added")
        if result.order is None:
            print("nothing has to be broken")
            continue
        print(result.order)
        used = " + ".join(f"{one.irrep} of {one.kind}" for one in result.order.minimal)
        print(f"with {used}: losses", ", ".join(f"{loss:.0e}" for loss in result.losses))
    draw(results, arguments.output / "prism_and_brick.png")


if __name__ == "__main__":
    main()
