"""One SOAP vector, element by element: some atoms first, the others by algebra and peaks.

The channels of some elements alone are the SOAP vector of their atoms alone: fewer unknowns. Once
these atoms stand, their coefficients C_l are known, and the Gram matrix between their channels and
another element's, `C_l^T D_l`, is linear in that element's coefficients D_l. Where the atoms
span all 2l + 1 components they follow exactly, in the others partly. So the other element is
known as a signal in space, and its atoms are at the peaks: at each one's distance, which
degree 0 tells, the direction that explains most of what is not yet explained (matching pursuit:
Mallat and Zhang 1993).
"""

from collections.abc import Iterator, Sequence
from copy import copy

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomae.equivariant import spherical_harmonics
from geomae.inversion.descriptors.soap import Soap
from geomae.inversion.refine import refine
from geomae.inversion.soap_fit import SoapFit
from geomae.inversion.soap_scalars import soap_grams
from geomae.inversion.spread import random_directions, sphere_points

FIRST = 5
"""Atoms that the first elements have at least, if there are so many."""

BATCH = 16
"""Starts of these that are refined together."""

COUNTED = 4
"""Starts that such a batch counts as."""

CHOICES = 8
"""Structures that are made of each part that was found."""

CLOSE = 1e-6
"""Relative residual of a part that is worth completing."""

KEPT = 24
"""Directions of channel space that are fitted, in each degree."""

DIRECTIONS = 1200
"""Of the grid on the sphere on which signals are read."""

SEEN = 1e-3
"""Relative singular value of components that the first atoms determine."""

SPARK = 0.15
"""Noise on what a direction explains, relative to an atom's whole signal."""

APART = 0.8
"""Å between atoms, at least."""


