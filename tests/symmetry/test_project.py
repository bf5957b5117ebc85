"""What is invariant: of features, signals, latents, structures; completing missing values."""

import pytest
import torch
from ase.spacegroup import crystal

from geomae.autoencoder import Latents
from geomae.data import Structure, as_structures
from geomae.symmetry import (
    GroupError,
    PointGroup,
    PropertyError,
    complete,
    point_group,
    project,
    projector,
    space_group,
    symmetrise,
)
from geomae.symmetry.properties import TENSORS
from geomae.testing import random_orthogonal
from tests.symmetry.molecules import molecules

MOLECULES = {name: structure for name, (structure, _) in molecules().items()}


def rattled(structure: Structure, size: float, seed: int = 0) -> Structure:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(structure.n_atoms, 3, dtype=torch.float64, generator=generator)
    other = structure.clone()
    other.positions = structure.positions + size * (2 * noise - 1)
    return other


@pytest.mark.parametrize("name", ["Cs", "C5v", "S4", "D3d", "Oh", "Ih", "C∞v", "D∞h", "K", "Kh"])
def test_projectors_project_on_what_operations_leave(name):
    group = PointGroup.named(name).conjugate(random_orthogonal())
    irreps = "2x0e + 1x0o + 1x1e + 1x2e + 1x3o + 1x6e"
    matrix = projector(group, irreps)
    assert float((matrix @ matrix - matrix).abs().max()) < 1e-13
    moved = group.matrices(irreps) @ matrix
    assert float((moved - matrix).abs().max()) < 1e-12
    assert round(float(matrix.trace())) == sum(
        count for irrep, count in group.decompose(irreps).items() if irrep == group.irreps[0].name
    )


def test_infinite_groups_are_not_fooled_by_high_degrees():
    assert float(projector("Kh", "1x6e").abs().max()) == 0
    assert round(float(projector("C∞v", "1x31o").trace())) == 1


