"""Hamiltonians and overlaps of molecules, predicted from geometry, right in every orientation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.data.neighbours import neighbours
from geomae.equivariant.constants import Constant
from geomae.equivariant.convolution import Convolution
from geomae.equivariant.coupling import EdgeCoupling, EdgeKernel
from geomae.equivariant.gate import Gate
from geomae.equivariant.harmonics import spherical_harmonics
from geomae.equivariant.irreps_layers import IrrepsIn, IrrepsOut
from geomae.equivariant.layout import Layout
from geomae.equivariant.linear import Linear
from geomae.equivariant.network import PointBlock
from geomae.equivariant.norm import Norm
from geomae.equivariant.radial import RadialBasis, polynomial_envelope
from geomae.errors import GeomaeError
from geomae.symmetry.shells import BlockPairs, ShellBasis, ShellError, block_pairs, kinds_of


@dataclass(frozen=True)
class PairHidden:
    """Features from which blocks are read, and where these belong.

    Attributes:
        kinds: the pairs of each kind.
        features: of the pairs of each kind, `[n, 2, components, channels]`.
        sizes: orbitals of each structure.
    """

    kinds: dict[str, BlockPairs]
    features: dict[str, Tensor]
    sizes: Int[Tensor, " structures"]


class HamiltonianNetwork(nn.Module):
    """Matrices of invariant operators between the orbitals of a molecule, from its geometry.

    A block between shells of degrees l1 and l2 holds the irreps |l1 - l2| to l1 + l2 of parity
    (-1)^(l1 + l2), p with p a pseudovector for instance, which features with both parities have.
    Blocks on an atom are read from the atom's features, those between atoms from features of
    the pair: both ends, carried along the harmonics of what lies between. Every kind of pair of
    elements has a linear reading of its own. The matrix is symmetric to the last bit, and turns
    with the molecule: as `ShellBasis.rotation` says.

    Args:
        basis: shells of each element.
        n_operators: matrices a molecule: 2 for Fock and overlap.
        channels: channels of the features.
        layers: blocks of convolution, product and gate on the atoms.
        cutoff: range of neighbours, and of blocks between atoms, which fade to zero there, in Å.
        n_radial: radial functions.
        n_neighbours: expected number of neighbours.

    Raises:
        GeomaeError: a size isn't positive.
    """

    def __init__(
        self,
        basis: ShellBasis | Mapping[int, Sequence[int]],
        *,
        n_operators: int = 1,
        channels: int = 16,
        layers: int = 2,
        cutoff: float = 8.0,
        n_radial: int = 8,
        n_neighbours: float = 4.0,
    ):
        super().__init__()
        sizes = {"n_operators": n_operators, "channels": channels, "layers": layers}
        for name, value in {**sizes, "cutoff": cutoff, "n_radial": n_radial}.items():
            if not value > 0:
                raise GeomaeError(f"{name} must be above 0, not {value}")
        self.shells = basis if isinstance(basis, ShellBasis) else ShellBasis(basis)
        self.n_operators, self.cutoff, self.lmax = n_operators, cutoff, max(1, 2 * self.shells.lmax)
        self.basis = RadialBasis(n_radial, cutoff)
        self.coupling = EdgeCoupling(self.lmax, self.lmax, self.lmax, parity=True)
        elements = len(self.shells.shells)
        self.embed = IrrepsIn(f"{elements}x0e", channels, lmax=self.lmax, parity=True)
        shared = {"n_radial": n_radial, "parity": True}
        self.blocks = nn.ModuleList(
            PointBlock(channels, self.lmax, n_neighbours=n_neighbours, **shared)
            for _ in range(layers)
        )
        self.norm = Norm(channels, self.lmax, parity=True)
        self.pair = PairBlock(channels, self.lmax, n_radial=n_radial)
        self.read = nn.ModuleDict(
            {
                key: IrrepsOut(
                    self.pair.channels_out if "-" in key else channels,
                    self.lmax,
                    n_operators * kind.irreps,
                    parity=True,
                    # a block between atoms has to fade with distance
                    bias="-" not in key,
                )
                for key, kind in kinds_of(self.shells).items()
            }
        )

    def forward(
        self,
        numbers: Int[Tensor, " n"],
        positions: Float[Tensor, "n 3"],
        batch: Int[Tensor, " n"] | None = None,
    ) -> list[Float[Tensor, "k _orbitals _orbitals"]]:
        """The matrices of each structure.

        Args:
            numbers: atomic numbers.
            positions: in Å.
            batch: structure of each atom, ascending; one structure by default.

        Raises:
            ShellError: an element has no shells in the basis.
        """
        hidden = self.hidden(numbers, positions, batch)
        blocks = self.blocks_of(hidden)
        largest = int(hidden.sizes.max())
        upper = positions.new_zeros(len(hidden.sizes), largest, largest, self.n_operators)
        for key, pairs in hidden.kinds.items():
            upper = pairs.write(upper, blocks[key])
        whole = (upper + upper.transpose(1, 2)).movedim(-1, 1)
        return [m[:, :n, :n] for m, n in zip(whole, hidden.sizes.tolist(), strict=True)]

    def hidden(
        self,
        numbers: Int[Tensor, " n"],
        positions: Float[Tensor, "n 3"],
        batch: Int[Tensor, " n"] | None = None,
    ) -> PairHidden:
        """Features before the last layer, which is linear; arguments are those of `forward`."""
        if batch is None:
            batch = torch.zeros_like(numbers)
        orbitals = self.shells.sizes(numbers)
        found = neighbours(positions, self.cutoff, batch)
        harmonics = spherical_harmonics(self.lmax, found.vectors)
        kernel = self.coupling(harmonics, self.basis(found.lengths))
        known = torch.tensor(list(self.shells.shells), device=numbers.device)
        atoms = self.embed((numbers[:, None] == known).to(positions))
        for block in self.blocks:
            atoms = block(atoms, kernel, found.edges)
        atoms = self.norm(atoms)
        fading = polynomial_envelope(found.lengths / self.cutoff)[:, None, None, None]
        # the harmonics point from an edge's target, the pair's first atom, to its source
        pairs = self.pair(atoms, kernel, harmonics, found.edges.flip(0)) * fading
        own = torch.arange(len(numbers), device=numbers.device).expand(2, -1)
        kinds = {
            **block_pairs(self.shells, numbers, batch, own),
            **block_pairs(self.shells, numbers, batch, found.edges.flip(0)),
        }
        features = {k: (pairs if "-" in k else atoms)[kind.pairs] for k, kind in kinds.items()}
        sizes = orbitals.new_zeros(int(batch[-1]) + 1).index_add(0, batch, orbitals)
        return PairHidden(kinds, features, sizes)

    def blocks_of(self, hidden: PairHidden) -> dict[str, Float[Tensor, "n k a b"]]:
        """The blocks of each kind of pair, before a pair and its reverse are made one."""
        found = {}
        for key, pairs in hidden.kinds.items():
            values = self.read[key](hidden.features[key])
            found[key] = pairs.kind.to_matrices(values.unflatten(1, (self.n_operators, -1)))
        return found

    def targets(
        self, hidden: PairHidden, matrices: Sequence[Float[Tensor, "k _orbitals _orbitals"]]
    ) -> dict[str, Float[Tensor, "n k a b"]]:
        """What `blocks_of` should give for known matrices of the structures.

        Raises:
            ShellError: the matrices don't have the orbitals of the structures, or aren't one a
                structure.
        """
        wanted = [(self.n_operators, n, n) for n in hidden.sizes.tolist()]
        given = [tuple(matrix.shape) for matrix in matrices]
        if given != wanted:
            raise ShellError(f"expected matrices of shapes {wanted}, got {given}")
        largest = int(hidden.sizes.max())
        spare = [(0, largest - n) * 2 for n in hidden.sizes.tolist()]
        pairs = zip(matrices, spare, strict=True)
        padded = torch.stack([nn.functional.pad(one, by) for one, by in pairs]).movedim(1, -1)
        return {key: pairs.read(padded) for key, pairs in hidden.kinds.items()}

    @torch.no_grad()
    def solve_readout(
        self,
        hidden: PairHidden,
        matrices: Sequence[Float[Tensor, "k _orbitals _orbitals"]],
        *,
        ridge: float = 1e-8,
    ) -> None:
        """Sets the last layers, which are linear, by ridge regression on known matrices.

        Args:
            hidden: from `hidden`.
            matrices: of the same structures.
            ridge: penalty on weights, in units of the features' mean square.
        """
        for key, wanted in self.targets(hidden, matrices).items():
            values = hidden.kinds[key].kind.to_irreps(wanted).flatten(1)
            solve(self.read[key], hidden.features[key], values, ridge)


class PairBlock(nn.Module):
    """Features of pairs of points: those of both ends, carried along the way between them.

    Convolutions in which every pair is a target of its own, so that nothing is summed, and last
    the radial functions and harmonics of the way themselves: what depends on two points only.

    Args:
        channels: channels of the points.
        lmax: highest degree.
        n_radial: radial functions.
    """

    def __init__(self, channels: int, lmax: int, *, n_radial: int):
        super().__init__()
        self.layout, self.channels_out = Layout(lmax, True), 2 * channels + n_radial
        shared = {"n_radial": n_radial, "parity": True}
        self.first = Linear(channels, channels, lmax, parity=True)
        self.second = Linear(channels, channels, lmax, parity=True)
        self.carry = Convolution(channels, channels, lmax, lmax, lmax, **shared)
        self.gate = Gate(channels, lmax, parity=True)
        self.again = Convolution(channels, channels, lmax, lmax, lmax, **shared)
        self.natural = Constant(Layout(lmax).index[None] % 2 == torch.arange(2)[:, None])

    def forward(
        self,
        points: Float[Tensor, "n 2 m c"],
        kernel: EdgeKernel,
        harmonics: Float[Tensor, "pairs m"],
        pairs: Int[Tensor, "2 pairs"],
    ) -> Float[Tensor, "pairs 2 m out"]:
        """Features of each pair.

        Args:
            points: features of the points.
            kernel: of the pairs.
            harmonics: of the pairs, pointing from the first to the second.
            pairs: first and second point of each.
        """
        n = pairs.shape[1]
        same = torch.arange(n, device=pairs.device).expand(2, -1)
        ends = self.first(points)[pairs[0]] + self.second(points)[pairs[1]]
        carried = self.gate(self.carry(ends, kernel, same, n))
        again = self.again(carried, kernel, same, n)
        way = harmonics[:, None] * self.natural(harmonics)
        return torch.cat([carried, again, way[..., None] * kernel.radial[:, None, None]], -1)


def solve(
    read: IrrepsOut,
    features: Float[Tensor, "n *parity m c"],
    values: Float[Tensor, "n flat"],
    ridge: float,
) -> None:
    """Sets a reading of irreps to the least squares solution, with a penalty on its weights."""
    blocks, used = read.layout.split(features), 0
    columns = values.split([mul * ir.dim for mul, ir in read.irreps], 1)
    for (mul, number), weight, part in zip(read.parts, read.weight, columns, strict=True):
        known = blocks[number].flatten(0, 1).double()
        wanted = part.unflatten(1, (mul, -1)).transpose(1, 2).flatten(0, 1).double()
        bias = read.bias if number == 0 else None
        shift, mean = wanted.mean(0), known.mean(0)
        if bias is not None:
            wanted, known = wanted - shift, known - mean
        size = float(known.square().mean()) * ridge * len(known)
        square = known.T @ known
        square.diagonal().add_(size + torch.finfo(square.dtype).tiny)
        solution = torch.linalg.solve(square, known.T @ wanted)
        weight.copy_(solution)
        if bias is not None:
            bias[used : used + mul] = shift - mean @ solution
            used += mul
