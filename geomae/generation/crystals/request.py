"""What is asked of crystals, and everything that can be wrong with it, said beforehand."""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from geomae.crystals.model import CrystalAutoencoder
from geomae.errors import GeomaeError, MissingExtraError
from geomae.generation.crystals.flow import CrystalFlow
from geomae.generation.request import Asked, formula_within
from geomae.symmetry import GroupError


@dataclass(frozen=True)
class SpaceGroupType:
    """A type of space groups.

    Attributes:
        number: 1 to 230.
        name: short Hermann-Mauguin symbol without spaces, such as 'Fm-3m'.
    """

    number: int
    name: str


@lru_cache(maxsize=1)
def space_group_types() -> tuple[SpaceGroupType, ...]:
    """All 230.

    Raises:
        MissingExtraError: moyopy is not installed.
    """
    try:
        from moyopy import SpaceGroupType as Type
    except ImportError as error:
        raise MissingExtraError("moyopy", "crystals") from error
    return tuple(
        SpaceGroupType(number, Type(number).hm_short.replace(" ", "").replace("_", ""))
        for number in range(1, 231)
    )


def read_space_group(text: str) -> SpaceGroupType:
    """A space group by its number or its short Hermann-Mauguin symbol.

    Args:
        text: such as '225', 'Fm-3m', 'F m -3 m' or 'P6_3/mmc'.

    Raises:
        GroupError: there is no such group.
        MissingExtraError: moyopy is not installed.
    """
    types = space_group_types()
    plain = text.replace(" ", "").replace("_", "")
    if plain.isdecimal() and 1 <= int(plain) <= len(types):
        return types[int(plain) - 1]
    for own in types:
        if own.name.lower() == plain.lower():
            return own
    near = get_close_matches(plain, [own.name for own in types], 1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise GroupError(
        f"there is no space group '{text}'{hint} Expected a number from 1 to 230, or a short "
        "Hermann-Mauguin symbol such as Fm-3m or P6_3/mmc"
    )


def check_crystals_asked(
    asked: Asked, flow: CrystalFlow, model: CrystalAutoencoder
) -> tuple[dict[str, int] | None, SpaceGroupType | None]:
    """The formula and space group that are asked for, if a flow can have them.

    Raises:
        GroupError: there is no such group.
        GeomaeError: the formula is none or outside the flow's range, or so is the number of atoms;
            properties are asked for.
        MissingExtraError: moyopy is not installed.
    """
    group = None if asked.symmetry is None else read_space_group(asked.symmetry)
    if asked.properties:
        raise GeomaeError("the flow on crystals was not trained on any property")
    most = flow.config.max_atoms
    if asked.n_atoms is not None and not 1 <= asked.n_atoms <= most:
        raise GeomaeError(
            f"{asked.n_atoms} atoms in a primitive cell are asked for; the flow makes 1 to {most}"
        )
    counts = formula_within(asked.formula, flow.elements, most)
    return counts, group