def test_features_signals_and_latents_are_projected():
    generator = torch.Generator().manual_seed(0)
    group = PointGroup.named("D3").conjugate(random_orthogonal(generator))
    features = torch.randn(4, 25, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    kept = project(features, group)
    moved = torch.einsum("gij,njc->gnic", group.matrices(4), kept)
    assert float((moved - kept).detach().abs().max()) < 1e-12
    assert float((project(features[0, :, 0], group) - kept[0, :, 0]).detach().abs().max()) < 1e-13
    kept.square().sum().backward()
    assert features.grad is not None
    latent = Latents(features.detach(), torch.zeros(4, 3))
    assert float((project(latent, group).array - kept).detach().abs().max()) < 1e-13
    assert project(latent, group).rotate(group.operations[2]).array.allclose(kept)
    flat = torch.randn(5, 4, dtype=torch.float64, generator=generator)
    assert project(flat, "Oh", "1x0e + 1x1o")[:, 1:].abs().max() < 1e-15


@pytest.mark.parametrize(
    "name",
    [
        "water",
        "benzene",
        "SF6",
        "PF5",
        "ferrocene, staggered",
        "cubane",
        "carbon dioxide",
        "hydrogen peroxide",
    ],
)
def test_symmetrised_molecules_are_symmetric_and_near(name):
    structure = MOLECULES[name]
    noisy = rattled(structure, 4e-3)
    made = symmetrise(noisy, tolerance=0.03)
    assert made.group.name == point_group(structure).name
    assert point_group(made.structure, 1e-9).name == made.group.name
    assert made.largest_move < 0.012
    assert float((made.structure.positions - noisy.positions).mean(0).abs().max()) < 1e-12
    # no small turn of the symmetric molecule comes nearer
    centred = made.structure.positions - made.structure.positions.mean(0)
    offset = noisy.positions - noisy.positions.mean(0) - centred
    assert float(torch.linalg.cross(centred, offset).sum(0).abs().max()) < 1e-6


def test_symmetrising_turns_with_the_molecule():
    noisy, matrix = rattled(MOLECULES["benzene"], 4e-3), random_orthogonal()
    other = noisy.clone()
    other.positions = noisy.positions @ matrix.T
    one, two = symmetrise(noisy, tolerance=0.03), symmetrise(other, tolerance=0.03)
    assert float((one.structure.positions @ matrix.T - two.structure.positions).abs().max()) < 1e-7


def test_a_group_can_be_imposed():
    noisy = rattled(MOLECULES["benzene"], 2e-3)
    assert symmetrise(noisy, "C2h", 0.05).group.name == "C2h"
    made = symmetrise(noisy, PointGroup.named("Cs"), 0.05)
    assert float(made.structure.positions[:, 2].diff().abs().max()) < 1e-12
    with pytest.raises(GroupError, match="is no subgroup"):
        symmetrise(noisy, "Td", 0.05)
    with pytest.raises(GroupError, match="does not fit"):
        symmetrise(noisy, PointGroup.named("Oh"), 0.05)


def test_symmetrised_crystals_are_exact():
    atoms = crystal(["Ti", "O"], [(0, 0, 0), (0.3053, 0.3053, 0)], spacegroup=136,
                    cellpar=[4.594, 4.594, 2.959, 90, 90, 90])  # fmt: skip
    structure = rattled(as_structures(atoms)[0], 2e-3)
    structure.cell = structure.cell + 1e-3 * torch.randn(
        1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    assert space_group(structure, 1e-4).number != 136
    made = symmetrise(structure, tolerance=0.05)
    assert space_group(made.structure, 1e-8).number == 136
    assert made.largest_move < 0.01 and 0 < made.strain < 2e-3
    assert made.number == 136 and symmetrise(structure, "D4h", 0.05).number == 136


def test_missing_components_of_a_tensor_are_filled_in():
    tensor, matrix = TENSORS["polarizability"], random_orthogonal()
    benzene = MOLECULES["benzene"].clone()
    benzene.positions = benzene.positions @ matrix.T
    true = torch.diag(torch.tensor([12.0, 12.0, 6.0], dtype=torch.float64))
    values = tensor.from_cartesian(matrix @ true @ matrix.T)
    mask = torch.tensor([True, True, False, False, False, False])
    found = complete(benzene, tensor.irreps, values.masked_fill(~mask, 99.0), mask)
    assert found.n_free == 0 and bool(found.determined.all())
    assert float((found.values - values).abs().max()) < 1e-9
    assert "nothing stays free" in str(found)
    mask[1] = False
    part = complete(benzene, tensor.irreps, values, mask)
    assert part.n_free == 1 and part.determined.tolist() == [True] + [False] * 5
    with pytest.raises(PropertyError, match="contradict the symmetry D6h"):
        complete(benzene, "1x1o", torch.ones(3), torch.ones(3).bool())


def test_missing_values_of_atoms_are_filled_in():
    benzene = MOLECULES["benzene"]
    radial = benzene.positions - benzene.positions.mean(0)
    mask = torch.zeros(12, 3).bool()
    mask[0] = True
    found = complete(benzene, "1x1o", radial, mask, tolerance=0.01)
    assert found.n_free == 1 and bool(found.determined[:6].all())
    assert float((found.values[:6] - radial[:6]).abs().max()) < 1e-5
    assert float(found.values[6:].abs().max()) < 1e-9 and not found.determined[6:, :2].all()
    linear = complete(MOLECULES["carbon dioxide"], "1x1o", torch.zeros(3, 3), mask[:3])
    assert linear.n_free == 1
    with pytest.raises(PropertyError, match="a row for each of 12 atoms"):
        complete(benzene, "1x1o", torch.zeros(5, 3), torch.zeros(5, 3).bool())
    with pytest.raises(PropertyError, match="expected known values and mask"):
        complete(benzene, "1x1o", torch.zeros(4), torch.zeros(4).bool())
