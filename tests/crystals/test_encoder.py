"""Latents of crystals: symmetry, smoothness, and what determines them."""

import numpy as np
import pytest
import torch

from geomae.crystals import canonical, niggli
from geomae.crystals.batch import batch_of, prominence, shares
from geomae.crystals.config import CrystalConfig
from geomae.crystals.model import CrystalAutoencoder
from geomae.data import Structure, load_source
from geomae.equivariant import soften, spherical_harmonics
from geomae.equivariant.wigner import wigner_matrices
from geomae.errors import GeomaeError, UnsupportedStructureError
from geomae.testing import random_orthogonal
from tests.crystals.conftest import presented_otherwise

CRYSTALS = [s for s in load_source("aflow") if s.n_atoms <= 12][::9]
ELEMENTS = tuple(sorted({z for s in CRYSTALS for z in s.numbers.tolist()}))

SMALL = CrystalConfig.model_validate(
    {
        "elements": ELEMENTS,
        "max_atoms": 12,
        "sites": {"cutoff": 4.0, "lmax": 2, "channels": 8, "width": 8, "n_radial": 5},
        "lmax": 3,
        "channels": 16,
        "lmax_filter": 3,
        "encoder_blocks": 1,
        "decoder_blocks": 1,
        "atoms": {"radius": 5.0, "hidden": 16, "n_radial": 6, "spacing": 0.8},
        "lattice": {"radius": 9.0, "hidden": 16, "n_radial": 8, "spacing": 1.0},
        "latent": {"lmax": 3, "channels": 12},
    }
)


@pytest.fixture(scope="module")
def model() -> CrystalAutoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CrystalAutoencoder(SMALL).double().eval()


def turned(array: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    wigner = torch.block_diag(*wigner_matrices(SMALL.latent.lmax, matrix))
    return torch.einsum("ij,njc->nic", wigner, array)


def test_encoder_is_equivariant(model):
    forms = [canonical(s).structure for s in CRYSTALS]
    batch = batch_of(forms, SMALL)
    generator = torch.Generator().manual_seed(1)
    for improper in (False, True):
        matrix = random_orthogonal(generator, improper=improper)
        with torch.no_grad():
            here = model.encoder(batch)
            there = model.encoder(batch.moved(batch.positions @ matrix.T, batch.cells @ matrix.T))
        assert (turned(here, matrix) - there).abs().max() < 1e-10 * here.abs().max()


def test_latents_of_any_presentation_are_turned_by_it_and_an_operation(model):
    rng = np.random.default_rng(0)
    for structure in CRYSTALS[::3]:
        other, turn = presented_otherwise(structure, rng)
        first, second = (model.encode([s]) for s in (structure, other))
        size = first.array.norm()
        assert (first.invariants() - second.invariants()).abs().max() < 1e-5 * size
        gaps = [
            (turned(first.array, torch.from_numpy(turn @ r)) - second.array).norm()
            for r in canonical(structure).operations.rotations
        ]
        assert min(gaps) < 1e-5 * size, structure.name


def test_latent_is_invariant_under_the_site_symmetry_of_the_anchor(model):
    for structure in CRYSTALS[:8]:
        array = model.encode([structure]).array
        for rotation in canonical(structure).site_symmetry:
            gap = (turned(array, torch.from_numpy(rotation)) - array).abs().max()
            assert gap < 1e-10 * array.abs().max()


def test_encoding_does_not_depend_on_the_basis_or_the_images(model):
    structure = canonical(CRYSTALS[3]).structure
    cell = structure.cell[0]
    sheared = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 1]], dtype=torch.float64) @ cell
    shift = torch.randint(-1, 2, (structure.n_atoms, 3)).double() @ cell
    shift[0] = 0
    other = Structure(structure.numbers, structure.positions + shift, cell=niggli(sheared.numpy()))
    with torch.no_grad():
        first, second = (model.encoder(batch_of([s], SMALL)) for s in (structure, other))
    assert (first - second).abs().max() < 1e-7 * first.abs().max()


def test_latent_is_continuous_where_images_and_neighbours_change(model):
    """Atom from one side of the Wigner-Seitz cell to the other, cell through a cube: no jump."""
    arrays = []
    for step in np.linspace(-0.03, 0.03, 25):
        cell = np.diag([4.0, 4.0 * (1 + step), 4.0 * (1 - step)])
        positions = [[0.0, 0, 0], [2.0 + step, 0.3, 0.0], [1.9, 1.8 + step, 2.0 - step]]
        numbers = [ELEMENTS[0], ELEMENTS[1], ELEMENTS[2]]
        batch = batch_of([Structure(numbers, positions, cell=cell)], SMALL)
        with torch.no_grad():
            arrays.append(model.encoder(batch))
    track = torch.cat(arrays).flatten(1)
    steps = (track[1:] - track[:-1]).norm(dim=1)
    bends = (track[2:] - 2 * track[1:-1] + track[:-2]).norm(dim=1)
    assert steps.max() < 3 * steps.min()
    assert bends.max() < 0.3 * steps.max()


