"""Where algebra suffices: from Gram matrices of coefficients to radii, and from these to angles.

The power spectrum between the channels of a density is the Gram matrix `C_l^T C_l` of its
coefficients in each degree. Each atom gives a row of radial functions times its harmonics, so
`C_l = Y_l^T B`, with one row of B for each atom. Then, without any search:

1. Gram matrices give C_l up to an orthogonal matrix of each degree. Their rows all lie in the
   span of B's: the radial functions at the atoms' radii.
2. Radial functions `sin(pi n s / reach)` satisfy `R_n-1 + R_n+1 = 2 cos(pi s / reach) R_n`, so the
   radii are eigenvalues of a small matrix made from a basis of that span (the method is known
   from spectral estimation as ESPRIT: Roy and Kailath 1989). Elements have channels of their own.
3. Degree 0 tells how many atoms there are at each radius.
4. With B known, C_1 gives the sum of directions of each radius' atoms, in a frame that is
   as good as any. Where an atom is alone at its radius, that is its position.

What remains are directions of atoms of one element at one radius, of which sums are known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.linalg.lapack import dpstrf
from torch import Tensor

from geomae.inversion.descriptors.density import RadialDensity
from geomae.inversion.shell_peaks import pursued
from geomae.inversion.symmetric_starts import symmetric_directions

SPAN = 1e-10
"""Relative singular value below which a direction of channel space is rounding."""

CENTRAL = 1e-3
"""Radius in Å below which an atom is at the centre."""

ONE_RADIUS = 1e-5
"""Å up to which radii are taken for one."""

WHOLE = 0.05
"""How far from a whole number a count of atoms may come out."""


@dataclass(frozen=True)
class Shells:
    """Atoms of one element at one radius, or at radii too close to be told apart.

    Attributes:
        species: index of the element of each shell, `[k]`.
        radii: in Å, of its atoms on average, `[k]`.
        counts: atoms in it, `[k]`.
        sums: of the directions of its atoms, in a common frame, `[k, 3]`.
        moments: of each two shells, Legendre polynomials of the cosines between their atoms,
            summed, `[degrees, k, k]`.
        relative: radii in parts of their softened lengths, `[k]`.
        merged: whether radii are joined that are not the same.
    """

    species: Int[Tensor, " k"]
    radii: Float[Tensor, " k"]
    counts: Int[Tensor, " k"]
    sums: Float[Tensor, "k 3"]
    moments: Float[Tensor, "degrees k k"]
    relative: Float[Tensor, " k"]
    merged: bool

    @property
    def central(self) -> Bool[Tensor, " k"]:
        """Shells at the centre, whose atoms have no direction."""
        return self.radii < CENTRAL

    @cached_property
    def owner(self) -> Int[Tensor, " n"]:
        """Shell of each atom."""
        return torch.repeat_interleave(torch.arange(len(self.counts)), self.counts)

    @property
    def atoms(self) -> Int[Tensor, " n"]:
        """Index of the element of each atom."""
        return self.species[self.owner]

    @property
    def n_atoms(self) -> int:
        return int(self.counts.sum())

    @property
    def n_open(self) -> int:
        """Atoms whose directions only their sum tells."""
        return int(self.counts[self.counts > 1].sum())


def factors(grams: Float[Tensor, "degrees c c"], *, floor: float = 1e-13) -> list[Tensor]:
    """Rows `[<= 2l + 1, c]` with the given Gram matrices: coefficients up to a rotation a degree.

    Args:
        grams: of each degree.
        floor: relative eigenvalue below which there is only rounding.
    """
    return [
        torch.from_numpy(_factor(gram, 2 * degree + 1, floor)).to(grams)
        for degree, gram in enumerate(grams.cpu().numpy())
    ]


def _factor(gram: Float[np.ndarray, "c c"], most: int, floor: float) -> Float[np.ndarray, "r c"]:
    """At most so many rows with a Gram matrix."""
    upper, order, rank, _ = dpstrf(gram, tol=floor * max(gram.diagonal().max(), 1e-30))
    if rank <= most:
        rows = np.zeros((rank, len(upper)))
        for row in range(1, rank):
            upper[row, :row] = 0.0
        rows[:, order - 1] = upper[:rank]
        return rows
    # no coefficients have that matrix; the nearest that some have
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[-most:], vectors[:, -most:]
    kept = values > floor * max(values[-1], 1e-30)
    return (vectors[:, kept] * np.sqrt(values[kept])).T


def shells_of(
    grams: Float[Tensor, "degrees c c"],
    density: RadialDensity,
    *,
    span: float = SPAN,
    most: Int[Tensor, " s"] | None = None,
) -> Shells | None:
    """Radii, counts, sums of directions and of angles, by algebra alone.

    Args:
        grams: of each degree.
        density: whose coefficients they are of.
        span: relative singular value down to which the span of the radial functions is followed.
        most: atoms of each element, where known: no more radii are looked for, noise or not.

    Returns:
        None where the counts don't come out as whole numbers: too many atoms for the radial
        functions, or no structure at all.
    """
    rows = factors(grams)
    elements = len(density._numbers)
    stacked = torch.cat(rows).unflatten(1, (elements, -1))
    if not len(rows[0]):
        return None
    scalars = rows[0][-1] * torch.sign(rows[0][-1].unflatten(0, (-1, density.n_radial))[:, 0].sum())
    by_element = scalars.unflatten(0, (-1, density.n_radial))
    species, softened, inverses, merged = [], [], [], False
    for element in range(elements):
        limit = None if most is None else int(most[element])
        part = _of_element(stacked[:, element], by_element[element], density, span, limit)
        if part is None:
            return None
        radii, groups, inverse = part
        member = (groups[:, None] == groups.unique()).to(inverse)
        softened.append((radii @ member) / member.sum(0))
        inverses.append(inverse @ member)
        species += [element] * member.shape[1]
        merged |= member.shape[1] < len(groups)
    inverse, length = torch.block_diag(*inverses), torch.cat(softened)
    radii = density.harden(length)
    relative = radii / length
    sums, moments = moments_of(rows, inverse, relative)
    counts = (scalars @ inverse).round().long()
    if most is not None and len(counts) == int(most.sum()):
        counts = torch.ones_like(counts)
    if bool((counts < 0).any()):
        return None
    return Shells(torch.tensor(species), radii, counts, sums, moments, relative, merged)


def moments_of(
    rows: list[Tensor], inverse: Float[Tensor, "c k"], relative: Float[Tensor, " k"]
) -> tuple[Float[Tensor, "k 3"], Float[Tensor, "degrees k k"]]:
    """Sums of directions, and of Legendre polynomials of the cosines between shells."""
    coefficients = torch.cat(rows) @ inverse
    parts = coefficients.split([len(part) for part in rows])
    degree = torch.arange(len(rows)).to(relative)[:, None, None]
    size = (2 * degree + 1) * torch.outer(relative, relative) ** degree
    moments = torch.stack([part.T @ part for part in parts]) / size.clamp(min=1e-30)
    sums = relative.new_zeros(len(relative), 3)
    if len(parts) > 1:
        sums[:, : len(parts[1])] = parts[1].T / (3**0.5 * relative.clamp(min=1e-6))[:, None]
    return sums, moments


def _of_element(
    rows: Tensor, scalars: Tensor, density: RadialDensity, span: float, most: int | None
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Softened radii, the group of each, and the inverse of their radial functions."""
    empty = rows.new_zeros(0)
    if most == 0 or float(scalars.norm()) < 1e-6:
        return empty, empty.long(), rows.new_zeros(density.n_radial, 0)
    for limit in (span, 1e2 * span, 1e4 * span, 1e6 * span):
        softened = softened_radii(rows, density, limit, most=most)
        if softened is None:
            continue
        inverse = torch.linalg.pinv(density.radial(softened), rtol=1e-13)
        groups = group_radii(softened, scalars @ inverse)
        if groups is not None:
            joined = int(groups[-1]) + 1
            if joined < len(softened):
                fewer = softened_radii(rows, density, limit, most=joined)
                assert fewer is not None
                again = torch.linalg.pinv(density.radial(fewer), rtol=1e-13)
                again_groups = group_radii(fewer, scalars @ again)
                if again_groups is not None and int(again_groups[-1]) + 1 == joined:
                    # radii that are nearly one are better told as one than each by itself
                    return fewer, again_groups, again
            return softened, groups, inverse
        if len(softened) == most:
            # noise spoils the counts, but as many radii as atoms are known to be one each
            return softened, torch.arange(most), inverse
    return None


