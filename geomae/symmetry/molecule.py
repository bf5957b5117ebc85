"""The operations of molecules: found by matching pairs of atoms, none left out."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.data.structure import Structure
from geomae.symmetry.errors import GroupError, ToleranceError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.identify import identify, with_axis
from geomae.symmetry.subgroups import largest_group

CHUNK = 4_000_000
"""Distances held at a time."""


@dataclass(frozen=True)
class AtomOperations:
    """Symmetry operations of a structure as they act on points and atoms.

    Operation k brings a point x to `x @ rotations[k].T + translations[k]`, and atom i to the place
    of atom `permutations[k, i]` (in a crystal, to one of its images).

    Attributes:
        group: point group of the rotations. Without cell, `rotations` are its `operations`.
        rotations: orthogonal matrices, `[k, 3, 3]`.
        translations: in Å, `[k, 3]`.
        permutations: where each atom goes, `[k, n]`.
        deviation: largest distance in Å between an atom's image and the place it comes to.
    """

    group: PointGroup
    rotations: Float[Tensor, "k 3 3"]
    translations: Float[Tensor, "k 3"]
    permutations: Int[Tensor, "k n"]
    deviation: float

    def __len__(self) -> int:
        return len(self.rotations)


@dataclass(frozen=True)
class _Found:
    """Operations of a molecule about its centroid, not yet exact."""

    matrices: Tensor
    permutations: Tensor
    deviations: Tensor


def molecule_operations(structure: Structure, tolerance: float) -> AtomOperations:
    """All operations that bring a molecule to itself, about its centroid, made exact.

    A rotation or reflection is fixed by where it brings two atoms that are not in line with the
    centre; every pair that may be the image of one pair is tried.

    Args:
        structure: cell and periodicity are ignored.
        tolerance: largest distance in Å between an atom's image and the place it comes to.

    Raises:
        ToleranceError: the tolerance is not positive, or atoms are nearer than twice of it.
    """
    positions = structure.positions.detach().to("cpu", torch.float64)
    numbers = structure.numbers.cpu()
    check_tolerance(tolerance, positions)
    centre = positions.mean(0)
    centred = positions - centre
    if float(centred.norm(dim=1).max()) <= tolerance:
        return _assembled(PointGroup.named("Kh"), numbers, centred, centre)
    axis = torch.linalg.svd(centred).Vh[0]
    if float((centred - torch.outer(centred @ axis, axis)).norm(dim=1).max()) <= tolerance:
        return _assembled(_linear(centred, numbers, axis, tolerance), numbers, centred, centre)
    found = _closed(_all_operations(centred, numbers, tolerance))
    group = identify(found.matrices, prefer=_Preference(centred, tolerance, found))
    return _assembled(group, numbers, centred, centre)


def match_group(
    group: PointGroup, centred: Float[Tensor, "n 3"], numbers: Int[Tensor, " n"], tolerance: float
) -> Int[Tensor, "g n"]:
    """Where each operation of a group brings each atom.

    Args:
        group: as it stands, about the origin.
        centred: positions about the centroid, in Å.
        numbers: elements.
        tolerance: largest distance in Å between an image and the atom whose place it is.

    Raises:
        GroupError: an operation does not bring the molecule to itself; says by how much.
    """
    if group.symbol.family == "K":
        far = float(centred.norm(dim=1).max())
        if far > tolerance:
            raise GroupError(
                f"{group.name} does not fit: atoms are up to {far:.2g} Å from the centre, and only "
                "a single atom has all rotations"
            )
    images = centred @ group.operations.transpose(1, 2)
    places, gaps = _matched(images, centred, numbers)
    worst = float(gaps.max())
    if worst > tolerance or int(_counts(places).min()) < len(centred):
        raise GroupError(
            f"{group.name} does not fit the molecule as it stands: an operation brings an atom to "
            f"{worst:.2g} Å from the nearest of its element, tolerance {tolerance:g} Å; expected a "
            "group in the molecule's frame (point_group gives the one it has)"
        )
    return places


def check_tolerance(tolerance: float, positions: Float[Tensor, "n 3"]) -> None:
    """See that a tolerance is a length at which atoms can be told apart.

    Raises:
        ToleranceError: it is not positive, or atoms are nearer than twice of it.
    """
    if not 0 < tolerance < float("inf"):
        raise ToleranceError(f"the tolerance must be a length above 0 Å, not {tolerance}")
    if len(positions) < 2:
        return
    gaps = torch.cdist(positions, positions).fill_diagonal_(torch.inf)
    if float(gaps.min()) <= 2 * tolerance:
        i, j = divmod(int(gaps.argmin()), len(gaps))
        raise ToleranceError(
            f"a tolerance of {tolerance:g} Å merges atoms {i} and {j}, which are "
            f"{float(gaps.min()):.3g} Å apart: expected less than half of that"
        )


def _linear(centred: Tensor, numbers: Tensor, axis: Tensor, tolerance: float) -> PointGroup:
    _, gaps = _matched(-centred[None], centred, numbers)
    return with_axis("D∞h" if float(gaps.max()) <= tolerance else "C∞v", axis)


def _assembled(
    group: PointGroup, numbers: Tensor, centred: Tensor, centre: Tensor
) -> AtomOperations:
    """An exact group with the places to which its operations bring the atoms."""
    permutations, gaps = _matched(centred @ group.operations.transpose(1, 2), centred, numbers)
    return AtomOperations(
        group,
        group.operations,
        centre - centre @ group.operations.transpose(1, 2),
        permutations,
        float(gaps.max()),
    )


def _matched(
    images: Float[Tensor, "k n 3"], positions: Float[Tensor, "n 3"], numbers: Int[Tensor, " n"]
) -> tuple[Int[Tensor, "k n"], Float[Tensor, "k n"]]:
    """Nearest atom of the same element to each image, and its distance in Å."""
    step = max(1, CHUNK // len(positions) ** 2)
    other = numbers[:, None] != numbers
    places, gaps = [], []
    for part in images.split(step):
        # differences, not |a|^2 + |b|^2 - 2ab, which loses half the digits
        table = torch.cdist(part, positions.expand(len(part), -1, -1),
                            compute_mode="donot_use_mm_for_euclid_dist")  # fmt: skip
        gap, place = table.masked_fill(other, torch.inf).min(2)
        places.append(place)
        gaps.append(gap)
    return torch.cat(places), torch.cat(gaps)


def _all_operations(centred: Tensor, numbers: Tensor, tolerance: float) -> _Found:
    shells = _shells(centred, numbers, tolerance)
    a, b, quality = _reference(centred, shells)
    matrices = torch.cat(list(_candidates(centred, shells, a, b, tolerance)))
    loose = tolerance * (2 + 4 / quality)
    places, gaps = _matched(centred @ matrices.transpose(1, 2), centred, numbers)
    good = (gaps.max(1).values <= loose) & (_counts(places) == len(centred))
    proper = torch.linalg.det(matrices) > 0
    # a permutation and a handedness are one operation, from whichever pair it came
    keys = torch.cat([places, proper[:, None].long()], 1)[good]
    keys = torch.unique(keys, dim=0)
    fitted = _procrustes(centred, keys[:, :-1], keys[:, -1].bool())
    moved = centred @ fitted.transpose(1, 2)
    off = (moved - centred[keys[:, :-1]]).norm(dim=2).max(1).values
    kept = off <= tolerance
    order = torch.argsort(off[kept], stable=True)
    return _Found(fitted[kept][order], keys[kept][order], off[kept][order])


def _counts(places: Int[Tensor, "k n"]) -> Int[Tensor, " k"]:
    """Number of different places in each row."""
    ordered = places.sort(1).values
    return 1 + (ordered.diff(dim=1) != 0).sum(1)


def _shells(centred: Tensor, numbers: Tensor, tolerance: float) -> Int[Tensor, " n"]:
    """Number of each atom's shell: atoms of one element at one distance from the centre, radii
    chained where they differ by less than twice the tolerance.
    """
    radii = centred.norm(dim=1)
    order = sorted(range(len(radii)), key=lambda k: (int(numbers[k]), float(radii[k])))
    shell, result = 0, torch.zeros(len(radii), dtype=torch.long)
    for before, k in pairwise(order):
        apart = float(radii[k] - radii[before]) > 2 * tolerance
        shell += apart or bool(numbers[k] != numbers[before])
        result[k] = shell
    return result


def _reference(centred: Tensor, shells: Tensor) -> tuple[int, int, float]:
    """Two atoms with few possible images that fix an operation well, and how well: the smaller
    radius times the sine of their angle, over the largest radius.
    """
    radii = centred.norm(dim=1)
    areas = torch.linalg.cross(centred[:, None], centred[None], dim=-1).norm(dim=-1)
    quality = areas / torch.maximum(radii[:, None], radii).clamp(min=1e-9) / radii.max()
    sizes = torch.bincount(shells)[shells].double()
    cost = (sizes[:, None] * sizes).log() + 1e-3 * torch.cdist(centred, centred)
    cost = torch.where(quality >= min(0.15, 0.5 * float(quality.max())), cost, torch.inf)
    a, b = divmod(int(cost.argmin()), len(cost))
    return a, b, float(quality[a, b])


def _candidates(
    centred: Tensor, shells: Tensor, a: int, b: int, tolerance: float
) -> Iterator[Float[Tensor, "k 3 3"]]:
    """Rotations and reflections that bring two atoms to others like them."""
    firsts, seconds = (shells == shells[a]).nonzero()[:, 0], (shells == shells[b]).nonzero()[:, 0]
    lengths = (centred[firsts][:, None] - centred[seconds]).norm(dim=-1)
    wanted = (centred[a] - centred[b]).norm()
    i, j = ((lengths - wanted).abs() <= 2.5 * tolerance).nonzero(as_tuple=True)
    own = pair_frames(centred[a][None], centred[b][None])[0]
    frames = pair_frames(centred[firsts[i]], centred[seconds[j]])
    for sign in (1.0, -1.0):
        flip = torch.diag(torch.tensor([1.0, 1.0, sign], dtype=torch.float64))
        yield frames @ flip @ own.T


def pair_frames(first: Tensor, second: Tensor) -> Float[Tensor, "k 3 3"]:
    """Right-handed frames, as columns, symmetric in how they treat the two vectors' errors."""
    u, v = (x / x.norm(dim=1, keepdim=True).clamp(min=1e-12) for x in (first, second))
    half, across = u + v, u - v
    half = half / half.norm(dim=1, keepdim=True).clamp(min=1e-12)
    across = across / across.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return torch.stack([half, across, torch.linalg.cross(half, across)], 2)


