"""The symmetry of signals on the sphere and of latents: functions given by harmonics."""

from collections.abc import Iterator

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from geomae.errors import GeomaeError
from geomae.sphere import find_peaks
from geomae.symmetry.errors import ToleranceError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.identify import identify, with_axis
from geomae.symmetry.molecule import pair_frames
from geomae.symmetry.representations import representation, wigner_batch
from geomae.symmetry.standard import distinct, locate, rotation_about
from geomae.symmetry.subgroups import largest_group

MOST = 500
"""Operations of finite groups that are sought: no function of usable degree has more."""

PAIRS = 8
"""Pairs of peaks whose images are sought."""

MIXTURES = 3
"""Combinations of channels of each degree that are searched for peaks."""

APART = 0.3
"""Sine of the least angle between two peaks that are to fix an operation."""

HEIGHTS = 0.05
"""Peaks whose heights differ by less, relative to the highest, may be images of each other."""


def signal_group(values: Float[Tensor, "m c"], tolerance: float) -> PointGroup:
    """The point group of a function of natural parity, exact.

    Axes of revolution are null vectors of the infinitesimal rotations. Other operations bring peaks
    to peaks: of the function itself, of mixtures of its channels, of single degrees. Each
    that may be one is fitted to the function, then checked on all of it.

    Args:
        values: coefficients of the degrees 0 to L.
        tolerance: largest change, relative to the norm of what is not isotropic.

    Raises:
        ToleranceError: the tolerance is not between 0 and 1.
        GeomaeError: a coefficient is not finite.
    """
    if not 0 < tolerance < 1:
        raise ToleranceError(
            f"the tolerance of a signal, relative to its norm, must be in (0, 1), not {tolerance}"
        )
    values = values.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(values).all()):
        raise GeomaeError("a signal has coefficients that are not finite")
    lmax = round(len(values) ** 0.5) - 1
    size = float(values[1:].norm())
    if size <= tolerance * float(values.norm()):
        return PointGroup.named("Kh")
    f = values / size
    f[0] = 0
    axis = _axis_of_revolution(f, lmax, tolerance)
    if axis is not None:
        odd = torch.cat([f[l**2 : (l + 1) ** 2] for l in range(1, lmax + 1, 2)])
        return with_axis("D∞h" if 2 * float(odd.norm()) <= tolerance else "C∞v", axis)
    operations, faults = _operations(f, lmax, tolerance)
    table, gaps = locate(operations[:, None] @ operations, operations)
    table[gaps > _gap(tolerance)] = -1
    return identify(operations[largest_group(table, faults)])


def generators(lmax: int) -> Float[Tensor, "3 m m"]:
    """Infinitesimal rotations about x, y, z of the degrees 0 to lmax: `D(exp(w)) = exp(w . J)`."""
    step = 0.3
    eye = torch.eye(3, dtype=torch.float64)
    turns = torch.stack([rotation_about(axis, step) for axis in eye])
    blocks = wigner_batch(lmax, turns)
    result = torch.zeros(3, (lmax + 1) ** 2, (lmax + 1) ** 2, dtype=torch.float64)
    for l in range(1, lmax + 1):
        table = o3.wigner_3j(l, 1, l, dtype=torch.float64).permute(1, 0, 2)
        table = table * (l * (l + 1) / table.square().sum((0, 2)).mean()) ** 0.5
        sign = ((blocks[l] - blocks[l].transpose(1, 2)) * table).sum().sign()
        result[:, l**2 : (l + 1) ** 2, l**2 : (l + 1) ** 2] = sign * table
    return result


def _axis_of_revolution(f: Tensor, lmax: int, tolerance: float) -> Tensor | None:
    moved = torch.einsum("aij,jc->aic", generators(lmax), f).flatten(1)
    values, vectors = torch.linalg.eigh(moved @ moved.T)
    return vectors[:, 0] if float(values[0].clamp(min=0)) ** 0.5 <= tolerance else None


