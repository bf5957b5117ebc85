"""What is allowed, in words: independent components and what follows from them."""

from fractions import Fraction
from itertools import product

import torch
from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from geomae.equivariant import spherical_harmonics
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.magnetic import MagneticGroup
from geomae.symmetry.properties import Property
from geomae.symmetry.tensors import CartesianTensor

ZERO = 1e-8


def describe(
    symmetry: PointGroup | MagneticGroup,
    prop: Property,
    rows: Float[Tensor, "n dim"],
    decomposition: dict[str, int],
) -> str:
    """Lines of text: how many components are independent, and which.

    Args:
        symmetry: the group as it stands; its frame gives the axes if they aren't the input's.
        prop: the property.
        rows: basis of what is allowed in the group's standard setting.
        decomposition: irreps of the group in the property.
    """
    total, count = prop.irreps.dim, len(rows)
    group = symmetry.group if isinstance(symmetry, MagneticGroup) else symmetry
    made = "" if prop.name == str(prop.irreps) else f" ({prop.irreps})"
    head = f"{prop.name}{made} in {symmetry.name} ({symmetry.hermann_mauguin}): "
    terms = [f"{n if n > 1 else ''}{name}" for name, n in decomposition.items()]
    made_of = f"  irreps of {group.name}: {' + '.join(terms)}"
    if not count:
        what = f"all {total} components are zero" if total > 1 else "zero"
        lines = [f"{head}forbidden, {what} by symmetry", made_of]
        return "\n".join(lines + _of_time(symmetry, prop, count))
    lines = [f"{head}{count} of {total} components {'is' if count == 1 else 'are'} independent"]
    lines.append(made_of)
    if prop.tensor is not None:
        lines += [f"  {line}" for line in tensor_words(prop.tensor, rows)]
    else:
        lines += [f"  {line}" for line in polynomial_words(prop.irreps, rows)]
    if prop.irreps.lmax and (group.frame - torch.eye(3).double()).abs().max() > 1e-6:
        lines.append(f"  in the axes {_axes(group.frame)}")
    return "\n".join(lines + _of_time(symmetry, prop, count))


def _of_time(symmetry: PointGroup | MagneticGroup, prop: Property, count: int) -> list[str]:
    """What there is to say about time reversal."""
    if not isinstance(symmetry, MagneticGroup):
        known = bool(prop.odd) and count
        return ["  odd under time reversal, which is left out of account: zero without magnetic "
                "order"] * bool(known)  # fmt: skip
    if prop.odd is None:
        return ["  taken to be even under time reversal"]
    if prop.odd:
        return ["  odd under time reversal" + (": no magnetic moments, none of it" if symmetry.grey
                                              else "")]  # fmt: skip
    return []


def tensor_words(tensor: CartesianTensor, rows: Float[Tensor, "n dim"]) -> list[str]:
    """Such as `xx = yy = a`, `zz = b`; components that are zero are not told."""
    if tensor.rank == 0:
        return ["one number, any value"]
    names = ["".join(index) for index in product("xyz", repeat=tensor.rank)]
    flat = tensor.to_cartesian(rows).flatten(1)
    first = _first_of_equal(tensor)
    kept = [k for k in range(len(names)) if first[k] == k]
    reduced = echelon(flat[:, kept])
    letters = _letters(len(rows))
    by_value: dict[str, list[str]] = {}
    for column, k in enumerate(kept):
        value = _combination(reduced[:, column], letters)
        if value:
            by_value.setdefault(value, []).append(names[k])
    return [f"{' = '.join(entries)} = {value}" for value, entries in by_value.items()]


def _first_of_equal(tensor: CartesianTensor) -> list[int]:
    """For each entry the first of those that the symmetry of the indices makes equal to it."""
    from geomae.symmetry.tensors import _generated

    orders = _generated(tensor.rank, tensor.swaps)
    index = list(product(range(3), repeat=tensor.rank))
    number = {entry: k for k, entry in enumerate(index)}
    return [min(number[tuple(entry[i] for i in order)] for order in orders) for entry in index]


