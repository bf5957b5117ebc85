"""Order parameters: by group theory, by gradient, all equivalent ones, and bad input."""

import pytest
import torch

from geomae.data import Structure
from geomae.equivariant import spherical_harmonics
from geomae.equivariant.network import PointNetwork
from geomae.errors import GeomaeError, StructureError
from geomae.symmetry import GroupError, PointGroup, PropertyError
from geomae.symmetry.actions import action_of, displacements
from geomae.symmetry.detect import point_group
from geomae.symmetry.identify import identify
from geomae.symmetry.isotypic import pieces
from geomae.symmetry.learning import Learning
from geomae.symmetry.order import OrderError, kept_by, order_parameters
from geomae.testing import random_orthogonal, wigner_matrix

CORNERS = torch.tensor([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]], dtype=torch.float64)
SQUARE = Structure([1] * 4, CORNERS)
RECTANGLE = Structure([1] * 4, CORNERS * torch.tensor([1.3, 0.7, 1.0]).double())
SEVERAL = "1x0e + 1x1o + 1x1e + 1x2e + 1x3o + 1x4e"
OCTAHEDRON = Structure([22, *[8] * 6], torch.cat([torch.zeros(1, 3), torch.eye(3), -torch.eye(3)]))


def test_square_to_rectangle_by_group_theory():
    found = order_parameters(SQUARE, RECTANGLE, SEVERAL)
    assert (found.group, found.subgroup, found.n_solutions) == ("D4h", "D2h", 2)
    assert [(one.kind, one.irrep) for one in found.components] == [("2e", "B1g"), ("4e", "B1g")]
    assert all(one.sufficient and one.isotropy == "D2h" for one in found.components)
    # along x and along y the same with opposite signs, along z nothing: x2 - y2
    axes = spherical_harmonics(2, torch.eye(3).double())[:, 4:]
    along = axes @ found.components[0].basis[0, 0, 7:12]
    assert torch.allclose(along, along[0] * torch.tensor([1.0, -1, 0]).double(), atol=1e-12)
    assert along[0].abs() > 0.5


@pytest.mark.parametrize(
    ("end", "subgroup", "n_solutions", "irrep"),
    [
        ([0.0, 0, 1], "C4v", 6, "T1u"),
        ([1.0, 1, 1], "C3v", 8, "T1u"),
        ([1.0, 1, 0], "C2v", 12, "T1u"),
        ([1.0, 2, 0], "Cs", 24, "T1u"),
        ([1.0, 2, 3.5], "C1", 48, "T1u"),
    ],
)
def test_number_of_solutions_is_that_of_cosets(end, subgroup, n_solutions, irrep):
    moves = torch.zeros(7, 3, dtype=torch.float64)
    moves[0] = torch.tensor(end)
    found = order_parameters(OCTAHEDRON, moves, "1x1o")
    assert (found.group, found.subgroup, found.n_solutions) == ("Oh", subgroup, n_solutions)
    assert found.minimal[0].irrep == irrep
    solutions = found.solutions()
    assert len(solutions) == n_solutions
    assert len(torch.unique(solutions.targets.round(decimals=8), dim=0)) == n_solutions
    kept = identify(found.action.matrices[found.kept])
    assert kept.name == subgroup
    assert len(point_group(OCTAHEDRON).cosets(kept)) == n_solutions
    # solutions of order parameter and target belong together
    for breaker, target in zip(solutions.breakers, solutions.targets, strict=True):
        left = kept_by(found.action, breaker, "1x1o", "shared")
        assert torch.equal(left, kept_by(found.action, target, "1x1o", "atoms"))
        assert int(left.sum()) * n_solutions == 48


def test_two_irreps_where_one_breaks_too_little():
    angles = torch.arange(3).double() * 2 * torch.pi / 3
    ring = torch.stack([angles.cos(), angles.sin(), 0.8 + 0 * angles], 1)
    prism = Structure([1] * 6, torch.cat([ring, ring * torch.tensor([1.0, 1, -1])]))
    target = torch.eye(6, dtype=torch.float64)[:, :1]
    found = order_parameters(prism, target, "1x1o", target_irreps="1x0e")
    assert (found.group, found.subgroup, found.n_solutions) == ("D3h", "Cs", 6)
    assert {one.irrep for one in found.minimal} == {"A2''", "E'"}
    assert not any(one.sufficient for one in found.components)
    assert torch.equal(kept_by(found.action, found.breaker, "1x1o", "shared"), found.kept)
    assert torch.equal(found.solutions().targets[:, :, 0].sum(0), torch.ones(6).double())
    with_quadrupole = order_parameters(prism, target, "1x1o + 1x2e", target_irreps="1x0e")
    assert [(one.kind, one.irrep) for one in with_quadrupole.minimal] == [("2e", "E''")]


@pytest.mark.parametrize("start", [0.0, 0.05])
def test_learned_agrees_with_group_theory_in_any_orientation(start):
    matrix = random_orthogonal(torch.Generator().manual_seed(1), improper=False)
    square = Structure([1] * 4, CORNERS @ matrix.T)
    moves = displacements(SQUARE, RECTANGLE) @ matrix.T
    irreps = "1x1o + 1x1e + 1x2e + 1x2o"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"channels": 6, "lmax": 2, "layers": 1, "cutoff": 4.0, "n_neighbours": 3.0}
        model = PointNetwork(f"1x0e + {irreps}", "1x1o", **sizes).double()

    def output(values: torch.Tensor) -> torch.Tensor:
        features = torch.cat([values.new_ones(4, 1), values.expand(4, -1)], 1)
        return model(features, square.positions)

    found = order_parameters(
        square,
        moves,
        irreps,
        model=output,
        parameters=model.parameters(),
        learning=Learning(steps=60, start=start, rate=1e-2),
    )
    assert found.agree, found.disagreements
    # which of the two conjugate irreps it is, the choice of axes decides
    assert {part.kind for part in found.learned.active} == {"2e"}
    assert {part.irrep for part in found.learned.active} <= {"B1g", "B2g"}
    assert found.learned.loss < 1e-3 < 0.99 < found.learned.loss_without
    outside = found.learned.breaker.clone()
    outside[:, 6:11] = 0
    assert float(outside.abs().max()) == 0
    # each equivalent order parameter leads to its own solution
    solutions = found.solutions()
    for breaker, target in zip(solutions.breakers, solutions.targets, strict=True):
        error = (output(breaker) - target).detach().abs().max()
        assert float(error) < 0.1 * float(moves.abs().max())


