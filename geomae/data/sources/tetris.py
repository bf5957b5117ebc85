"""The eight Tetris pieces in space, the field's unit test."""

from geomae.data.sources import only_whole
from geomae.data.structure import Structure

PIECES = {
    "chiral 1": [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 1, 0)],
    "chiral 2": [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, -1, 0)],
    "square": [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)],
    "line": [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3)],
    "corner": [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)],
    "L": [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0)],
    "T": [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 1)],
    "zigzag": [(0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 1, 0)],
}
"""Cubes' centres of each piece; the first two are mirror images."""


def structures(split: str = "all", n: int | None = None) -> list[Structure]:
    """The pieces as structures of hydrogen (points without another label), side 1 Å."""
    only_whole("tetris", split)
    return [Structure([1] * 4, points, name=name) for name, points in PIECES.items()][:n]
