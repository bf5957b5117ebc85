"""The network as a source of starts: what its fields tell of directions, at known distances."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.inversion.descriptors.soap import Soap, Weighting
from geomae.inversion.network.model import Inverter
from geomae.inversion.soap_fit import SoapFit
from geomae.inversion.soap_scalars import radial_scalars, scalars, soap_grams
from geomae.inversion.soap_starts import ONE_CENTRE, atoms_at_distances
from geomae.inversion.spread import sphere_points
from geomae.inversion.starts import Problem, Starts

DIRECTIONS = 800
"""Of the grid on the sphere on which fields are read."""

BATCH = 16
"""Starts that are refined together."""

SHARE = 0.75
"""Of all starts, that come from the network."""

CLOSEST = {0: 1.1, 1: 0.85, 2: 1.3}
"""Å that two atoms are apart at least, of which so many are hydrogens."""

FORBIDDEN = -30.0
"""Added to the logarithm of a density where another atom is too close."""


@dataclass(frozen=True)
class Surroundings:
    """What one SOAP vector tells without a network.

    Attributes:
        numbers: atomic numbers, nearest first, `[n]`.
        radii: distances from the centre in Å, `[n]`.
        own: whether the first of these is the atom in the centre.
        grams: of all others' coefficients, in the network's channels, `[1, degrees, c, c]`.
    """

    numbers: Int[Tensor, " n"]
    radii: Float[Tensor, " n"]
    own: bool
    grams: Float[Tensor, "1 degrees c c"]


class NetworkStarts:
    """Proposes structures about one centre: pass it as `starts` to `geomae.invert`.

    Distances are what degree 0 tells; directions are drawn by the network's density, the most
    certain atom first, with no two atoms closer than atoms are. The first structure has every
    atom at its peak, the others are drawn at random. Descriptors that the network was not made
    for get no proposals.

    Args:
        model: the network.
        frame: three orthonormal vectors, as rows, that the fields are drawn along; solutions
            don't depend on it but for how they are turned.
        share: of all starts, that come from the network; the rest is left to the other routes.
    """

    def __init__(
        self,
        model: Inverter,
        frame: Float[Tensor, "3 3"] | None = None,
        *,
        share: float = SHARE,
    ):
        self.model, self.frame, self.share = model, frame, share

    def __call__(self, problem: Problem, n: int, generator: torch.Generator) -> Iterator[Starts]:
        soap = problem.descriptor
        if not isinstance(soap, Soap) or not reads(self.model, soap):
            return
        fit, all_told = SoapFit(soap, problem.values, kept=ONE_CENTRE), self.told(problem)
        for told in all_told:
            left, first = round(self.share * n / len(all_told)), True
            while left > 0:
                k = min(BATCH, left)
                places = self.draw(told, k, generator, sure=first)
                yield Starts(told.numbers, places, "network", fit)
                first, left = False, left - k

    def told(self, problem: Problem) -> list[Surroundings]:
        """What degree 0 tells that agrees with what is known, the most likely first."""
        found = surroundings(self.model, problem.descriptor, problem.values, problem.numbers)
        return [told for told in found if problem.fits(told.numbers)]

    @torch.no_grad()
    def draw(
        self, told: Surroundings, k: int, generator: torch.Generator, *, sure: bool = True
    ) -> Float[Tensor, "k n 3"]:
        """Positions about the centre.

        Args:
            told: numbers, distances and invariants.
            k: how many structures.
            generator: of what is random.
            sure: the first of them has its atoms at the peaks.
        """
        others = slice(int(told.own), None)
        numbers, radii = told.numbers[others], told.radii[others]
        grid = sphere_points(DIRECTIONS)
        density = self.densities(told, grid)
        noise = -torch.log(-torch.log(torch.rand(k, *density.shape, generator=generator) + 1e-20))
        if sure:
            noise[0] = 0
        places = _placed(numbers, radii, density, noise.double(), grid)
        return torch.cat([places.new_zeros(k, int(told.own), 3), places], 1)

    @torch.no_grad()
    def densities(
        self, told: Surroundings, directions: Float[Tensor, "d 3"]
    ) -> Float[Tensor, "n d"]:
        """Logarithm of each atom's density of directions, 0 where it is even."""
        model, others = self.model, slice(int(told.own), None)
        numbers, radii = told.numbers[others], told.radii[others]
        coefficients = model.coefficients(told.grams, self.frame)
        points = (radii[:, None, None] * directions).flatten(0, 1).to(coefficients)
        logits = model.density(coefficients, points[None])[0].double()
        kind = (numbers[:, None] == torch.tensor(model.config.elements)).int().argmax(1)
        rows = logits.unflatten(0, (len(radii), -1))
        own = rows.gather(2, kind[:, None, None].expand(-1, rows.shape[1], 1))[..., 0]
        return own - torch.logsumexp(own, 1, keepdim=True) + torch.tensor(len(directions)).log()


