"""What is asked of samples, and what is drawn where nothing is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomae.errors import GeomaeError

if TYPE_CHECKING:
    from geomae.generation.conditioned import MoleculeFlow


@dataclass(frozen=True)
class Conditions:
    """What is asked of samples.

    Attributes:
        counts: atoms of each element of the flow, `[n, elements]`; drawn if None.
        n_atoms: atoms of each sample, `[n]`; drawn if None.
        properties: scalar properties by name, in the units of the data set.
    """

    counts: Int[Tensor, "n elements"] | None = None
    n_atoms: Int[Tensor, " n"] | None = None
    properties: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """What samples are to be made of.

    Attributes:
        counts: atoms of each element, `[n, elements]`.
        inventory: heavy atoms of each kind, `[n, kinds]`; -1 where none is known to fit.
    """

    counts: Int[Tensor, "n elements"]
    inventory: Int[Tensor, "n kinds"]


def generator_of(seed: int, number: int, purpose: str) -> torch.Generator:
    """Randomness that a seed, the number of a sample and a purpose decide."""
    digest = sha256(f"{seed}/{number}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def draw(flow: "MoleculeFlow", n: int, conditions: Conditions, seed: int) -> Drawn:
    """Composition and inventory of every sample, on the CPU.

    An inventory is drawn from those of the flow's data: as frequent as there, among those with the
    composition or number of atoms that is asked for, and weighted by how likely each makes the
    properties that are. Where none has the composition, none is told.

    Args:
        flow: whose data.
        n: samples.
        conditions: what is asked of them.
        seed: with a sample's number it decides what is drawn.

    Raises:
        GeomaeError: as `check_conditions`.
    """
    check_conditions(flow, n, conditions)
    inventories, formulas = flow.inventories(), flow.formulas()
    weights = flow.statistics["shares"].double().cpu() * property_likelihood(
        flow, conditions.properties
    )
    rows = []
    for i in range(n):
        own = torch.where(_fitting(formulas, conditions, i), weights, 0.0)
        generator = generator_of(seed, i, "inventory")
        rows.append(int(torch.multinomial(own, 1, generator=generator)) if own.any() else -1)
    row = torch.tensor(rows, dtype=torch.long)
    known = inventories[row].masked_fill((row < 0)[:, None], -1)
    if conditions.counts is not None:
        return Drawn(conditions.counts.long().cpu(), known)
    return Drawn(formulas[row], known)


def _fitting(formulas: Int[Tensor, "rows elements"], conditions: Conditions, i: int) -> Tensor:
    """Which compositions are what a sample is asked to have, `[rows]`."""
    if conditions.counts is not None:
        return (formulas == conditions.counts[i].cpu()).all(1)
    if conditions.n_atoms is not None:
        return formulas.sum(1) == int(conditions.n_atoms[i])
    return torch.ones(len(formulas), dtype=torch.bool)


def property_likelihood(
    flow: "MoleculeFlow", properties: Mapping[str, float]
) -> Float[Tensor, " rows"]:
    """How likely each inventory makes properties, in parts of the likeliest; never zero."""
    logarithm = torch.zeros(len(flow.statistics["shares"]), dtype=torch.float64)
    for name, value in properties.items():
        column = flow.properties.index(name)
        mean = flow.statistics["property_mean"][:, column].double().cpu()
        spread = flow.statistics["property_spread"][:, column].double().cpu()
        logarithm += log_density(value, mean, spread)
    return (logarithm - logarithm.max()).clamp(min=-600).exp()


def log_density(
    value: float, mean: Float[Tensor, " rows"], spread: Float[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """Of normal distributions at a value, but for a constant."""
    return -0.5 * ((value - mean) / spread).square() - spread.log()


def check_conditions(flow: "MoleculeFlow", n: int, conditions: Conditions) -> None:
    """See that samples can be asked for so.

    Raises:
        GeomaeError: conditions of a wrong shape, a property that the flow was not trained on,
            sizes that it does not take, counts and sizes that exclude each other.
    """
    for name in conditions.properties:
        if name not in flow.properties:
            known = ", ".join(flow.properties) or "none"
            raise GeomaeError(f"the flow was not trained on '{name}'; its properties: {known}")
    counts, sizes = conditions.counts, conditions.n_atoms
    if counts is not None:
        if tuple(counts.shape) != (n, len(flow.elements)):
            raise GeomaeError(
                f"counts must have the shape {[n, len(flow.elements)]}, not {list(counts.shape)}"
            )
        total, most = counts.sum(1), flow.config.max_atoms
        if bool((counts < 0).any()) or bool((total < 1).any()) or bool((total > most).any()):
            raise GeomaeError(f"compositions must have 1 to {most} atoms, and no negative numbers")
    if sizes is None:
        return
    if tuple(sizes.shape) != (n,):
        raise GeomaeError(f"n_atoms must have the shape [{n}], not {list(sizes.shape)}")
    if counts is not None and not torch.equal(counts.sum(1), sizes):
        raise GeomaeError("counts and n_atoms exclude each other: the counts have other sums")
    occurring = set(flow.formulas().sum(1).tolist())
    if strange := sorted(set(sizes.tolist()) - occurring):
        raise GeomaeError(
            f"the flow knows no composition of {strange[0]} atoms; "
            f"it has from {min(occurring)} to {max(occurring)}"
        )
