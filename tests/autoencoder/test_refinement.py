"""Derivatives in closed form, and refinement against the encoder."""

from copy import deepcopy

import torch

from geomae.autoencoder.jacobian import difference_jacobian
from geomae.autoencoder.refinement import refine
from geomae.sphere.ascent import second_order


def test_jets_are_autograds_derivatives(small):
    field = small.decoder.unpoolings[0].field
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 16, 8, dtype=torch.float64, generator=generator)
    coefficients = field.prepare(features).detach()
    points = torch.randn(20, 3, dtype=torch.float64, generator=generator)
    points[0] = 0
    owner = torch.arange(20) % 3
    values, gradients, hessians = second_order(
        lambda p, o: field.at(coefficients, p, o)[:, 0], points, owner
    )
    with torch.no_grad():
        jets = field.jets_at(coefficients, points, owner)[..., 0]
    rows, columns = torch.triu_indices(3, 3)
    assert torch.allclose(jets[:, 0], values, atol=1e-12)
    assert torch.allclose(jets[:, 1:4], gradients, atol=1e-12)
    assert torch.allclose(jets[:, 4:], hessians[:, rows, columns], atol=1e-12)


def test_differences_are_close_to_the_derivative(small, molecules):
    tree = crooked(small, molecules[:2], torch.Generator().manual_seed(4))
    batch = tree.batch[0]

    def encode(positions):
        return small.encoder(tree.with_atoms_at(positions)).flatten(1)

    with torch.no_grad():
        jacobian = difference_jacobian(encode, tree.positions[0], batch, 1e-6)
    full = torch.autograd.functional.jacobian(encode, tree.positions[0])
    for structure in range(2):
        own = full[structure][:, batch == structure].flatten(1).T
        close = jacobian[structure, : len(own)]
        assert (close - own).norm() < 1e-4 * own.norm()
        assert not jacobian[structure, len(own) :].any()


def crooked(small, molecules, generator):
    """The tree of molecules whose symmetry is broken, where random weights are well conditioned."""
    tree = small.tree_of(molecules)
    shift = 0.1 * torch.randn(tree.positions[0].shape, dtype=torch.float64, generator=generator)
    return tree.with_atoms_at(tree.positions[0] + shift)


def test_refinement_finds_the_positions_that_were_encoded(small, molecules):
    """From 0.01 Å away back to 1e-7 Å, for latents in float64."""
    generator = torch.Generator().manual_seed(5)
    tree = crooked(small, molecules, generator)
    with torch.no_grad():
        latents = small.encoder(tree)
    noise = 0.01 * torch.randn(tree.positions[0].shape, dtype=torch.float64, generator=generator)
    start = tree.with_atoms_at(tree.positions[0] + noise)
    refined = refine(small.encoder, deepcopy(small.encoder).float(), start, latents, rounds=5)
    centred = tree.positions[0] - tree.positions[-1][tree.batch[0]]
    assert refined.residual.max() < 1e-7
    assert (refined.positions - centred).abs().max() < 1e-7


def test_refinement_leaves_nothing_worse(small, molecules):
    """Of a latent that no structure has, the residual does not grow."""
    tree = small.tree_of(molecules[:3])
    with torch.no_grad():
        here = small.encoder(tree)
    generator = torch.Generator().manual_seed(6)
    foreign = torch.randn(here.shape, dtype=torch.float64, generator=generator)
    refined = refine(small.encoder, deepcopy(small.encoder).float(), tree, foreign, rounds=5)
    before = (here - foreign).flatten(1).norm(dim=1) / foreign.flatten(1).norm(dim=1)
    assert (refined.residual <= before + 1e-12).all()
    assert torch.isfinite(refined.positions).all()
