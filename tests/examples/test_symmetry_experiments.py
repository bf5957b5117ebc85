"""The experiments of symmetry, with their outcomes."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def square() -> ModuleType:
    return load("04_square_and_rectangle")


def test_rectangle_becomes_a_square(square):
    nothing = torch.zeros(square.dim(square.LMAX), dtype=torch.float64)
    result = square.fit(square.RECTANGLE, nothing, 5)
    assert result.task.action.name == "D2h"
    assert result.loss < 1e-20
    for place, goal in zip(square.moved(result), result.task.goal, strict=True):
        assert torch.allclose(place, goal.expand(1, 3), atol=1e-6)


def test_square_stays_a_square(square):
    nothing = torch.zeros(square.dim(square.LMAX), dtype=torch.float64)
    result = square.fit(square.SQUARE, nothing, 5)
    assert result.task.action.name == "D4h"
    # seven twelfths of the signals are not as symmetric as the square
    assert result.loss == pytest.approx(7 / 12, abs=1e-9)
    assert result.floor == pytest.approx(7 / 12, abs=1e-9)
    assert result.asymmetry < 1e-12
    # both ways to a rectangle at once, equally strong
    assert [len(places) for places in square.moved(result)] == [2] * 4


def test_square_becomes_a_rectangle_with_x2_minus_y2(square):
    result = square.fit(square.SQUARE, square.x2_minus_y2(), 5)
    assert result.loss < 1e-20
    for place, goal in zip(square.moved(result), result.task.goal, strict=True):
        assert torch.allclose(place, goal.expand(1, 3), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("start", [0.0, 0.1])
def test_order_parameter_of_the_square_is_learned(square, start):
    found = square.learn(80, start)
    learned = found.learned
    assert found.agree
    assert {(part.kind, part.irrep) for part in learned.active} <= {("2e", "B1g"), ("4e", "B1g")}
    assert learned.loss < 1e-2 < 0.5 < learned.loss_without
    values = learned.breaker[0]
    both = torch.stack([square.x2_minus_y2(), square.higher_x2_minus_y2()])
    rest = values - both.T @ (both @ values)
    assert float(rest.norm()) < 1e-12 * float(values.norm())
    if not start:
        assert {part.kind for part in learned.active} == {"2e", "4e"}


@pytest.fixture(scope="module")
def octahedron() -> ModuleType:
    return load("05_octahedron")


def test_cubic_crystal_alone_gives_all_six_at_once(octahedron):
    nothing, found = 0 * octahedron.UP, octahedron.order()
    assert (found.group, found.subgroup, found.n_solutions) == ("Pm-3m", "C4v", 6)
    assert [one.irrep for one in found.minimal] == ["T1u"]
    model = octahedron.train(nothing, 5)
    prediction = octahedron.predict(model, nothing, octahedron.moves_up())
    assert float(prediction.moves.abs().max()) < 1e-14
    six = [octahedron.signals_of(moves) for moves in found.solutions(octahedron.UP).targets]
    assert torch.allclose(prediction.signals, torch.stack(six).mean(0), atol=1e-12)
    assert len(prediction.peaks) == 6
    assert float(prediction.peaks.max() - prediction.peaks.min()) < 1e-12


def test_each_vector_gives_one_of_six(octahedron):
    model = octahedron.train(octahedron.UP, 5)
    solutions = octahedron.order().solutions(octahedron.UP)
    assert len(solutions) == 6
    for vector, moves in zip(solutions.breakers, solutions.targets, strict=True):
        prediction = octahedron.predict(model, vector, moves)
        assert prediction.loss < 1e-20
        assert torch.allclose(prediction.moves, moves, atol=1e-9)


def test_symmetric_latent_needs_the_order_parameter(octahedron):
    solutions = octahedron.order().solutions(octahedron.UP)
    operations = octahedron.order().action.matrices[solutions.operations]
    goals = octahedron.octahedron(octahedron.TETRAGONAL_Z) @ operations.transpose(1, 2)
    plain, *decoded = octahedron.octahedra(5, solutions.breakers, goals)
    cubic = octahedron.octahedron(octahedron.CUBIC[:, 2])
    # it was asked for the tetragonal one, and gives something as symmetric as the cubic
    assert octahedron.distance(plain[1], cubic) < 1e-2
    assert plain[2] > 0.1
    lengths = plain[1][1:].norm(dim=1)
    assert float(lengths.max() - lengths.min()) < 1e-12
    assert float(plain[1][0].norm()) < 1e-12
    assert len(decoded) == 6
    assert all(error < 1e-6 for _, _, error in decoded)


@pytest.fixture(scope="module")
def prism() -> ModuleType:
    return load("06_prism_and_brick")


def test_one_vertex_of_a_prism(prism):
    result = prism.solve(prism.prism(), 3)
    assert (result.order.group, result.order.subgroup) == ("D3h", "Cs")
    assert result.order.n_solutions == 6
    # all six vertices at once: a sixth each, the rest is lost
    assert torch.allclose(result.output, torch.full((6, 1), 1 / 6).double(), atol=1e-9)
    assert result.loss == pytest.approx(5 / 6, abs=1e-9)
    assert len(result.losses) == 6
    assert max(result.losses) < 1e-11
    chosen = torch.stack([values[:, 0].argmax() for values in result.outputs])
    assert sorted(chosen.tolist()) == [0, 1, 2, 3, 4, 5]


def test_brick_and_square_prism(prism):
    there, back = prism.bricks()
    easy = prism.solve(there, 3)
    assert easy.order is None
    assert easy.loss < 1e-20
    hard = prism.solve(back, 3)
    assert (hard.order.group, hard.order.subgroup, hard.order.n_solutions) == ("D4h", "D2h", 2)
    assert [one.irrep for one in hard.order.minimal] == ["B1g"]
    assert hard.loss > 0.5
    assert max(hard.losses) < 1e-20


def test_chiral_property_needs_a_chiral_molecule():
    example = load("07_handedness")
    structures = example.molecules()
    answers = example.ask(example.train(structures[:3], 3), structures)
    chiral = [one for one in answers if one.chiral]
    assert [one.name for one in chiral] == ["CHFClBr", "H2O2", "N2H4"]
    for one in chiral:
        assert one.value == pytest.approx(1, abs=1e-6)
        assert one.mirrored == pytest.approx(-1, abs=1e-6)
    achiral = [one for one in answers if not one.chiral]
    assert {"Td", "D6h", "Cs", "Ci", "S4"} <= {one.group for one in achiral}
    assert max(abs(one.value) for one in achiral) < 1e-10


def test_predictions_rotate():
    example = load("08_predictions_rotate")
    data = example.data_of(example.MOLECULES[:6], 1, 0)
    model = example.train(data, 5)
    held_out = example.data_of(example.MOLECULES[:2], 1, example.HELD_OUT)
    plain = example.errors(model, held_out)
    generator = torch.Generator().manual_seed(0)
    for improper in (False, True):
        matrix = example.random_orthogonal(generator, improper=improper)
        moved = held_out.moved(matrix)
        assert example.errors(model, moved) == pytest.approx(plain, abs=1e-12)
        forces, dipoles = model(held_out.structures)
        turned = model(moved.structures)
        assert torch.allclose(turned[0], forces @ matrix.T, atol=1e-12)
        assert torch.allclose(turned[1], dipoles @ matrix.T, atol=1e-12)
    assert example.audited(model, held_out.structures).passed


@pytest.mark.slow
def test_forces_and_dipoles_are_learned():
    example = load("08_predictions_rotate")
    data = example.data_of(example.MOLECULES, 2, 0)
    held_out = example.data_of(example.MOLECULES, 1, example.HELD_OUT)
    before, after = (example.errors(example.train(data, steps), held_out) for steps in (1, 50))
    assert after[0] < 0.7 * before[0]
    assert after[1] < 0.5 and after[1] < before[1]


def test_any_cell_gives_the_same_values_an_atom():
    example = load("08_predictions_rotate")
    cells = example.cells()
    reference, _ = example.per_atom(cells["primitive"])
    assert float(reference.abs().amax(0).min()) > 1e-6
    for cell, n_atoms in ((cells["conventional"], 8), (cells["skew supercell"], 12)):
        values, order = example.per_atom(cell)
        assert len(order) == n_atoms
        assert torch.allclose(values, reference[order], atol=1e-12)


@pytest.mark.slow
def test_perovskite_tilts():
    example = load("09_perovskite")
    structure, moves = example.crystals()
    assert structure.formula == "Ca4O12Ti4"
    assert example.space_group(structure, 1e-3).number == 221
    tilted = example.Structure(structure.numbers, structure.positions + moves, cell=structure.cell)
    assert example.space_group(tilted, 1e-3).number == 62
    found, model = example.learn(30)
    assert (len(found.action), found.n_solutions) == (64, 8)
    assert found.agree, found.disagreements
    squares = dict.fromkeys(("1e", "1o", "2e", "2o", "0o"), 0.0)
    for part in found.learned.active:
        squares[part.kind] += part.size**2
    assert squares["1e"] > 0.5 * sum(squares.values())
    assert squares["1o"] == squares["2o"] == squares["0o"] == 0
    plain, learned, *alone = example.results(found, model)
    assert (plain.number, learned.number) == (221, 62)
    assert plain.loss == pytest.approx(1)
    assert learned.loss < 1e-12
    assert {one.number for one in alone} == {74, 127}
    assert all(one.loss > 0.1 for one in alone)