def _procrustes(
    centred: Tensor, places: Int[Tensor, "k n"], proper: Tensor
) -> Float[Tensor, "k 3 3"]:
    """The rotation, or reflection, that brings atoms nearest to their places, least squares."""
    u, _, v = torch.linalg.svd(centred[places].transpose(1, 2) @ centred)
    wrong = (torch.linalg.det(u @ v) > 0) != proper
    u = torch.where(wrong[:, None, None] & (torch.arange(3) == 2), -u, u)
    return u @ v


def _closed(found: _Found) -> _Found:
    """The largest group among the operations."""
    keys = found.permutations
    number = {tuple(key): k for k, key in enumerate(keys.tolist())}
    places, proper = keys[:, :-1], keys[:, -1].bool()
    table = torch.empty(len(keys), len(keys), dtype=torch.long)
    for second in range(len(keys)):  # first b, then a: atom i goes to a[b[i]]
        product = places[second][places]
        hand = (proper == proper[second]).long()[:, None]
        rows = torch.cat([product, hand], 1).tolist()
        table[second] = torch.tensor([number.get(tuple(row), -1) for row in rows])
    chosen = largest_group(table, found.deviations)
    return _Found(found.matrices[chosen], places[chosen], found.deviations[chosen])


class _Preference:
    """Which of several frames suits a molecule, as Mulliken proposed.

    x passes through the most atoms (Dn, Dnh), or lies in the mirror with the most (Cnv); of C2v
    and D2h it is normal to the plane with the most, and z of D2h is the axis with the most
    (J. Chem. Phys. 23, 1997, 1955).
    """

    def __init__(self, centred: Tensor, tolerance: float, found: _Found):
        self.centred, self.tolerance = centred, 2 * tolerance
        proper = torch.linalg.det(found.matrices) > 0
        self.small = int(proper.sum()) == 2 or (int(proper.sum()) == 4 and _all_halves(found))
        self.dihedral = int(proper.sum()) > 2

    def __call__(self, frame: Tensor) -> float:
        local = (self.centred @ frame).abs()
        x, y, z = (local < self.tolerance).unbind(1)
        if self.small:
            return float(x.sum()) + 1e-3 * float((x & y).sum())
        on_x = float((y & z).sum())
        return on_x + 1e-3 * float(y.sum())


def _all_halves(found: _Found) -> bool:
    """Whether no rotation is by less than half a turn."""
    traces = found.matrices.diagonal(dim1=1, dim2=2).sum(1)
    proper = torch.linalg.det(found.matrices) > 0
    return bool(((traces[proper] < -0.9) | (traces[proper] > 2.9)).all())
