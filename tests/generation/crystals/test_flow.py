"""The flow on crystals: what its velocity keeps, its skeletons, and its files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from e3nn import o3

from geomae.crystals.symmetry import space_group
from geomae.data.structure import Structure
from geomae.errors import CheckpointError
from geomae.generation.crystals.batch import Sites, joined
from geomae.generation.crystals.coupling import coupled
from geomae.generation.crystals.flow import CrystalFlow, load_crystal_flow
from geomae.generation.crystals.network import harmonics, symmetric
from geomae.generation.crystals.verify import symmetry_error
from geomae.wyckoff.skeletons import Positions

from .conftest import ELEMENTS, known_crystals

GROUPS = (225, 225, 186, 221, 136, 99, 152, 227, 1)


@pytest.fixture
def exact(flow):
    """The flow in float64."""
    copy = CrystalFlow(flow.config, flow.skeletons())
    copy.load_state_dict(flow.state_dict())
    return copy.double().eval()


def some_sites(crystals, batches) -> tuple[list, Sites]:
    templates = [batches.templates[int(row)] for row in crystals.skeleton]
    return templates, joined(templates, batches.elements, batches.volume)


def noise(flow, sites: Sites) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    normal = torch.randn(len(sites), 3, 3, generator=generator, dtype=torch.float64)
    uniform = torch.rand(len(sites.crystal), 3, generator=generator, dtype=torch.float64)
    return flow.strain_noise(sites, normal), flow.coordinate_noise(sites, uniform)


def made(crystals, batches, sites, coordinates, strains) -> list[Structure]:
    templates = [batches.templates[int(row)] for row in crystals.skeleton]
    atoms = sites.atoms(sites.points(coordinates)).split([t.n_atoms for t in templates])
    cells, kinds = sites.cells(strains), np.array(ELEMENTS)
    return [
        Structure(kinds[own[t.member]][t.owner], x @ cell, cell=cell)
        for t, own, x, cell in zip(templates, batches.elements, atoms, cells, strict=True)
    ]


def test_data_keep_their_groups(crystals, batches):
    """Crystals that are put together of their skeletons are those that were taken apart."""
    batch = batches.batch(range(len(crystals)))
    _, sites = some_sites(crystals, batches)
    again = made(crystals, batches, sites, batch.coordinates.double(), batch.strains.double())
    for own, given, number in zip(again, known_crystals(), GROUPS, strict=True):
        assert space_group(own, 1e-3) == number
        volume, small = given.cell[0].det().abs(), own.cell[0].det().abs()
        assert float(volume / small) == pytest.approx(given.n_atoms / own.n_atoms, rel=1e-4)


def test_noise_and_velocity_keep_the_group_exactly(exact, crystals, batches):
    templates, sites = some_sites(crystals, batches)
    strains, coordinates = noise(exact, sites)
    times = torch.full((len(sites),), 0.3, dtype=torch.float64)
    moved, ends = (x.detach() for x in exact.velocity(sites, coordinates, strains, times))
    assert float(moved.abs().max()) > 1e-4
    after = sites.coordinates(sites.points(coordinates) + moved)
    for structure, template in zip(
        made(crystals, batches, sites, after, ends), templates, strict=True
    ):
        assert symmetry_error(structure, template) < 1e-12


@pytest.mark.parametrize("sign", [1, -1])
def test_velocity_turns_with_the_crystal(exact, crystals, batches, sign):
    _, sites = some_sites(crystals, batches)
    strains, coordinates = noise(exact, sites)
    times = torch.full((len(sites),), 0.4, dtype=torch.float64)
    turn = sign * o3.rand_matrix(dtype=torch.float64)
    moved, ends = exact.velocity(sites, coordinates, strains, times)
    pair = torch.einsum("ij,kl->ikjl", turn.T, turn.T).reshape(9, 9)
    turned = replace(sites, frame=sites.frame @ turn, strain=pair @ sites.strain @ pair.T)
    other, others = exact.velocity(turned, coordinates, turn.T @ strains @ turn, times)
    torch.testing.assert_close(other, moved, atol=1e-10, rtol=0)
    torch.testing.assert_close(others, turn.T @ ends @ turn, atol=1e-10, rtol=0)


def test_velocity_does_not_see_the_cell_or_the_origin(exact, crystals, batches):
    """Whole numbers added to places, and another basis of the same lattice, change nothing."""
    _, sites = some_sites(crystals, batches)
    strains, coordinates = noise(exact, sites)
    times = torch.full((len(sites),), 0.4, dtype=torch.float64)
    moved, ends = exact.velocity(sites, coordinates, strains, times)
    change = torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    turn = torch.linalg.inv(change).T
    shift = torch.tensor([0.2, 0.1, -0.3], dtype=torch.float64)
    translations = sites.rotations @ shift
    other = replace(
        sites,
        frame=change @ sites.frame,
        basis=sites.basis @ turn.T,
        inverse=change.T @ sites.inverse,
        fixed=(sites.fixed + shift) @ turn.T,
        free=turn @ sites.free @ change.T,
        rotations=turn @ sites.rotations @ change.T,
        shifts=(sites.shifts + shift - translations) @ turn.T,
        polar=turn @ sites.polar @ change.T,
    )
    again, others = exact.velocity(other, coordinates, strains, times)
    torch.testing.assert_close(again, moved @ turn.T, atol=1e-9, rtol=0)
    torch.testing.assert_close(others, ends, atol=1e-9, rtol=0)


def test_velocity_does_not_see_the_order(exact, crystals, batches):
    templates = [batches.templates[int(row)] for row in crystals.skeleton]
    sites = joined(templates, batches.elements, batches.volume)
    back = joined(templates[::-1], batches.elements[::-1], batches.volume)
    strains, coordinates = noise(exact, sites)
    times = torch.full((len(sites),), 0.4, dtype=torch.float64)
    sizes = [len(t.size) for t in templates]
    moved, ends = exact.velocity(sites, coordinates, strains, times)
    turned = torch.cat(coordinates.split(sizes)[::-1])
    other, others = exact.velocity(back, turned, strains.flip(0), times)
    torch.testing.assert_close(torch.cat(other.split(sizes[::-1])[::-1]), moved)
    torch.testing.assert_close(others.flip(0), ends)


def test_harmonics_and_symmetric_matrices_turn_alike(rng):
    turn = torch.from_numpy(np.linalg.qr(rng.normal(size=(3, 3)))[0])
    direction = torch.from_numpy(rng.normal(size=(5, 3)))
    direction = direction / direction.norm(dim=1, keepdim=True)
    zero = torch.zeros(5, 1, dtype=torch.float64)
    first = symmetric(torch.cat([harmonics(direction)[:, 3:], zero], 1))
    then = symmetric(torch.cat([harmonics(direction @ turn)[:, 3:], zero], 1))
    torch.testing.assert_close(then, turn.T @ first @ turn)


def test_coupling_tells_the_same_crystal(crystals, batches, rng):
    templates, sites = some_sites(crystals, batches)
    batch = batches.batch(range(len(crystals)))
    coordinates = batch.coordinates.double().numpy()
    start = rng.random(coordinates.shape) * (sites.basis.numpy() != 0).any(2)
    told = coupled(templates, coordinates, start)

    def far(y):
        return np.square(y - start - np.round(y - start)).sum()

    assert far(told) < far(coordinates)
    strains = batch.strains.double()
    pairs = [
        made(crystals, batches, sites, torch.from_numpy(y), strains) for y in (coordinates, told)
    ]
    for one, other in zip(*pairs, strict=True):
        gaps = one.positions[:, None] - other.positions
        fractions = gaps @ torch.linalg.inv(one.cell[0])
        near = ((fractions - fractions.round()) @ one.cell[0]).norm(dim=2)
        unlike = one.numbers[:, None] != other.numbers
        assert float(near.masked_fill(unlike, 9.0).min(1).values.max()) < 1e-6


def test_arranged_crystals_do_not_depend_on_the_cell():
    spinel = known_crystals()[7]
    shift = torch.tensor([0.3, 0.1, 0.2], dtype=torch.float64)
    double = Structure(
        spinel.numbers.repeat(2),
        torch.cat([spinel.positions, spinel.positions + spinel.cell[0, 0]]) + shift,
        cell=spinel.cell[0] * torch.tensor([[2.0], [1], [1]], dtype=torch.float64),
    )
    one, other = Positions().arranged(spinel, 0.01), Positions().arranged(double, 0.01)
    assert one is not None and other is not None
    assert one.n_atoms == other.n_atoms == 14
    assert sorted(one.elements) == sorted(other.elements) == [8, 12, 22]
    np.testing.assert_allclose(one.metric, other.metric, atol=1e-5)


def test_loss_falls(flow, batches):
    copy = CrystalFlow(flow.config, flow.skeletons())
    optimiser = torch.optim.Adam(copy.parameters(), 3e-3)
    losses = []
    for step in range(30):
        generator = torch.Generator().manual_seed(step % 3)
        loss = copy.loss(batches(step % 3), generator)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_a_file_gives_the_flow_back(flow, tmp_path):
    flow.save(tmp_path / "flow.safetensors")
    again = load_crystal_flow(tmp_path / "flow.safetensors")
    assert all(
        torch.equal(a, b) for a, b in zip(flow.parameters(), again.parameters(), strict=True)
    )
    assert len(again.templates) == len(flow.templates)


def test_other_files_are_refused():
    with pytest.raises(CheckpointError):
        load_crystal_flow("qm9")
