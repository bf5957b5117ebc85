"""Order parameters: what has to be added to an input so that a less symmetric output can follow.

An equivariant model's output has every symmetry of its input. Where the target has fewer, the
input lacks something that breaks the others and keeps the target's: values of some irreps that
are fixed by the target's group H and by no more of the input's group G. Group theory lists them
(Landau), a gradient on the input with a sparse penalty finds them with the model (Smidt, Geiger
and Miller 2020, arXiv:2007.02005), and there are |G| / |H| equivalent ones.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations

import torch
from e3nn import o3
from jaxtyping import Bool, Float, Int
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from torch import Tensor, nn

from geomae.data.structure import Structure
from geomae.equivariant.flat import read_irreps
from geomae.errors import GeomaeError
from geomae.symmetry.action import Action, Sites
from geomae.symmetry.actions import action_of, displacements, name_of_subgroup, namer_of
from geomae.symmetry.errors import GroupError
from geomae.symmetry.isotypic import Piece, fixed_space, isotropy, pieces
from geomae.symmetry.learning import Learned, Learning, learn

MOST_IRREPS = 3
"""Irreps that are combined at most, in search of the fewest that break enough."""


class OrderError(GeomaeError):
    """Nothing is to be broken, or not by what was asked about; says what would do."""


@dataclass(frozen=True)
class OrderComponent:
    """Values of one degree and parity that transform like one irrep and keep the target's group.

    Attributes:
        kind: degree and parity, `2e` say.
        irrep: of the input's group, by its canonical name if it has one.
        basis: of the values allowed, in the irreps asked about, normalised.
        kept: the operations that they leave.
        isotropy: name of the group of these.
        sufficient: whether the target's group is all that they leave.
    """

    kind: str
    irrep: str
    basis: Float[Tensor, "k s dim"]
    kept: Bool[Tensor, " g"]
    isotropy: str
    sufficient: bool


@dataclass(frozen=True)
class Solutions:
    """All solutions that an input's symmetry makes equivalent, one for each coset.

    Attributes:
        breakers: order parameters.
        targets: what they lead to.
        operations: an operation of the input's group that leads there from the first.
    """

    breakers: Float[Tensor, "k s dim"]
    targets: Float[Tensor, "k n d"]
    operations: Int[Tensor, " k"]

    def __len__(self) -> int:
        return len(self.operations)


@dataclass(frozen=True)
class OrderParameters:
    """What breaks an input's symmetry just enough.

    Attributes:
        action: the input's group G.
        kept: which of its operations the target has: the group H.
        subgroup: name of H.
        irreps, sites: what was asked about.
        components: all that keep H, by kind and irrep.
        minimal: the fewest irreps that leave H and nothing more, of the lowest degrees.
        target: values that the model should give.
        learned: what a gradient on the input found, if a model was given.
    """

    action: Action
    kept: Bool[Tensor, " g"]
    subgroup: str
    irreps: str
    sites: Sites
    components: list[OrderComponent]
    minimal: list[OrderComponent]
    target: Float[Tensor, "n d"]
    target_irreps: str
    target_sites: Sites
    learned: Learned | None = None
    _cosets: Int[Tensor, " k"] = field(default_factory=lambda: torch.zeros(1).long(), repr=False)

    @property
    def group(self) -> str:
        """Name of the input's group."""
        return self.action.name

    @property
    def n_solutions(self) -> int:
        """Number of equivalent solutions, |G| / |H|."""
        return len(self.action) // int(self.kept.sum())

    @property
    def breaker(self) -> Float[Tensor, "s dim"]:
        """An order parameter: the learned one, or a vector of the minimal components.

        Where a component has several free directions, these get weights that no operation maps
        onto each other.
        """
        if self.learned is not None:
            return self.learned.breaker
        return generic([component.basis for component in self.minimal])

    @property
    def agree(self) -> bool | None:
        """Whether the learned order parameter is one of group theory's; None if none is learned.

        It is if its irreps are among the components, it lies in their span and it leaves the
        target's group and nothing more.
        """
        return None if self.learned is None else not self.disagreements

    @property
    def disagreements(self) -> list[str]:
        """What of the learned order parameter group theory doesn't have."""
        if self.learned is None:
            return []
        found, allowed = [], {(c.kind, c.irrep) for c in self.components}
        for part in self.learned.active:
            if (part.kind, part.irrep) not in allowed:
                found.append(f"{part.irrep} of {part.kind} does not keep {self.subgroup}")
        flat = self.learned.breaker.flatten()
        matrices = self.action.representation(self.irreps, self.sites).to(flat)
        left = isotropy(matrices, flat[:, None], 1e-5)
        if not torch.equal(left, self.kept.to(left.device)):
            found.append(
                f"the learned values leave {int(left.sum())} operations, {self.subgroup} has "
                f"{int(self.kept.sum())}"
            )
        return found

    def solutions(self, breaker: Float[Tensor, "s dim"] | None = None) -> Solutions:
        """Every equivalent order parameter and its target.

        Args:
            breaker: one of them; by default `breaker`.

        Raises:
            OrderError: the order parameter does not lead to that many solutions.
        """
        breaker = self.breaker if breaker is None else breaker
        cosets = self._cosets
        breakers = self.action.apply(breaker, self.irreps, self.sites)[cosets]
        targets = self.action.apply(self.target, self.target_irreps, self.target_sites)[cosets]
        flat = breakers.flatten(1)
        gaps = _distances(flat).fill_diagonal_(torch.inf)
        if len(flat) > 1 and float(gaps.min()) < 1e-6 * float(flat.norm(dim=1).max()):
            raise OrderError(
                f"the order parameter keeps more than {self.subgroup}, so that equivalent ones "
                "coincide: expected one that breaks all other operations"
            )
        return Solutions(breakers, targets, cosets)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        n_kept = int(self.kept.sum())
        yield (
            f"{self.group} ({len(self.action)} operations) to {self.subgroup} ({n_kept}): "
            f"{self.n_solutions} equivalent solutions"
        )
        columns = ("degree", "irrep", "components", "leaves", "enough alone", "learned")
        table = Table(*columns)
        sizes = {} if self.learned is None else self.learned.sizes
        for one in self.components:
            size = sizes.get((one.kind, one.irrep))
            table.add_row(
                one.kind,
                one.irrep,
                str(len(one.basis)),
                one.isotropy,
                "yes" if one.sufficient else "no",
                "" if size is None else f"{size:.3g}",
            )
        yield table
        if self.learned is not None:
            yield (
                f"loss {self.learned.loss_without:.3g} without, {self.learned.loss:.3g} with the "
                f"learned order parameter; group theory {'agrees' if self.agree else 'disagrees'}"
            )