def test_disagreement_is_noticed():
    def model(values: torch.Tensor) -> torch.Tensor:
        # not equivariant: a vector along z counts as much as anything
        return displacements(SQUARE, RECTANGLE) * (values[0, 2] + values[0, 5])

    found = order_parameters(
        SQUARE, RECTANGLE, "1x1o + 1x2e", model=model, learning=Learning(steps=40)
    )
    assert found.agree is False
    assert any("1o" in fault for fault in found.disagreements)


def test_crystal_in_a_supercell_counts_its_translations():
    cell = 4 * torch.eye(3).double()
    chain = Structure([26, 26], torch.tensor([[0.0, 0, 0], [4.0, 0, 0]]), cell=torch.diag(
        torch.tensor([2.0, 1, 1]).double()) @ cell)  # fmt: skip
    action = action_of(chain)
    assert len(action) == 32
    moments = torch.tensor([[0.0, 0, 1], [0, 0, -1]]).double()
    found = order_parameters(chain, moments, "1x1e", sites="atoms", target_irreps="1x1e")
    # up and down along z or y alternating along x: the moments' direction and the phase
    assert found.n_solutions == 4
    assert found.minimal[0].kind == "1e"
    reversed_moments = found.solutions().targets
    assert any(torch.allclose(one, -moments) for one in reversed_moments)


def test_sites_have_to_be_whole_orbits():
    action = action_of(OCTAHEDRON)
    assert action.sites([1, 2, 3, 4, 5, 6]).shape == (48, 6)
    with pytest.raises(GroupError, match="no whole orbits of Oh"):
        action.sites([1, 2])
    with pytest.raises(PropertyError, match="atoms 0 to 6"):
        action.sites([9])
    with pytest.raises(PropertyError, match="expected values"):
        action.apply(torch.zeros(7, 2).double(), "1x1o", "atoms")


def test_representation_is_one():
    action = action_of(OCTAHEDRON)
    matrices = action.representation("1x1o + 1x2e", "atoms")
    products = matrices[5] @ matrices
    gaps = (products[:, None] - matrices).abs().amax((2, 3)).amin(1)
    assert float(gaps.max()) < 1e-9
    values = torch.randn(7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    by_matrix = (matrices @ values.flatten()).view(-1, 7, 8)
    assert torch.allclose(by_matrix, action.apply(values, "1x1o + 1x2e", "atoms"), atol=1e-12)
    one = action.matrices[7]
    turned = values @ wigner_matrix("1x1o + 1x2e", one).T
    assert torch.allclose(by_matrix[7][action.places[7]], turned, atol=1e-12)


def test_pieces_are_those_of_the_character_table():
    group = PointGroup.named("D4h")
    action = action_of(SQUARE)
    for irreps in ("1x2e", "1x3o", "1x1e"):
        found = pieces(action.representation(irreps), action.group.name_of)
        assert {one.irrep: one.copies for one in found} == group.decompose(irreps)
        total = sum(one.projector for one in found)
        assert torch.allclose(total, torch.eye(len(total)).double(), atol=1e-10)


def test_says_what_is_wrong_and_what_would_be_right():
    with pytest.raises(OrderError, match=r"target \(D4h, 16.*more symmetric than the input \(D2h"):
        order_parameters(RECTANGLE, SQUARE, "1x2e")
    smaller = Structure([1] * 4, 0.9 * CORNERS)
    with pytest.raises(OrderError, match="keeps all 16 operations"):
        order_parameters(SQUARE, smaller, "1x2e")
    with pytest.raises(OrderError, match="1x2e would do"):
        order_parameters(SQUARE, RECTANGLE, "1x1o + 1x1e")
    with pytest.raises(PropertyError, match="in the same order"):
        order_parameters(SQUARE, Structure([1, 1, 1, 2], CORNERS), "1x2e")
    line = Structure([6, 8, 8], [[0.0, 0, 0], [0, 0, 1.2], [0, 0, -1.2]])
    with pytest.raises(OrderError, match="infinite"):
        order_parameters(line, torch.eye(3, dtype=torch.float64), "1x1o")
    with pytest.raises(PropertyError, match="expected values"):
        order_parameters(SQUARE, torch.zeros(3, 3).double(), "1x1o")
    with pytest.raises(GeomaeError, match="penalty must not be below 0"):
        Learning(penalty=-1.0)
    slab = Structure([6], [[0.0, 0, 0]], cell=torch.eye(3), pbc=[True, True, False])
    with pytest.raises(StructureError, match="periodic along all three"):
        action_of(slab)


def test_printed_table_names_groups_and_irreps():
    from rich.console import Console

    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(order_parameters(SQUARE, RECTANGLE, SEVERAL))
    text = capture.get()
    assert "D4h (16 operations) to D2h (8): 2 equivalent solutions" in text
    assert "B1g" in text
