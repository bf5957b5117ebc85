"""Starts for SOAP vectors, from the distances that degree 0 tells.

Vectors of all atoms: each row tells its element and how far others are. Heavy atoms are put in
place by these lists and refined against their part of the vectors, which is just the SOAP of the
skeleton; hydrogens follow one by one. Vectors of one centre: distances are known, directions are
left to chance.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from math import ceil, floor

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.light_atoms import choices, places_of
from geomae.inversion.one_centre import element_by_element
from geomae.inversion.skeletons import skeletons
from geomae.inversion.soap_fit import SoapFit
from geomae.inversion.soap_scalars import histograms, species_of_rows
from geomae.inversion.spread import random_directions

ALL_AT_ONCE = 6
"""Structures of so many atoms need no skeleton first."""

KEPT = 6
"""Directions of channel space that are fitted, in each degree."""

SURE = 0.02
"""How far from a whole number a count of atoms comes out that leaves no doubt."""

MOST_COUNTS = 6
"""Compositions that are tried where degree 0 doesn't tell one."""

MOST_ATOMS = 200
"""About one centre; random numbers may look like any number of them."""

ONE_CENTRE = 24
"""Directions of channel space that are fitted about a single centre."""


def atoms_at_distances(
    soap: Soap, row: Float[Tensor, " f"], numbers: Int[Tensor, " n"] | None = None
) -> Iterator[tuple[Int[Tensor, " n"], Float[Tensor, " n"]]]:
    """Atomic numbers and distances from a centre, nearest first, as degree 0 tells them.

    How many atoms of an element there are is told surely up to half as many as there are
    radial functions, and of more only about: what comes nearest to whole numbers comes first.

    Args:
        soap: of one centre.
        row: its vector.
        numbers: of the atoms, where known; then there is one answer.
    """
    grid, found = histograms(soap, row)
    totals = found[0].sum(1)
    if numbers is not None:
        options = [[int((numbers == z).sum())] for z in soap.species]
    else:
        options = [_whole(float(total)) for total in totals]
    ranked = sorted(product(*options), key=lambda c: float((torch.tensor(c) - totals).abs().sum()))
    for counts in ranked[:MOST_COUNTS]:
        if 0 < sum(counts) <= MOST_ATOMS:
            yield _listed(soap, grid, found[0], counts)


def _whole(total: float) -> list[int]:
    """Numbers of atoms that a sum of counts may stand for."""
    if abs(total - round(total)) < SURE:
        return [round(total)]
    return [n for n in (floor(total) - 1, floor(total), ceil(total), ceil(total) + 1) if n >= 0]


def _listed(
    soap: Soap, grid: Float[Tensor, " g"], found: Float[Tensor, "s g"], counts: Sequence[int]
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """So many atoms of each element at the distances of its histogram, nearest first."""
    numbers, radii = [], []
    for species, part, n in zip(soap.species, found, counts, strict=True):
        summed = part.cumsum(0)
        for place in range(n):
            middle = torch.searchsorted(summed, summed[-1] * (place + 0.5) / n)
            radii.append(float(grid[min(int(middle), len(grid) - 1)]))
            numbers.append(species)
    far = torch.tensor(radii, dtype=torch.float64)
    order = torch.argsort(far, stable=True)
    return torch.tensor(numbers)[order], far[order]


def directions_about_one(
    soap: Soap,
    row: Float[Tensor, " f"],
    given: Int[Tensor, " n"] | None,
    n_starts: int,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor, SoapFit]]:
    """Atomic numbers, positions `[k, n, 3]` at the distances told, and what to fit.

    Half of the starts are made element by element, where there are elements enough for that.
    """
    fit = SoapFit(soap, row, kept=ONE_CENTRE)
    told = list(atoms_at_distances(soap, row, given))
    share = n_starts // max(1, len(told))
    for numbers, radii in told:
        left = share
        for places in element_by_element(soap, row, numbers, radii, share // 2, generator):
            yield numbers, places, fit
            left -= len(places)
        while left > 0:
            k = min(16, left)
            yield numbers, random_directions(radii, k, generator), fit
            left -= k


def whole_from_skeleton(
    soap: Soap, values: Float[Tensor, " f"], n_starts: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, SoapFit]]:
    """Atomic numbers in the order of the rows, positions `[k, n, 3]`, and what to fit."""
    numbers = species_of_rows(soap, values)
    if numbers is None:
        return
    light = numbers == 1
    if len(numbers) <= ALL_AT_ONCE or int((~light).sum()) < 3:
        light = torch.zeros_like(light)
    part, own = soap.part(values, numbers, ~light)
    whole = SoapFit(soap, values, kept=KEPT)
    for skeleton in skeletons(part, own, numbers[~light], n_starts, generator):
        if not bool(light.any()):
            yield numbers, skeleton[None], whole
            continue
        places = places_of(soap, values, numbers, light, skeleton)
        for added in choices(soap, values, light, skeleton, places, generator):
            full = skeleton.new_zeros(len(numbers), 3)
            full[light], full[~light] = added, skeleton
            yield numbers, full[None], whole
