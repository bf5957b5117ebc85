"""An audit: does a model obey the symmetries it should, and where does it lose one?

A model is asked about structures and about the same structures turned, mirrored, moved, with their
atoms in another order and, for crystals, in another cell. What comes out has to change along. And
what comes out for a symmetric structure has to have its symmetry.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from torch import Tensor

from geomae.data import as_structures
from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.symmetry.action import Action, images
from geomae.symmetry.actions import action_of, name_of_subgroup
from geomae.symmetry.characters import turn_of
from geomae.symmetry.nearest import symmetrise
from geomae.symmetry.outputs import Output, reader, rows_of
from geomae.testing.random import random_orthogonal

CHECKS = ("rotation", "reflection", "translation", "permutation", "image", "supercell", "symmetry")
WIDE = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
"""Lattice vectors of the supercell, in those of the cell: skew and twice as large."""


SHAKE = 0.05
"""In Å: how far atoms are moved to see how large an output is where symmetry does not forbid it."""


LEAST = 1e-6
"""Outputs that are smaller than this everywhere are measured against it: they are rounding."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        structure: number of the structure.
        label: its formula, or the name it carries.
        check: one of rotation, reflection, translation, permutation, image (atoms moved by
            lattice vectors), supercell, symmetry (the structure's own operations).
        output: name of the output.
        error: largest deviation, relative to the largest value of that output in all structures
            and in the same with their atoms moved a little (forces at rest are no measure).
        deviation: the same in the output's own unit.
    """

    structure: int
    label: str
    check: str
    output: str
    error: float
    deviation: float

    def __str__(self) -> str:
        return (
            f"{self.output} of structure {self.structure} ({self.label}) under {self.check}: "
            f"off by {self.deviation:.2g} ({self.error:.1e} of the largest)"
        )


@dataclass(frozen=True)
class Lost:
    """An input whose symmetry an output lacks.

    Attributes:
        structure: number of the structure.
        label: its formula, or the name it carries.
        output: name of the output.
        group: of the input.
        kept: of the output.
        operations: symbols of those that the output lost, such as `C4` and `σ`, with their number.
        matrices: of these.
        error: largest change of the output by one of them, relative as in `Finding`.
    """

    structure: int
    label: str
    output: str
    group: str
    kept: str
    operations: dict[str, int]
    matrices: Float[Tensor, "k 3 3"]
    error: float

    def __str__(self) -> str:
        names = ", ".join(f"{n} {name}" for name, n in self.operations.items())
        return (
            f"{self.output} of structure {self.structure} ({self.label}) has {self.kept} where "
            f"the input has {self.group}; lost: {names}"
        )


@dataclass(frozen=True)
class Audit:
    """What an audit found. `print` of rich shows it as a table.

    Attributes:
        findings: of every check, output and structure.
        lost: inputs whose symmetry an output lost.
        tolerance: relative error up to which a check is passed.
    """

    findings: list[Finding]
    lost: list[Lost]
    tolerance: float

    @property
    def errors(self) -> dict[str, dict[str, float]]:
        """Largest relative error by output and check."""
        result: dict[str, dict[str, float]] = {}
        for one in self.findings:
            checks = result.setdefault(one.output, {})
            checks[one.check] = max(checks.get(one.check, 0.0), one.error)
        return result

    @property
    def worst(self) -> Finding:
        """The finding with the largest error."""
        return max(self.findings, key=lambda one: one.error)

    @property
    def passed(self) -> bool:
        """Whether all errors are within the tolerance."""
        return self.worst.error <= self.tolerance

    def __str__(self) -> str:
        console = Console(width=100, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        errors = self.errors
        table = Table("check", *errors)
        for check in CHECKS:
            if any(check in checks for checks in errors.values()):
                table.add_row(check, *(self._cell(checks.get(check)) for checks in errors.values()))
        yield table
        for one in self.lost:
            yield str(one)
        yield f"{'passed' if self.passed else 'failed'}; worst: {self.worst}"

    def _cell(self, error: float | None) -> str:
        if error is None:
            return ""
        colour = "green" if error <= self.tolerance else "red"
        return f"[{colour}]{error:.1e}[/{colour}]"


def audit(
    model: Any,
    structures: Any,
    outputs: "str | Output | Sequence[str] | Mapping[str, str | Output] | None" = None,
    *,
    trials: int = 3,
    tolerance: float | None = None,
    symmetry_tolerance: float = 1e-3,
    generator: torch.Generator | None = None,
) -> Audit:
    """Checks a model's symmetries on structures.

    Args:
        model: an ASE calculator, or a callable that takes a `Structure` and returns a tensor
            (`[d]` or `[1, d]` of the whole, `[n, d]` of the atoms) or a dictionary of tensors.
        structures: what `as_structures` takes. Symmetric ones are the sharpest test.
        outputs: how the outputs transform: irreps (`1x0e + 1x2e`), a kind ('energy', 'forces',
            'dipole', 'stress', 'positions', ...), or a mapping from names to these; for a
            calculator the properties to ask for, by default energy and forces.
        trials: random rotations, and as many improper ones.
        tolerance: relative error that passes; by default 1e-4 for outputs of single precision and
            1e-8 for those of double.
        symmetry_tolerance: in Å, for the symmetry of the structures, which are made exactly
            symmetric before they are tested for it.
        generator: source of randomness; one seeded with 0 by default.

    Raises:
        PropertyError: the outputs aren't known, or don't fit what the model gives.
        GeomaeError: there is no structure.
    """
    generator = generator or torch.Generator().manual_seed(0)
    read, kinds = reader(model, outputs)
    inputs = list(as_structures(structures))
    if not inputs:
        raise GeomaeError("nothing to audit: expected at least one structure")
    asked = Asked(read, kinds)
    raw: list[tuple[int, str, str, float]] = []
    lost: list[tuple[int, str, Action, Tensor]] = []
    for number, structure in enumerate(inputs):
        plain = asked(structure)
        asked(_shaken(structure, generator))
        for check, values, expected in _cases(asked, structure, plain, trials, generator):
            raw += [
                (number, check, name, float((values[name] - expected[name]).abs().max()))
                for name in values
            ]
        for name, action, changes in _changes(asked, structure, symmetry_tolerance):
            raw.append((number, "symmetry", name, float(changes.max())))
            lost.append((number, name, action, changes))
    tolerance = asked.tolerance if tolerance is None else tolerance
    scales = {name: max(size, LEAST) for name, size in asked.sizes.items()}
    labels = [str(one.get("name") or one.formula) for one in inputs]
    findings = [
        Finding(number, labels[number], check, name, off / scales[name], off)
        for number, check, name, off in raw
    ]
    losses = [
        _lost(number, labels[number], name, action, changes / scales[name], tolerance)
        for number, name, action, changes in lost
        if float(changes.max()) > tolerance * scales[name]
    ]
    return Audit(findings, losses, tolerance)


class Asked:
    """A model's outputs as rows, and the largest that have come.

    Args:
        read: asks the model.
        kinds: how each output transforms.
    """

    def __init__(self, read, kinds: dict[str, Output]):
        self.read, self.kinds = read, kinds
        self.sizes = dict.fromkeys(kinds, 0.0)
        self.tolerance = 1e-8

    def __call__(self, structure: Structure) -> dict[str, Tensor]:
        given = self.read(structure)
        if any(
            str(getattr(v, "dtype", "")).endswith(("float32", "float16")) for v in given.values()
        ):
            self.tolerance = 1e-4
        rows = {
            name: rows_of(given[name], kind, structure, name) for name, kind in self.kinds.items()
        }
        for name, values in rows.items():
            if not bool(torch.isfinite(values).all()):
                raise GeomaeError(f"the model's '{name}' of {structure} is not finite")
            offset = structure.positions.mean(0) if self.kinds[name].moves else 0.0
            self.sizes[name] = max(self.sizes[name], float((values - offset).abs().max()))
        return rows

    def turned(self, rows: dict[str, Tensor], matrix: Tensor, shift: Tensor) -> dict[str, Tensor]:
        """Outputs as they should be for the structure turned, then moved."""
        result = {}
        for name, kind in self.kinds.items():
            turned = rows[name] @ kind.blocks(matrix[None])[0].T
            result[name] = turned + shift if kind.moves else turned
        return result

    def chosen(self, rows: dict[str, Tensor], order: Int[Tensor, " m"]) -> dict[str, Tensor]:
        """Outputs of atoms in another order, or several times; those of the whole as they are."""
        return {
            name: rows[name][order] if self._atomic(name, rows) else rows[name] for name in rows
        }

    def _atomic(self, name: str, rows: dict[str, Tensor]) -> bool:
        per_atom = self.kinds[name].per_atom
        return len(rows[name]) > 1 if per_atom is None else per_atom


def _cases(
    asked: Asked,
    structure: Structure,
    plain: dict[str, Tensor],
    trials: int,
    generator: torch.Generator,
) -> Iterator[tuple[str, dict[str, Tensor], dict[str, Tensor]]]:
    """Name of each check, what the model gives and what it should give."""
    one, still = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for trial in range(trials):
        for check, improper in (("rotation", False), ("reflection", True)):
            # the inversion comes first among the improper ones
            matrix = -one if improper and not trial else random_orthogonal(
                generator, improper=improper
            )  # fmt: skip
            yield check, asked(_moved(structure, matrix, still)), asked.turned(plain, matrix, still)
    shift = 3 * torch.randn(3, dtype=torch.float64, generator=generator)
    yield "translation", asked(_moved(structure, one, shift)), asked.turned(plain, one, shift)
    order = torch.randperm(structure.n_atoms, generator=generator)
    yield "permutation", asked(_chosen(structure, order)), asked.chosen(plain, order)
    if structure.periodic:
        fixed = {name: kind for name, kind in asked.kinds.items() if not kind.moves}
        if fixed:
            moved = torch.randint(-1, 2, (structure.n_atoms, 3), generator=generator).double()
            shifts = moved * structure.pbc[0] @ structure.cell[0]
            image = _with(structure, structure.positions + shifts)
            yield "image", _only(fixed, asked(image)), _only(fixed, plain)
        if bool(structure.pbc.all()) and fixed:
            wide, order = supercell(structure)
            given = asked.chosen(plain, order)
            times = len(order) // structure.n_atoms
            given = {
                name: values * times if asked.kinds[name].extensive else values
                for name, values in given.items()
            }
            yield "supercell", _only(fixed, asked(wide)), _only(fixed, given)


def _only(kinds: dict[str, Output], rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without outputs that move with the atoms: by a lattice vector they may."""
    return {name: rows[name] for name in kinds}


def _changes(
    asked: Asked, structure: Structure, tolerance: float
) -> Iterator[tuple[str, Action, Float[Tensor, " g"]]]:
    """How much each operation of a structure changes each of its outputs."""
    if structure.periodic and not bool(structure.pbc.all()):
        return
    structure = symmetrise(structure, tolerance=tolerance).structure
    action, rows = action_of(structure, tolerance), asked(structure)
    for name, kind in asked.kinds.items():
        values = rows[name] - structure.positions.mean(0) if kind.moves else rows[name]
        if kind.moves and structure.periodic:
            continue
        places = action.sites("atoms" if asked._atomic(name, rows) else "shared")
        change = images(values, kind.blocks(action.matrices), places) - values
        yield name, action, change.abs().amax((1, 2))


def _lost(
    number: int, label: str, name: str, action: Action, errors: Tensor, tolerance: float
) -> Lost:
    kept = errors <= tolerance
    matrices = action.matrices[~kept]
    symbols: dict[str, int] = {}
    for matrix in matrices:
        symbol = symbol_of(matrix)
        symbols[symbol] = symbols.get(symbol, 0) + 1
    try:
        left = name_of_subgroup(action, kept)
    except GeomaeError:
        left = f"{int(kept.sum())} operations"
    return Lost(number, label, name, action.name, left, symbols, matrices, float(errors.max()))


def symbol_of(matrix: Float[Tensor, "3 3"]) -> str:
    """Schoenflies symbol of an operation: E, i, σ, C3, S4 and so on."""
    order, power, proper = turn_of(matrix)
    if order == 1:
        return "E" if proper else "σ"
    if order == 2 and not proper:
        return "i"
    return f"{'C' if proper else 'S'}{order}" + (f"^{power}" if power > 1 else "")


def supercell(
    structure: Structure, lattice: Int[Tensor, "3 3"] = WIDE
) -> tuple[Structure, Int[Tensor, " m"]]:
    """The same crystal in a larger cell, and which atom of the smaller each atom is.

    Args:
        structure: periodic along all three lattice vectors.
        lattice: rows are the new lattice vectors in the old ones, integers.
    """
    lattice = lattice.double()
    corners = torch.cartesian_prod(*[torch.arange(-4, 5)] * 3).double()
    inside = corners @ torch.linalg.inv(lattice)
    inside = ((inside > -1e-9) & (inside < 1 - 1e-9)).all(1)
    shifts = corners[inside] @ structure.cell[0]
    positions = (structure.positions + shifts[:, None]).flatten(0, 1)
    order = torch.arange(structure.n_atoms).repeat(len(shifts))
    cell = lattice @ structure.cell[0]
    return Structure(structure.numbers[order], positions, cell=cell, pbc=structure.pbc[0]), order


def _shaken(structure: Structure, generator: torch.Generator) -> Structure:
    noise = torch.randn(structure.positions.shape, dtype=torch.float64, generator=generator)
    return _with(structure, structure.positions + SHAKE * noise)


def _moved(structure: Structure, matrix: Tensor, shift: Tensor) -> Structure:
    cell = structure.get("cell")
    turned = None if cell is None else cell @ matrix.T
    return _with(structure, structure.positions @ matrix.T + shift, turned)


def _with(structure: Structure, positions: Tensor, cell: Tensor | None = None) -> Structure:
    own = structure.get("cell") if cell is None else cell
    pbc = structure.get("pbc")
    return Structure(structure.numbers, positions, own, None if pbc is None else pbc[0])


def _chosen(structure: Structure, order: Tensor) -> Structure:
    ordered = _with(structure, structure.positions[order])
    ordered.numbers = structure.numbers[order]
    return ordered