def softened_radii(
    rows: Float[Tensor, "rows r"], density: RadialDensity, span: float, *, most: int | None = None
) -> Float[Tensor, " k"] | None:
    """Softened radii whose radial functions span the rows, ascending; None if there is no room.

    Args:
        rows: coefficients of one element, of any degrees.
        density: whose radial functions they are of.
        span: relative singular value below which is rounding.
        most: radii that there are at most, where known.
    """
    if density.envelope:
        raise ValueError("radii follow by algebra only from radial functions without envelope")
    _, sizes, basis = torch.linalg.svd(rows, full_matrices=False)
    rank = int((sizes > span * sizes[0]).sum())
    rank = rank if most is None else min(rank, most)
    if rank > density.n_radial - 1:
        return None
    while True:
        below = torch.nn.functional.pad(basis[:rank].T, (0, 0, 1, 0))
        neighbours = (below[:-2] + below[2:]) / 2
        shift = torch.linalg.lstsq(below[1:-1], neighbours).solution
        cosines = torch.linalg.eigvals(shift).real.clamp(-1, 1)
        softened = torch.sort(torch.arccos(cosines) * density.reach / torch.pi).values
        # rounding would drown what nearly equal radii add, each by itself
        different = 1 + int((softened.diff() > ONE_RADIUS).sum())
        if different >= rank:
            return softened
        rank = different


