"""Names of point groups: Schoenflies symbols read, Hermann-Mauguin symbols written."""

import re
from dataclasses import dataclass
from difflib import get_close_matches

from geomae.symmetry.errors import GroupError

CRYSTAL_CLASSES = [
    "C1",
    "Ci",
    "C2",
    "Cs",
    "C2h",
    "D2",
    "C2v",
    "D2h",
    "C4",
    "S4",
    "C4h",
    "D4",
    "C4v",
    "D2d",
    "D4h",
    "C3",
    "S6",
    "D3",
    "C3v",
    "D3d",
    "C6",
    "C3h",
    "C6h",
    "D6",
    "C6v",
    "D3h",
    "D6h",
    "T",
    "Th",
    "O",
    "Td",
    "Oh",
]
"""The 32 crystallographic point groups in the order of the International Tables."""

CUBIC = {"T": "23", "Th": "m-3", "O": "432", "Td": "-43m", "Oh": "m-3m", "I": "235", "Ih": "m-3-5"}
SPHERICAL = {"K": "2∞", "Kh": "m∞"}
SAME = {"C1h": "Cs", "C1v": "Cs", "S1": "Cs", "S2": "Ci", "C1i": "Ci", "SO(3)": "K", "O(3)": "Kh",
        "C3i": "S6", "S3": "C3h"}  # fmt: skip
PATTERN = re.compile(r"(?P<family>[CDS])(?P<n>\d+|∞)(?P<suffix>[vhd]?)$")


@dataclass(frozen=True)
class Symbol:
    """A Schoenflies symbol taken apart.

    Attributes:
        text: the canonical symbol.
        family: C, D, S, T, O, I, K, or Cs, Ci for the two without an axis.
        n: order of the principal axis, 0 where it is infinite or there is none.
        suffix: v, h, d or nothing.
    """

    text: str
    family: str
    n: int = 0
    suffix: str = ""

    @property
    def infinite(self) -> bool:
        """Whether the group has continuous rotations."""
        return self.family == "K" or "∞" in self.text

    @property
    def axial(self) -> bool:
        """Whether there is one principal axis."""
        return self.family in ("C", "D", "S")

    @property
    def hermann_mauguin(self) -> str:
        """International symbol; for non-crystallographic groups by the same rules."""
        fixed = CUBIC | SPHERICAL | {"Cs": "m", "Ci": "-1", "C2v": "mm2", "D2": "222", "D2h": "mmm"}
        if self.text in fixed:
            return fixed[self.text]
        n = "∞" if self.infinite else str(self.n)
        even = self.infinite or self.n % 2 == 0
        if self.family == "S":
            return f"-{self.n}" if self.n % 4 == 0 else f"-{self.n // 2}"
        if self.suffix == "d":
            return f"-{2 * self.n}2m" if even else f"-{n}m"
        if self.suffix == "h" and not even:
            return f"-{2 * self.n}" + ("m2" if self.family == "D" else "")
        ends = {"C": "", "Cv": "mm", "Ch": "/m", "D": "22", "Dh": "/mmm"}
        if self.infinite:
            ends |= {"Cv": "m", "D": "2", "Dh": "/mm"}
        end = ends[self.family + self.suffix]
        return n + (end if even else end[: len(end) // 2])


def read_symbol(name: str) -> Symbol:
    """A symbol from a name, Schoenflies (`D4h`, `C∞v` or `Cinfv`) or Hermann-Mauguin (`4/mmm`).

    Raises:
        GroupError: no group is called so; names the families and the nearest symbol.
    """
    given = str(name).strip()
    text = re.sub(r"inf(?:inity)?|oo|\*", "∞", given.replace("_", "").replace("_", ""))
    text = SAME.get(text, text)
    if text in CUBIC or text in SPHERICAL:
        return Symbol(text, text[0], 0, text[1:])
    if text in ("Cs", "Ci"):
        return Symbol(text, text)
    match = PATTERN.match(text)
    symbol = _axial(**match.groupdict()) if match else None
    if symbol is not None:
        return symbol
    for known in CRYSTAL_CLASSES + list(CUBIC):
        if read_symbol(known).hermann_mauguin == given:
            return read_symbol(known)
    raise GroupError(_unknown(given))


def _axial(family: str, n: str, suffix: str) -> Symbol | None:
    number = 0 if n == "∞" else int(n)
    finite = n != "∞"
    allowed = {"C": ("", "v", "h"), "D": ("", "h", "d"), "S": ("",)}[family]
    bad = suffix not in allowed or (finite and number < (2 if family != "C" or suffix else 1))
    if not finite:
        bad |= family == "S" or suffix == "d"
    if family == "S" and number % 2:
        return None if number < 3 else Symbol(f"C{number}h", "C", number, "h")
    return None if bad else Symbol(f"{family}{n}{suffix}", family, number, suffix)


def _unknown(name: str) -> str:
    known = [*CRYSTAL_CLASSES, *CUBIC, *SPHERICAL, "C∞v", "D∞h", "C5v", "D5h", "D5d", "D4d", "D6d"]
    near = get_close_matches(name, known, 1, 0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return (
        f"there is no point group '{name}'{hint} Expected Cn, Cnv, Cnh, Dn, Dnh, Dnd (n from 2), "
        "S2n, C1, Cs, Ci, T, Td, Th, O, Oh, I, Ih, C∞v, D∞h, K or Kh, or the Hermann-Mauguin "
        "symbol of a crystal class"
    )
