"""Edges in rows of equal length, so that sums over them become matrix products."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Slots:
    """A table of edges: each row's edges have one point in common, and some slots stay free.

    Attributes:
        edge: the edges, in the order of their slots.
        slot: the slot of each of them.
        point: common point of each row.
        n_points: number of points, some of which may have no row.
        width: slots of a row.
    """

    edge: Int[Tensor, " edges"]
    slot: Int[Tensor, " edges"]
    point: Int[Tensor, " rows"]
    n_points: int
    width: int

    @property
    def n_rows(self) -> int:
        return len(self.point)

    @cached_property
    def whole(self) -> bool:
        """Whether there is one row for each point, in their order."""
        arange = torch.arange(self.n_rows, device=self.point.device)
        return self.n_rows == self.n_points and torch.equal(self.point, arange)

    @cached_property
    def content(self) -> Int[Tensor, " slots"]:
        """Edge in each slot; 0 in free ones."""
        content = self.edge.new_zeros(self.n_rows * self.width)
        return content.index_copy(0, self.slot, self.edge)

    @cached_property
    def filled(self) -> Bool[Tensor, " slots"]:
        """Whether each slot has an edge."""
        filled = torch.zeros_like(self.content, dtype=torch.bool)
        return filled.index_fill(0, self.slot, True)

    def spread(self, values: Shaped[Tensor, "edges *rest"]) -> Shaped[Tensor, "slots *rest"]:
        """Values of the edges in their slots; anything in free ones."""
        return values.index_select(0, self.content)

    def collect(self, values: Shaped[Tensor, "slots *rest"]) -> Shaped[Tensor, "edges *rest"]:
        """Values of the slots that are filled, in the order of `edge`."""
        return values if len(values) == len(self.slot) else values.index_select(0, self.slot)


def slots_by(point: Int[Tensor, " edges"], n_points: int, *, slack: float = 0.0) -> Slots:
    """Sorts edges by one of their points, into rows about as long as a point has edges on average.

    A point with more gets several rows: few slots stay free, however uneven the numbers.

    Args:
        point: the point of each edge to sort by.
        n_points: number of points.
        slack: share of slots that may stay free for the sake of one row a point: then rows are
            as long as a point has edges at most.
    """
    count = torch.bincount(point, minlength=n_points)
    n_used = max(1, int((count > 0).sum()))
    width = max(1, round(len(point) / n_used))
    if slack and (widest := int(count.max()) if n_points else 0) * n_used * (1 - slack) <= len(
        point
    ):
        width = max(1, widest)
    edge = torch.argsort(point, stable=True)
    n_rows = (count + width - 1).div(width, rounding_mode="floor")
    skipped = (torch.cumsum(n_rows, 0) - n_rows) * width - (torch.cumsum(count, 0) - count)
    slot = torch.arange(len(point), device=point.device) + skipped[point[edge]]
    points = torch.arange(n_points, device=point.device)
    return Slots(edge, slot, torch.repeat_interleave(points, n_rows), n_points, width)
