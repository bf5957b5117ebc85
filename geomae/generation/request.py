"""What is asked of a generation, and everything that can be wrong with it, said beforehand."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import torch

from geomae.autoencoder import Autoencoder, load, released_models
from geomae.autoencoder.zoo import weights_of
from geomae.checkpoint import checkpoint_kind
from geomae.crystals.model import CrystalAutoencoder
from geomae.data.elements import NUMBERS, SYMBOLS
from geomae.data.structure import Structure
from geomae.errors import GeomaeError, MissingExtraError
from geomae.generation.orbits import check_formula, check_number
from geomae.generation.verify import contains
from geomae.symmetry import GroupError, PointGroup, point_group
from geomae.symmetry.detect import one_structure

if TYPE_CHECKING:
    from geomae.generation.atoms.flow import AtomFlow
    from geomae.generation.conditioned import Flow, MoleculeFlow
    from geomae.generation.inventories.draws import Learned


@dataclass(frozen=True)
class Asked:
    """What samples are to be.

    Attributes:
        formula: such as 'C6H6'; any if None.
        n_atoms: number of atoms; any if None.
        properties: scalars that the flow was trained on, by name, in its data's units.
        symmetry: point group that every sample has at least, Schoenflies or Hermann-Mauguin.
    """

    formula: str | None = None
    n_atoms: int | None = None
    properties: Mapping[str, float] = field(default_factory=dict)
    symmetry: str | None = None


def parse_formula(text: str) -> dict[str, int]:
    """Atoms of each element of a formula such as 'C6H6', by symbol.

    Raises:
        GeomaeError: it is none.
    """
    parts = re.findall(r"([A-Z][a-z]?)(\d*)", text)
    if not parts or "".join(symbol + digits for symbol, digits in parts) != text:
        raise GeomaeError(f"'{text}' is no formula; expected one such as C6H6 or CH2O")
    counts: dict[str, int] = {}
    for symbol, digits in parts:
        if symbol not in NUMBERS:
            raise GeomaeError(f"'{text}' is no formula: there is no element '{symbol}'")
        if digits == "0":
            raise GeomaeError(f"'{text}' is no formula: it has no {symbol}, so leave it out")
        counts[symbol] = counts.get(symbol, 0) + int(digits or 1)
    return counts


def formula_within(
    formula: str | None, elements: Sequence[int], most: int
) -> dict[str, int] | None:
    """Atoms of each element of a formula, if one is asked for and can be made.

    Args:
        formula: such as C6H6.
        elements: atomic numbers that can be had.
        most: atoms that can.

    Raises:
        GeomaeError: it is none, or has other elements or more atoms.
    """
    if formula is None:
        return None
    counts = parse_formula(formula)
    known = [SYMBOLS[z] for z in elements]
    strange = [symbol for symbol in counts if symbol not in known]
    if strange:
        raise GeomaeError(f"{formula} has {', '.join(strange)}; the model knows {', '.join(known)}")
    n = sum(counts.values())
    if n > most:
        raise GeomaeError(f"{formula} has {n} atoms; the model makes 1 to {most}")
    return counts


def check_asked(
    asked: Asked, model: Autoencoder
) -> tuple[dict[str, int] | None, PointGroup | None]:
    """The formula and group that are asked for, if a model can have them.

    Raises:
        GroupError: there is no such group, or it and the formula exclude each other.
        GeomaeError: the formula is none or outside the model's range, or so is the number of atoms.
        MissingExtraError: pymatgen, which checks symmetry, is not installed.
    """
    group = None if asked.symmetry is None else PointGroup.named(asked.symmetry)
    most = model.config.max_atoms
    counts = formula_within(asked.formula, model.elements, most)
    if counts is not None and asked.n_atoms not in (None, sum(counts.values())):
        raise GeomaeError(f"{asked.formula} has {sum(counts.values())} atoms, not {asked.n_atoms}")
    if asked.n_atoms is not None and not 1 <= asked.n_atoms <= most:
        raise GeomaeError(f"{asked.n_atoms} atoms are asked for; the model makes 1 to {most}")
    if group is not None:
        _require_pymatgen()
        if counts is not None:
            check_formula(group, counts)
        elif asked.n_atoms is not None:
            check_number(group, asked.n_atoms)
    return counts, group


def check_properties(properties: Mapping[str, float], flow: "MoleculeFlow") -> None:
    """See that a flow was trained on the properties that are asked for.

    Raises:
        GeomaeError: it was not; says which it knows.
    """
    for name in properties:
        if name in flow.properties:
            continue
        near = get_close_matches(name, flow.properties, 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        known = ", ".join(flow.properties) or "none"
        raise GeomaeError(f"the flow was not trained on '{name}'{hint} Its properties: {known}")


FLOWS = ("atom_flow", "crystal_flow", "flow")
"""Kinds of flows."""

SUFFIXES = ("atoms", "flow")
"""What is added to the name of an autoencoder for its flow, the better one first."""


def load_any_flow(name_or_path: str) -> "Flow | None":
    """A released flow of any kind, by name or path; None if it is another model."""
    from geomae.generation.atoms.flow import AtomFlow
    from geomae.generation.crystals.flow import CrystalFlow
    from geomae.generation.flow import LatentFlow

    path = weights_of(name_or_path)
    kind = checkpoint_kind(path)
    for own in (AtomFlow, CrystalFlow, LatentFlow):
        if kind == own.kind:
            return own.from_file(path)
    return None


def find_models(
    name: str, near: bool
) -> "tuple[str, Autoencoder | CrystalAutoencoder, Flow | None]":
    """Name of the autoencoder, the autoencoder, and the flow of a model.

    Args:
        name: of a flow, or of an autoencoder whose flow is called NAME-atoms or NAME-flow.
        near: no flow is needed.

    Raises:
        GeomaeError: there is no such model or no flow for it, or it is one of crystals and samples
            are to be around a structure.
    """
    flow = load_any_flow(name)
    if flow is not None:
        name = flow.autoencoder
    elif not near:
        released = released_models()
        of_it = [own for suffix in SUFFIXES if (own := f"{name}-{suffix}") in released]
        if not of_it:
            flows = [n for n, path in released.items() if checkpoint_kind(path) in FLOWS]
            raise GeomaeError(
                f"there is no flow '{name}-atoms' or '{name}-flow' for the model '{name}', so "
                "nothing can be generated but around a structure (near); flows: "
                f"{', '.join(flows) or 'none'}"
            )
        flow = load_any_flow(of_it[0])
    model = load(name)
    if isinstance(model, Autoencoder):
        return name, model, flow
    if near or not isinstance(model, CrystalAutoencoder):
        raise GeomaeError(
            f"'{name}' is no model of molecules; samples around a structure (near) are of those"
        )
    return name, model, flow


def find_inventories(
    name: str | None, flow: "AtomFlow", temperature: float = 1.0
) -> "Learned | None":
    """The model that inventories for a flow on atoms are drawn from; None for the data's own.

    Args:
        name: 'data'; 'learned' for the released model that is called AUTOENCODER-inventories, 'new'
            for what it makes and the data lacks; or name or path of a model. If None, the released
            one where it fits the flow, and else the data's.
        flow: that places them.
        temperature: of the model; see `Learned`.

    Raises:
        GeomaeError: there is no such model, or it was made for other kinds of atoms or fewer
            properties than the flow.
    """
    from geomae.generation.inventories.draws import Learned
    from geomae.generation.inventories.model import load_inventories

    released = f"{flow.autoencoder}-inventories"
    if name == "data" or (name is None and released not in released_models()):
        return None
    model = load_inventories(released if name in (None, "learned", "new") else name)
    same = model.config.elements == flow.elements and torch.equal(model.kinds, flow.kinds())
    if same and set(flow.properties) <= set(model.config.properties):
        known = flow.inventories().tolist() if name == "new" else []
        return Learned(model, frozenset(map(tuple, known)), temperature)
    if name is None:
        return None
    raise GeomaeError(
        f"the inventories '{name}' have other kinds of heavy atoms than the flow, or fewer "
        "properties: choose 'data', or train a model of inventories on the flow's data"
    )


def group_of(structure: Structure, group: PointGroup) -> PointGroup:
    """A group as it stands in a structure that has it, or one that contains it.

    Raises:
        GroupError: the structure has not; says which it has.
    """
    found = point_group(structure)
    if found.name == group.name:
        return found
    if contains(found.name, group.name):
        if found.infinite and group.symbol.axial:
            return PointGroup.named(group.name, found.frame)
        # Cs, Ci and C1 stand in a finite subgroup as they do in the infinite group
        whole = PointGroup.named(found.name.replace("∞", "2"), found.frame)
        return next(own for own in whole.subgroups() if own.name == group.name)
    raise GroupError(
        f"the structure has {found.name} within 0.01 Å, of which {group.name} is no subgroup: "
        f"samples around it can't have {group.name}"
    )


def near_structure(near: Any, model: Autoencoder) -> Structure:
    """The one structure around which is sampled, checked.

    Raises:
        GeomaeError: there is none, or several, or the model does not take it.
    """
    structure = one_structure(near)
    model.check([structure])
    return structure


def _require_pymatgen() -> None:
    try:
        import pymatgen.symmetry.analyzer  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("pymatgen", "generation") from error
