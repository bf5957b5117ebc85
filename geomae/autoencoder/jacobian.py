"""Derivatives of encodings by the atoms' positions, at a fraction of what all of them cost."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geomae.autoencoder.encoder import Encoder
from geomae.equivariant import Transport, spherical_harmonics
from geomae.pooling.tree import Tree


@dataclass(frozen=True)
class _Moves:
    """How the points of one level change with the atoms that belong to them.

    There are three rows for each atom: its moves along x, y and z.

    Attributes:
        features: of the points, `[points, m, c]`.
        slopes: derivatives of the features of each row's point, `[3 atoms, m, c]`.
        point: of each atom, `[atoms]`.
        share: of each atom in the position of its point, `[atoms]`.
    """

    features: Tensor
    slopes: Tensor
    point: Tensor
    share: Tensor


@torch.no_grad()
def near_jacobian(
    encoder: Encoder, tree: Tree, displacement: float
) -> Float[Tensor, "n coordinates values"]:
    """Derivatives of encodings about the origin by coordinates, nearly.

    Left out is that atoms of other groups see an atom move. So a move changes the features of one
    group, one motif and so on, and not of all of them: a molecule of QM9 takes as long as a
    dozen encodings. Steps with this Jacobian converge about half as fast as those with the
    exact one.

    Nonlinear layers are differentiated by finite differences, linear ones exactly. The last point
    stays at the origin, whatever moves.

    Args:
        encoder: in the precision of the result.
        tree: atoms and memberships, each point with one parent.
        displacement: of a coordinate, in Å.

    Returns:
        As `difference_jacobian`: rows beyond a structure's own coordinates are zero.
    """
    moves = _moved_groups(encoder, tree, displacement)
    for level in range(1, len(tree.memberships)):
        moves = _moved_above(encoder, tree, level, moves, displacement)
    slopes = moves.slopes
    if encoder.narrow:
        slopes = encoder.narrow(slopes) - encoder.narrow(torch.zeros_like(slopes[:1]))
    batch = tree.batch[0]
    counts = torch.bincount(batch, minlength=tree.n_structures)
    starts = torch.cumsum(counts, 0) - counts
    slot = torch.arange(len(batch), device=batch.device) - starts[batch]
    jacobian = slopes.new_zeros(len(counts), int(counts.max()), 3, slopes[0].numel())
    jacobian[batch, slot] = slopes.flatten(1).unflatten(0, (-1, 3))
    return jacobian.flatten(1, 2)


def difference_jacobian(
    encode: Callable[[Tensor], Tensor],
    positions: Float[Tensor, "atoms 3"],
    batch: Int[Tensor, " atoms"],
    displacement: float,
    together: int = 1,
) -> Float[Tensor, "n coordinates values"]:
    """Derivatives of every structure's encoding by its coordinates, by finite differences in Å.

    Structures don't see each other, so one of them is moved along one coordinate in each pass; rows
    beyond a structure's own coordinates are zero.

    Args:
        encode: of the positions of `together` copies of all structures in a row.
        positions: of the atoms.
        batch: structure of each atom.
        displacement: of a coordinate, in Å.
        together: coordinates moved in one pass, each in its own copy.
    """
    counts = torch.bincount(batch)
    starts = torch.cumsum(counts, 0) - counts
    slot = 3 * (torch.arange(len(batch), device=batch.device) - starts[batch])
    coordinate = slot[:, None] + torch.arange(3, device=batch.device)
    n_coordinates = 3 * int(counts.max())
    passes = []
    for start in range(-1, n_coordinates, together):
        index = torch.arange(start, start + together, device=batch.device)[:, None, None]
        moved = positions + displacement * (coordinate == index)
        passes.append(encode(moved.flatten(0, 1)).unflatten(0, (together, -1)))
    encoded = torch.cat(passes)
    return ((encoded[1 : n_coordinates + 1] - encoded[0]) / displacement).transpose(0, 1)


def _moved_groups(encoder: Encoder, tree: Tree, displacement: float) -> _Moves:
    """The first level above the atoms, whose atoms see each other move and nobody else's."""
    embedding, positions = encoder.embedding, tree.positions[0]
    element = embedding.index[tree.numbers]
    densities = embedding.densities(tree, element)
    group, parents = parent_of(tree.memberships[0]), _places(tree, 1)
    moved, seer = _pairs(group)
    slopes = _density_slopes(encoder, tree, element, moved, seer)
    shifted = (densities[seer][:, None] + displacement * slopes).flatten(0, 1)
    features = encoder.blocks[0](embedding.embed(shifted, element[seer].repeat_interleave(3)))
    share = _shares(tree, 1, group)
    step = displacement * torch.eye(3, dtype=positions.dtype, device=positions.device)
    own = (moved == seer).to(positions.dtype) - share[moved]
    offset = positions[seer] - parents[group[seer]]
    vectors = (offset[:, None] + own[:, None, None] * step).flatten(0, 1)
    row = (3 * moved[:, None] + torch.arange(3, device=moved.device)).flatten()
    edges = torch.stack([torch.arange(len(row), device=row.device), row])
    combine = _transport(encoder, 0)
    changed = combine(features, vectors, edges, 3 * len(group))
    atoms = encoder.blocks[0](embedding.embed(densities, element))
    here = combine(atoms, positions - parents[group], tree.memberships[0], len(parents))
    slopes = (changed - here[group].repeat_interleave(3, 0)) / displacement
    return _Moves(*_coded(encoder, 1, here, slopes), group, share)


