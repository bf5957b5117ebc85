"""Sampling a flow: compositions, noise, and the steps from one to the other end."""

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.autoencoder.latents import Latents
from geomae.errors import GeomaeError
from geomae.generation.conditions import Conditions, draw, generator_of
from geomae.generation.flow import LatentFlow, Projector, Settings

SAMPLED_TOGETHER = 32
"""Samples whose velocities are computed together. Batches are always filled up to as many, so that
rounding does not depend on how many samples are asked for."""


def sample(
    flow: LatentFlow,
    n: int,
    *,
    conditions: Conditions,
    project: Projector | None,
    steps: int,
    seed: int,
    start: Latents | None,
    time: float,
    settings: Settings,
) -> Latents:
    """See `LatentFlow.sample`."""
    _check_sampling(flow, n, steps, start, time)
    drawn = draw(flow, n, conditions, seed)
    inventory = drawn.inventory if project is None else torch.full_like(drawn.inventory, -1)
    values = [conditions.properties.get(name, torch.nan) for name in flow.properties]
    told = flow.told(
        drawn.counts.to(flow.device),
        inventory.to(flow.device),
        torch.tensor(values, device=flow.device).expand(n, len(values)),
    )
    parts = []
    for first in range(0, n, SAMPLED_TOGETHER):
        ids = torch.arange(first, first + SAMPLED_TOGETHER).clamp(max=n - 1)
        noise = _Noise(flow, seed, time, ids.tolist(), settings.temperature, project)
        points = noise()
        if start is not None:
            known = flow.coordinates(start.array[ids].to(flow.device, flow.dtype))
            points = torch.lerp(points, known, time)
        points = _integrate(flow, points, told[ids], noise, steps, time, settings)
        parts.append(flow.latents(points)[: n - first])
    empty = torch.zeros(0, *flow.latent_shape, dtype=flow.dtype, device=flow.device)
    array = torch.cat([empty, *parts])
    return Latents(array, torch.zeros(n, 3, dtype=torch.float64, device=array.device))


def _check_sampling(
    flow: LatentFlow, n: int, steps: int, start: Latents | None, time: float
) -> None:
    """See that samples can be drawn so.

    Raises:
        GeomaeError: says what was wrong.
    """
    if n < 0 or steps < 1:
        raise GeomaeError(f"n must be at least 0 and steps at least 1, got {n} and {steps}")
    if not 0 <= time < 1:
        raise GeomaeError(f"time must be in [0, 1), got {time}")
    if start is None:
        if time:
            raise GeomaeError("a time to start from needs latents to start with")
        return
    shape = (n, *flow.latent_shape)
    if tuple(start.array.shape) != shape:
        raise GeomaeError(
            f"the latents to start with must have the shape {list(shape)}, "
            f"not {list(start.array.shape)}"
        )


class _Noise:
    """Noise of samples in the flow's coordinates, for the start and for each step.

    Args:
        flow: whose coordinates.
        seed, time, ids: the noise of a sample is a function of the seed, of the time where the flow
            starts, and of its own number.
        temperature: its spread.
        project: applied to it; it acts on components, the same in every channel.
    """

    def __init__(
        self,
        flow: LatentFlow,
        seed: int,
        time: float,
        ids: list[int],
        temperature: float,
        project: Projector | None,
    ):
        self.flow, self.temperature, self.project = flow, temperature, project
        self.shape = flow.latent_shape
        self.generators = [generator_of(seed, i, f"noise at {time}") for i in ids]

    def __call__(self) -> Float[Tensor, "n m c"]:
        drawn = [torch.randn(self.shape, generator=g, dtype=torch.float64) for g in self.generators]
        noise = self.temperature * torch.stack(drawn).to(self.flow.device, self.flow.dtype)
        return noise if self.project is None else self.project(noise)


def _integrate(
    flow: LatentFlow,
    points: Float[Tensor, "n m c"],
    told: Float[Tensor, "n f"],
    noise: Callable[[], Tensor],
    steps: int,
    time: float,
    settings: Settings,
) -> Float[Tensor, "n m c"]:
    """From points at a time to the flow's end."""
    untold = torch.zeros_like(told)
    kept = (1 - settings.renewal**2) ** 0.5
    times = [1 - (1 - time) * (1 - i / steps) ** settings.warp for i in range(steps + 1)]
    for now, then in pairwise(times):
        at = points.new_full((len(points),), now)
        velocity = flow(points, at, told)
        if settings.guidance != 1:
            free = flow(points, at, untold)
            velocity = torch.lerp(free, velocity, settings.guidance)
        if not settings.renewal:
            points = points + (then - now) * velocity
            continue
        target, origin = points + (1 - now) * velocity, points - now * velocity
        renewed = kept * origin + settings.renewal * noise()
        points = torch.lerp(renewed, target, then)
    return points
