"""The hierarchy of structures as geometry alone: who stands where and belongs to whom."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Tree:
    """Points of every level, from the atoms to one point a structure.

    Attributes:
        numbers: atomic numbers `[n_0]`.
        positions: of the points of each level, `[n_l, 3]` in Å, atoms first.
        weights: of the points of each level, `[n_l]`; a point's is the sum of its members'.
        batch: structure of each point, `[n_l]`.
        memberships: edges (member, point) from each level to the next, `[2, edges_l]`.
    """

    numbers: Int[Tensor, " atoms"]
    positions: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    batch: tuple[Tensor, ...]
    memberships: tuple[Tensor, ...]

    @property
    def n_structures(self) -> int:
        return self.positions[-1].shape[0]

    def to(self, target: torch.device | torch.dtype | str) -> "Tree":
        """The same on another device, or with positions and weights in another precision."""
        is_dtype = isinstance(target, torch.dtype)

        def move(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(t.to(target) for t in tensors)

        return Tree(
            self.numbers if is_dtype else self.numbers.to(target),
            move(self.positions),
            move(self.weights),
            self.batch if is_dtype else move(self.batch),
            self.memberships if is_dtype else move(self.memberships),
        )

    def select(self, ids: Int[Tensor, " k"]) -> "Tree":
        """The tree of some of the structures, given by ascending numbers."""
        new = torch.full((self.n_structures,), -1, device=ids.device)
        new[ids] = torch.arange(len(ids), device=ids.device)
        kept = [new[batch] >= 0 for batch in self.batch]
        number = [torch.cumsum(keep, 0) - 1 for keep in kept]
        memberships = [
            torch.stack([number[level][edges[0]], number[level + 1][edges[1]]])[
                :, kept[level][edges[0]]
            ]
            for level, edges in enumerate(self.memberships)
        ]
        return Tree(
            self.numbers[kept[0]],
            tuple(p[keep] for p, keep in zip(self.positions, kept, strict=True)),
            tuple(w[keep] for w, keep in zip(self.weights, kept, strict=True)),
            tuple(new[b[keep]] for b, keep in zip(self.batch, kept, strict=True)),
            tuple(memberships),
        )

    @staticmethod
    def join(trees: Sequence["Tree"]) -> "Tree":
        """The structures of several trees in a row."""
        levels = range(len(trees[0].positions))
        counts = torch.tensor([[len(tree.batch[level]) for level in levels] for tree in trees])
        starts = torch.cumsum(counts, 0) - counts
        memberships = [
            torch.cat(
                [
                    tree.memberships[level] + starts[number, level : level + 2, None]
                    for number, tree in enumerate(trees)
                ],
                1,
            )
            for level in levels[:-1]
        ]

        def column(name: str, level: int) -> Tensor:
            return torch.cat([getattr(tree, name)[level] for tree in trees])

        return Tree(
            torch.cat([tree.numbers for tree in trees]),
            tuple(column("positions", level) for level in levels),
            tuple(column("weights", level) for level in levels),
            tuple(
                torch.cat([tree.batch[level] + int(starts[i, -1]) for i, tree in enumerate(trees)])
                for level in levels
            ),
            tuple(memberships),
        )

    def with_atoms_at(self, positions: Float[Tensor, "atoms 3"]) -> "Tree":
        """The same memberships with the atoms moved: every point is its members' weighted mean.

        The centres are linear in the positions, so what is computed from them is as smooth as
        the layers are, although who belongs to whom is discrete.
        """
        levels = [positions]
        for members, weights, below in zip(
            self.memberships, self.weights[:-1], self.weights[1:], strict=True
        ):
            levels.append(weighted_means(levels[-1], weights, members, below.shape[0]))
        return replace(
            self,
            positions=tuple(levels),
            weights=tuple(w.to(positions.dtype) for w in self.weights),
        )


def weighted_means(
    positions: Float[Tensor, "n 3"],
    weights: Float[Tensor, " n"],
    membership: Int[Tensor, "2 edges"],
    n_points: int,
) -> Float[Tensor, "points 3"]:
    """Mean position of the members of each point, in Å."""
    member, point = membership
    share = weights[member].to(positions.dtype)
    total = positions.new_zeros(n_points).index_add(0, point, share)
    moment = positions.new_zeros(n_points, 3).index_add(
        0, point, share[:, None] * positions[member]
    )
    return moment / total[:, None]


def children_of(membership: Int[Tensor, "2 edges"], n_points: int) -> Int[Tensor, "points most"]:
    """Members of each point as a padded table of their indices, -1 where there is none."""
    member, point = membership
    order = torch.argsort(point, stable=True)
    member, point = member[order], point[order]
    counts = torch.bincount(point, minlength=n_points)
    starts = torch.cumsum(counts, 0) - counts
    slot = torch.arange(len(point), device=point.device) - starts[point]
    table = member.new_full((n_points, int(counts.max()) if len(point) else 0), -1)
    table[point, slot] = member
    return table


def same_groups(one: Tree, other: Tree) -> Bool[Tensor, " structures"]:
    """Whether two trees of the same atoms, each point with one parent, group them alike.

    Points may be numbered differently, and stand elsewhere.
    """
    alike = torch.ones(one.n_structures, dtype=torch.bool, device=one.numbers.device)
    batch = one.batch[0]
    for first, second in zip(_first_atoms(one), _first_atoms(other), strict=True):
        alike[batch[first != second]] = False
    return alike


def _first_atoms(tree: Tree) -> Iterator[Int[Tensor, " atoms"]]:
    """For every level the first atom of the point that each atom belongs to."""
    point = torch.arange(len(tree.numbers), device=tree.numbers.device)
    own = point
    for membership, batch in zip(tree.memberships, tree.batch[1:], strict=True):
        parent = point.new_empty(membership.shape[1])
        parent[membership[0]] = membership[1]
        point = parent[point]
        first = own.new_full((len(batch),), len(own)).scatter_reduce(0, point, own, "amin")
        yield first[point]
