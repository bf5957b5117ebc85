"""Single edits of a structure that bring its encoding closer to a latent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.autoencoder.encoder import Encoder
from geomae.equivariant import sphere_quadrature
from geomae.pooling.tree import Tree

BOND, SPACE = {True: 1.05, False: 1.4}, {True: 0.85, False: 1.05}
"""Distance in Å of a new atom from a heavy atom, and from any other at least, by whether it is
hydrogen."""

SUSPECTS = 6
"""Atoms that are moved elsewhere: those without which the encoding is closest to the latent."""

SCORED_TOGETHER = 128
"""Structures encoded together."""


@dataclass(frozen=True)
class Sketch:
    """Atoms that may be those of a latent, and how they group.

    Attributes:
        numbers: atomic numbers `[n]`.
        positions: about the latent's point, `[n, 3]` in Å.
        confidence: the field's probability of each atom, 0 where none was seen, `[n]`.
        points: number of the point that each atom belongs to at every level between the atoms and
            the last, `[n, levels]`.
        residual: |E(X) - z| / |z|.
    """

    numbers: Tensor
    positions: Tensor
    confidence: Tensor
    points: Tensor
    residual: float = torch.inf

    @staticmethod
    def of(tree: Tree, confidence: Float[Tensor, " atoms"], structure: int) -> "Sketch":
        """One structure of a tree."""
        own = tree.batch[0] == structure
        point, points = torch.arange(len(own), device=own.device), []
        for membership in tree.memberships[:-1]:
            point = membership[1][torch.argsort(membership[0])][point]
            points.append(point)
        table = torch.stack(points, 1) if points else point.new_zeros(len(own), 0)
        positions = tree.positions[0][own].double()
        return Sketch(tree.numbers[own], positions, confidence[own], table[own])

    def without(self, atom: int) -> "Sketch":
        """One atom less."""
        kept = torch.arange(len(self.numbers), device=self.numbers.device) != atom
        parts = self.numbers, self.positions, self.confidence, self.points
        return Sketch(*(part[kept] for part in parts))

    def with_atom(self, number: int, place: Float[Tensor, "3"], host: int) -> "Sketch":
        """One atom more; it belongs where its host does, a heavy atom to a group of its own."""
        points = self.points[host].clone()
        if number > 1 and len(points):
            points[0] = self.points[:, 0].max() + 1
        return Sketch(
            torch.cat([self.numbers, self.numbers.new_tensor([number])]),
            torch.cat([self.positions, place[None]]),
            torch.cat([self.confidence, self.confidence.new_zeros(1)]),
            torch.cat([self.points, points[None]]),
        )

    def alone(self, number: int) -> "Sketch":
        """A single atom at the latent's point."""
        return Sketch(
            self.numbers.new_tensor([number]),
            self.positions.new_zeros(1, 3),
            self.confidence.new_zeros(1),
            self.points.new_zeros(1, self.points.shape[1]),
        )

    def changed(self, atom: int, number: int) -> "Sketch":
        """One atom of another element."""
        numbers = self.numbers.clone()
        numbers[atom] = number
        return replace(self, numbers=numbers, residual=torch.inf)


def tree_of(sketches: Sequence[Sketch], heavy_weight: float) -> Tree:
    """The trees of sketches in a row, in float64."""
    sizes = torch.tensor([len(s.numbers) for s in sketches])
    batch = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    numbers = torch.cat([s.numbers for s in sketches])
    batch = batch.to(numbers.device)
    points = torch.cat([s.points for s in sketches])
    owners, memberships = [batch], []
    below = torch.arange(len(batch), device=batch.device)
    for labels in (*points.T, torch.zeros_like(batch)):
        names, above = torch.unique(
            batch * (points.max() + 1 if points.numel() else 1) + labels, return_inverse=True
        )
        parent = above.new_zeros(int(below.max()) + 1).index_copy(0, below, above)
        memberships.append(torch.stack([torch.arange(len(parent), device=batch.device), parent]))
        owners.append(batch.new_zeros(len(names)).index_copy(0, above, batch))
        below = above
    weights = [torch.where(numbers > 1, heavy_weight, 1.0).double()]
    for member, point in memberships:
        total = weights[-1].new_zeros(int(point.max()) + 1)
        weights.append(total.index_add(0, point, weights[-1][member]))
    positions = torch.cat([s.positions for s in sketches])
    tree = Tree(numbers, (), tuple(weights), tuple(owners), tuple(memberships))
    return tree.with_atoms_at(positions)


