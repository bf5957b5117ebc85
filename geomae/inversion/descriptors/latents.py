"""Invariants of a latent, as a description of the structure that it is of."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from geomae.autoencoder.jacobian import difference_jacobian
from geomae.autoencoder.latents import Latents
from geomae.invariants import Kind, check_kind, invariant_names, invariants
from geomae.inversion.descriptors.base import Descriptor
from geomae.pooling import Tree

if TYPE_CHECKING:
    from geomae.autoencoder.model import Autoencoder

DISPLACEMENT = 1e-6
"""Å by which atoms are moved for derivatives, in float64."""

TOGETHER = 64
"""Structures that are encoded at once for them."""


class LatentInvariants(Descriptor):
    """What `geomae.invariants` computes of a molecule's latent.

    Who belongs to which group follows the positions, and is held where derivatives are taken.
    Mirror images have the same invariants.

    Args:
        model: an autoencoder of molecules.
        kind: of the invariants; 'bispectrum' is the most complete.
    """

    def __init__(self, model: "Autoencoder", kind: Kind = "cross"):
        check_kind(kind)
        self.encoder, self.kind = model.exact_encoder().requires_grad_(False), kind
        self.species = tuple(model.elements)
        components, channels = self.encoder.latent_shape
        self.n_values = len(invariant_names(kind, round(components**0.5) - 1, channels))

    def __repr__(self) -> str:
        return f"LatentInvariants({self.kind!r}, species={self.species})"

    def shape(self, n_atoms: int) -> tuple[int, ...]:
        return (self.n_values,)

    def evaluate(
        self, weights: Float[Tensor, "n s"], positions: Float[Tensor, "n 3"]
    ) -> Float[Tensor, " values"]:
        return self._of_tree(self._grown(weights[None], positions[None]))[0]

    @torch.no_grad()
    def jacobian(
        self, weights: Float[Tensor, "k n s"], positions: Float[Tensor, "k n 3"]
    ) -> tuple[Float[Tensor, "k f"], Float[Tensor, "k f n 3"]]:
        """Values of a batch, and their derivatives by finite differences."""
        tree = self._grown(weights, positions)
        together = max(1, TOGETHER // len(positions))
        copies = Tree.join([tree] * together)

        def encode(moved: Tensor) -> Tensor:
            return self._of_tree(copies.with_atoms_at(moved))

        slopes = difference_jacobian(
            encode, tree.positions[0], tree.batch[0], DISPLACEMENT, together
        )
        return self._of_tree(tree), slopes.mT.unflatten(2, (-1, 3))

    def _grown(self, weights: Tensor, positions: Tensor) -> Tree:
        """The hierarchies of structures of as many atoms."""
        k, n = positions.shape[:2]
        numbers = torch.tensor(self.species)[weights.argmax(2).flatten()]
        batch = torch.repeat_interleave(torch.arange(k), n)
        return self.encoder.grow(numbers, positions.detach().flatten(0, 1), batch)

    def _of_tree(self, tree: Tree) -> Float[Tensor, "k f"]:
        array = self.encoder(tree)
        return invariants(Latents(array, array.new_zeros(len(array), 3)), self.kind)
