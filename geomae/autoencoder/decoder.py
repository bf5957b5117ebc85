"""The decoder: one point is taken apart, level by level, until the atoms stand there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from geomae.autoencoder.blocks import Counter, Resize
from geomae.autoencoder.config import AutoencoderConfig
from geomae.autoencoder.counts import Alternative, Doubts, read_counts
from geomae.autoencoder.encoder import Encoder
from geomae.autoencoder.peaks import propose
from geomae.autoencoder.solving import Superposition
from geomae.autoencoder.unpooling import Unpooling, drawn
from geomae.equivariant.layout import Layout
from geomae.pooling.tree import Tree, children_of


@dataclass(frozen=True)
class Drawing:
    """What the decoder draws for a batch of latents.

    Attributes:
        tree: atoms, the points above them, and who belongs to whom, the latents' points at the
            origin. Structures without an atom are in it as points without members.
        confidence: of every atom, `[atoms]`: the field's probability that it is there.
        features: of the points of every level, the one point first.
        doubts: how clear the numbers of children were.
    """

    tree: Tree
    confidence: Tensor
    features: tuple[Tensor, ...]
    doubts: Doubts

    def select(self, ids: Int[Tensor, " k"]) -> "Drawing":
        """Some of the drawings, by ascending numbers."""
        kept = [torch.isin(batch, ids) for batch in self.tree.batch[::-1]]
        features = zip(self.features, kept, strict=False)
        new = torch.full((self.tree.n_structures,), -1, device=ids.device)
        new[ids] = torch.arange(len(ids), device=ids.device)
        columns = [column[new[self.doubts.structure] >= 0] for column in self.doubts.columns()]
        columns[2] = new[columns[2]]
        return Drawing(
            self.tree.select(ids),
            self.confidence[kept[-1]],
            tuple(own[mask] for own, mask in features),
            Doubts(*columns),
        )

    def formula(self, elements: tuple[int, ...]) -> Int[Tensor, "n elements"]:
        """How many atoms of each element every drawing has."""
        return element_counts(self.tree, element_index(self.tree.numbers, elements), len(elements))

    @staticmethod
    def join(drawings: Sequence["Drawing"]) -> "Drawing":
        """Several in a row."""
        if len(drawings) == 1:
            return drawings[0]
        sizes = torch.tensor([0, *(d.tree.n_structures for d in drawings)])
        doubts = [
            replace(d.doubts, structure=d.doubts.structure + int(start))
            for d, start in zip(drawings, torch.cumsum(sizes, 0), strict=False)
        ]
        return Drawing(
            Tree.join([d.tree for d in drawings]),
            torch.cat([d.confidence for d in drawings]),
            tuple(map(torch.cat, zip(*(d.features for d in drawings), strict=True))),
            Doubts.join(doubts),
        )


class Decoder(nn.Module):
    """One point's features to atoms, by unpooling level by level.

    Nothing but the latents goes in. In training the children stand where they are in the
    structure, slightly displaced; in decoding, where the peaks of the field are.
    """

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        last, latent = config.levels[-1], config.latent
        self.widen = latent and Resize(latent.channels, last.channels, latent.lmax, last.lmax)
        self.formula = Counter(
            last.channels, last.lmax, kinds=len(config.elements), most=config.max_atoms
        )
        self._inward: tuple[Any, Any] = (None, None)
        self.unpoolings = nn.ModuleList()
        for index, level in reversed(list(enumerate(config.levels))):
            atoms = index == 0
            below = None if atoms else config.levels[index - 1]
            self.unpoolings.append(
                Unpooling(
                    level,
                    len(config.elements) if atoms else 1,
                    below and (below.carried, below.lmax),
                )
            )

    def undoes(self, encoder: Encoder) -> None:
        """Take the encoder's last step, which decoding may have to undo; it stays the encoder's."""
        self._inward = encoder.combine[-1], encoder.narrow

    def _apply(self, fn: Callable, recurse: bool = True) -> "Decoder":
        """Conversions reach what is shared with the encoder, too, in copies that are alone."""
        for module in self._inward:
            if module is not None:
                module._apply(fn)
        return super()._apply(fn, recurse)

    def losses(
        self,
        latents: Float[Tensor, "n m c"],
        tree: Tree,
        generator: torch.Generator,
        encoded: Sequence[Tensor] = (),
    ) -> dict[str, Tensor]:
        """Losses of every level, by name, against the tree that the latents came from.

        Args:
            latents: about their points.
            tree: what they should become.
            generator: for places where fields are compared, noise, and who is handed what.
            encoded: the encoder's features of the points of every level, atoms first; needed where
                the configuration has some of them handed over.
        """
        element = element_index(tree.numbers, self.config.elements)
        features, parents = self.root(latents), tree.positions[-1]
        losses = {"formula": self._formula_loss(features, tree, element)}
        for depth, unpooling in enumerate(self.unpoolings):
            below = len(self.unpoolings) - 1 - depth
            features = unpooling.states(features)
            edges, positions = tree.memberships[below], tree.positions[below]
            table = children_of(edges, parents.shape[0])
            offsets = positions[table.clamp(min=0)] - parents[:, None]
            kind = element[table.clamp(min=0)] if below == 0 else torch.zeros_like(table)
            parts = unpooling.losses(
                features, offsets, torch.where(table >= 0, kind, -1), generator
            )
            losses |= {f"{name}_{below}": value for name, value in parts.items()}
            if below:
                level = self.config.levels[below - 1]
                shift = drawn(torch.randn, positions.shape, positions, generator)
                handed = self._handed(tree, below, generator) if level.handed else None
                kept = 1.0 if handed is None else ~handed
                moved = positions + level.noise * shift * kept
                vectors = parents[edges[1]] - moved[edges[0]]
                features = self._sent(latents, unpooling, features, vectors, edges)
                if handed is not None:
                    own = encoded[below].to(features)
                    losses[f"match_{below}"] = mismatch(features, own.detach())
                    features = torch.where(handed[..., None], own, features)
                parents = moved
        return losses

    def _sent(
        self,
        latents: Tensor,
        unpooling: Unpooling,
        states: Tensor,
        vectors: Float[Tensor, "children 3"],
        edges: Int[Tensor, "2 children"],
    ) -> Float[Tensor, "children m c"]:
        """Children's features from their parents' states.

        Args:
            latents: that everything comes from.
            unpooling: of the parents' level.
            states: of the parents.
            vectors: from child to parent, in Å.
            edges: (child, parent).
        """
        assert unpooling.combine is not None
        features = unpooling.combine(states, vectors, edges.flip(0), len(vectors))
        if not unpooling.level.solve or not len(vectors):
            return features
        combine, narrow = self._inward
        with torch.autocast(latents.device.type, enabled=False):
            latents, vectors = latents.to(vectors), -vectors
            sums = Superposition(combine, narrow, vectors, edges, len(latents))
            return sums.solve(latents, features.to(vectors), unpooling.level.solve)

    def _handed(
        self, tree: Tree, below: int, generator: torch.Generator
    ) -> Bool[Tensor, "points 1"]:
        """Points of a level whose structure gets the encoder's features there in training."""
        lot = torch.rand(tree.n_structures, generator=generator).to(tree.batch[below].device)
        return (lot < self.config.levels[below - 1].handed)[tree.batch[below]][:, None]

    def formula_of(self, latents: Float[Tensor, "n m c"]) -> Int[Tensor, "n elements"]:
        """How many atoms of each element latents tell at once, without drawing."""
        return self.formula(self.root(latents)).argmax(-1)

    def root(self, latents: Float[Tensor, "n m c"]) -> Float[Tensor, "n m_out c_out"]:
        """Features of the one point, as wide as its level."""
        return self.widen(latents) if self.widen else latents

    def _formula_loss(self, features: Tensor, tree: Tree, element: Tensor) -> Tensor:
        counts = element_counts(tree, element, len(self.config.elements))
        counts = counts.clamp(max=self.config.max_atoms)
        return nn.functional.cross_entropy(self.formula(features).flatten(0, 1), counts.flatten())

    def forward(
        self,
        latents: Float[Tensor, "n m c"],
        readings: Sequence[Alternative] | None = None,
        fineness: int = 1,
        to_top: bool = False,
    ) -> Drawing:
        """Draw the structures of latents, around the origin.

        Args:
            latents: about their points.
            readings: one for each latent: what to read differently from the most likely.
            fineness: of the grids where the search for peaks starts.
            to_top: take the highest of several maxima on top of one bump.
        """
        n = latents.shape[0]
        positions = [latents.new_zeros(n, 3)]
        batch, features = [torch.arange(n, device=latents.device)], [self.root(latents)]
        memberships: list[Tensor] = []
        doubts: list[Doubts] = []
        for depth, unpooling in enumerate(self.unpoolings):
            states = unpooling.states(features[-1])
            counts, doubt = read_counts(unpooling.counter(states), batch[-1], depth, readings)
            doubts.append(doubt)
            peaks = propose(
                unpooling.field, states, counts, unpooling.level, fineness, to_top=to_top
            )
            own = torch.arange(len(peaks.owner), device=latents.device)
            edges = torch.stack([peaks.owner, own])
            positions.append(positions[-1][peaks.owner] + peaks.positions)
            batch.append(batch[-1][peaks.owner])
            memberships.append(edges.flip(0))
            if unpooling.combine is not None:
                features.append(
                    self._sent(latents, unpooling, states, -peaks.positions, edges.flip(0))
                )
        numbers = torch.tensor(self.config.elements, device=latents.device)[peaks.kind]
        tree = self.assemble(numbers, positions[::-1], batch[::-1], memberships[::-1])
        return Drawing(tree, peaks.confidence, tuple(features), Doubts.join(doubts))

    def assemble(self, numbers: Tensor, positions: list, batch: list, memberships: list) -> Tree:
        """The drawn tree, with the weights that the encoder's would have."""
        weights = [torch.where(numbers > 1, self.config.heavy_weight, 1.0).to(positions[0].dtype)]
        for members, above in zip(memberships, positions[1:], strict=True):
            weights.append(
                weights[-1].new_zeros(len(above)).index_add(0, members[1], weights[-1][members[0]])
            )
        return Tree(numbers, tuple(positions), tuple(weights), tuple(batch), tuple(memberships))


