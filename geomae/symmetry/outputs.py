"""What models put out: how it turns, whom it belongs to, and how it is asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geomae.data.convert import to_ase
from geomae.data.structure import Structure
from geomae.equivariant.flat import IrrepsError, read_irreps
from geomae.symmetry.errors import PropertyError
from geomae.symmetry.representations import representation

VOIGT = [0, 5, 4, 5, 1, 3, 4, 3, 2]
"""Places of a matrix's nine entries among ASE's six of a symmetric one."""


@dataclass(frozen=True)
class Output:
    """How an output transforms.

    Attributes:
        irreps: in e3nn's flat layout; None for Cartesian matrices, which become `R T R^T`.
        per_atom: a row an atom; None if the number of rows is to tell.
        extensive: a supercell has as many times more of it.
        moves: values are places in Å, which move with the structure.
    """

    irreps: str | None
    per_atom: bool | None = None
    extensive: bool = False
    moves: bool = False

    def blocks(self, matrices: Float[Tensor, "g 3 3"]) -> Float[Tensor, "g d d"]:
        """What orthogonal matrices do to the values of a row."""
        if self.irreps is None:
            return torch.einsum("gij,gkl->gikjl", matrices, matrices).flatten(3).flatten(1, 2)
        return representation(matrices, self.irreps)


KINDS = {
    "scalar": Output("1x0e", False),
    "energy": Output("1x0e", False, extensive=True),
    "free_energy": Output("1x0e", False, extensive=True),
    "energies": Output("1x0e", True),
    "forces": Output("1x1o", True),
    "charges": Output("1x0e", True),
    "magmom": Output("1x0e", False, extensive=True),
    "magmoms": Output("1x0e", True),
    "dipole": Output("1x1o", False),
    "vector": Output("1x1o", False),
    "vectors": Output("1x1o", True),
    "positions": Output("1x1o", True, moves=True),
    "stress": Output(None, False),
    "polarizability": Output(None, False),
    "tensor": Output(None, False),
    "tensors": Output(None, True),
}
"""Outputs by name. Everything else is read as irreps."""

Read = Callable[[Structure], dict[str, Any]]
"""A structure's outputs by name, as a model gives them."""


def output_of(kind: "str | Output") -> Output:
    """An output by its name or its irreps.

    Raises:
        PropertyError: it is neither.
    """
    if isinstance(kind, Output):
        return kind
    if kind in KINDS:
        return KINDS[kind]
    try:
        return Output(str(read_irreps(kind)))
    except IrrepsError as error:
        near = get_close_matches(kind, KINDS, 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise PropertyError(
            f"'{kind}' is no output that is known and can't be read as irreps{hint}; expected one "
            f"of {', '.join(KINDS)}, or irreps such as '1x0e + 1x2e'"
        ) from error


def reader(
    model: Any, outputs: "str | Output | Sequence[str] | Mapping[str, str | Output] | None"
) -> tuple[Read, dict[str, Output]]:
    """How to ask a model, and how what it gives transforms.

    Args:
        model: an ASE calculator, or a callable that takes a structure and returns a tensor, or a
            dictionary of tensors.
        outputs: of the model. A calculator's properties, by default energy and forces; irreps or a
            kind for a tensor; a mapping from names to these for a dictionary.

    Raises:
        PropertyError: the model is neither, or outputs don't fit it.
    """
    if hasattr(model, "get_property") and hasattr(model, "implemented_properties"):
        return _of_calculator(model, outputs)
    if not callable(model):
        raise PropertyError(
            f"can't ask a {type(model).__name__}: expected an ASE calculator, or a callable that "
            "takes a structure and returns a tensor or a dictionary of tensors"
        )
    if outputs is None:
        raise PropertyError(
            "say how the model's output transforms: outputs='forces', say, or irreps such as "
            "'1x0e + 1x2e'"
        )
    if isinstance(outputs, str | Output):
        name = outputs if isinstance(outputs, str) else "output"

        def read_one(structure: Structure) -> dict[str, Any]:
            return {name: model(structure)}

        return read_one, {name: output_of(outputs)}
    named = outputs if isinstance(outputs, Mapping) else {name: name for name in outputs}
    kinds = {name: output_of(kind) for name, kind in named.items()}

    def read(structure: Structure) -> dict[str, Any]:
        given = model(structure)
        if not isinstance(given, Mapping):
            raise PropertyError(
                f"expected a dictionary with {', '.join(kinds)}, the model gives a "
                f"{type(given).__name__}"
            )
        missing = [name for name in kinds if name not in given]
        if missing:
            raise PropertyError(
                f"the model gives no '{missing[0]}'; it gives {', '.join(map(str, given))}"
            )
        return {name: given[name] for name in kinds}

    return read, kinds


def rows_of(values: Any, output: Output, structure: Structure, name: str) -> Tensor:
    """Values as float64 rows, one an atom or one alone.

    Raises:
        PropertyError: the number of values fits neither.
    """
    values = torch.as_tensor(np.asarray(values) if not isinstance(values, Tensor) else values)
    values = values.detach().cpu().double()
    width = 9 if output.irreps is None else read_irreps(output.irreps).dim
    counts = [1, structure.n_atoms] if output.per_atom is None else [
        structure.n_atoms if output.per_atom else 1
    ]  # fmt: skip
    if width == 9 and output.irreps is None and values.numel() in [6 * n for n in counts]:
        values = values.reshape(-1, 6)[:, VOIGT]
    if values.numel() not in [n * width for n in counts]:
        rows = " or ".join(str(n) for n in counts)
        raise PropertyError(
            f"'{name}' has {values.numel()} values (shape {list(values.shape)}) for a structure of "
            f"{structure.n_atoms} atoms, expected {rows} times {width}"
        )
    return values.reshape(-1, width)


def _of_calculator(calculator: Any, outputs: Any) -> tuple[Read, dict[str, Output]]:
    known = list(calculator.implemented_properties)
    names = [name for name in ("energy", "forces") if name in known] if outputs is None else outputs
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in known:
            raise PropertyError(
                f"the calculator {type(calculator).__name__} has no property '{name}'; it has "
                f"{', '.join(known)}"
            )
    kinds = {name: output_of(name) for name in names}

    def read(structure: Structure) -> dict[str, Any]:
        atoms = to_ase(structure)
        atoms.calc = calculator
        return {
            name: torch.as_tensor(np.array(calculator.get_property(name, atoms))) for name in names
        }

    return read, kinds