class Mender:
    """Searches the structures that differ in one atom for those that encode closest to a latent.

    A decoding that is wrong is mostly wrong in a single atom: one stands on the wrong side of
    its neighbour, is missing, is one too many, or is of another element. Gauss-Newton does not
    move it there, because there are hills between; the residual alone tells where it belongs.

    Args:
        encoder: in the precision of the scores.
        elements: atomic numbers that may occur.
        max_atoms: of the largest structure.
    """

    def __init__(self, encoder: Encoder, elements: tuple[int, ...], max_atoms: int):
        self.encoder, self.elements, self.max_atoms = encoder, elements, max_atoms
        self.directions, _ = sphere_quadrature(6)

    def edits(
        self,
        sketch: Sketch,
        latent: Float[Tensor, "m c"],
        formula: Int[Tensor, " elements"] | None,
    ) -> list[Sketch]:
        """The structures one edit away, the closest to the latent first.

        Args:
            sketch: to edit.
            latent: its target.
            formula: leave out the structures with another number of atoms of any element; None
                tries all.
        """
        shortened = [sketch.without(a) for a in range(len(sketch.numbers))]
        shortened = self.scored(shortened, latent)
        suspects = sorted(shortened, key=lambda it: it.residual)[:SUSPECTS]
        found = [s for s in shortened if self._fits(s, formula)]
        made = [s for s in self._candidates(sketch, suspects) if self._fits(s, formula)]
        return sorted(found + self.scored(made, latent), key=lambda it: it.residual)

    def scored(self, sketches: list[Sketch], latent: Float[Tensor, "m c"]) -> list[Sketch]:
        """The same with their residuals."""
        result = []
        sketches = [s for s in sketches if 1 <= len(s.numbers) <= self.max_atoms]
        for start in range(0, len(sketches), SCORED_TOGETHER):
            part = sketches[start : start + SCORED_TOGETHER]
            residuals = self._residuals(part, latent).tolist()
            result += [replace(s, residual=r) for s, r in zip(part, residuals, strict=True)]
        return result

    def _candidates(self, sketch: Sketch, suspects: list[Sketch]) -> Iterator[Sketch]:
        """One atom elsewhere, or one more, of any element; or one of another element."""
        if not len(sketch.numbers):
            yield from (sketch.alone(number) for number in self.elements)
        for start in (sketch, *suspects):
            for number in self.elements:
                for place, host in zip(*self._places(start, number), strict=True):
                    yield start.with_atom(number, place, host)
        for atom, own in enumerate(sketch.numbers.tolist()):
            for number in self.elements:
                if number != own:
                    yield sketch.changed(atom, number)

    def _places(self, sketch: Sketch, number: int) -> tuple[Float[Tensor, "places 3"], list[int]]:
        """Where an atom could stand: a bond away from a heavy atom, its host, and not too close
        to any other. Where there is no heavy atom, hydrogen is the host.
        """
        positions, heavy = sketch.positions, sketch.numbers > 1
        if not len(positions):
            return positions, []
        hosts = torch.nonzero(heavy if bool(heavy.any()) else ~heavy)[:, 0]
        length = BOND[number == 1] if bool(heavy.any()) else min(BOND.values())
        directions = length * self.directions.to(positions)
        places = (positions[hosts][:, None] + directions).flatten(0, 1)
        clear = torch.cdist(places, positions).amin(1) > SPACE[number == 1]
        owner = hosts.repeat_interleave(len(directions))[clear]
        return places[clear], owner.tolist()

    def _fits(self, sketch: Sketch, formula: Tensor | None) -> bool:
        if formula is None:
            return True
        counts = [int((sketch.numbers == number).sum()) for number in self.elements]
        return counts == formula.tolist()

    @torch.no_grad()
    def _residuals(self, sketches: list[Sketch], latent: Tensor) -> Float[Tensor, " sketches"]:
        tree = tree_of(sketches, self.encoder.config.heavy_weight)
        tree = tree.to(next(self.encoder.parameters()).dtype)
        error = (self.encoder(tree).double() - latent.double()).flatten(1).norm(dim=1)
        return (error / latent.double().norm()).nan_to_num(nan=torch.inf)