def polynomial_words(irreps: o3.Irreps, rows: Float[Tensor, "n dim"]) -> list[str]:
    """What is allowed of each degree, as harmonic polynomials of x, y, z."""
    lines, start, seen = [], 0, set()
    for mul, ir in irreps:
        own = rows[:, start : start + ir.dim]
        start += mul * ir.dim
        if ir in seen:
            continue
        seen.add(ir)
        own = own[own.norm(dim=1) > ZERO]
        if not len(own):
            lines.append(f"{ir}: nothing")
            continue
        kinds = " | ".join(polynomial(ir.l, row) for row in echelon(own) if row.norm() > ZERO)
        pseudo = "" if ir.p == (-1) ** ir.l else ", times a pseudoscalar"
        lines.append(f"{ir}: {kinds}{pseudo}")
    return lines


def polynomial(degree: int, row: Float[Tensor, " m"]) -> str:
    """A combination of harmonics of one degree as a polynomial, such as `2z^2 - x^2 - y^2`."""
    if degree == 0:
        return "1"
    powers = [(a, b, degree - a - b) for a in range(degree, -1, -1)
              for b in range(degree - a, -1, -1)]  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(4 * len(powers), 3, dtype=torch.float64, generator=generator)
    harmonics = spherical_harmonics(degree, points, normalize=False)[:, degree**2 :]
    monomials = torch.stack([points.pow(torch.tensor(p)).prod(1) for p in powers], 1)
    found = torch.linalg.lstsq(monomials, harmonics @ row).solution
    found = torch.where(found.abs() > 1e-7 * found.abs().max(), found, 0.0)
    least = found[found != 0].abs().min()
    names = ["".join(f"{v}^{n}" if n > 1 else v for v, n in zip("xyz", p, strict=True) if n)
             for p in powers]  # fmt: skip
    scaled = found / least * found[found != 0][-1].sign()
    return _combination(scaled, names)


def echelon(rows: Float[Tensor, "n m"]) -> Float[Tensor, "k m"]:
    """Reduced row echelon form, rows of zeros left out."""
    rows, pivot = rows.clone(), 0
    for column in range(rows.shape[1]):
        if pivot == len(rows):
            break
        best = pivot + int(rows[pivot:, column].abs().argmax())
        if rows[best, column].abs() < ZERO:
            continue
        rows[[pivot, best]] = rows[[best, pivot]]
        rows[pivot] = rows[pivot] / rows[pivot, column]
        others = torch.arange(len(rows)) != pivot
        rows[others] = rows[others] - torch.outer(rows[others, column], rows[pivot])
        pivot += 1
    return rows[:pivot]


def _combination(weights: Tensor, names: list[str]) -> str:
    """A sum such as `2a - b/2`."""
    text = ""
    for weight, name in zip(weights.tolist(), names, strict=True):
        if abs(weight) < 1e-7:
            continue
        sign = "-" if weight < 0 else "+"
        part = _times(abs(weight), name)
        text += f" {sign} {part}" if text else f"{'-' if sign == '-' else ''}{part}"
    return text


def _times(size: float, name: str) -> str:
    fraction = Fraction(size).limit_denominator(48)
    if abs(float(fraction) - size) > 1e-6:
        return f"{size:.4g} {name}"
    top = name if fraction.numerator == 1 else f"{fraction.numerator}{name}"
    return top if fraction.denominator == 1 else f"{top}/{fraction.denominator}"


def _letters(count: int) -> list[str]:
    if count <= 20:
        return list("abcdefghjklmnopqrstuvw"[:count])
    return [f"c{k + 1}" for k in range(count)]


def _axes(frame: Tensor) -> str:
    columns = [
        f"{name} = (" + ", ".join(f"{v + 0.0:.3f}" for v in column.tolist()) + ")"
        for name, column in zip("xyz", frame.T, strict=True)
    ]
    return ", ".join(columns)
