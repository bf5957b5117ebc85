"""Predicted matrices between orbitals turn with the molecule and vanish where symmetry says so."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch

from geomae.data import Structure
from geomae.symmetry import allowed, orbital_block
from geomae.symmetry.hamiltonian import HamiltonianNetwork
from geomae.symmetry.shells import BlockKind, ShellBasis, ShellError
from geomae.testing import random_molecule, random_orthogonal, unchanged_global_state

SHELLS = {1: (0, 1), 6: (0, 0, 1, 2), 8: (0, 1)}
FOLDER = Path(__file__).parents[2] / "datasets" / "hamiltonians"


def network(shells=SHELLS, **options) -> HamiltonianNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return HamiltonianNetwork(shells, **{"channels": 4, "cutoff": 6.0, **options}).double()


def molecule(seed: int = 0) -> Structure:
    generator = torch.Generator().manual_seed(seed)
    return random_molecule(generator, n_atoms=5, numbers=(1, 6, 8))


def water() -> Structure:
    # in the yz plane, z the twofold axis
    return Structure([8, 1, 1], [[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])


@pytest.mark.parametrize("improper", [False, True])
def test_matrices_with_s_p_and_d_turn_with_the_molecule(improper):
    model, structure = network(n_operators=2).requires_grad_(False), molecule()
    turn = random_orthogonal(torch.Generator().manual_seed(3), improper=improper)
    shift = torch.tensor([1.0, -2.0, 0.5]).double()
    with unchanged_global_state():
        before = model(structure.numbers, structure.positions)[0]
        after = model(structure.numbers, structure.positions @ turn.T + shift)[0]
    rotation = model.shells.rotation(structure.numbers, turn)
    assert float((after - rotation @ before @ rotation.T).abs().max()) < 1e-10
    assert float((after - before).abs().max()) > 1e-2
    assert torch.equal(before, before.mT)


def test_order_of_atoms_and_company_in_a_batch_do_not_matter():
    model, first, second = network(), molecule(1), molecule(2)
    alone = model(first.numbers, first.positions)[0]
    numbers, positions = (
        torch.cat([getattr(one, name) for one in (second, first)])
        for name in ("numbers", "positions")
    )
    both = model(numbers, positions, torch.tensor([0] * 5 + [1] * 5))
    assert torch.allclose(both[1], alone, atol=1e-12)
    order = torch.tensor([3, 0, 4, 1, 2])
    places = model.shells.places(first.numbers)
    index = torch.cat(
        [torch.arange(part.start, part.stop) for atom in order for part in places[atom]]
    )
    moved = model(first.numbers[order], first.positions[order])[0]
    assert torch.allclose(moved, alone[:, index][:, :, index], atol=1e-12)


def test_antisymmetric_part_between_different_p_shells_is_within_reach():
    # a pseudovector: forbidden if features had natural parity only
    model, structure = network({1: (1,), 6: (1,), 8: (1,)}).requires_grad_(False), molecule()
    block = model(structure.numbers, structure.positions)[0][0]
    numbers = structure.numbers.tolist()
    i, j = next((i, j) for i in range(5) for j in range(5) if numbers[i] != numbers[j])
    part = block[3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
    assert float((part - part.T).abs().max()) > 1e-4


@pytest.mark.parametrize("structure", [water(), Structure([6, 8, 1, 1], [
    [0, 0, -0.53], [0, 0, 0.68], [0, 0.93, -1.12], [0, -0.93, -1.12]])])  # fmt: skip
def test_forbidden_elements_are_zero_as_allowed_says(structure):
    model = network()
    matrix = model(structure.numbers, structure.positions)[0][0].detach()
    places, found = model.shells.places(structure.numbers), 0
    for i, j in [(i, j) for i in range(structure.n_atoms) for j in range(structure.n_atoms)]:
        for a, rows in enumerate(places[i]):
            for b, columns in enumerate(places[j]):
                degrees = [model.shells.shells[int(structure.numbers[k])] for k in (i, j)]
                same = degrees[0] == degrees[1] and a == b
                block = orbital_block(degrees[0][a], degrees[1][b], atoms=(i, j), same_shell=same)
                basis = allowed(structure, block).block_basis.flatten(1)
                values = matrix[rows, columns].flatten()
                rest = values - basis.T @ (basis @ values)
                assert float(rest.abs().max()) < 1e-12
                found += len(values) - len(basis)
    assert found > 10


def test_out_of_plane_orbital_of_water_stays_alone():
    model = network({1: (0,), 8: (0, 0, 1)})
    structure = water()
    matrix = model(structure.numbers, structure.positions)[0][0].detach()
    assert float(matrix[2, [0, 1, 3, 4, 5, 6]].abs().max()) < 1e-12
    # the twofold axis keeps s and p_z apart from p_y, not from each other
    assert float(matrix[[0, 1, 4], 3].abs().max()) < 1e-12
    assert float(matrix[1, 4].abs()) > 1e-4


def test_recoupling_is_orthogonal_and_turns():
    kind = BlockKind((0, 1, 2), (1, 2))
    values = torch.randn(3, kind.irreps.dim, generator=torch.Generator().manual_seed(0)).double()
    blocks = kind.to_matrices(values)
    assert torch.allclose(kind.to_irreps(blocks), values, atol=1e-12)
    assert torch.allclose(blocks.flatten(1).norm(dim=1), values.norm(dim=1), atol=1e-12)


def test_bad_input_is_named():
    with pytest.raises(ShellError, match=r"elements \[9\]"):
        network()(torch.tensor([9, 1]), torch.eye(3).double()[:2])
    with pytest.raises(ShellError, match="at least one element"):
        ShellBasis({})
    with pytest.raises(ShellError, match="element 6"):
        ShellBasis({6: ()})
    with pytest.raises(ValueError, match="channels must be above 0"):
        network(channels=0)
    model, one = network(), water()
    hidden = model.hidden(one.numbers, one.positions)
    with pytest.raises(ShellError, match="expected matrices of shapes"):
        model.solve_readout(hidden, [torch.zeros(1, 3, 3).double()])


def test_forces_can_be_had():
    model, one = network(), water()
    positions = one.positions.clone().requires_grad_()
    model(one.numbers, positions)[0].square().sum().backward()
    assert bool(positions.grad.isfinite().all()) and float(positions.grad.norm()) > 0


@pytest.fixture(scope="module")
def build():
    spec = spec_from_file_location("build_hamiltonians", FOLDER / "build.py")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_files_are_what_the_builder_makes(build):
    pytest.importorskip("pyscf")
    for basis in build.BASES:
        stored = np.load(FOLDER / f"{basis}.npz")
        for number, name in ((0, "H2O"), (3, "HCN")):
            structure = build.geometries(name, number + 1, 0)[number]
            assert np.allclose(stored[f"{name}/positions"][number], structure.positions, atol=1e-12)
            fock, overlap = build.matrices_of(structure, basis)
            upper = np.triu_indices(len(fock))
            assert np.abs(stored[f"{name}/fock"][number] - fock[upper]).max() < 1e-6
            assert np.abs(stored[f"{name}/overlap"][number] - overlap[upper]).max() < 1e-10


def test_matrices_of_pyscf_turn_as_the_shells_say(build):
    pytest.importorskip("pyscf")
    structure = build.geometries("H2O", 2, 0)[1]
    basis = ShellBasis({z: build.shells_of(z, "6-31g*") for z in (1, 8)})
    assert basis.shells[8] == (0, 0, 0, 1, 1, 2)
    turn = random_orthogonal(torch.Generator().manual_seed(1), improper=True)
    turned = Structure(structure.numbers, structure.positions @ turn.T)
    rotation = basis.rotation(structure.numbers, turn).numpy()
    before, after = (build.matrices_of(one, "6-31g*") for one in (structure, turned))
    assert np.abs(rotation @ before @ rotation.T - after).max() < 1e-8


@pytest.fixture(scope="module")
def example():
    path = Path(__file__).parents[2] / "examples" / "13_hamiltonian.py"
    spec = spec_from_file_location("example_13_hamiltonian", path)
    module = module_from_spec(spec)
    # dataclasses look their module up
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_learned_in_one_orientation_right_in_every_other(example):
    data = example.load("sto-3g")
    model = example.train(data, 12, 12)
    plain = example.errors(data.held_out, example.guess_of_means(data, data.held_out))
    learned = example.errors(data.held_out, example.predict(model, data.held_out))
    # the mean matrix of each molecule is off by far more
    assert learned.fock < plain.fock / 3
    assert learned.overlap < plain.overlap / 20
    assert learned.all < plain.all
    for improper in (False, True):
        turn = random_orthogonal(torch.Generator().manual_seed(4), improper=improper)
        turned = [one.moved(turn, data.shells) for one in data.held_out]
        again = example.errors(turned, example.predict(model, turned))
        assert again.fock == pytest.approx(learned.fock, abs=1e-8)
        assert again.occupied == pytest.approx(learned.occupied, abs=1e-8)
        assert example.turning_error(model, data.held_out, turn) < 1e-10
    water = example.ideal(data, "H2O")
    fock = model(water.numbers, water.positions)[0][0].detach()
    mixed = example.mixing(data.shells, water, fock)
    assert set(mixed) == {"A1-B1", "A1-B2", "B1-B2"} and max(mixed.values()) < 1e-12
    for name in ("NH3", "CH4", "H2CO"):
        structure = example.ideal(data, name)
        fock = model(structure.numbers, structure.positions)[0][0].detach()
        count, worst = example.forbidden(data.shells, structure, fock)
        assert count > 10 and worst < 1e-12