def test_atoms_meet_as_if_each_image_had_an_edge_of_its_own(model):
    batch = batch_of([canonical(s).structure for s in CRYSTALS[:5]], SMALL)
    combine, atom = model.encoder.combine, batch.image_atom
    features = torch.randn(len(batch.numbers), 9, 8, dtype=torch.float64)
    weights = torch.rand(len(atom), dtype=torch.float64)
    vectors = batch.image_vectors()
    found = combine(features, vectors, weights, atom, batch.batch, batch.n)
    directions, lengths = soften(vectors, combine.softening)
    harmonics = spherical_harmonics(combine.lmax_filter, directions, normalize=False)
    edges = torch.stack([atom, batch.batch[atom]])
    radial = combine.basis(lengths) * weights[:, None]
    carried = combine.convolution(combine.before(features), harmonics, radial, edges, batch.n)
    assert torch.allclose(found, combine.after(carried), rtol=1e-11, atol=1e-11)


def test_gradients_are_those_of_finite_differences(model):
    batch = batch_of([canonical(s).structure for s in CRYSTALS[:3]], SMALL)
    positions, cells = batch.positions.clone(), batch.cells.clone()
    weights = torch.randn_like(model.encoder(batch).detach())

    def value(p, c):
        return (model.encoder(batch.moved(p, c)) * weights).sum()

    inputs = (positions.requires_grad_(), cells.requires_grad_())
    gradients = torch.autograd.grad(value(*inputs), inputs)
    for k, gradient in enumerate(gradients):
        direction = torch.randn_like(gradient)
        ends = []
        for sign in (1, -1):
            moved = [x.detach() for x in inputs]
            moved[k] = moved[k] + sign * 1e-5 * direction
            ends.append(value(*moved).detach())
        expected = (ends[0] - ends[1]) / 2e-5
        assert torch.allclose((gradient * direction).sum(), expected, rtol=1e-5)


def test_shares_sum_to_one_and_prominence_is_one_for_the_shortest():
    vectors = torch.randn(20, 3, dtype=torch.float64)
    group = torch.arange(20) % 4
    share = shares(vectors, group, 4, 0.7)
    assert torch.allclose(share.new_zeros(4).index_add(0, group, share), share.new_ones(4))
    height = prominence(vectors, group, 4, 0.7)
    for g in range(4):
        own = torch.nonzero(group == g)[:, 0]
        assert own[vectors[own].norm(dim=1).argmin()] == own[height[own].argmax()]
        assert height[own].max() == 1


def test_what_the_model_does_not_take_is_refused(model):
    cube = np.eye(3) * 4
    strange = next(z for z in range(1, 119) if z not in ELEMENTS)
    with pytest.raises(UnsupportedStructureError, match="the model takes"):
        model.encode([Structure([strange], [[0.0, 0, 0]], cell=cube)])
    with pytest.raises(UnsupportedStructureError, match=r"structure 1.*slab"):
        flat = Structure([ELEMENTS[0]], [[0.0, 0, 0]], cell=cube, pbc=[True, True, False])
        model.encode([CRYSTALS[0], flat])
    rng = np.random.default_rng(0)
    points = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)[:14] * 2.0
    many = Structure([ELEMENTS[0]] * 14, points + 0.2 * rng.normal(size=(14, 3)), cell=cube * 1.5)
    with pytest.raises(UnsupportedStructureError, match="in its primitive cell"):
        model.encode([many])
    with pytest.raises(GeomaeError, match="multiple of groups"):
        try:
            SMALL.model_validate({**SMALL.model_dump(), "channels": 12})
        except ValueError as error:
            raise GeomaeError(str(error)) from error


def test_nothing_to_encode(model):
    assert model.encode([]).array.shape == (0, 16, 12)


def test_save_and_load(model, tmp_path):
    model.save(tmp_path / "weights.safetensors")
    again = CrystalAutoencoder.from_file(tmp_path / "weights.safetensors").double()
    first, second = (m.encode(CRYSTALS[:2]).array for m in (model, again))
    assert (first - second).abs().max() < 1e-12