def group_radii(
    softened: Float[Tensor, " k"], counts: Float[Tensor, " k"]
) -> Int[Tensor, " k"] | None:
    """The group of each radius: neighbours are joined until all counts are whole numbers.

    Returns:
        None if they never are.
    """
    for gap in (0.0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.06, 0.12, 0.25):
        groups = torch.nn.functional.pad((softened.diff() > gap).long().cumsum(0), (1, 0))
        totals = counts.new_zeros(int(groups[-1]) + 1).index_add(0, groups, counts)
        whole = (totals - totals.round()).abs() < WHOLE
        if bool(whole.all()) and bool((totals.round() >= 1).all()):
            return groups
    return None


def starts_of(
    shells: Shells,
    n_starts: int,
    generator: torch.Generator,
    *,
    standing: Sequence[tuple[Float[Tensor, "n 3"], Bool[Tensor, " n"]]] = (),
    shapes: Mapping[int, Float[Tensor, "m 3"]] | None = None,
) -> Float[Tensor, "starts n 3"]:
    """Positions: what the shells tell, and directions at random where they don't.

    Half of the starts have these on orbits of a symmetry that the shells may have, others at
    peaks of what shells that stand tell of them. Atoms of one shell are given directions whose sum
    is the shell's, as nearly as may be.

    Args:
        shells: from `shells_of`.
        n_starts: how many; all are the same where nothing is open.
        generator: of the random directions.
        standing: directions, and which atoms stand in them, as `ShellForms` gives them.
        shapes: of shells whose angles are known, from `ShellForms` too.
    """
    owner = shells.owner
    shape = (n_starts, len(owner), 3)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    directions = torch.nn.functional.normalize(noise, dim=2)
    if shells.n_open:
        # the sum of a shell at the centre has no direction
        sums = shells.sums * (shells.radii > CENTRAL)[:, None]
        half = directions[: n_starts // 2]
        half[:] = symmetric_directions(shells.counts, sums, half, generator)
        share = n_starts // (2 * len(standing)) if standing else 0
        for number, (known, placed) in enumerate(standing):
            own = slice(len(half) + number * share, len(half) + (number + 1) * share)
            if share:
                made = pursued(shells, known, placed, share, generator, shapes=shapes)
                directions[own] = made
    alone = (shells.counts == 1)[owner]
    directions = torch.where(alone[:, None], shells.sums[owner], directions)
    share = 1 / shells.counts.to(torch.float64)
    for _ in range(20):
        total = directions.new_zeros(n_starts, len(share), 3).index_add(1, owner, directions)
        missing = (shells.sums - total) * share[:, None]
        directions = torch.nn.functional.normalize(directions + missing[:, owner], dim=2)
    pairs = torch.nonzero(shells.counts == 2)[:, 0]
    if len(pairs):
        first = shells.counts.cumsum(0)[pairs] - 2
        halves = _halves(shells.sums[pairs], directions[:, first])
        directions[:, first], directions[:, first + 1] = halves, shells.sums[pairs] - halves
    return directions * shells.radii[owner][:, None]


def _halves(
    sums: Float[Tensor, "k 3"], guesses: Float[Tensor, "starts k 3"]
) -> Float[Tensor, "starts k 3"]:
    """The first of two directions with given sums, near to guesses."""
    half = sums / 2
    along = torch.nn.functional.normalize(half, dim=1)
    across = guesses - (guesses * along).sum(2, keepdim=True) * along
    # a guess in line with the sum has no side: one is as good as another
    axis = torch.eye(3, dtype=sums.dtype)[along.abs().argmin(1)]
    aside = torch.linalg.cross(along, axis).expand_as(across)
    across = torch.where(across.norm(dim=2, keepdim=True) < 1e-6, aside, across)
    height = (1 - half.square().sum(1, keepdim=True)).clamp(min=0).sqrt()
    return half + height * torch.nn.functional.normalize(across, dim=2)