def _operations(f: Tensor, lmax: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """Operations that leave a function as it is, and what they change."""
    eye = torch.eye(3, dtype=torch.float64)
    sure = torch.stack([eye, -eye])
    fitted, faults = _fitted(_candidates(f, lmax, tolerance), f, lmax)
    operations = torch.cat([sure, fitted])
    change = torch.cat([_change(sure, f, lmax), faults])
    while True:
        operations, change = _kept(operations, change, tolerance)
        products = (operations[:, None] @ operations).flatten(0, 1)
        _, gaps = locate(products, operations)
        missing = distinct(products[gaps > _gap(tolerance)], _gap(tolerance))
        fitted, faults = _fitted(missing, f, lmax)
        if not bool((faults <= tolerance).any()) or len(operations) > MOST:
            return operations, change
        operations, change = torch.cat([operations, fitted]), torch.cat([change, faults])


def _kept(operations: Tensor, change: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Those within the tolerance, each once."""
    good = change <= tolerance
    operations, change = operations[good], change[good]
    far = torch.cdist(operations.flatten(1), operations.flatten(1)) > _gap(tolerance)
    first = (~far).to(torch.int8).argmax(1) == torch.arange(len(far))  # the identity is among them
    return operations[first], change[first]


def _gap(tolerance: float) -> float:
    """Distance below which two operations that fit are one."""
    return min(20 * tolerance, 0.1) + 1e-6


def _change(operations: Tensor, f: Tensor, lmax: int) -> Float[Tensor, " k"]:
    return (representation(operations, lmax) @ f - f).flatten(1).norm(dim=1)


def _fitted(operations: Tensor, f: Tensor, lmax: int) -> tuple[Tensor, Tensor]:
    """Candidates turned to where they change the function least, by Gauss-Newton steps."""
    if not len(operations):
        return operations, torch.zeros(0).double()
    change = _change(operations, f, lmax)
    operations = operations[change < 0.7]
    tangent = generators(lmax)
    for _ in range(4):
        turned = representation(operations, lmax) @ f
        columns = torch.einsum("aij,kjc->kica", tangent, turned).flatten(1, 2)
        rest = (f - turned).flatten(1)[..., None]
        gram = columns.transpose(1, 2) @ columns
        step = torch.linalg.solve(gram, columns.transpose(1, 2) @ rest)[..., 0]
        operations = _exponentials(step) @ operations
    return operations, _change(operations, f, lmax)


def _exponentials(steps: Float[Tensor, "k 3"]) -> Float[Tensor, "k 3 3"]:
    """Rotations about vectors by their lengths."""
    x, y, z = steps.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).unflatten(1, (3, 3))
    return torch.linalg.matrix_exp(cross)


def _candidates(f: Tensor, lmax: int, tolerance: float) -> Float[Tensor, "k 3 3"]:
    """Operations that bring two peaks to others like them, from the pairs with the fewest."""
    points, kinds = _peaks(f, lmax, tolerance)
    if len(points) < 2:
        return torch.zeros(0, 3, 3).double()
    sizes = torch.bincount(kinds)[kinds].double()
    sines = torch.linalg.cross(points[:, None], points[None], dim=-1).norm(dim=-1)
    cost = torch.where(sines > APART, (sizes[:, None] * sizes).log() - 0.1 * sines, torch.inf)
    flip = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    found = [torch.zeros(0, 3, 3).double()]
    for _ in range(PAIRS):
        a, b = divmod(int(cost.argmin()), len(cost))
        if not bool(torch.isfinite(cost[a, b])):
            break
        first, second = kinds == kinds[a], kinds == kinds[b]
        near = (points[first] @ points[second].T - points[a] @ points[b]).abs() < 0.05
        i, j = near.nonzero(as_tuple=True)
        own = pair_frames(points[a][None], points[b][None])[0]
        frames = pair_frames(points[first][i], points[second][j])
        found += [frames @ own.T, frames @ flip @ own.T]
        cost[first | second] = torch.inf  # each kind once: of one, a peak may have been missed
        cost[:, first | second] = torch.inf
    return torch.cat(found)


def _peaks(f: Tensor, lmax: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """Directions of maxima and minima, and the kind of each: signal, sign and height.

    Signals are searched one by one until there are two peaks that fix an operation, the first two
    signals in any case: what is missed in one is found in the other.
    """
    points, kinds, count = torch.zeros(0, 3).double(), torch.zeros(0).long(), 0
    for number, signal in enumerate(_signals(f, lmax, tolerance)):
        found = find_peaks(torch.stack([signal, -signal]), relative_threshold=None)
        for sign in (0, 1):
            own = ~found.degenerate & (found.signal == sign)
            heights, order = found.values[own].sort(stable=True)
            if len(order):
                steps = heights.diff() > HEIGHTS * heights.abs().max()
                level = torch.cat([torch.zeros(1).long(), steps.long().cumsum(0)])
                points = torch.cat([points, found.directions[own][order]])
                kinds = torch.cat([kinds, level + count])
                count += int(level.max()) + 1
        sines = torch.linalg.cross(points[:, None], points[None], dim=-1).norm(dim=-1)
        if number and bool((sines > APART).any()):
            break
    return points, kinds


def _signals(f: Tensor, lmax: int, tolerance: float) -> Iterator[Float[Tensor, " m"]]:
    """Mixtures of channels by weights that do not turn: of all degrees, as
    they are and smoothed, then of each."""
    degree = torch.arange(lmax + 1).repeat_interleave(2 * torch.arange(lmax + 1) + 1)
    smooth = torch.exp(-degree * (degree + 1) / (lmax * (lmax + 1)))[:, None]
    for weight in torch.linalg.svd(f, full_matrices=False).Vh[:MIXTURES]:
        yield f @ weight
        yield smooth * f @ weight
    for l in range(1, lmax + 1):
        own = slice(l**2, (l + 1) ** 2)
        for weight in torch.linalg.svd(f[own], full_matrices=False).Vh[:MIXTURES]:
            if float((f[own] @ weight).norm()) > 3 * tolerance:
                signal = torch.zeros(len(f), dtype=torch.float64)
                signal[own] = f[own] @ weight
                yield signal
