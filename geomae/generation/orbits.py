"""Which formulas are sums of orbits of a point group."""

from collections.abc import Mapping

from geomae.symmetry import GroupError, PointGroup
from geomae.symmetry.orbits import orbit_sizes


def formula_fits(group: PointGroup, counts: Mapping[str, int]) -> bool:
    """Whether atoms can stand on whole orbits of a group, at most one of them in its centre."""
    return _misfit(group, counts) is None


def check_formula(group: PointGroup, counts: Mapping[str, int]) -> None:
    """See that a formula is a sum of orbits.

    Args:
        group: to have.
        counts: atoms of each element, by its symbol.

    Raises:
        GroupError: it is not; says which elements and which orbits there are.
    """
    fault = _misfit(group, counts)
    if fault is not None:
        raise GroupError(fault)


def check_number(group: PointGroup, n_atoms: int) -> None:
    """See that so many atoms can stand on whole orbits of a group.

    Raises:
        GroupError: they can't.
    """
    sizes = orbit_sizes(group.name)
    reach = sizes.reachable(n_atoms)
    if not (reach[n_atoms] or (sizes.centre and reach[n_atoms - 1])):
        raise GroupError(
            f"{n_atoms} atoms and {group.name} exclude each other: {_explained(group.name)}"
        )


def _misfit(group: PointGroup, counts: Mapping[str, int]) -> str | None:
    sizes = orbit_sizes(group.name)
    reach = sizes.reachable(max(counts.values(), default=0))
    central, hopeless = [], []
    for symbol, count in counts.items():
        if reach[count]:
            continue
        possible = sizes.centre and reach[count - 1]
        (central if possible else hopeless).append(f"{symbol}{count if count > 1 else ''}")
    if not hopeless and len(central) <= 1:
        return None
    formula = "".join(f"{s}{n if n > 1 else ''}" for s, n in counts.items() if n)
    why = f"{', '.join(hopeless)} fills no whole orbits" if hopeless else (
        f"{' and '.join(central)} would both need the centre"
    )  # fmt: skip
    return f"{formula} and {group.name} exclude each other: {why}; {_explained(group.name)}"


def _explained(name: str) -> str:
    sizes = orbit_sizes(name)
    orbits = ", ".join(map(str, sizes.sizes))
    text = f"orbits of {name} have {orbits} points" if orbits else f"{name} has no orbits"
    return text + (", and one atom can stand in the centre" if sizes.centre else "")
