"""What symmetry a structure, signal or latent has."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from geomae.data.collect import as_structures
from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.symmetry.crystal import SpaceGroup, crystal_symmetry
from geomae.symmetry.errors import GroupError, PropertyError, ToleranceError
from geomae.symmetry.groups import PointGroup
from geomae.symmetry.harmonics import signal_group
from geomae.symmetry.identify import identify
from geomae.symmetry.molecule import AtomOperations, molecule_operations
from geomae.symmetry.standard import distinct

if TYPE_CHECKING:
    from geomae.autoencoder import Latents

TOLERANCE = 1e-2
"""Distance in Å within which symmetry is taken to be meant: what relaxed geometries keep."""

SIGNAL_TOLERANCE = 1e-3
"""Change of a signal or latent, relative to its norm, within which it counts as unchanged."""


def point_group(
    thing: "Structure | Tensor | Latents | Any", tolerance: float | None = None
) -> PointGroup:
    """The point group of a molecule, crystal, signal or latent, exact, in the input's own frame.

    Linear molecules and signals with an axis of revolution have C∞v or D∞h, a single atom and a
    constant signal Kh. For a crystal it is the crystal class. Of isotropy found within the
    tolerance the exact group nearest to it is given: its operations multiply to each other
    to the last digits, and move the input by no more than the tolerance.

    If the group has its standard setting (see `PointGroup.named`) on the input's axes, those
    are its frame; else x and z are chosen by the atoms they pass through.

    Args:
        thing: a Structure or whatever `as_structures` takes (one of them); coefficients
            `[(L + 1)^2]` or `[(L + 1)^2, channels]` of a signal; `Latents` with one row.
        tolerance: for structures the largest distance in Å between an atom's image and the place
            it comes to, 0.01 by default; for signals and latents the change relative to the norm,
            0.001 by default.

    Raises:
        ToleranceError: the tolerance is not positive, or merges atoms.
        GeomaeError: there are several structures or rows, or the shape is no signal's.
    """
    values = _values_of(thing)
    if values is not None:
        return signal_group(values, SIGNAL_TOLERANCE if tolerance is None else tolerance)
    structure = one_structure(thing)
    if structure.periodic:
        return space_group(structure, tolerance).point_group
    return structure_operations(structure, tolerance).group


def structure_operations(
    thing: "Structure | Any", tolerance: float | None = None
) -> AtomOperations:
    """The operations of a molecule or crystal as they act on its atoms.

    Args:
        thing: a Structure or whatever `as_structures` takes, one of them.
        tolerance: in Å, 0.01 by default.

    Raises:
        ToleranceError: the tolerance is not positive, or merges atoms.
    """
    structure = one_structure(thing)
    tolerance = TOLERANCE if tolerance is None else tolerance
    if structure.periodic:
        return crystal_symmetry(structure, tolerance).operations
    return molecule_operations(structure, tolerance)


def space_group(thing: "Structure | Any", tolerance: float | None = None) -> SpaceGroup:
    """The space group of a crystal, with its operations and the symmetry of its sites.

    Args:
        thing: a periodic Structure or whatever `as_structures` takes, one of them.
        tolerance: in Å, 0.01 by default.

    Raises:
        UnsupportedStructureError: it is not periodic along three vectors.
        ToleranceError: the tolerance is not positive, or merges atoms.
        MissingExtraError: moyopy is not installed.
    """
    return crystal_symmetry(one_structure(thing), TOLERANCE if tolerance is None else tolerance)


def site_groups(thing: "Structure | Any", tolerance: float | None = None) -> list[PointGroup]:
    """The symmetry of each atom's site: the operations that leave the atom where it is.

    Args:
        thing: a molecule or crystal, or whatever `as_structures` takes, one of them.
        tolerance: in Å, 0.01 by default.
    """
    structure = one_structure(thing)
    if structure.periodic:
        return list(space_group(structure, tolerance).sites)
    operations = structure_operations(structure, tolerance)
    return molecule_sites(structure, operations)


def molecule_sites(structure: Structure, operations: AtomOperations) -> list[PointGroup]:
    """The symmetry of each atom's site in a molecule."""
    group = operations.group
    fixed = operations.permutations == torch.arange(structure.n_atoms)
    known: dict[tuple[bool, ...], PointGroup] = {}
    result = []
    for atom in range(structure.n_atoms):
        key = tuple(fixed[:, atom].tolist())
        if key not in known:
            known[key] = _stabilizer(group, fixed[:, atom])
        result.append(known[key])
    return result


def _stabilizer(group: PointGroup, fixed: Tensor) -> PointGroup:
    if bool(fixed.all()):
        return group
    if group.infinite:  # an atom of a linear molecule, not in its centre
        return PointGroup.named("C∞v", group.frame)
    return identify(distinct(group.operations[fixed]), near=group.frame)


def one_structure(thing: "Structure | Any") -> Structure:
    """The one structure of what is given.

    Raises:
        GeomaeError: there is none, or more than one.
    """
    if isinstance(thing, Structure):
        thing = [thing]
    found = as_structures(thing)
    if len(found) != 1:
        raise GeomaeError(f"expected one structure, got {len(found)}: take them one by one")
    return found[0]


def larger_symmetries(
    structure: Structure, tolerance: float, limit: float = 1.0
) -> list[tuple[float, str]]:
    """Larger tolerances up to a limit, in Å, at which a structure has ever more symmetry, and
    which: a point group, or a space group with its number.
    """
    result, most = [], len(structure_operations(structure, tolerance))
    for factor in (3, 10, 30, 100):
        larger = float(f"{factor * tolerance:.2g}")
        if larger > limit:
            break
        try:
            found = structure_operations(structure, larger)
        except (ToleranceError, GroupError):
            break
        if len(found) <= most:
            continue
        most, name = len(found), found.group.name
        if structure.periodic:
            space = space_group(structure, larger)
            name = f"{space.symbol.replace(' ', '')} ({space.number})"
        result.append((larger, name))
    return result


def check_atom(atom: int, count: int) -> None:
    """See that a structure has an atom of this number.

    Raises:
        PropertyError: it has not; says which there are.
    """
    if not 0 <= atom < count:
        raise PropertyError(f"there is no atom {atom}: the structure has atoms 0 to {count - 1}")


def _values_of(thing: object) -> Tensor | None:
    """Coefficients `[m, channels]` of a signal or latent; None for anything else."""
    from geomae.autoencoder.latents import Latents

    if isinstance(thing, Latents):
        if len(thing) != 1:
            raise GeomaeError(f"expected one latent, got {len(thing)}: take them one by one")
        return thing.array[0]
    if not isinstance(thing, Tensor):
        return None
    values = thing[:, None] if thing.ndim == 1 else thing
    size = values.shape[0] if values.ndim == 2 else 0
    if not size or round(size**0.5) ** 2 != size:
        raise GeomaeError(
            "a signal has coefficients [(L + 1)^2] or [(L + 1)^2, channels], not "
            f"{list(thing.shape)}"
        )
    return values
