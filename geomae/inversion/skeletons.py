"""Heavy atoms in place, from the lists of distances that their SOAP vectors tell."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.distance_lists import distance_lists, embed
from geomae.inversion.refine import refine
from geomae.inversion.soap_scalars import ScalarFit
from geomae.inversion.spread import ball, mutated

CLOSE = 1e-6
"""Relative residual of a skeleton that is worth completing."""

EMBEDDED = 256
"""Random skeletons that are embedded in one batch."""

REFINED = 96
"""Of these, that are refined."""

SETTLED = 1e-12
"""Relative residual of a skeleton that nothing is wrong with."""

ALIKE = 1e-3
"""Difference of rows, relative to the longest, below which atoms may have been exchanged."""

PARENTS = 8
"""Best skeletons that were wrong, of which mutants are made where embedding found none."""

MUTANTS, GENERATIONS = 64, 3
"""Mutants that are refined at once, and how often, before more skeletons are embedded."""

COUNTED = 8
"""Starts that such a batch counts as: it costs about as much as so many fits of whole vectors."""


def skeletons(
    soap: Soap,
    values: Float[Tensor, " f"],
    numbers: Int[Tensor, " n"],
    n_starts: int,
    generator: torch.Generator,
) -> Iterator[Float[Tensor, "n 3"]]:
    """Positions that have the vectors, one at a time, each as often as starts lead to it.

    If none has, because the vectors are no structure's, the nearest comes at the end.
    """
    lists = distance_lists(soap, values, numbers)
    groups = [torch.nonzero(numbers == species)[:, 0] for species in soap.species]
    fit, weights = ScalarFit(soap, values, numbers), soap.weights(numbers)
    parents = ball(len(numbers), 0, generator)
    misfits, found = parents.new_zeros(0), False
    while n_starts > 0:
        starts, _ = embed(lists, groups, ball(len(numbers), EMBEDDED, generator))
        starts, n_starts = starts[:REFINED], n_starts - COUNTED
        for _ in range(1 + GENERATIONS):
            many = weights.expand(len(starts), -1, -1)
            ended = refine(fit.jacobian, fit.target, many, starts, steps=60, patience=1e-2)
            close = ended.residual < CLOSE
            for place, misfit in zip(ended.positions[close], ended.residual[close], strict=True):
                yield place if misfit < SETTLED else exchanged(fit, numbers, place, misfit)
            parents = torch.cat([parents, ended.positions[~close]])
            misfits = torch.cat([misfits, ended.residual[~close]])
            order = torch.argsort(misfits)[:PARENTS]
            parents, misfits = parents[order], misfits[order]
            if bool(close.any()):
                found = True
                break
            starts = mutated(parents, MUTANTS, generator)
    if not found:
        yield parents[0]


def exchanged(
    fit: ScalarFit, numbers: Int[Tensor, " n"], place: Float[Tensor, "n 3"], misfit: Tensor
) -> Float[Tensor, "n 3"]:
    """The skeleton with rows that are nearly alike exchanged, as long as that makes it fit better.

    Where a molecule is nearly symmetric, two atoms of one element can have each other's rows: each
    stands where the other should, and no small step leads out.
    """
    rows = fit.target.unflatten(0, (len(numbers), -1))
    alike = torch.cdist(rows, rows) < ALIKE * rows.norm(dim=1).max()
    alike &= numbers[:, None] == numbers
    first, second = torch.nonzero(torch.triu(alike, 1)).T
    weights = fit.member.expand(len(first), -1, -1)
    while len(first) and misfit >= SETTLED:
        tries = place.repeat(len(first), 1, 1)
        each = torch.arange(len(first))
        tries[each, first], tries[each, second] = place[second], place[first]
        ended = refine(fit.jacobian, fit.target, weights, tries, steps=60, patience=1e-2)
        best = ended.residual.argmin()
        if ended.residual[best] >= 0.99 * misfit:
            break
        place, misfit = ended.positions[best], ended.residual[best]
    return place
