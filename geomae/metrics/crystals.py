"""How well crystals were reconstructed, by the protocols in use.

A match is what pymatgen's StructureMatcher says. It is not asked where the answer is plain:
crystals of other reduced formulas never match, and two that lie on top of each other to 1e-3 Å
always do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from geomae.data.structure import Structure
from geomae.data.validate import find_fault
from geomae.errors import GeomaeError, MissingExtraError
from geomae.metrics.certificates import certificate_cases


@dataclass(frozen=True)
class Protocol:
    """Tolerances of pymatgen's StructureMatcher.

    Attributes:
        name: what it is called in tables.
        stol: largest distance of two sites, in lengths (volume / atoms)^(1/3).
        angle_tol: largest difference of the cells' angles, in degrees.
        ltol: largest relative difference of the cells' lengths.
        primitive_cell: let pymatgen reduce both to what it takes for their primitive cells, atoms
            0.25 Å apart counting as equivalent.
    """

    name: str
    stol: float
    angle_tol: float
    ltol: float
    primitive_cell: bool = True


USUAL = Protocol("usual", 0.5, 10.0, 0.3)
"""Of CDVAE (Xie et al. 2022) and most papers since."""

DEFAULT = Protocol("default", 0.3, 5.0, 0.2)
"""pymatgen's own tolerances."""

UNREDUCED = Protocol("usual, unreduced", 0.5, 10.0, 0.3, primitive_cell=False)
UNREDUCED_DEFAULT = Protocol("default, unreduced", 0.3, 5.0, 0.2, primitive_cell=False)

PROTOCOLS = (USUAL, DEFAULT, UNREDUCED, UNREDUCED_DEFAULT)

SYMPRECS = (0.01, 0.1)
"""Tolerances in Å at which space groups are compared."""

CLOSE, UNSTRAINED = 1e-3, 1e-4
"""Largest distance of atoms in Å and largest strain of crystals that match in any case."""

CLOSEST, SMALLEST = 0.5, 0.1
"""Least distance of atoms in Å and least volume in Å^3 of a crystal that is valid."""


@dataclass(frozen=True)
class Overlay:
    """Two crystals laid on top of each other as they stand, without turning either.

    Attributes:
        rmsd: root mean square distance of partners in Å, less the mean displacement.
        max_error: largest such distance, in Å.
        strain: largest relative difference of the lattices.
        normalised: the rmsd in lengths (volume / atoms)^(1/3).
    """

    rmsd: float
    max_error: float
    strain: float
    normalised: float


@dataclass(frozen=True)
class CrystalComparison:
    """A crystal and its reconstruction.

    Attributes:
        composition: the same elements in the same proportion.
        valid: no two atoms closer than 0.5 Å, and a volume above 0.1 Å^3.
        rms: for each protocol by its name the root mean square distance of matched sites in
            lengths (volume / atoms)^(1/3); None if they don't match, which invalid ones never do.
        space_groups: for each tolerance in Å the two space groups, original first.
        overlay: how far they are apart as they stand; None if they are too different to say.
        asked: protocols for which StructureMatcher was asked.
    """

    composition: bool
    valid: bool
    rms: dict[str, float | None]
    space_groups: dict[float, tuple[int, int]]
    overlay: Overlay | None
    asked: tuple[str, ...]

    def kept(self, symprec: float) -> bool:
        """Whether the space group is the same at a tolerance."""
        before, after = self.space_groups[symprec]
        return before == after != 0