def _moved_above(
    encoder: Encoder, tree: Tree, level: int, moves: _Moves, displacement: float
) -> _Moves:
    """The next level: each row changes one of its point's members, and moves the point."""
    combine, blocks = _transport(encoder, level), encoder.blocks[level]
    features, slopes, owner = moves.features, moves.slopes, moves.point.repeat_interleave(3)
    if len(blocks):
        features = blocks(features)
        shifted = blocks(moves.features[owner].add_(slopes, alpha=displacement))
        slopes = shifted.sub_(features[owner]).div_(displacement)
    parent, parents = parent_of(tree.memberships[level]), _places(tree, level + 1)
    vectors = tree.positions[level] - parents[parent]
    above = combine(features, vectors, tree.memberships[level], len(parents))
    drift = _drift(combine, features, vectors, displacement)
    result = combine.along(slopes, vectors, owner).unflatten(0, (-1, 3))
    result.addcmul_(moves.share[:, None, None, None], drift[moves.point])
    point = parent[moves.point]
    share = _shares(tree, level + 1, point)
    total = drift.new_zeros(len(parents), *drift.shape[1:]).index_add(0, parent, drift)
    result.addcmul_(share[:, None, None, None], total[point], value=-1)
    return _Moves(*_coded(encoder, level + 1, above, result.flatten(0, 1)), point, share)


def _coded(encoder: Encoder, level: int, features: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Features and slopes as the level sends them on."""
    zero = encoder.coded(torch.zeros_like(features[:1]), level)
    return encoder.coded(features, level), encoder.coded(slopes, level) - zero


def _drift(
    combine: Transport, features: Tensor, vectors: Tensor, displacement: float
) -> Float[Tensor, "points 3 m c"]:
    """How what each point sends along its vector changes with that vector."""
    step = displacement * torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    ends = torch.cat([vectors[:, None], vectors[:, None] + step], 1).flatten(0, 1)
    own = torch.arange(len(ends), device=ends.device)
    edges = torch.stack([own.div(4, rounding_mode="floor"), own])
    sent = combine(features, ends, edges, len(ends)).unflatten(0, (-1, 4))
    return (sent[:, 1:] - sent[:, :1]) / displacement


def _density_slopes(
    encoder: Encoder, tree: Tree, element: Tensor, moved: Tensor, seer: Tensor
) -> Float[Tensor, "pairs 3 m channels"]:
    """How the density about one atom changes when another moves, or the atom itself."""
    embedding, positions, step = encoder.embedding, tree.positions[0], 1e-3
    batch = tree.batch[0]
    one, other = _pairs(batch)
    vectors = positions[other] - positions[one]
    axes = torch.eye(3, dtype=positions.dtype, device=positions.device)
    ends = (vectors[:, None, None] + step * torch.stack([axes, -axes])).flatten(0, 2)
    radial = embedding.basis(ends.norm(dim=-1))
    harmonics = spherical_harmonics(embedding.lmax, ends)
    shells = (harmonics[..., None] * radial[:, None]).unflatten(0, (-1, 2, 3))
    slopes = (shells[:, 0] - shells[:, 1]) / (2 * step)
    slopes = slopes * (one != other)[:, None, None, None]
    n, labels = len(positions), embedding.n_elements
    own = slopes.new_zeros(n * labels, *slopes.shape[1:])
    own = own.index_add(0, one * labels + element[other], -slopes).unflatten(0, (n, labels))
    size = torch.bincount(batch)
    first, start = torch.cumsum(size[batch], 0) - size[batch], torch.cumsum(size, 0) - size
    pair = first[seer] + moved - start[batch[seer]]
    label = nn.functional.one_hot(element[moved], labels).to(slopes)
    neighbours = slopes[pair][:, None] * label[:, :, None, None, None]
    itself = (moved == seer)[:, None, None, None, None]
    found = torch.where(itself, own[seer], neighbours)
    return found.permute(0, 2, 3, 4, 1).flatten(3)


def parent_of(membership: Int[Tensor, "2 edges"]) -> Int[Tensor, " members"]:
    """The point that each member belongs to."""
    return membership[1][torch.argsort(membership[0])]


def _transport(encoder: Encoder, level: int) -> Transport:
    combine = encoder.combine[level]
    assert isinstance(combine, Transport)
    return combine


def _places(tree: Tree, level: int) -> Float[Tensor, "points 3"]:
    """Where the points of a level are; the last is held at the origin."""
    places = tree.positions[level]
    return torch.zeros_like(places) if level == len(tree.positions) - 1 else places


def _shares(tree: Tree, level: int, point: Tensor) -> Float[Tensor, " atoms"]:
    """Part of each atom in the position of its point; the last point does not move."""
    weight = tree.weights[0].to(tree.positions[0].dtype)
    if level == len(tree.positions) - 1:
        return torch.zeros_like(weight)
    return weight / tree.weights[level].to(weight.dtype)[point]


def _pairs(owner: Int[Tensor, " n"]) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """All ordered pairs of items with the same owner, each with itself as well."""
    count = torch.bincount(owner)
    start, order = torch.cumsum(count, 0) - count, torch.argsort(owner, stable=True)
    size = count[owner]
    one = torch.repeat_interleave(torch.arange(len(owner), device=owner.device), size)
    first = torch.cumsum(size, 0) - size
    column = torch.arange(len(one), device=owner.device) - first[one]
    return one, order[start[owner[one]] + column]
