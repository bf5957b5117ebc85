"""Starts for SOAP vectors: distances from a centre by degree 0, directions by fitting one centre.

One centre's vector is easier to fit than those of all atoms, which have more wrong minima. So
vectors of all atoms are fitted about one of them first; its solutions are then put in the order
of the rows.
"""

from collections.abc import Iterator
from copy import copy

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.refine import refine
from geomae.inversion.soap_fit import SoapFit, histograms

CLOSE = 1e-5
"""Relative residual of a fit to one centre that is worth comparing with the others."""

NEAR = 0.55
"""What is nearer to a centre, in Å, is its own atom."""

ONE_CENTRE = 24
"""Directions of channel space that are fitted about a single centre."""


def about_one_centre(soap: Soap, row: int) -> Soap:
    """The same descriptor of a structure's first atom, or of the origin."""
    single = copy(soap)
    single.centres = "origin" if soap.centres == "origin" else (0,)
    return single


def atoms_at_distances(
    soap: Soap, row: Float[Tensor, " f"]
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]] | None:
    """Atomic numbers and distances from a centre, nearest first, as degree 0 tells them.

    Returns:
        None where counts don't come out whole: atoms beyond r_cut, or too many within.
    """
    grid, counts = histograms(soap, row)
    numbers, radii = [], []
    for species, part in zip(soap.species, counts[0], strict=True):
        total = float(part.sum())
        if abs(total - round(total)) > 0.2:
            return None
        summed = part.cumsum(0)
        for place in range(round(total)):
            middle = torch.searchsorted(summed, total * (place + 0.5) / round(total))
            radii.append(float(grid[min(int(middle), len(grid) - 1)]))
            numbers.append(species)
    if not numbers:
        return None
    far = torch.tensor(radii, dtype=torch.float64)
    order = torch.argsort(far, stable=True)
    return torch.tensor(numbers)[order], far[order]


def directions_about_one(
    soap: Soap, row: Float[Tensor, " f"], n_starts: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, SoapFit]]:
    """Atomic numbers, positions `[k, n, 3]` at the distances told, and what to fit."""
    found = atoms_at_distances(soap, row)
    if found is None:
        return
    numbers, radii = found
    fit = SoapFit(soap, row, kept=ONE_CENTRE)
    while n_starts > 0:
        k = min(16, n_starts)
        noise = torch.randn(k, len(radii), 3, generator=generator, dtype=torch.float64)
        yield numbers, torch.nn.functional.normalize(noise, dim=2) * radii[:, None], fit
        n_starts -= k


def in_order_of_rows(
    soap: Soap,
    values: Float[Tensor, " f"],
    numbers: Int[Tensor, " n"],
    positions: Float[Tensor, "n 3"],
) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3"]]:
    """Atoms in the order of the rows to which their own vectors are nearest."""
    own = soap(numbers, positions)
    squares = torch.cdist(values.reshape(own.shape), own).square()
    order = torch.as_tensor(linear_sum_assignment(squares.numpy())[1])
    return numbers[order], positions[order]


def whole_from_one(
    soap: Soap, values: Float[Tensor, " f"], n_starts: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, SoapFit]]:
    """The same for vectors of all atoms: fitted about one atom, put in the order of the rows."""
    table = values.reshape(-1, soap.n_features)
    # the vector of an inner atom: its surroundings are within reach, and nearest
    row = int(table.norm(dim=1).argmax())
    single = about_one_centre(soap, row)
    whole = SoapFit(soap, values)
    for numbers, starts, fit in directions_about_one(single, table[row], n_starts, generator):
        if len(numbers) != len(table):
            return
        weights = soap.weights(numbers).expand(len(starts), -1, -1)
        found = refine(fit.values, fit.target, weights, starts, jacobian=fit.jacobian)
        good = torch.nonzero(found.residual < CLOSE)[:, 0]
        for index in good.tolist():
            ordered = in_order_of_rows(soap, values, numbers, found.positions[index])
            yield ordered[0], ordered[1][None], whole
