"""How the operations of a structure act on it: which atom takes whose place, what values become."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from e3nn import o3
from jaxtyping import Float, Int
from torch import Tensor

from geomae.symmetry.errors import GroupError, PropertyError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.representations import representation

Sites = Literal["shared", "atoms"] | Sequence[int]
"""Whose values are meant: one of the whole structure, one an atom, or one of each atom named."""


@dataclass(frozen=True)
class Action:
    """A finite group of operations on a structure.

    Operation g turns by `matrices[g]` and brings atom i to the place of atom `places[g, i]`. In
    a crystal operations differ by lattice translations of the cell given, so that those of a
    supercell include the translations inside it.

    Attributes:
        name: of the group, Schoenflies for a molecule, Hermann-Mauguin for a crystal.
        matrices: orthogonal, act on positions as `positions @ matrix.T`, float64.
        places: for each operation, where each atom goes.
        group: the point group, with its operations in this order; None where two of the
            operations turn alike.
        seen: characters of irreps without a canonical name that have come up, in their order.
    """

    name: str
    matrices: Float[Tensor, "g 3 3"]
    places: Int[Tensor, "g n"]
    group: PointGroup | None = None
    seen: list[Tensor] = field(default_factory=list, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.matrices)

    def __repr__(self) -> str:
        return f"Action({self.name}, {len(self)} operations on {self.places.shape[1]} atoms)"

    def blocks(self, irreps: str | o3.Irreps) -> Float[Tensor, "g dim dim"]:
        """Matrices on values of irreps in e3nn's flat layout, float64."""
        return representation(self.matrices, str(irreps))

    def sites(self, sites: Sites) -> Int[Tensor, "g s"]:
        """Where each operation brings each site, counted among the sites.

        Raises:
            GroupError: operations lead out of the sites; says from which and to which.
        """
        if isinstance(sites, str):
            if sites not in ("shared", "atoms"):
                raise PropertyError(
                    f"sites must be 'shared', 'atoms' or numbers of atoms, not {sites!r}"
                )
            one = self.places.new_zeros(len(self), 1)
            return one if sites == "shared" else self.places
        chosen = torch.as_tensor(list(sites), dtype=torch.long)
        n_atoms = self.places.shape[1]
        if not len(chosen) or int(chosen.min()) < 0 or int(chosen.max()) >= n_atoms:
            raise PropertyError(f"sites must be atoms 0 to {n_atoms - 1}, got {chosen.tolist()}")
        number = chosen.new_full((n_atoms,), -1).index_copy(0, chosen, torch.arange(len(chosen)))
        moved = number[self.places[:, chosen]]
        if bool((moved < 0).any()):
            operation, site = (moved < 0).nonzero()[0].tolist()
            goes = int(self.places[operation, chosen[site]])
            raise GroupError(
                f"the sites {chosen.tolist()} are no whole orbits of {self.name}: it brings atom "
                f"{int(chosen[site])} to atom {goes}, which has to be among them"
            )
        return moved

    def representation(
        self, irreps: str | o3.Irreps, sites: Sites = "shared"
    ) -> Float[Tensor, "g flat flat"]:
        """Matrices on the flattened values `[sites, dim]`, float64."""
        places, blocks = self.sites(sites), self.blocks(irreps)
        n, dim = places.shape[1], blocks.shape[1]
        result = blocks.new_zeros(len(self), n, dim, n, dim)
        rows, start = torch.arange(len(self))[:, None], torch.arange(n)
        result[rows, places, :, start, :] = blocks[:, None]
        return result.reshape(len(self), n * dim, n * dim)

    def apply(
        self,
        values: Float[Tensor, "s dim"],
        irreps: str | o3.Irreps,
        sites: Sites = "shared",
    ) -> Float[Tensor, "g s dim"]:
        """The values after each operation.

        Raises:
            PropertyError: the values don't have a row a site or a column a component.
        """
        places, blocks = self.sites(sites), self.blocks(irreps).to(values)
        if values.shape != (places.shape[1], blocks.shape[1]):
            raise PropertyError(
                f"expected values [{places.shape[1]}, {blocks.shape[1]}] for {irreps} on "
                f"{places.shape[1]} sites, got {list(values.shape)}"
            )
        return images(values, blocks, places)


def images(
    values: Float[Tensor, "s dim"], blocks: Float[Tensor, "g dim dim"], places: Int[Tensor, "g s"]
) -> Float[Tensor, "g s dim"]:
    """Values turned by each block and brought to their new places."""
    turned = torch.einsum("gij,sj->gsi", blocks, values)
    index = places[:, :, None].expand_as(turned)
    return torch.zeros_like(turned).scatter(1, index, turned)
