"""One crystal, one latent: whatever cell, origin, orientation and order it is given in."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomae.crystals import canonical, niggli
from geomae.crystals.config import CrystalConfig
from geomae.crystals.model import CrystalAutoencoder
from geomae.data import Structure, from_pymatgen, load_source, to_pymatgen
from geomae.equivariant.wigner import wigner_matrices
from geomae.errors import GeomaeError
from tests.crystals.conftest import SYSTEMS, presented_otherwise

PER_SYSTEM = 40
"""Prototypes of each crystal system at most; there are fewer triclinic and trigonal ones."""

MODEL = {
    "max_atoms": 52,
    "sites": {"cutoff": 4.5, "lmax": 2, "channels": 8, "width": 8, "n_radial": 5},
    "lmax": 4,
    "channels": 16,
    "lmax_filter": 4,
    "encoder_blocks": 1,
    "decoder_blocks": 1,
    "atoms": {"radius": 8.0, "hidden": 16, "n_radial": 6, "spacing": 0.8},
    "lattice": {"radius": 16.0, "hidden": 16, "n_radial": 8, "spacing": 1.0},
    "latent": {"lmax": 4, "channels": 12},
}


def system_of(structure: Structure) -> str:
    """Crystal system, from the space group in the name of an AFLOW prototype."""
    number = int(structure.aflow.split("_")[2])
    return next(name for name, (low, high) in SYSTEMS.items() if low <= number <= high)


def two_hundred() -> list[Structure]:
    """Prototypes of all crystal systems, as evenly as they come."""
    groups = {name: [] for name in SYSTEMS}
    for structure in load_source("aflow"):
        if structure.n_atoms <= 52:
            groups[system_of(structure)].append(structure)
    return [s for own in groups.values() for s in own[:PER_SYSTEM]][:200]


CRYSTALS = two_hundred()


@cache
def model() -> CrystalAutoencoder:
    elements = tuple(range(1, 104))
    config = CrystalConfig.model_validate({**MODEL, "elements": elements})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CrystalAutoencoder(config).double().eval()


def turned(array: torch.Tensor, matrix: np.ndarray) -> torch.Tensor:
    wigner = torch.block_diag(*wigner_matrices(4, torch.from_numpy(matrix)))
    return torch.einsum("ij,njc->nic", wigner, array)


def assert_same_latent(first: Structure, second: Structure, turn: np.ndarray | None = None) -> None:
    """Invariants agree, and where it is known how the second is turned against the first, so do
    latents, up to an operation of the crystal.
    """
    one, other = model().encode([first]), model().encode([second])
    size = float(one.array.norm())
    gap = (one.invariants() - other.invariants()).abs().max()
    assert gap < 1e-5 * one.invariants().abs().max(), first.get("name")
    if turn is not None:
        gaps = [
            float((turned(one.array, turn @ r) - other.array).norm())
            for r in canonical(first).operations.rotations
        ]
        assert min(gaps) < 1e-5 * size, first.get("name")


def in_other_cell(structure: Structure, kind: str) -> Structure:
    """Another cell of the same lattice, or of one of its superlattices."""
    if kind == "niggli":
        own = niggli(structure.cell[0].numpy())
        return Structure(structure.numbers, structure.positions, cell=own)
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    found = SpacegroupAnalyzer(to_pymatgen(structure), symprec=1e-3)
    standard = {
        "primitive": found.get_primitive_standard_structure,
        "conventional": found.get_conventional_standard_structure,
    }
    return from_pymatgen(standard[kind]())


def test_there_are_two_hundred_of_all_systems():
    assert len(CRYSTALS) == 200 and {system_of(s) for s in CRYSTALS} == set(SYSTEMS)


@given(index=st.integers(0, len(CRYSTALS) - 1), seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_supercells_origins_orientations_orders_and_handedness(index, seed):
    structure = CRYSTALS[index]
    other, turn = presented_otherwise(structure, np.random.default_rng(seed))
    assert_same_latent(structure, other, turn)


@given(
    index=st.integers(0, len(CRYSTALS) - 1),
    kind=st.sampled_from(["primitive", "conventional", "niggli"]),
)
@settings(max_examples=25, deadline=None)
def test_cells_by_convention(index, kind):
    # spglib makes symmetry exact in its own way, and turns crystals to its standard orientation:
    # they must be symmetric to begin with, and only invariants can be compared
    structure = canonical(CRYSTALS[index]).structure
    turn = np.eye(3) if kind == "niggli" else None
    assert_same_latent(structure, in_other_cell(structure, kind), turn)


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_each_of_the_two_hundred(system):
    rng = np.random.default_rng(0)
    for structure in (s for s in CRYSTALS if system_of(s) == system):
        other, turn = presented_otherwise(structure, rng, most=4)
        assert_same_latent(structure, other, turn)
        exact = canonical(structure).structure
        for kind in ("primitive", "conventional", "niggli"):
            assert_same_latent(exact, in_other_cell(exact, kind))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "split"), [("mp20", "test"), ("carbon24", "test"), ("mpts52", "valid")]
)
def test_crystals_of_the_data_sets(source, split):
    try:
        structures = load_source(source, split=split)
    except GeomaeError as error:
        pytest.skip(str(error))
    rng = np.random.default_rng(1)
    for i in rng.permutation(len(structures))[:100]:
        other, turn = presented_otherwise(structures[i], rng)
        assert_same_latent(structures[i], other, turn)


def cell_of(*lengths: float, skew: float = 0.0) -> np.ndarray:
    return np.diag(lengths) + skew * np.array([[0, 0, 0], [1.0, 0, 0], [0.7, -0.4, 0]])


def scattered(n: int, cell: np.ndarray, seed: int, apart: float) -> Structure:
    """Atoms of three elements at random, no two of them close."""
    rng = np.random.default_rng(seed)
    points: list[np.ndarray] = []
    while len(points) < n:
        point = rng.random(3)
        gaps = np.array(points).reshape(-1, 3) - point
        if not len(gaps) or np.linalg.norm((gaps - gaps.round()) @ cell, axis=1).min() > apart:
            points.append(point)
    return Structure(rng.choice([8, 14, 26], n), np.array(points) @ cell, cell=cell)


EXTREMES = {
    "one atom": Structure([29], [[0.3, 0.1, 0.2]], cell=1.8 * (1 - np.eye(3))),
    "one atom, triclinic": Structure([94], [[0.0, 0, 0]], cell=cell_of(3.1, 3.7, 4.4, skew=0.6)),
    "flat": scattered(8, cell_of(20.0, 21.0, 2.6, skew=0.4), 0, 1.6),
    "long": scattered(6, cell_of(2.6, 2.7, 21.0, skew=0.4), 1, 1.6),
    "long and tetragonal": Structure(
        [56, 8, 8], [[0, 0, 0], [0, 0, 9.1], [0, 0, 11.9]], cell=np.diag([2.6, 2.6, 21.0])
    ),
    "fifty-two atoms": scattered(52, cell_of(8.0, 9.0, 10.0, skew=1.0), 2, 1.5),
    "nearly cubic": Structure([11, 17], [[0, 0, 0], [2, 2.0, 2]], cell=np.diag([4.0, 4.01, 4.02])),
    "nearly equal sites": Structure(
        [6, 6, 6, 8],
        [[0, 0, 0], [2.001, 0, 0], [0, 2.003, 0], [1.4, 1.5, 1.6]],
        cell=np.diag([4.0, 4.1, 4.2]),
    ),
    "distorted less than is meant": Structure(
        [38, 22, 8, 8, 8],
        [[1.95, 1.95, 1.95], [0, 0, 3e-4], [1.95, 0, -3e-4], [0, 1.95, 0], [0, 0, 1.95]],
        cell=np.diag([3.9, 3.9, 3.9]),
    ),
    "distorted more than is meant": Structure(
        [38, 22, 8, 8, 8],
        [[1.95, 1.95, 1.95], [0, 0, 5e-3], [1.95, 0, -5e-3], [0, 1.95, 0], [0, 0, 1.95]],
        cell=np.diag([3.9, 3.9, 3.9]),
    ),
    "no unique site": Structure(
        [6, 6], 0.25 * np.array([[0, 0, 0], [3.57, 3.57, 3.57]]), cell=1.785 * (1 - np.eye(3))
    ),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extremes(name):
    structure, rng = EXTREMES[name], np.random.default_rng(len(name))
    for most in (1, 3):
        other, turn = presented_otherwise(structure, rng, most=most)
        assert_same_latent(structure, other, turn)


def test_where_no_site_is_unique_the_choice_is_an_operation_of_the_crystal():
    """Diamond: about either atom the latent is the other's, turned by an operation of Fd-3m."""
    diamond = EXTREMES["no unique site"]
    swapped = Structure(diamond.numbers, diamond.positions.flip(0), cell=diamond.cell[0])
    assert_same_latent(diamond, swapped, np.eye(3))
    inverted = Structure(diamond.numbers, -diamond.positions, cell=diamond.cell[0])
    assert_same_latent(diamond, inverted, -np.eye(3))


def test_enantiomorphs_have_mirrored_latents():
    """Left and right: other space groups, and latents that are mirror images."""
    quartz = next(s for s in CRYSTALS if int(s.aflow.split("_")[2]) in (152, 154))
    mirror = np.diag([1.0, 1.0, -1.0])
    other = Structure(quartz.numbers, quartz.positions @ mirror, cell=quartz.cell[0] @ mirror)
    assert_same_latent(quartz, other, mirror)
    assert canonical(quartz).symmetrised.number != canonical(other).symmetrised.number
