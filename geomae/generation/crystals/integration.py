"""From noise to crystals, step by step, in float64."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geomae.generation.atoms.integration import Steps
from geomae.generation.conditions import generator_of
from geomae.generation.crystals.batch import joined
from geomae.generation.crystals.flow import CrystalFlow, classes_of
from geomae.wyckoff.template import Template


@torch.no_grad()
def drawn_elements(
    flow: CrystalFlow,
    templates: Sequence[Template],
    allowed: Sequence[Float[np.ndarray, "_ elements"] | None],
    generators: Sequence[np.random.Generator],
) -> list[np.ndarray]:
    """Number of each class's element, drawn one class after the other in random order.

    Args:
        flow: whose network is asked.
        templates: of the crystals.
        allowed: which elements each class may have, as 0 and 1; any where None. No two classes have
            the same one.
        generators: of each crystal's draws.
    """
    elements = len(flow.elements)
    classes = classes_of(templates, len(flow.templates.place))
    orders = [rng.permutation(own.classes) for rng, own in zip(generators, templates, strict=True)]
    for step in range(classes.element.shape[1]):
        logits = flow.element_logits(classes)
        for row, (order, rng) in enumerate(zip(orders, generators, strict=True)):
            if step >= len(order):
                continue
            own = order[step]
            odds = logits[row, own].double().softmax(0).numpy().copy()
            odds[[z - 1 for z in classes.element[row].tolist() if z]] = 0
            mask = allowed[row]
            if mask is not None:
                odds = np.maximum(odds, 1e-12) * mask[own] * (odds > 0)
            drawn = int(rng.choice(elements, p=odds / odds.sum()))
            classes.element[row, own] = drawn + 1
    return [
        row[: own.classes].numpy() - 1 for row, own in zip(classes.element, templates, strict=True)
    ]


@torch.no_grad()
def placed_crystals(
    flow: CrystalFlow,
    templates: Sequence[Template],
    elements: Sequence[np.ndarray],
    *,
    seed: int,
    numbers: Sequence[int],
    steps: Steps,
) -> list[tuple[Float[Tensor, "_ 3"], Float[Tensor, "3 3"]]]:
    """Coordinates of all atoms in fractions of the cell, and its vectors as rows, in Å.

    Noise and every step are confined to what the space groups leave free.

    Args:
        flow: whose velocity is followed.
        templates: of the crystals.
        elements: number of each class's element.
        seed, numbers: decide about the noise of each.
        steps: how the flow is integrated.
    """
    volume = flow.statistics["volume"].double().cpu().numpy()
    sites = joined(templates, elements, volume)
    orbits = [len(own.size) for own in templates]
    normal, uniform = [], []
    for number, k in zip(numbers, orbits, strict=True):
        generator = generator_of(seed, number, "crystal")
        normal.append(torch.randn(3, 3, generator=generator, dtype=torch.float64))
        uniform.append(torch.rand(k, 3, generator=generator, dtype=torch.float64))
    strains = flow.strain_noise(sites, torch.stack(normal))
    coordinates = flow.coordinate_noise(sites, torch.cat(uniform))
    for now, then in pairwise(steps.times(hydrogens=False)):
        at = strains.new_full((len(sites),), now)
        moved, ends = flow.velocity(sites, coordinates, strains, at)
        points = sites.points(coordinates) + (then - now) * moved
        coordinates = sites.coordinates(points)
        strains = torch.lerp(strains, ends, (then - now) / (1 - now))
    atoms = sites.atoms(sites.points(coordinates)).split([own.n_atoms for own in templates])
    return list(zip(atoms, sites.cells(strains), strict=True))
