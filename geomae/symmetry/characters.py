"""Classes, irreps and characters of point groups, worked out from their operations."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.symmetry.mulliken import mulliken_names
from geomae.symmetry.naming import Symbol, read_symbol
from geomae.symmetry.standard import locate, multiplication_table, standard_operations


@dataclass(frozen=True)
class Irrep:
    """An irreducible representation over the real numbers.

    Attributes:
        name: Mulliken's symbol; Greek letters for linear molecules, S, P, D, ... for atoms.
        dimension: of the real representation.
        characters: for each operation of the group, in its order.
        pair: two complex irreps, each the conjugate of the other, taken together.
    """

    name: str
    dimension: int
    characters: Float[Tensor, " g"]
    pair: bool = False


@dataclass(frozen=True)
class ConjugacyClass:
    """Operations that operations of the group turn into each other.

    Attributes:
        name: such as `2C3` or `3σv`, the number of operations first.
        members: numbers of the operations.
    """

    name: str
    members: tuple[int, ...]


@dataclass(frozen=True)
class CharacterTable:
    """All irreps of a group on all classes; of an infinite group, the first irreps.

    Attributes:
        name: of the group.
        classes: of its operations.
        irreps: in the tables' order, the totally symmetric one first.
    """

    name: str
    classes: tuple[ConjugacyClass, ...]
    irreps: tuple[Irrep, ...]

    @property
    def values(self) -> Float[Tensor, "irreps classes"]:
        """Characters by class."""
        first = [each.members[0] for each in self.classes]
        return torch.stack([irrep.characters[first] for irrep in self.irreps])

    def __str__(self) -> str:
        names = [each.name for each in self.classes]
        rows = [[f"{v:.4g}" if abs(v) > 1e-9 else "0" for v in row] for row in self.values.tolist()]
        width = [max(len(n), *(len(r[k]) for r in rows)) for k, n in enumerate(names)]
        left = max(len(self.name), *(len(irrep.name) for irrep in self.irreps))
        heads = [self.name.ljust(left), *(n.rjust(w) for n, w in zip(names, width, strict=True))]
        lines = ["  ".join(heads)]
        for irrep, row in zip(self.irreps, rows, strict=True):
            cells = (v.rjust(w) for v, w in zip(row, width, strict=True))
            lines.append("  ".join([irrep.name.ljust(left), *cells]))
        return "\n".join(lines)


@lru_cache(maxsize=256)
def table_of(name: str) -> CharacterTable:
    """The character table of a group, on its standard operations."""
    symbol, operations = read_symbol(name), standard_operations(name)
    members = conjugacy_classes(multiplication_table(operations))
    labels = class_names(symbol, operations, members)
    classes = tuple(map(ConjugacyClass, labels, map(tuple, members)))
    if symbol.infinite:
        return CharacterTable(symbol.text, classes, _first_irreps(symbol, operations))
    complex_rows = burnside_characters(multiplication_table(operations), members)
    return CharacterTable(symbol.text, classes, _real_irreps(symbol, operations, complex_rows))


def conjugacy_classes(table: Int[Tensor, "g g"]) -> list[list[int]]:
    """Numbers of the operations of each class, in the order of their first ones."""
    g = len(table)
    inverse = (table == 0).to(torch.int8).argmax(1)
    images = table[table, inverse[:, None].expand(g, g)].T  # row h: all a h a^-1
    seen, result = set(), []
    for h in range(g):
        if h not in seen:
            result.append(sorted(set(images[h].tolist())))
            seen |= set(result[-1])
    return result


def burnside_characters(table: Int[Tensor, "g g"], members: list[list[int]]) -> Tensor:
    """Complex characters `[irreps, g]` of a group by Burnside's method.

    The class sums commute; their common eigenvectors, in the right scale, are the characters. The
    eigenvectors of one generic Hermitian combination of them are found.

    Args:
        table: of the multiplication.
        members: of each class.
    """
    g, k = len(table), len(members)
    which = torch.zeros(g, dtype=torch.long)
    for number, own in enumerate(members):
        which[own] = number
    size = torch.tensor([len(own) for own in members], dtype=torch.float64)
    first = torch.tensor([own[0] for own in members])
    inverse = (table == 0).to(torch.int8).argmax(1)
    structure = torch.zeros(k, k, k, dtype=torch.float64)  # C_r C_s = sum_t a_rst C_t
    for t in range(k):
        rest = table[inverse, first[t]]  # a b = c_t
        structure[:, :, t].index_put_(
            (which, which[rest]), torch.ones(g, dtype=torch.float64), accumulate=True
        )
    scaled = structure * size.sqrt() / size.sqrt()[:, None] / size[:, None, None]
    vectors = _common_eigenvectors(scaled.to(torch.complex128), size).T.conj()
    vectors = vectors / (vectors[:, :1] / vectors[:, :1].abs())
    dims = (vectors[:, :1].abs() * g**0.5).round()
    by_class = dims * vectors / vectors[:, :1] / size.sqrt()
    return by_class[:, which]


def _common_eigenvectors(commuting: Tensor, size: Tensor) -> Tensor:
    """Eigenvectors, as columns, of normal matrices `[k, k, k]` that commute: those of the one of
    some Hermitian combinations whose eigenvalues are farthest apart.
    """
    generator = torch.Generator().manual_seed(0)
    best, widest = None, -1.0
    for _ in range(16):
        weights = torch.randn(len(size), 2, dtype=torch.float64, generator=generator)
        weights = torch.complex(*weights.T) / size.sqrt()
        mixed = torch.einsum("r,rst->st", weights, commuting)
        values, vectors = torch.linalg.eigh(mixed + mixed.mH)
        gap = float(values.diff().min()) if len(values) > 1 else 1.0
        if gap > widest:
            best, widest = vectors, gap
    assert best is not None
    return best


def _real_irreps(symbol: Symbol, operations: Tensor, rows: Tensor) -> tuple[Irrep, ...]:
    """Real irreps: conjugate pairs are joined."""
    characters, pairs, left = [], [], list(range(len(rows)))
    while left:
        row = rows[left.pop(0)]
        if row.imag.abs().max() < 1e-6:
            characters.append(row.real)
            pairs.append(False)
            continue
        other = min(left, key=lambda k: float((rows[k] - row.conj()).abs().max()))
        left.remove(other)
        characters.append(2 * row.real)
        pairs.append(True)
    stacked = torch.stack(characters)
    named = mulliken_names(symbol, operations, stacked)
    return tuple(
        Irrep(name, round(float(stacked[k, 0])), stacked[k], pairs[k]) for k, name in named
    )


def _first_irreps(symbol: Symbol, operations: Tensor) -> tuple[Irrep, ...]:
    """Irreps of an infinite group up to a degree of 6, on the operations that stand for it."""
    from geomae.symmetry.infinite import irrep_characters

    return tuple(
        Irrep(name, round(float(row[0])), row) for name, row in irrep_characters(symbol, operations)
    )


def class_names(symbol: Symbol, operations: Tensor, members: list[list[int]]) -> list[str]:
    """Symbols of classes with their sizes, such as `2C3`; primes tell equal ones apart."""
    names = [_class_name(symbol, operations[own]) for own in members]
    for name in set(names):
        for count, k in enumerate([k for k, other in enumerate(names) if other == name]):
            names[k] = name + "'" * count
    return [f"{len(own)}{name}" if len(own) > 1 else name
            for own, name in zip(members, names, strict=True)]  # fmt: skip


def _class_name(symbol: Symbol, operations: Tensor) -> str:
    if symbol.text in ("D2", "D2h", "C2v"):
        return _axis_name(operations[0])
    turns = [turn_of(each) for each in operations]
    order, power, proper = min(turns, key=lambda t: (t[1] / t[0], t[0]))
    if order > 2 and not _forward(operations if proper else -operations, proper):
        power = (order if proper or order % 2 == 0 else 2 * order) - power
    if proper:
        return "E" if order == 1 else f"C{order}" + (f"^{power}" if power > 1 else "")
    if order == 1:
        return "σ" + _mirror_suffix(symbol, operations)
    if order == 2:
        return "i"
    return f"S{order}" + (f"^{power}" if power > 1 else "")


def _forward(rotations: Tensor, proper: bool) -> bool:
    """Whether one of a class turns counterclockwise about z, or about (1, 1, 1).

    Args:
        rotations: the operations, improper ones times the inversion, which turns them by half a
            turn more, that is, the other way.
        proper: whether they were proper.
    """
    off = rotations - rotations.transpose(1, 2)
    axes = torch.stack([off[:, 2, 1], off[:, 0, 2], off[:, 1, 0]], 1) * (1 if proper else -1)
    return bool(((axes.min(1).values > -1e-6) & (axes.sum(1) > 1e-6)).any())


def _axis_name(operation: Tensor) -> str:
    order, _, proper = turn_of(operation)
    if order == 1 and proper:
        return "E"
    if order == 2 and not proper:
        return "i"
    special = int((operation.diagonal() * (1 if proper else -1)).argmax())
    planes = {0: "yz", 1: "xz", 2: "xy"}
    return f"C2({'xyz'[special]})" if proper else f"σ({planes[special]})"


def _mirror_suffix(symbol: Symbol, operations: Tensor) -> str:
    if symbol.family == "I":
        return ""
    if symbol.family in "TO":
        return "h" if bool((operations[0].diagonal().abs() - 1).abs().max() < 1e-6) else "d"
    if symbol.family == "Cs" or bool((operations[0, 2, 2] + 1).abs() < 1e-6):
        return "h"
    holds_x = locate(torch.diag(torch.tensor([1.0, -1.0, 1.0]).double()), operations)[1] < 1e-6
    return "v" if symbol.suffix != "d" and bool(holds_x) else "d"


def turn_of(operation: Float[Tensor, "3 3"]) -> tuple[int, int, bool]:
    """Order n, power k and kind of an operation: C_n^k (proper) or S_n^k; a mirror is S_1.

    Powers are those of the smaller turn, k <= n/2 for C; odd for S.
    """
    proper = bool(torch.linalg.det(operation) > 0)
    trace = float(operation.diagonal().sum()) * 1.0
    cosine = (trace - 1) / 2 if proper else (trace + 1) / 2
    angle = float(torch.tensor(max(-1.0, min(1.0, cosine)), dtype=torch.float64).acos())
    share = Fraction(angle / (2 * torch.pi)).limit_denominator(240)
    k, n = share.numerator, share.denominator
    if not proper and k % 2 == 0 and n > 1:
        k += n
    return n, max(k, 1), proper
