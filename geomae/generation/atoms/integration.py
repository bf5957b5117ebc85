"""From noise to places, step by step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.generation.atoms.flow import AtomFlow, Placing
from geomae.generation.conditions import generator_of

Projector = Callable[[Tensor], Tensor]
"""A linear projection of displacements `[n, a, 3]` on those that a symmetry leaves as they are."""

Holder = Callable[[Tensor], Tensor]
"""Displacements `[n, a, 3]` with those of given atoms made what they have to be."""


@dataclass(frozen=True)
class Steps:
    """How the flow is integrated.

    Attributes:
        count: evaluations of the network that places heavy atoms.
        light: the same of that which places hydrogens, in parts of it.
        warp: times are `1 - (1 - i / count)^warp`; above 1 steps shorten towards the end.
        renewal: share of the noise that each step renews: 0 follows the velocity alone, 1 draws
            all noise anew (a stochastic sampler, as eta of Song et al., DDIM, 2020).
        guidance: what properties add to where atoms end is taken this many times (classifier-free
            guidance, Ho and Salimans 2021).
        sharpness: what the network's own estimate of the step before adds to where heavy atoms end
            is taken this many times; at 1 once, without the second evaluation that this takes. A
            network is guided away from one that knows less (Karras et al., Guiding a diffusion
            model with a bad version of itself, 2024), here from itself without its estimate.
        sharp_from: time from which on.
    """

    count: int = 50
    light: float = 0.2
    warp: float = 1.5
    renewal: float = 0.0
    guidance: float = 1.5
    sharpness: float = 4.0
    sharp_from: float = 0.5

    def times(self, hydrogens: bool) -> list[float]:
        """Times from 0 to 1 at the ends of steps."""
        count = max(1, round(self.light * self.count)) if hydrogens else self.count
        return [1 - (1 - i / count) ** self.warp for i in range(count + 1)]


class NormalNumbers:
    """Normally distributed numbers of samples, each from a generator of its own.

    Args:
        seed, numbers, purpose: decide about them; how many others are drawn does not.
        like: whose precision and device they have.
    """

    def __init__(self, seed: int, numbers: Sequence[int], purpose: str, like: Tensor):
        self.generators = [generator_of(seed, number, purpose) for number in numbers]
        self.like = like

    def __call__(self, atoms: int) -> Float[Tensor, "n a 3"]:
        drawn = [torch.randn(atoms, 3, generator=g, dtype=torch.float64) for g in self.generators]
        return torch.stack(drawn).to(self.like)


@torch.no_grad()
def placed(
    flow: AtomFlow,
    placing: Placing,
    properties: Float[Tensor, "n properties"],
    numbers: NormalNumbers,
    steps: Steps,
    project: Projector | None = None,
    hold: Holder | None = None,
) -> Float[Tensor, "n a 3"]:
    """Positions in Å of all atoms of a stage, those that moved where the flow leaves them.

    Args:
        flow: whose network of the stage is asked.
        placing: the stage.
        properties: that structures are asked to have; nan where none is.
        numbers: noise.
        steps: how it is integrated.
        project: applied to noise and to where atoms end.
        hold: applied to where atoms end.
    """
    project = project or (lambda displacements: displacements)
    told = flow.told(properties)
    guided = steps.guidance != 1 and not bool(properties.isnan().all())
    untold = flow.told(torch.full_like(properties, torch.nan))
    sharpened = placing.free and steps.sharpness != 1
    atoms = placing.labels.shape[1]

    def noise() -> Tensor:
        return project(flow.noise(placing, numbers(atoms)))

    def expected(displaced: Tensor, now: float, recalled: Tensor | None) -> Tensor:
        at = displaced.new_full((len(displaced),), now)
        own = ends = flow.ends(placing, displaced, at, told, recalled)
        if guided:
            free = flow.ends(placing, displaced, at, untold, recalled)
            ends = ends + (steps.guidance - 1) * (own - free)
        if sharpened and recalled is not None and now >= steps.sharp_from:
            unaware = flow.ends(placing, displaced, at, told)
            ends = ends + (steps.sharpness - 1) * (own - unaware)
        ends = project(ends)
        return ends if hold is None else hold(ends)

    displaced, ends = noise(), None
    kept = (1 - steps.renewal**2) ** 0.5
    for now, then in pairwise(steps.times(hydrogens=not placing.free)):
        ends = expected(displaced, now, ends)
        start = (displaced - now * ends) / (1 - now)
        if steps.renewal and then < 1:
            start = kept * start + steps.renewal * noise()
        displaced = torch.lerp(start, ends, then)
    return placing.base + displaced