def order_parameters(
    structure: Structure,
    target: Structure | Float[Tensor, "n d"],
    irreps: str | o3.Irreps,
    *,
    sites: Sites = "shared",
    target_irreps: str | o3.Irreps = "1x1o",
    target_sites: Sites = "atoms",
    action: Action | None = None,
    tolerance: float = 1e-3,
    model: Callable[[Tensor], Tensor] | None = None,
    parameters: Iterable[nn.Parameter] = (),
    learning: Learning | None = None,
) -> OrderParameters:
    """The least that has to be added to an input so that a model can give a target.

    Args:
        structure: the input.
        target: what the model should give: values of `target_irreps`, or a structure with the
            same atoms in the same order, meaning displacements from the input.
        irreps: of the values that may be added, for example `1x1o + 1x2e`.
        sites: where: 'shared' for the same at every atom, 'atoms' for values of each, or the
            numbers of atoms that get some.
        target_irreps, target_sites: of the target's values, where it has them.
        action: the input's group; by default that found with the tolerance.
        tolerance: in Å, for the symmetry of the input, and relative for that of the target.
        model: gives the target's values `[n, d]` for values added `[sites, dim]`; None for group
            theory alone.
        parameters: of the model, to be fitted along with the values added; the model is taken as
            it is without.
        learning: steps, rate and penalty.

    Raises:
        OrderError: the target is no less symmetric than the input, values don't fit, or the
            irreps can't break what has to be broken; says which would.
    """
    action = action_of(structure, tolerance) if action is None else action
    if action.group is not None and action.group.infinite:
        raise OrderError(
            f"the input's group {action.name} is infinite, and so are the equivalent solutions: "
            "expected an input with a finite group"
        )
    values = target
    if isinstance(target, Structure):
        values, target_irreps, target_sites = displacements(structure, target), "1x1o", "atoms"
    assert isinstance(values, Tensor)
    kept = kept_by(action, values, target_irreps, target_sites, tolerance)
    if bool(kept.all()):
        raise OrderError(_nothing_to_break(action, target, tolerance))
    subgroup = name_of_subgroup(action, kept)
    components = components_of(action, kept, subgroup, irreps, sites)
    minimal = fewest(components, kept)
    if not minimal:
        raise OrderError(_too_weak(action, kept, subgroup, irreps, sites, components))
    learned = None
    if model is not None:
        groups = pieces_by_kind(action, irreps, sites)
        learned = learn(model, values, irreps, groups, parameters, learning or Learning())
    return OrderParameters(
        action,
        kept,
        subgroup,
        str(read_irreps(irreps)),
        sites,
        components,
        minimal,
        values,
        str(read_irreps(target_irreps)),
        target_sites,
        learned,
        _representatives(action, values, target_irreps, target_sites, kept),
    )