def _placed(
    numbers: Tensor, radii: Tensor, density: Tensor, noise: Tensor, grid: Tensor
) -> Float[Tensor, "k n 3"]:
    """Atoms one after the other, each where density and noise are highest and no other is."""
    k = len(noise)
    places = radii.new_zeros(k, len(numbers), 3)
    seats = radii[:, None, None] * grid
    order = torch.argsort(density.amax(1), descending=True, stable=True).tolist()
    for step, atom in enumerate(order):
        done = order[:step]
        light = (numbers[atom] == 1).int() + (numbers[done] == 1).int()
        apart = torch.tensor([CLOSEST[int(count)] for count in light], dtype=radii.dtype)
        gaps = torch.cdist(places[:, done], seats[atom].expand(k, -1, -1))
        taken = (gaps < apart[:, None]).any(1)
        score = density[atom] + noise[:, atom] + FORBIDDEN * taken
        places[:, atom] = seats[atom, score.argmax(1)]
    return places


def reads(model: Inverter, soap: Soap) -> bool:
    """Whether a network reads the vectors of a descriptor: one centre, the same functions."""
    own = model.soap
    return (
        soap.average == "off"
        and soap.centres in ("origin", (0,))
        and soap.cell is None
        and not soap.lattice
        and soap.weighting == Weighting()
        and (soap.r_cut, soap.n_max, soap.sigma) == (own.r_cut, own.n_max, own.sigma)
        and soap.l_max >= own.l_max
        and set(soap.species) <= set(own.species)
    )


def surroundings(
    model: Inverter,
    soap: Soap,
    values: Float[Tensor, " f"],
    numbers: Int[Tensor, " n"] | None = None,
) -> list[Surroundings]:
    """Atoms and distances that degree 0 tells, and invariants as the network reads them.

    Args:
        model: the network.
        soap: a descriptor that it reads.
        values: in a row.
        numbers: of the atoms, where known.
    """
    found = atoms_at_distances(soap, values, numbers)
    own = soap.centres == (0,)
    return [Surroundings(z, r, own, _grams(model, soap, values, z)) for z, r in found]


def _grams(model: Inverter, soap: Soap, values: Tensor, numbers: Tensor) -> Tensor:
    """In the network's channels, the centre's own atom left out."""
    grams = soap_grams(soap, values)[0, : model.soap.l_max + 1].clone()
    if soap.centres == (0,):
        coefficients = scalars(soap, values)[0].clone()
        at_centre = radial_scalars(soap, torch.zeros(1, dtype=torch.float64))[0]
        coefficients[soap.species.index(int(numbers[0]))] -= at_centre
        grams[0] = torch.outer(coefficients.flatten(), coefficients.flatten())
    column = [model.config.elements.index(z) for z in soap.species]
    place = (torch.tensor(column)[:, None] * soap.n_max + torch.arange(soap.n_max)).flatten()
    channels = len(model.config.elements) * soap.n_max
    full = grams.new_zeros(1, len(grams), channels, channels)
    full[0, :, place[:, None], place] = grams
    return full
