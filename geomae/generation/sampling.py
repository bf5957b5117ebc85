"""Sampling a flow: compositions, noise, and the steps from one to the other end."""

from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.autoencoder.latents import Latents
from geomae.errors import GeomaeError
from geomae.generation.flow import Conditions, LatentFlow, Projector, Settings

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
    check_sampling(flow, n, steps, start, time)
    rows = drawn_rows(flow, n, conditions, seed)
    counts = compositions(flow, n, conditions, seed)
    inventory = told_inventory(flow, rows, free=project is not None)
    properties = asked_properties(flow, n, conditions)
    parts = []
    for first in range(0, n, SAMPLED_TOGETHER):
        ids = torch.arange(first, first + SAMPLED_TOGETHER).clamp(max=n - 1)
        told = flow.told(counts[ids], inventory[ids], properties[ids])
        noise = _Noise(flow, seed, ids.tolist(), settings.temperature, project)
        points = noise()
        if start is not None:
            known = flow.coordinates(start.array[ids].to(flow.device, flow.dtype))
            points = torch.lerp(points, known, time)
        points = _integrate(flow, points, told, noise, steps, time, settings)
        parts.append(flow.latents(points)[: n - first])
    shape = (0, flow.layout.components, flow.config.latent_channels)
    array = torch.cat(parts) if parts else torch.zeros(shape, dtype=flow.dtype)
    return Latents(array, torch.zeros(n, 3, dtype=torch.float64, device=array.device))


def check_sampling(
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
    shape = (n, flow.layout.components, flow.config.latent_channels)
    if tuple(start.array.shape) != shape:
        raise GeomaeError(
            f"the latents to start with must have the shape {list(shape)}, "
            f"not {list(start.array.shape)}"
        )


class _Noise:
    """Noise of samples in the flow's coordinates, for the start and for each step.

    Args:
        flow: whose coordinates.
        seed, ids: the noise of a sample is a function of the seed and of its own number.
        temperature: its spread.
        project: applied to it; it acts on components, the same in every channel.
    """

    def __init__(
        self,
        flow: LatentFlow,
        seed: int,
        ids: list[int],
        temperature: float,
        project: Projector | None,
    ):
        self.flow, self.temperature, self.project = flow, temperature, project
        self.shape = (flow.layout.components, flow.config.latent_channels)
        self.generators = [generator_of(seed, i, "noise") for i in ids]

    def __call__(self) -> Float[Tensor, "n m c"]:
        drawn = [torch.randn(self.shape, generator=g, dtype=torch.float64) for g in self.generators]
        noise = self.temperature * torch.stack(drawn).to(self.flow.device, self.flow.dtype)
        return noise if self.project is None else self.project(noise)


def generator_of(seed: int, number: int, purpose: str) -> torch.Generator:
    """Randomness that a seed, the number of a sample and a purpose decide."""
    digest = sha256(f"{seed}/{number}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


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


def compositions(
    flow: LatentFlow, n: int, conditions: Conditions, seed: int
) -> Int[Tensor, "n elements"]:
    """The composition of every sample: as asked for, or drawn from those of the flow's data.

    Raises:
        GeomaeError: conditions of a wrong shape, of numbers of atoms that the flow does not
            take, or that exclude each other.
    """
    if conditions.counts is not None:
        _check_conditions(flow, n, conditions)
        return conditions.counts.long().cpu()
    return flow.formulas()[drawn_rows(flow, n, conditions, seed)]


def drawn_rows(flow: LatentFlow, n: int, conditions: Conditions, seed: int) -> Int[Tensor, " n"]:
    """For every sample an inventory of the flow's data, by its row; -1 where none fits.

    Inventories are as frequent as in the data, among those with the composition or number of
    atoms that was asked for, and weighted by how likely each makes the properties that were.
    """
    _check_conditions(flow, n, conditions)
    weights = flow.statistics["shares"].double().cpu() * _likelihood(flow, conditions.properties)
    formulas, rows = flow.formulas(), []
    for i in range(n):
        fits = torch.ones(len(formulas), dtype=torch.bool)
        if conditions.counts is not None:
            fits &= (formulas == conditions.counts[i].cpu()).all(1)
        elif conditions.n_atoms is not None:
            fits &= formulas.sum(1) == int(conditions.n_atoms[i])
        own = torch.where(fits, weights, 0.0)
        if not bool(own.any()):
            own = fits.double()
        if bool(fits.any()):
            generator = generator_of(seed, i, "inventory")
            rows.append(int(torch.multinomial(own, 1, generator=generator)))
        else:
            rows.append(-1)
    return torch.tensor(rows, dtype=torch.long)


def told_inventory(flow: LatentFlow, rows: Int[Tensor, " n"], free: bool) -> Int[Tensor, "n kinds"]:
    """The inventories in some rows; -1, which tells nothing, where there is none.

    Args:
        flow: whose data.
        rows: see `drawn_rows`.
        free: tell no inventory at all: one that was drawn may exclude a symmetry asked for.
    """
    known = flow.statistics["inventories"].round().long().cpu()[rows.clamp(min=0)]
    return known.masked_fill((rows < 0)[:, None] | free, -1)


def _likelihood(flow: LatentFlow, properties: dict[str, float]) -> Float[Tensor, " rows"]:
    """How likely each inventory makes properties, in parts of the likeliest."""
    logarithm = torch.zeros(len(flow.statistics["inventories"]), dtype=torch.float64)
    for name, value in properties.items():
        column = flow.properties.index(name)
        mean = flow.statistics["property_mean"][:, column].double().cpu()
        spread = flow.statistics["property_spread"][:, column].double().cpu()
        logarithm -= 0.5 * ((value - mean) / spread).square() + spread.log()
    return (logarithm - logarithm.max()).exp()


def _check_conditions(flow: LatentFlow, n: int, conditions: Conditions) -> None:
    for name in conditions.properties:
        if name not in flow.properties:
            known = ", ".join(flow.properties) or "none"
            raise GeomaeError(f"the flow was not trained on '{name}'; its properties: {known}")
    counts, sizes = conditions.counts, conditions.n_atoms
    if counts is not None:
        if tuple(counts.shape) != (n, len(flow.elements)):
            raise GeomaeError(
                f"counts must have the shape {[n, len(flow.elements)]}, not {list(counts.shape)}"
            )
        total, most = counts.sum(1), flow.config.max_atoms
        if bool((counts < 0).any()) or bool((total < 1).any()) or bool((total > most).any()):
            raise GeomaeError(f"compositions must have 1 to {most} atoms, and no negative numbers")
    if sizes is None:
        return
    if tuple(sizes.shape) != (n,):
        raise GeomaeError(f"n_atoms must have the shape [{n}], not {list(sizes.shape)}")
    if counts is not None and not torch.equal(counts.sum(1), sizes):
        raise GeomaeError("counts and n_atoms exclude each other: the counts have other sums")
    occurring = set(flow.formulas().sum(1).tolist())
    if strange := sorted(set(sizes.tolist()) - occurring):
        raise GeomaeError(
            f"the flow knows no composition of {strange[0]} atoms; "
            f"it has from {min(occurring)} to {max(occurring)}"
        )


def asked_properties(
    flow: LatentFlow, n: int, conditions: Conditions
) -> Float[Tensor, "n properties"]:
    """Values of every property, in their order; nan where none is asked for."""
    values = [conditions.properties.get(name, torch.nan) for name in flow.properties]
    return torch.tensor(values, dtype=torch.float64, device=flow.device).expand(n, len(values))
