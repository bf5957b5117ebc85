"""Training an autoencoder of crystals."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geomae.crystals import canonical
from geomae.crystals.batch import batch_of
from geomae.crystals.model import CrystalAutoencoder
from geomae.crystals.training import Forms, ShuffledCrystals, read_run, repeated
from geomae.data import Structure
from geomae.errors import GeomaeError
from tests.crystals.test_encoder import CRYSTALS, SMALL

MODELS = Path(__file__).parents[2] / "models"

FORMS = [canonical(s).structure for s in CRYSTALS[:6]]
COLUMNS = [(f.numbers, f.positions, f.cell[0]) for f in FORMS]


def forms_of(structures) -> Forms:
    return Forms(
        {
            "numbers": torch.cat([s.numbers for s in structures]),
            "positions": torch.cat([s.positions for s in structures]),
            "cells": torch.cat([s.cell for s in structures]),
            "offsets": torch.tensor(np.cumsum([0, *(s.n_atoms for s in structures)])),
        }
    )


def test_losses_fall():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CrystalAutoencoder(SMALL)
    batch = batch_of(FORMS[:3], SMALL).to(torch.float32)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    track = []
    for step in range(25):
        losses = model.loss(batch, torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
        track.append(losses["loss"].item())
    assert set(losses) == {"loss", "formula", "atoms", "lattice", "element"}
    assert np.mean(track[-5:]) < 0.7 * np.mean(track[:3])
    assert all(p.grad is not None for p in model.parameters())


def test_batches_depend_on_seed_and_step_alone():
    first, second = (ShuffledCrystals(COLUMNS, SMALL, 2, seed=3) for _ in range(2))
    for step in (4, 0, 2):
        assert torch.equal(first(step).positions, second(step).positions)
    seen = torch.cat([second(step).numbers for step in range(3)])
    assert sorted(seen.tolist()) == sorted(torch.cat([c[0] for c in COLUMNS]).tolist())
    with pytest.raises(GeomaeError, match="don't fill one batch"):
        ShuffledCrystals(COLUMNS, SMALL, 7, seed=0)


def test_crystals_vary_within_bounds_and_the_same_way_again():
    varied, again = (
        ShuffledCrystals(COLUMNS, SMALL, 6, seed=3, substitution=1.0, scaling=0.04)
        for _ in range(2)
    )
    plain = ShuffledCrystals(COLUMNS, SMALL, 6, seed=3)
    exchanged = 0
    for step in range(4):
        batch, bare = varied(step), plain(step)
        assert torch.equal(batch.numbers, again(step).numbers)
        assert torch.equal(batch.cells, again(step).cells)
        ratio = torch.linalg.det(batch.cells) ** (1 / 3) / torch.linalg.det(bare.cells) ** (1 / 3)
        assert 0.96 <= ratio.min() < ratio.max() <= 1.04 and ratio.std() > 1e-3
        lengths = batch.edge_vectors().norm(dim=1)
        assert (lengths < SMALL.sites.cutoff).sum() >= 0.8 * len(bare.edges[0])
        assert set(batch.numbers.tolist()) <= set(SMALL.elements)
        exchanged += int((batch.numbers != bare.numbers).sum())
        for crystal in range(batch.n):
            own, new = bare.numbers[bare.batch == crystal], batch.numbers[batch.batch == crystal]
            assert len(set(zip(own.tolist(), new.tolist(), strict=True))) == len(set(own.tolist()))
            assert len(set(new.tolist())) == len(set(own.tolist()))
    assert exchanged


def test_no_neighbour_is_missed_where_a_crystal_shrinks():
    varied = ShuffledCrystals(COLUMNS, SMALL, 6, seed=3, scaling=0.04)
    batch = varied(0)
    kept = batch.edge_vectors().norm(dim=1) < SMALL.sites.cutoff
    made = [
        Structure(
            batch.numbers[batch.batch == i], batch.positions[batch.batch == i], cell=batch.cells[i]
        )
        for i in range(batch.n)
    ]
    assert int(kept.sum()) == batch_of(made, SMALL).edges.shape[1]


def test_repeated_crystals_are_found_by_structure():
    forms = forms_of(FORMS)
    turned = [f.clone() for f in FORMS[2:4]]
    angle = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    for f in turned:
        f.positions, f.cell = f.positions @ angle.T, f.cell @ angle.T
    wider = FORMS[4].clone()
    wider.positions, wider.cell = 1.2 * wider.positions, 1.2 * wider.cell
    found = repeated(forms, forms_of([*turned, wider]))
    assert found.tolist() == [False, False, True, True, False, False]


def test_configurations_are_checked(tmp_path):
    for name in ("perov5", "carbon24", "crystals"):
        assert read_run(MODELS / name / "config.yaml").model.kind == "crystals"
    path = tmp_path / "config.yaml"
    text = (MODELS / "perov5" / "config.yaml").read_text()
    path.write_text(text.replace("lmax_filter", "lmax_fitler"))
    with pytest.raises(GeomaeError, match=r"model\.lmax_fitler"):
        read_run(path)
    with pytest.raises(GeomaeError, match="can't read"):
        read_run(tmp_path / "nothing.yaml")