def compare_crystal(
    original: Structure,
    decoded: Structure | None,
    *,
    protocols: Sequence[Protocol] = PROTOCOLS,
    symprecs: Sequence[float] = SYMPRECS,
    prefilter: bool = True,
) -> CrystalComparison:
    """Compare a crystal with what was decoded.

    Where pymatgen does not reduce the cells and the decoded one has fewer atoms, the original is
    reduced to the primitive cell that its symmetry gives at 1e-3 Å: decoded crystals are primitive.

    Args:
        original: as it was given.
        decoded: None if nothing was decoded, which is a miss everywhere.
        protocols: to match by.
        symprecs: tolerances in Å of the space groups.
        prefilter: ask StructureMatcher only where the answer is not plain.

    Raises:
        MissingExtraError: pymatgen or moyopy is not installed.
    """
    from geomae.crystals.symmetry import space_group

    if decoded is None or find_fault(decoded) is not None:
        nothing: dict[str, float | None] = dict.fromkeys((p.name for p in protocols), None)
        groups = {s: (space_group(original, s), 0) for s in symprecs}
        return CrystalComparison(False, False, nothing, groups, None, ())
    composition = reduced_formula(original) == reduced_formula(decoded)
    valid = is_valid(decoded)
    overlay = lay_over(original, decoded) if composition else None
    plain = (
        prefilter
        and overlay is not None
        and overlay.max_error < CLOSE
        and overlay.strain < UNSTRAINED
    )
    rms: dict[str, float | None] = {}
    asked = []
    for protocol in protocols:
        if not valid or (prefilter and not composition):
            rms[protocol.name] = None
        elif plain and overlay is not None:
            rms[protocol.name] = overlay.normalised
        else:
            asked.append(protocol.name)
            rms[protocol.name] = _ask(protocol, original, decoded)
    groups = {s: (space_group(original, s), space_group(decoded, s)) for s in symprecs}
    return CrystalComparison(composition, valid, rms, groups, overlay, tuple(asked))


