"""Hermann-Mauguin symbols taken apart: which operation each element of them stands for."""

from collections.abc import Callable
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.symmetry.naming import Symbol
from geomae.symmetry.standard import about_z, rotation_about

Element = tuple[str, Float[Tensor, "3 3"]]


def with_primes(symbol: Symbol, marked: Callable[[Float[Tensor, "3 3"]], bool]) -> str:
    """The international symbol with a prime after each element whose operation is marked.

    Args:
        symbol: of the group.
        marked: tells it of an operation in the standard setting.
    """
    return "".join(text + "'" * marked(operation) for text, operation in elements_of(symbol))


def elements_of(symbol: Symbol) -> list[Element]:
    """The elements of an international symbol in order, each with one of its operations."""
    special = _special(symbol.text)
    if special is not None:
        return special
    n, suffix = symbol.n, symbol.suffix
    even = symbol.infinite or n % 2 == 0
    step = pi / n if n else 0.0  # between a C2' and the next, or a mirror and the next
    if symbol.family == "S":
        return [_turn(n if n % 4 == 0 else n // 2, True)]
    if suffix == "d":
        first = _turn(2 * n if even else n, True)
        return [first, _half(0.0), _mirror(step / 2)] if even else [first, _mirror(0.0)]
    if suffix == "h" and not even:
        return [
            _turn(2 * n, True),
            *([_mirror(pi / 2), _half(0.0)] if symbol.family == "D" else []),
        ]
    head = [("∞", torch.eye(3, dtype=torch.float64)) if symbol.infinite else _turn(n, False)]
    if suffix == "h":
        head.append(("/m", -about_z(1, 2)))
    make = {"v": _mirror, "h": _mirror, "": _half}[suffix]
    turned = pi / 2 if suffix == "v" else 0.0
    if symbol.family == "D" or suffix == "v":
        head.append(make(turned))
        if even and not symbol.infinite:
            head.append(make(turned + step))
    return head


def _special(text: str) -> list[Element] | None:
    if text in ("Cs", "Ci", "C1"):
        return {
            "Cs": [("m", -about_z(1, 2))],
            "Ci": [("-1", -torch.eye(3, dtype=torch.float64))],
            "C1": [("1", torch.eye(3, dtype=torch.float64))],
        }[text]
    z = about_z(1, 2)
    x, y = _half(0.0)[1], _half(pi / 2)[1]
    if text in ("D2", "D2h"):
        sign, letter = (1, "2") if text == "D2" else (-1, "m")
        return [(letter, sign * one) for one in (x, y, z)]
    if text == "C2v":
        return [("m", -x), ("m", -y), ("2", z)]
    diagonal = rotation_about(torch.ones(3, dtype=torch.float64), 2 * pi / 3)
    across = rotation_about(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64), pi)
    cubic = {
        "T": [("2", z), ("3", diagonal)],
        "Th": [("m", -z), ("-3", -diagonal)],
        "O": [("4", about_z(1, 4)), ("3", diagonal), ("2", across)],
        "Td": [("-4", -about_z(1, 4)), ("3", diagonal), ("m", -across)],
        "Oh": [("m", -z), ("-3", -diagonal), ("m", -across)],
        # their only sign is that of the inversion
        "I": [("235", z)],
        "Ih": [("m", -z), ("-3", -diagonal), ("-5", -z)],
        "K": [("2∞", z)],
        "Kh": [("m", -z), ("∞", z)],
    }
    return cubic.get(text)


def _turn(n: int, inverted: bool) -> Element:
    return (f"-{n}", -about_z(1, n)) if inverted else (str(n), about_z(1, n))


def _half(angle: float) -> Element:
    """Half a turn about an axis in the plane xy."""
    axis = torch.tensor([angle]).double()
    return "2", rotation_about(torch.stack([axis.cos()[0], axis.sin()[0], 0 * axis[0]]), pi)


def _mirror(angle: float) -> Element:
    """A mirror whose normal is in the plane xy."""
    return "m", -_half(angle)[1]
