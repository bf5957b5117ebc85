"""Latents again from what they draw: decode, encode, add noise, and finish the flow from there."""

from collections.abc import Callable, Sequence
from math import ceil

import torch

from geomae.autoencoder.latents import Latents
from geomae.autoencoder.model import Autoencoder
from geomae.autoencoder.reading import read
from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.generation.conditions import Conditions
from geomae.generation.flow import LatentFlow, Projector, Settings

TIMES = (0.3, 0.36, 0.42, 0.48, 0.54, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
"""Where the flow is taken up again after each drawing."""

Redraw = Callable[[Latents], Latents]
"""Latents of the structures that latents draw."""


def revise(
    flow: LatentFlow,
    latents: Latents,
    redraw: Redraw,
    *,
    conditions: Conditions | None = None,
    project: Projector | None = None,
    steps: int = 20,
    seed: int = 0,
    times: Sequence[float] = TIMES,
    settings: Settings | None = None,
) -> Latents:
    """Bring generated latents closer to those that structures have.

    A flow's latents are no structure's. Each pass takes those of the structures that they draw,
    adds noise up to a time, and lets the flow finish from there, under the same conditions.

    Args:
        flow: that made the latents.
        latents: `[n]`.
        redraw: see `redrawing`.
        conditions, project, seed, settings: as the latents were sampled with.
        steps: evaluations of the velocity for the whole way from 0 to 1; a pass takes its part.
        times: of the passes, in ascending order.

    Raises:
        GeomaeError: times that do not ascend within [0, 1).
    """
    if list(times) != sorted(set(times)):
        raise GeomaeError(f"times of passes must ascend, got {', '.join(map(str, times))}")
    for time in times:
        latents = flow.sample(
            len(latents),
            conditions=conditions,
            project=project,
            steps=ceil(steps * (1 - time)),
            seed=seed,
            start=redraw(latents),
            time=time,
            settings=settings,
        )
    return latents


def redrawing(model: Autoencoder) -> Redraw:
    """Decoding straight from the peaks, and encoding; latents that draw nothing stay.

    Args:
        model: the autoencoder of the latents.
    """
    exact = model.exact_encoder()

    @torch.no_grad()
    def redraw(latents: Latents) -> Latents:
        array = latents.array.clone()
        readings = read(model.decoder, exact, array, refined=False, retries=0)
        drawn = [Structure(reading.numbers.cpu(), reading.positions.cpu()) for reading in readings]
        sound = [
            i
            for i, structure in enumerate(drawn)
            if 1 <= structure.n_atoms <= model.config.max_atoms
        ]
        if sound:
            array[sound] = model.encode([drawn[i] for i in sound]).array.to(array)
        return Latents(array, latents.centres)

    return redraw
