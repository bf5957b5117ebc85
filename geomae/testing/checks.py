"""Checks of symmetries, batches, gradients and global state."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck

from geomae.testing.random import random_orthogonal
from geomae.testing.transforms import Kind, Role, permute, transform

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Relative errors that are allowed in each precision."""


def assert_equivariant(
    function: Callable,
    inputs: Sequence[tuple[Tensor, Kind]],
    outputs: Kind | Sequence[Kind],
    *,
    trials: int = 3,
    tolerance: float | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Turning, mirroring or moving the inputs does the same to the outputs.

    Tries the inversion, random rotations and random improper ones, and, where there are
    positions, translations alone and along with them.

    Args:
        function: takes the inputs' tensors, returns a tensor or a sequence of tensors.
        inputs: tensors, and how each transforms.
        outputs: how each output transforms; one alone for a function that returns a tensor.
        trials: random rotations, and as many improper ones.
        tolerance: relative error allowed; by default that of the outputs' precision.
        generator: source of randomness; one seeded with 0 by default.

    Raises:
        AssertionError: naming the case and the output that failed, and its error.
    """
    generator = generator or torch.Generator().manual_seed(0)
    kinds = [outputs] if isinstance(outputs, str) else list(outputs)
    expected = _as_list(function(*(values for values, _ in inputs)), len(kinds))
    moves = any(kind == "positions" for _, kind in inputs)
    for name, matrix, shift in _cases(trials, moves, generator):
        turned = [transform(values, kind, matrix, shift) for values, kind in inputs]
        results = _as_list(function(*turned), len(kinds))
        for number, (kind, before, after) in enumerate(zip(kinds, expected, results, strict=True)):
            what = f"{name}: output {number} ({kind})"
            assert_near(after, transform(before, kind, matrix, shift), tolerance, what)


def assert_permutation_equivariant(
    function: Callable,
    inputs: Sequence[tuple[Tensor, Role]],
    outputs: Role | Sequence[Role],
    *,
    trials: int = 3,
    tolerance: float | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Points may change places, and edges theirs, without any effect but the same on outputs.

    Args:
        function: takes the inputs' tensors, returns a tensor or a sequence of tensors.
        inputs: tensors, and what their entries belong to; at least one to points.
        outputs: what each output's entries belong to.
        trials: random permutations.
        tolerance: relative error allowed; by default that of the outputs' precision.
        generator: source of randomness; one seeded with 0 by default.

    Raises:
        AssertionError: naming the trial and the output that failed, and its error.
    """
    generator = generator or torch.Generator().manual_seed(0)
    roles = [outputs] if isinstance(outputs, str) else list(outputs)
    expected = _as_list(function(*(values for values, _ in inputs)), len(roles))
    n_points = next(len(values) for values, role in inputs if role == "point")
    n_edges = next((v.shape[-1] for v, role in inputs if role == "edges"), 0)
    for trial in range(trials):
        points = torch.randperm(n_points, generator=generator)
        order = torch.randperm(n_edges, generator=generator)
        moved = [permute(values, role, points, order) for values, role in inputs]
        results = _as_list(function(*moved), len(roles))
        for number, (role, before, after) in enumerate(zip(roles, expected, results, strict=True)):
            what = f"permutation {trial}: output {number} ({role})"
            assert_near(after, permute(before, role, points, order), tolerance, what)


def assert_batch_independent(
    function: Callable[[list], Sequence[Tensor] | Tensor],
    items: Sequence,
    *,
    tolerance: float | None = None,
) -> None:
    """What comes out for an item doesn't depend on the others in its batch, nor on their order.

    Args:
        function: takes a list of items, returns a tensor for each of them.
        items: structures, say; of different sizes, if those are allowed.
        tolerance: relative error allowed; by default that of the results' precision.

    Raises:
        AssertionError: naming the item that failed, and its error.
    """
    together, backwards = function(list(items)), function(list(items)[::-1])
    for number, item in enumerate(items):
        alone = function([item])[0]
        assert_near(together[number], alone, tolerance, f"item {number} in the batch")
        reverse = backwards[len(items) - 1 - number]
        assert_near(reverse, alone, tolerance, f"item {number} in the reversed batch")


def assert_gradients(
    function: Callable,
    inputs: Sequence[Tensor],
    *,
    parameters: Sequence[Tensor] = (),
    tolerance: float = 1e-5,
) -> None:
    """Gradients agree with finite differences, for inputs and parameters.

    Args:
        function: takes the inputs, returns a tensor or a tuple of tensors.
        inputs: small tensors in float64; others than float64 are held fixed.
        parameters: what else to differentiate by, `list(module.parameters())`, say.
        tolerance: absolute and relative error allowed.

    Raises:
        AssertionError: naming the input and the entries that disagree.
        ValueError: if there is nothing in float64 to differentiate by.
    """
    varied = [
        values.detach().clone().requires_grad_() if values.dtype == torch.float64 else values
        for values in inputs
    ]
    leaves = [*parameters, *(values for values in varied if values.requires_grad)]
    if not leaves or any(leaf.dtype != torch.float64 for leaf in leaves):
        raise ValueError("finite differences need inputs and parameters in float64")

    def of_leaves(*_: Tensor) -> Tensor | tuple[Tensor, ...]:
        return function(*varied)

    try:
        gradcheck(of_leaves, leaves, atol=tolerance, rtol=tolerance)
    except GradcheckError as error:
        raise AssertionError(f"gradients disagree with finite differences: {error}") from error


def assert_near(
    actual: Tensor, expected: Tensor, tolerance: float | None = None, what: str = "result"
) -> None:
    """Largest deviation over largest expected value (or 1e-3, if that is smaller) is small.

    Raises:
        AssertionError: naming `what`, with the error and that which is allowed.
    """
    if actual.shape != expected.shape:
        raise AssertionError(
            f"{what} has shape {list(actual.shape)}, expected {list(expected.shape)}"
        )
    if not expected.is_floating_point():
        if not torch.equal(actual, expected):
            raise AssertionError(f"{what} differs in {int((actual != expected).sum())} entries")
        return
    allowed = TOLERANCE.get(expected.dtype, 1e-2) if tolerance is None else tolerance
    if not expected.numel():
        return
    size = max(float(expected.detach().abs().max()), 1e-3)
    error = float((actual - expected).detach().abs().max()) / size
    if not error <= allowed:
        raise AssertionError(f"{what} is off by {error:.2e} (relative), allowed {allowed:.0e}")


@contextmanager
def unchanged_global_state() -> Iterator[None]:
    """Asserts that a block leaves torch's global state as it was.

    That is default precision and device, gradient mode, random numbers, threads and
    deterministic algorithms.
    """
    before = _global_state()
    yield
    changed = [name for name, value in _global_state().items() if value != before[name]]
    assert not changed, f"global state of torch changed: {', '.join(changed)}"


def _as_list(result: Tensor | Sequence[Tensor], count: int) -> list[Tensor]:
    results = [result] if isinstance(result, Tensor) else list(result)
    if len(results) != count:
        raise ValueError(f"function returned {len(results)} tensors, expected {count}")
    return results


def _cases(
    trials: int, moves: bool, generator: torch.Generator
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, matrix and shift of each case."""
    one, still = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)

    def shift() -> Tensor:
        return 3 * torch.randn(3, dtype=torch.float64, generator=generator) if moves else still

    if moves:
        yield "translation", one, shift()
    yield "inversion", -one, still
    for trial in range(trials):
        for improper in (False, True):
            name = f"{'improper' if improper else 'proper'} rotation {trial}"
            matrix = random_orthogonal(generator, improper=improper)
            yield name + (" with translation" if moves else ""), matrix, shift()


def _global_state() -> dict[str, object]:
    return {
        "default precision": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "gradient mode": torch.is_grad_enabled(),
        "random numbers": torch.get_rng_state().numpy().tobytes(),
        "threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
    }