def reduced_formula(structure: Structure) -> tuple[tuple[int, int], ...]:
    """Atomic numbers and how many of each, divided by their greatest common divisor."""
    numbers, counts = np.unique(structure.numbers.numpy(), return_counts=True)
    divisor = np.gcd.reduce(counts)
    return tuple(zip(numbers.tolist(), (counts // divisor).tolist(), strict=True))


def is_valid(structure: Structure) -> bool:
    """Whether all atoms are at least 0.5 Å apart and the volume is above 0.1 Å^3."""
    from geomae.data.neighbours import neighbours

    if abs(np.linalg.det(structure.cell[0].numpy())) <= SMALLEST:
        return False
    near = neighbours(structure.positions, CLOSEST, cell=structure.cell, pbc=structure.pbc)
    return not len(near)


def lay_over(original: Structure, decoded: Structure) -> Overlay | None:
    """The decoded crystal in the original's cell, and how far its atoms are from the original's.

    Nothing is turned or searched: the lattices must agree as they stand, up to a change of basis.

    Args:
        original, decoded: of the same reduced formula; the original's cell may be a supercell.

    Returns:
        None if the lattices differ by a tenth, the numbers of atoms by another ratio than the
        cells, or atoms have no partners of their own.
    """
    cell, small = original.cell[0].numpy(), decoded.cell[0].numpy()
    whole = np.round(cell @ np.linalg.inv(small))
    repeats = abs(round(np.linalg.det(whole)))
    if not repeats or repeats * decoded.n_atoms != original.n_atoms:
        return None
    own = whole @ small
    strain = float(np.linalg.svd(np.linalg.solve(own, cell) - np.eye(3))[1].max())
    if strain > 0.1:
        return None
    fractions, numbers = _filled(decoded, whole, repeats)
    given = original.positions.numpy() @ np.linalg.inv(cell)
    mean = (own + cell) / 2
    gaps = _partners(given, original.numbers.numpy(), fractions, numbers, mean)
    if gaps is None:
        return None
    lengths = np.linalg.norm(gaps - gaps.mean(0), axis=1)
    rmsd = float(np.sqrt(np.square(lengths).mean()))
    spacing = float(abs(np.linalg.det(mean)) / original.n_atoms) ** (1 / 3)
    return Overlay(rmsd, float(lengths.max()), strain, float(rmsd / spacing))


def in_cell_of(original: Structure, decoded: Structure) -> Structure | None:
    """The decoded crystal, repeated to fill the cell that goes with the original's.

    Args:
        original, decoded: as they stand; see `lay_over`.

    Returns:
        None where the lattices don't fit.
    """
    cell, small = original.cell[0].numpy(), decoded.cell[0].numpy()
    whole = np.round(cell @ np.linalg.inv(small))
    repeats = abs(round(np.linalg.det(whole)))
    if not repeats or repeats * decoded.n_atoms != original.n_atoms:
        return None
    fractions, numbers = _filled(decoded, whole, repeats)
    return Structure(numbers, fractions @ whole @ small, cell=whole @ small)


def _filled(
    decoded: Structure, whole: np.ndarray, repeats: int
) -> tuple[Float[np.ndarray, "n 3"], np.ndarray]:
    """Fractional positions and numbers of a crystal's atoms in a supercell of it."""
    fractions = decoded.positions.numpy() @ np.linalg.inv(decoded.cell[0].numpy())
    reach = np.abs(whole).sum(0).astype(int)
    steps = np.stack(np.meshgrid(*[np.arange(-k, k + 1) for k in reach], indexing="ij"), -1)
    steps = steps.reshape(-1, 3) @ np.linalg.inv(whole)
    inside = np.all((steps > -1e-6) & (steps < 1 - 1e-6), axis=1)
    own = fractions @ np.linalg.inv(whole)
    filled = (own[:, None] + steps[inside]).reshape(-1, 3)
    return filled, np.repeat(decoded.numbers.numpy(), int(inside.sum()))


def _partners(
    given: np.ndarray, numbers: np.ndarray, found: np.ndarray, others: np.ndarray, cell: np.ndarray
) -> Float[np.ndarray, "n 3"] | None:
    """From each atom to the nearest one of its element, in Å, if that is no other's nearest."""
    from geomae.crystals.symmetry import nearest

    if len(given) != len(found):
        return None
    vectors, lengths = nearest((found[None] - given[:, None]) @ cell, cell)
    lengths[numbers[:, None] != others[None]] = np.inf
    partner = lengths.argmin(1)
    if len(set(partner.tolist())) < len(given) or not np.isfinite(lengths.min(1)).all():
        return None
    return vectors[np.arange(len(given)), partner]


def _ask(protocol: Protocol, original: Structure, decoded: Structure) -> float | None:
    """What StructureMatcher says."""
    from geomae.crystals.symmetry import symmetrise
    from geomae.data.convert import to_pymatgen

    if not protocol.primitive_cell and decoded.n_atoms < original.n_atoms:
        original = symmetrise(original).structure
    bare = [Structure(s.numbers, s.positions, cell=s.cell[0]) for s in (decoded, original)]
    found = _matcher(protocol).get_rms_dist(*map(to_pymatgen, bare))
    return None if found is None else float(found[0])


@lru_cache
def _matcher(protocol: Protocol):
    try:
        from pymatgen.core.structure_matcher import StructureMatcher
    except ImportError:
        try:
            from pymatgen.analysis.structure_matcher import StructureMatcher
        except ImportError as error:
            raise MissingExtraError("pymatgen", "crystals") from error
    return StructureMatcher(
        stol=protocol.stol,
        angle_tol=protocol.angle_tol,
        ltol=protocol.ltol,
        primitive_cell=protocol.primitive_cell,
    )


def compare_crystals(
    originals: Sequence[Structure],
    decoded: Sequence[Structure | None],
    *,
    protocols: Sequence[Protocol] = PROTOCOLS,
    symprecs: Sequence[float] = SYMPRECS,
    prefilter: bool = True,
    workers: int = 1,
    progress: bool = False,
) -> list[CrystalComparison]:
    """Compare many crystals with what was decoded.

    Args:
        originals, decoded: in pairs.
        protocols, symprecs, prefilter: see `compare_crystal`.
        workers: processes; 1 works in this one.
        progress: show a bar.

    Raises:
        GeomaeError: there are more of one than of the other.
    """
    if len(originals) != len(decoded):
        raise GeomaeError(f"{len(originals)} originals but {len(decoded)} decoded crystals")
    options = {"protocols": protocols, "symprecs": symprecs, "prefilter": prefilter}
    pairs = list(zip(originals, decoded, strict=True))
    chunks = [pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK)]
    found = _run(chunks, options, workers)
    if progress:
        from rich.progress import track

        found = track(found, "comparing", total=len(chunks), transient=True)
    return [comparison for part in found for comparison in part]


CHUNK = 32
"""Pairs that a process gets at a time."""


def _run(chunks: list, options: dict, workers: int) -> Iterator[list[CrystalComparison]]:
    if workers <= 1:
        for chunk in chunks:
            yield [compare_crystal(*pair, **options) for pair in chunk]
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    packed = [[tuple(map(_pack, pair)) for pair in chunk] for chunk in chunks]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(_work, packed, [options] * len(packed))


def _work(chunk: list, options: dict) -> list[CrystalComparison]:
    import torch

    torch.set_num_threads(1)
    return [compare_crystal(*map(_unpack, pair), **options) for pair in chunk]


def _pack(structure: Structure | None) -> tuple | None:
    """Atoms and cell as arrays: tensors would cross between processes as open files."""
    if structure is None:
        return None
    return structure.numbers.numpy(), structure.positions.numpy(), structure.cell[0].numpy()


def _unpack(columns: tuple | None) -> Structure | None:
    return None if columns is None else Structure(*columns)


def summarise_crystals(
    comparisons: Sequence[CrystalComparison | None], certified: Sequence[bool] | None = None
) -> dict[str, float | int]:
    """Figures of many reconstructions as plain numbers.

    Shares are of all crystals, those that failed included; root mean square distances are means
    over matches, as in the papers.

    Args:
        comparisons: None for a crystal that the model does not take, which is a miss everywhere.
        certified: whether the decoder vouched for each; adds its share, and how many of those and
            of the others match by the first protocol.
    """
    n = max(len(comparisons), 1)
    done = [c for c in comparisons if c is not None]
    figures: dict[str, float | int] = {
        "n": len(comparisons),
        "composition_accuracy": sum(c.composition for c in done) / n,
        "valid": sum(c.valid for c in done) / n,
    }
    for name in done[0].rms if done else ():
        matched = [rms for c in done if (rms := c.rms[name]) is not None]
        figures[f"match ({name})"] = len(matched) / n
        figures[f"rmse ({name})"] = float(np.mean(matched)) if matched else float("nan")
    for symprec in done[0].space_groups if done else ():
        figures[f"space group kept at {symprec}"] = sum(c.kept(symprec) for c in done) / n
        matches = [c for c in done if _matched(c)]
        share = sum(c.kept(symprec) for c in matches) / len(matches) if matches else float("nan")
        figures[f"space group kept at {symprec} of matches"] = share
    overlays = [c.overlay for c in done if c.overlay is not None]
    figures["overlaid"] = len(overlays) / n
    figures["rmsd"] = float(np.mean([o.rmsd for o in overlays])) if overlays else float("nan")
    figures["max_error"] = max((o.max_error for o in overlays), default=float("nan"))
    if certified is not None:
        figures["certified"] = sum(bool(flag) for flag in certified) / n
        pairs = zip(comparisons, certified, strict=True)
        figures |= certificate_cases((flag, _matched(c)) for c, flag in pairs if c is not None)
    return figures


def _matched(comparison: CrystalComparison | None) -> bool:
    """Whether a crystal matches by the first protocol."""
    return comparison is not None and next(iter(comparison.rms.values()), None) is not None