def first_elements(species: Sequence[int], numbers: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Atoms that are looked for first: of rare elements, until there are enough; hydrogens last."""
    count = {z: int((numbers == z).sum()) for z in species}
    chosen: list[int] = []
    for z in sorted(count, key=lambda z: (z == 1, count[z])):
        if sum(count[k] for k in chosen) < FIRST:
            chosen.append(z)
    return torch.isin(numbers, torch.tensor(chosen))


def element_by_element(
    soap: Soap,
    row: Float[Tensor, " f"],
    numbers: Int[Tensor, " n"],
    radii: Float[Tensor, " n"],
    n_starts: int,
    generator: torch.Generator,
) -> Iterator[Float[Tensor, "k n 3"]]:
    """Positions about the centre; none where the first elements are all there are.

    Args:
        soap: of one centre.
        row: its vector.
        numbers, radii: what degree 0 tells; a centre's own atom among them.
        n_starts: to be made, about.
        generator: of directions at random.
    """
    first = first_elements(soap.species, numbers)
    if bool(first.all()):
        return
    about = copy(soap)
    about.centres, about.centre = "origin", "origin"
    part, values = about.only(row, numbers[first])
    fit = SoapFit(part, values, kept=KEPT)
    weights = part.weights(numbers[first]).expand(BATCH, -1, -1)
    while n_starts > 0:
        starts = random_directions(radii[first], BATCH, generator)
        found = refine(fit.jacobian, fit.target, weights, starts, enough=1, tolerance=CLOSE)
        n_starts -= COUNTED
        best = int(found.residual.argmin())
        if float(found.residual[best]) < CLOSE and part.sees(found.positions[best]):
            n_starts -= CHOICES
            yield completed(about, row, numbers, radii, first, found.positions[best], generator)


def completed(
    soap: Soap,
    row: Float[Tensor, " f"],
    numbers: Int[Tensor, " n"],
    radii: Float[Tensor, " n"],
    first: Bool[Tensor, " n"],
    place: Float[Tensor, "p 3"],
    generator: torch.Generator,
) -> Float[Tensor, "k n 3"]:
    """Structures with the first atoms in place, and the others where their signals peak."""
    grams = soap_grams(soap, row)[0]
    harmonics, radial = soap.local(place)
    member = soap.weights(numbers[first])
    channels = (member[:, None, :, None] * radial[:, :, None]).flatten(2)
    full = place.new_zeros(CHOICES, len(numbers), 3)
    full[:, first] = place
    for z in numbers[~first].unique().tolist():
        column = soap.species.index(z) * soap.n_max
        own = slice(column, column + soap.n_max)
        seen, signal = [], []
        for degree in range(soap.l_max + 1):
            rows = slice(degree**2, (degree + 1) ** 2)
            known = channels[:, degree].T @ harmonics[:, rows]
            inverse = torch.linalg.pinv(known, rtol=SEEN)
            seen.append(inverse @ known)
            signal.append(inverse @ grams[degree, :, own])
        wanted = numbers == z
        full[:, wanted] = pursue(soap, seen, signal, radii[wanted], place, generator)
    return full


def pursue(
    soap: Soap,
    seen: list[Tensor],
    signal: list[Tensor],
    radii: Float[Tensor, " a"],
    others: Float[Tensor, "p 3"],
    generator: torch.Generator,
    *,
    sweeps: int = 3,
) -> Float[Tensor, "k a 3"]:
    """Atoms at known distances where a signal peaks, one after the other.

    In the first structure each takes what explains most; in the others there is some chance. Then
    each is taken out and put back in turn.

    Args:
        soap: whose functions they are.
        seen: projection on the components that are known, `[2l + 1, 2l + 1]` of each degree.
        signal: coefficients of all atoms together in these components, `[2l + 1, radial]`.
        radii: of the atoms, in Å.
        others: positions of atoms that stand already.
        generator: of the chance.
        sweeps: how often.
    """
    grid = sphere_points(DIRECTIONS)
    harmonics = spherical_harmonics(soap.l_max, grid)
    angular = [h @ p for h, p in zip(_by_degree(harmonics), seen, strict=True)]
    powers = radii[:, None] ** torch.arange(soap.l_max + 1, dtype=torch.float64)
    radial = soap.radial(radii.square()) * powers[..., None]
    sizes = torch.stack([part.square().sum(1) for part in angular])
    own = torch.einsum("ld,alr->ad", sizes, radial.square())
    rest = [part.expand(CHOICES, -1, -1).clone() for part in signal]
    spark = torch.randn(CHOICES, len(radii), len(grid), generator=generator, dtype=torch.float64)
    spark = SPARK * spark * own.mean(1)[:, None]
    spark[0] = 0
    seats = radii[:, None, None] * grid
    crowded = torch.cdist(seats.flatten(0, 1), others).amin(1).unflatten(0, own.shape) < APART
    picked = torch.full((CHOICES, len(radii)), -1)
    for sweep in range(sweeps):
        # near atoms first: fewer places come into question for them
        for atom in torch.argsort(radii, stable=True).tolist():
            if sweep:
                _add(rest, angular, radial[atom], picked[:, atom], 1.0)
            gain = 2 * sum(
                torch.einsum("dm,kmr,r->kd", a, part, radial[atom, degree])
                for degree, (a, part) in enumerate(zip(angular, rest, strict=True))
            )
            gain = gain - own[atom] + spark[:, atom] * (0.5**sweep)
            gain = gain.masked_fill(crowded[atom], -torch.inf)
            placed = [b for b in range(len(radii)) if b != atom and int(picked[0, b]) >= 0]
            if placed:
                there = torch.stack([seats[b, picked[:, b]] for b in placed], 1)
                near = torch.cdist(seats[atom].expand(CHOICES, -1, -1), there).amin(2) < APART
                gain = gain.masked_fill(near, -torch.inf)
            picked[:, atom] = gain.argmax(1)
            _add(rest, angular, radial[atom], picked[:, atom], -1.0)
    return torch.stack([seats[a, picked[:, a]] for a in range(len(radii))], 1)


def _by_degree(harmonics: Float[Tensor, "d m"]) -> list[Tensor]:
    lmax = round(harmonics.shape[1] ** 0.5) - 1
    return list(harmonics.split([2 * degree + 1 for degree in range(lmax + 1)], 1))


def _add(
    rest: list[Tensor], angular: list[Tensor], radial: Tensor, picked: Tensor, sign: float
) -> None:
    """Add an atom's signal in its place, or take it away."""
    for degree, part in enumerate(rest):
        part += sign * angular[degree][picked][:, :, None] * radial[degree]