def mismatch(features: Float[Tensor, "n m c"], wanted: Float[Tensor, "n m c"]) -> Float[Tensor, ""]:
    """Mean square error of features in parts of the variance of those wanted, each degree and
    channel alike: 1 for features that tell nothing.
    """
    error, wanted = (features - wanted).float(), wanted.float()
    mean = torch.zeros_like(wanted[:1])
    mean[:, 0] = wanted[:, 0].mean(0)
    layout = Layout(round(wanted.shape[1] ** 0.5) - 1)
    by_degree = layout.mean_over_components.T.to(wanted)
    with torch.autocast(wanted.device.type, enabled=False):
        power = by_degree @ (wanted - mean).square().mean(0)
        return (by_degree @ error.square().mean(0) / (power + 1e-4)).mean()


def element_index(numbers: Tensor, elements: tuple[int, ...]) -> Tensor:
    """Position of each atomic number among the elements of a model."""
    return torch.searchsorted(torch.tensor(elements, device=numbers.device), numbers.contiguous())


def element_counts(
    tree: Tree, element: Int[Tensor, " atoms"], n_elements: int
) -> Int[Tensor, "n elements"]:
    """How many atoms of each element, given by its number among them, the structures have."""
    counts = element.new_zeros(tree.n_structures, n_elements)
    return counts.index_put((tree.batch[0], element), torch.ones_like(element), accumulate=True)
