"""Order parameters learned: a gradient on what is added to the input, with a sparse penalty."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor, nn

from geomae.equivariant.flat import read_irreps
from geomae.errors import GeomaeError
from geomae.symmetry.isotypic import Piece


@dataclass(frozen=True)
class Learning:
    """How an order parameter is learned.

    The loss is the mean over the target's rows of the squared errors, over that of the target.

    Attributes:
        steps: with the penalty; as many follow without it, ever shorter, on what is then left.
        rate: of the model's parameters.
        breaker_rate: of the values added.
        penalty: of the sum over irreps and degrees of the values' lengths, in units of the
            gradient: a part with less than this share of the gradient's length shrinks to nothing.
        start: length of random values to start from; 0 starts from none, and takes random ones
            only where the gradient vanishes.
        seed: of these.
    """

    steps: int = 300
    rate: float = 5e-3
    breaker_rate: float = 2e-2
    penalty: float = 0.05
    start: float = 0.0
    seed: int = 0

    def __post_init__(self):
        for name in ("steps", "rate", "breaker_rate"):
            if not getattr(self, name) > 0:
                raise GeomaeError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("penalty", "start"):
            if not getattr(self, name) >= 0:
                raise GeomaeError(f"{name} must not be below 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class Part:
    """What the learned values have of one irrep in one degree and parity.

    Attributes:
        kind: degree and parity, `2e` say.
        irrep: of the input's group.
        size: length of the values.
    """

    kind: str
    irrep: str
    size: float


@dataclass(frozen=True)
class Learned:
    """An order parameter found by gradient.

    Attributes:
        breaker: the values.
        active: parts that aren't zero, the largest first.
        loss: with the values; of the target, so that 1 is a model that gives nothing.
        loss_without: of the same model without them.
        history: loss of every step.
    """

    breaker: Float[Tensor, "s dim"]
    active: list[Part]
    loss: float
    loss_without: float
    history: list[float]

    @property
    def sizes(self) -> dict[tuple[str, str], float]:
        """Length of the values by kind and irrep, of all channels together."""
        result: dict[tuple[str, str], float] = {}
        for part in self.active:
            key = part.kind, part.irrep
            result[key] = (result.get(key, 0.0) ** 2 + part.size**2) ** 0.5
        return result


class Parts:
    """The pieces of added values as projections: what the penalty counts one by one.

    The trivial pieces are left out: they break nothing.

    Args:
        irreps: of the values.
        groups: kind, first component and piece of each part.
    """

    def __init__(self, irreps: str | o3.Irreps, groups: list[tuple[str, int, Piece]]):
        self.dim = read_irreps(irreps).dim
        self.groups = [group for group in groups if not group[2].trivial]

    def shrink(
        self, values: Float[Tensor, "s dim"], by: float
    ) -> tuple[Float[Tensor, "s dim"], list[int]]:
        """Every part shorter by a length, and the numbers of those that don't vanish with it."""
        lengths = [float(part.norm()) for part in self.of(values)]
        active = [number for number, length in enumerate(lengths) if length > by]
        return self.keep(values, active, [1 - by / lengths[k] for k in active]), active

    def of(self, values: Float[Tensor, "s dim"]) -> list[Tensor]:
        """The parts, each flat over sites and components of its multiplet."""
        parts = []
        for _, start, piece in self.groups:
            width = self._width(piece, values)
            flat = values[:, start : start + width].reshape(-1)
            parts.append(piece.basis.to(flat) @ (piece.basis.T.to(flat) @ flat))
        return parts

    def keep(
        self, values: Tensor, active: list[int], factors: list[float] | None = None
    ) -> Float[Tensor, "s dim"]:
        """The active parts of values, each times its factor if there are any."""
        result, parts = torch.zeros_like(values), self.of(values)
        for number, factor in zip(active, factors or [1.0] * len(active), strict=True):
            _, start, piece = self.groups[number]
            width = self._width(piece, values)
            part = (factor * parts[number]).view(len(values), width)
            result[:, start : start + width] += part
        return result

    def _width(self, piece: Piece, values: Tensor) -> int:
        return piece.basis.shape[0] // len(values)


