"""Reading how many children there are, how clear that was, and what else it could have been."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor

DOUBTED = 16
"""Least clear numbers of a structure that alternatives are made of."""


@dataclass(frozen=True)
class Choice:
    """Reading a point's second most likely number of children instead of the first.

    Attributes:
        depth: unpooling step, from 0.
        node: the point, numbered within its structure.
        kind: kind of the children.
    """

    depth: int
    node: int
    kind: int

    @property
    def place(self) -> tuple[int, int]:
        """The point, whatever the kind."""
        return self.depth, self.node


Alternative = tuple[Choice, ...]
"""What is read differently in one structure."""


@dataclass(frozen=True)
class Doubts:
    """How clear the numbers of children were: one entry for every point and kind.

    Attributes:
        margin: log-odds of the first reading over the second, `[d]`.
        change: from the first number to the second, `[d]`.
        structure, depth, node, kind: where, each `[d]`.
    """

    margin: Tensor
    change: Tensor
    structure: Tensor
    depth: Tensor
    node: Tensor
    kind: Tensor

    def columns(self) -> tuple[Tensor, ...]:
        return self.margin, self.change, self.structure, self.depth, self.node, self.kind

    @staticmethod
    def join(doubts: Sequence["Doubts"]) -> "Doubts":
        """Several in a row."""
        return Doubts(*map(torch.cat, zip(*(each.columns() for each in doubts), strict=True)))

    def alternatives(self, structure: int, most: int, lacking: Sequence[int]) -> list[Alternative]:
        """Other readings of a structure: in turn the likeliest, and the likeliest of those that
        give the formula told.

        One number is read differently, or two, or three of one point, which exchange one
        element for another and its hydrogens with it.

        Args:
            structure: number of the structure.
            most: readings at most.
            lacking: atoms of each element that the drawing lacks of the formula that the latent
                tells.
        """
        own = torch.nonzero(self.structure == structure)[:, 0]
        own = own[torch.argsort(self.margin[own], stable=True)[:DOUBTED]]
        atoms = int(self.depth.max())
        items = [
            (float(self.margin[i]), int(self.change[i]), Choice(*row))
            for i, row in zip(
                own, torch.stack([self.depth, self.node, self.kind], 1)[own].tolist(), strict=True
            )
        ]
        groups = [*combinations(items, 1), *combinations(items, 2)]
        groups += [g for g in combinations(items, 3) if len({c[2].place for c in g}) == 1]

        def cost(group: tuple) -> float:
            return sum(margin for margin, _, _ in group)

        def misfit(group: tuple) -> int:
            change = [0] * len(lacking)
            for _, difference, choice in group:
                if choice.depth == atoms:
                    change[choice.kind] += difference
            open_ended = any(choice.depth != atoms for _, _, choice in group)
            return 0 if change == list(lacking) else 1 if open_ended else 2

        likely = sorted(groups, key=cost)
        fitting = sorted(likely, key=misfit)
        chosen = dict.fromkeys(
            group for pair in zip(fitting, likely, strict=True) for group in pair
        )
        return [tuple(choice for _, _, choice in group) for group in list(chosen)[:most]]


def read_counts(
    logits: Float[Tensor, "n kinds counts"],
    batch: Int[Tensor, " n"],
    depth: int,
    readings: Sequence[Alternative] | None,
) -> tuple[Int[Tensor, "n kinds"], Doubts]:
    """The most likely counts, or the second where a reading says so, and how clear they were.

    Args:
        logits: of each number of children, for every point and kind.
        batch: structure of each point, ascending.
        depth: unpooling step.
        readings: for each structure, what to read differently; nothing if None.
    """
    top = logits.topk(2, dim=-1)
    counts = top.indices[..., 0].clone()
    size = torch.bincount(batch, minlength=len(readings) if readings else 0)
    starts = torch.cumsum(size, 0) - size
    for structure, reading in enumerate(readings or ()):
        for choice in reading:
            if choice.depth == depth and choice.node < size[structure]:
                node = starts[structure] + choice.node
                counts[node, choice.kind] = top.indices[node, choice.kind, 1]
    kinds = logits.shape[1]
    node = torch.arange(len(batch), device=batch.device) - starts[batch]
    kind = torch.arange(kinds, device=batch.device).expand(len(batch), kinds)
    margin = (top.values[..., 0] - top.values[..., 1]).flatten()
    change = (top.indices[..., 1] - top.indices[..., 0]).flatten()
    doubts = Doubts(
        margin,
        change,
        batch.repeat_interleave(kinds),
        torch.full_like(margin, depth, dtype=torch.long),
        node.repeat_interleave(kinds),
        kind.flatten(),
    )
    return counts, doubts