def kept_by(
    action: Action,
    values: Float[Tensor, "s d"],
    irreps: str | o3.Irreps,
    sites: Sites = "atoms",
    tolerance: float = 1e-3,
) -> Bool[Tensor, " g"]:
    """Which operations leave values as they are, up to a tolerance relative to the largest."""
    images = action.apply(values.detach(), irreps, sites)
    change = (images - values.detach()).abs().amax((1, 2))
    return change <= tolerance * float(values.detach().abs().max())


def pieces_by_kind(
    action: Action, irreps: str | o3.Irreps, sites: Sites
) -> list[tuple[str, int, Piece]]:
    """Isotypic pieces for each single multiplet, with its kind and its first component."""
    result, start, known = [], 0, {}
    namer = namer_of(action)
    for mul, ir in read_irreps(irreps):
        kind = str(ir)
        if kind not in known:
            known[kind] = pieces(action.representation(f"1x{ir}", sites), namer)
        for _ in range(mul):
            result += [(kind, start, piece) for piece in known[kind]]
            start += ir.dim
    return result


def components_of(
    action: Action,
    kept: Bool[Tensor, " g"],
    subgroup: str,
    irreps: str | o3.Irreps,
    sites: Sites,
) -> list[OrderComponent]:
    """What may be added without breaking the operations kept, by kind and irrep."""
    dim, found, seen = read_irreps(irreps).dim, [], set()
    for kind, start, piece in pieces_by_kind(action, irreps, sites):
        if piece.trivial or (kind, piece.irrep) in seen:
            continue
        seen.add((kind, piece.irrep))
        matrices = action.representation(f"1x{kind}", sites)
        basis = fixed_space(matrices, kept, piece.basis)
        if not basis.shape[1]:
            continue
        left = isotropy(matrices, basis)
        enough = torch.equal(left, kept)
        width = o3.Irrep(kind).dim
        placed = basis.new_zeros(basis.shape[1], basis.shape[0] // width, dim)
        placed[:, :, start : start + width] = basis.T.unflatten(1, (-1, width))
        name = subgroup if enough else name_of_subgroup(action, left)
        found.append(OrderComponent(kind, piece.irrep, placed, left, name, enough))
    return found


def fewest(components: list[OrderComponent], kept: Bool[Tensor, " g"]) -> list[OrderComponent]:
    """The first of the smallest sets of irreps that together leave no more than is kept."""
    by_irrep: dict[str, OrderComponent] = {}
    for component in components:
        by_irrep.setdefault(component.irrep, component)
    for count in range(1, MOST_IRREPS + 1):
        for chosen in combinations(by_irrep.values(), count):
            left = torch.stack([component.kept for component in chosen]).all(0)
            if torch.equal(left, kept):
                return list(chosen)
    return []


def generic(bases: list[Float[Tensor, "k s dim"]]) -> Float[Tensor, "s dim"]:
    """A vector in the span of all bases that no operation leaves unless it leaves all of them."""
    directions = torch.cat(bases)
    count = torch.arange(len(directions), dtype=torch.float64)
    weights = (1 + 0.7320508075688772 * count).to(directions).rsqrt()
    return torch.einsum("k,ksd->sd", weights, directions)


def _representatives(
    action: Action, values: Tensor, irreps, sites: Sites, kept: Tensor
) -> Int[Tensor, " k"]:
    """One operation of each coset of those kept: the first that leads to each image."""
    images = action.apply(values.detach(), irreps, sites).flatten(1)
    gaps = _distances(images) / images.norm(dim=1).max()
    expected = len(action) // int(kept.sum())
    order = gaps.sort(1).values[:, : int(kept.sum())].max()
    same = gaps <= order * (1 + 1e-9) + 1e-12
    first = same.to(torch.int8).argmax(1)
    cosets = torch.unique(first)
    if len(cosets) != expected or int(kept.sum()) * expected != len(action):
        raise OrderError(
            f"{int(kept.sum())} operations of {len(action)} keep the target, which is no group: "
            "expected a target whose symmetry is clear at the tolerance; choose another tolerance"
        )
    identity = int((action.matrices - torch.eye(3).to(action.matrices)).abs().amax((1, 2)).argmin())
    return torch.cat([cosets[cosets == first[identity]], cosets[cosets != first[identity]]])


def _distances(rows: Float[Tensor, "k d"]) -> Float[Tensor, "k k"]:
    # the fast mode loses half of the digits
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")


def _nothing_to_break(action: Action, target: Structure | Tensor, tolerance: float) -> str:
    if isinstance(target, Structure):
        try:
            own = action_of(target, tolerance)
        except GroupError:
            own = None
        if own is not None and len(own) > len(action):
            return (
                f"the target ({own.name}, {len(own)} operations) is more symmetric than the input "
                f"({action.name}, {len(action)}): an output may have symmetry that its input "
                "lacks, so that nothing has to be broken; expected a less symmetric target, swap "
                "the two if the way back was meant"
            )
    return (
        f"the target keeps all {len(action)} operations of the input ({action.name}): nothing has "
        "to be broken, and an order parameter could only break too much; expected a target that "
        "lacks some of them"
    )


def _too_weak(
    action: Action,
    kept: Tensor,
    subgroup: str,
    irreps: str | o3.Irreps,
    sites: Sites,
    components: list[OrderComponent],
) -> str:
    left = torch.ones_like(kept)
    for component in components:
        left &= component.kept
    fault = (
        f"values of {irreps} can't lower {action.name} to {subgroup}: those that keep "
        f"{subgroup} all leave {name_of_subgroup(action, left)} ({int(left.sum())} operations)"
    )
    for degree in range(1, 7):
        for sign in "eo":
            better = components_of(action, kept, subgroup, f"1x{degree}{sign}", sites)
            if fewest(better, kept):
                return f"{fault}; 1x{degree}{sign} would do"
    return f"{fault}; values of each atom (sites='atoms') may do"