def learn(
    model: Callable[[Tensor], Tensor],
    target: Float[Tensor, "n d"],
    irreps: str | o3.Irreps,
    groups: list[tuple[str, int, Piece]],
    parameters: Iterable[nn.Parameter],
    options: Learning,
) -> Learned:
    """Adds values to a model's input until it gives the target, as few as that takes.

    Proximal gradient descent: after each step every part (an irrep of the input's group in one
    multiplet) becomes shorter by the same length, and short ones vanish. Steps are scaled by the
    gradient's length as a whole, never by component, so that they commute with the group.

    Args:
        model: the output `[n, d]` for values `[sites, dim]`.
        target: what it should give.
        irreps: of the values.
        groups: their parts, from `pieces_by_kind`.
        parameters: of the model, to be fitted too.
        options: steps, rates and penalty.
    """
    parts, weights = Parts(irreps, groups), list(parameters)
    target = target.detach()
    scale = float(target.square().sum(1).mean())
    n_sites = groups[0][2].basis.shape[0] // o3.Irrep(groups[0][0]).dim

    def loss_of(breaker: Tensor) -> Tensor:
        return (model(breaker) - target).square().sum(1).mean() / scale

    search = Descent(loss_of, parts, weights, options)
    breaker = _random(parts, target, n_sites, options.seed) * options.start
    by, active = options.breaker_rate * options.penalty, []
    for _ in range(options.steps):
        breaker, active = parts.shrink(search.step(breaker), by)
        if not active and search.flat:
            breaker = _random(parts, target, n_sites, options.seed) * 10 * options.breaker_rate
    for step in range(options.steps):
        breaker = parts.keep(search.step(breaker, 1 - step / options.steps), active)
    with torch.no_grad():
        losses = float(loss_of(breaker)), float(loss_of(torch.zeros_like(breaker)))
    lengths = [float(part.norm()) for part in parts.of(breaker)]
    found = [Part(parts.groups[k][0], parts.groups[k][2].irrep, lengths[k]) for k in active]
    found.sort(key=lambda part: -part.size)
    return Learned(breaker.detach(), found, *losses, search.history)


class Descent:
    """Steps on a model's parameters and on the values added, with momentum.

    Attributes:
        flat: whether the gradient on the values was zero.
        history: losses before the steps.
    """

    def __init__(
        self,
        loss_of: Callable[[Tensor], Tensor],
        parts: Parts,
        weights: list[nn.Parameter],
        options: Learning,
    ):
        self.loss_of, self.parts, self.weights, self.options = loss_of, parts, weights, options
        self.adam = torch.optim.Adam(weights, options.rate) if weights else None
        self.mean: Tensor | float = 0.0
        self.square, self.count, self.flat = 0.0, 0, False
        self.history: list[float] = []

    def step(self, breaker: Tensor, share: float = 1.0) -> Tensor:
        """Values after a step down the gradient; the model's parameters go along.

        Args:
            breaker: values before.
            share: of the rates that is taken.
        """
        breaker = breaker.detach().requires_grad_()
        loss = self.loss_of(breaker)
        gradients = torch.autograd.grad(loss, [breaker, *self.weights], allow_unused=True)
        if self.adam is not None:
            for weight, gradient in zip(self.weights, gradients[1:], strict=True):
                weight.grad = gradient
            self.adam.param_groups[0]["lr"] = share * self.options.rate
            self.adam.step()
        slope = torch.zeros_like(breaker) if gradients[0] is None else gradients[0]
        slope = self.parts.keep(slope, list(range(len(self.parts.groups))))
        self.history.append(float(loss.detach()))
        self.flat = float(slope.norm()) < 1e-12
        return self._moved(breaker.detach(), slope, share)

    def _moved(self, breaker: Tensor, slope: Tensor, share: float) -> Tensor:
        self.count += 1
        self.mean = 0.9 * self.mean + 0.1 * slope
        self.square = 0.9 * self.square + 0.1 * float(slope.square().sum())
        mean = self.mean / (1 - 0.9**self.count)
        size = (self.square / (1 - 0.9**self.count)) ** 0.5 + 1e-12
        return breaker - share * self.options.breaker_rate / size * mean


def _random(parts: Parts, like: Tensor, n_sites: int, seed: int) -> Tensor:
    """Random values of length 1 without invariant parts."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n_sites, parts.dim, dtype=torch.float64, generator=generator).to(like)
    broken = parts.keep(values, list(range(len(parts.groups))))
    return broken / broken.norm().clamp(min=1e-12)
