"""Every way in which a structure can be unusable."""

import pytest
import torch
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from geomae.data.convert import from_ase
from geomae.data.structure import Structure
from geomae.data.validate import check_structure, find_fault
from geomae.errors import StructureError
from geomae.testing.random import random_molecule

NAN, INF = float("nan"), float("inf")
CUBE = torch.eye(3) * 4


def mismatched() -> Structure:
    made = Structure([1, 8], [[0, 0, 0], [0, 0, 1]])
    made.numbers = torch.tensor([1, 8, 6])
    return made


def planar() -> Structure:
    made = Structure([1, 8], [[0, 0, 0], [0, 0, 1]])
    made.positions = torch.rand(2, 2)
    return made


BAD = {
    "nothing": (Structure(), "no atoms"),
    "empty": (Structure([], torch.zeros(0, 3)), "no atoms"),
    "no positions": (Structure([1]), "no positions"),
    "lengths": (mismatched(), "3 atomic numbers but positions of shape"),
    "planar": (planar(), r"shape \[2, 2\]; expected \[2, 3\]"),
    "nan": (Structure([1, 6], [[0, 0, 0], [0, NAN, 1]]), r"atom 1 \(C\) is at no finite"),
    "inf": (Structure([1, 6], [[INF, 0, 0], [0, 0, 1]]), r"atom 0 \(H\) is at no finite"),
    "dummy": (Structure([6, 0], [[0, 0, 0], [0, 0, 1]]), "atom 1 has the atomic number 0"),
    "negative": (Structure([-1], [[0, 0, 0]]), "number -1"),
    "too heavy": (Structure([119], [[0, 0, 0]]), "number 119; elements have 1 to 118"),
    "overlap": (
        Structure([6, 1, 8], [[0, 0, 0], [0, 0, 1], [0, 0.05, 1]]),
        r"atom 1 \(H\) and atom 2 \(O\) are 0.05 Å apart",
    ),
    "same place": (Structure([6, 6], [[0, 0, 0]] * 2), "are 0 Å apart"),
    "image": (
        Structure([6, 8], [[0, 0, 0.02], [0, 0, 3.97]], cell=CUBE),
        r"atom 0 \(C\) and atom 1 \(O\) of a periodic image are 0.05 Å",
    ),
    "outside": (Structure([6, 8], [[0, 0, 0], [8, -4, 12.01]], cell=CUBE), "0.01 Å"),
    "own image": (
        Structure([6], [[0, 0, 0]], cell=[[1, 0, 0], [5.001, 0.06, 0], [0, 0, 4]]),
        r"atom 0 \(C\) and its own periodic image are 0.06 Å",
    ),
    "no cell": (Structure([6], [[0, 0, 0]], pbc=True), "periodic but has no cell"),
    "part of no cell": (
        Structure([6], [[0, 0, 0]], pbc=[False, True, False]),
        "periodic but has no cell",
    ),
    "flat cell": (Structure([6], [[0, 0, 0]], cell=torch.ones(3, 3)), "zero volume"),
    "no height": (Structure([6], [[0, 0, 0]], cell=torch.diag(CUBE[:2].sum(0))), "zero volume"),
    "flat slab": (
        Structure(
            [6], [[0, 0, 0]], cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]], pbc=[True, True, False]
        ),
        "zero volume",
    ),
    "point of a cell": (Structure([6], [[0, 0, 0]], cell=CUBE * 1e-4), "zero volume"),
    "short chain": (
        Structure([6], [[0, 0, 0]], cell=CUBE / 50, pbc=[False, False, True]),
        "zero volume",
    ),
    "crowd": (
        Structure([6] * 9000, torch.rand(9000, 3) / 100, cell=CUBE / 4),
        "9000 atoms in a cell of 1 Å³",
    ),
    "nan cell": (Structure([6], [[0, 0, 0]], cell=CUBE * NAN), "cell that is not finite"),
    "inf cell": (Structure([6], [[0, 0, 0]], cell=CUBE + INF), "cell that is not finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_structures_are_refused(name):
    structure, message = BAD[name]
    with pytest.raises(StructureError, match=message) as caught:
        check_structure(structure, 3, "a.xyz:12")
    assert str(caught.value).startswith("structure 3 (a.xyz:12): ")
    assert (caught.value.index, caught.value.source) == (3, "a.xyz:12")


def test_the_structure_s_own_source_is_named():
    with pytest.raises(StructureError, match=r"\(b\.xyz#2\)"):
        check_structure(Structure([119], [[0, 0, 0]], source="b.xyz#2"))


GOOD = {
    "an atom": Structure([1], [[0, 0, 0]]),
    "the heaviest": Structure([118], [[1e3, 0, 0]]),
    "near enough": Structure([1, 1], [[0, 0, 0], [0, 0, 0.11]]),
    "crystal": from_ase(bulk("Cu")),
    "slab": Structure(
        [6], [[0, 0, 0]], cell=[[2, 0, 0], [1, 2, 0], [0, 0, 0]], pbc=[True, True, False]
    ),
    "chain": Structure([6, 6], [[0, 0, 0], [0, 4, 0]], cell=CUBE, pbc=[True, False, False]),
    "box": Structure([6, 6], [[0, 0, 0], [0, 4, 0]], cell=CUBE, pbc=False),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_structures_pass(name):
    check_structure(GOOD[name])


@given(
    seed=st.integers(0, 100),
    n=st.integers(2, 12),
    gap=st.sampled_from([0.0, 1e-9, 0.03, 0.09]),
    images=st.tuples(*[st.integers(-3, 3)] * 3),
)
def test_any_two_atoms_that_overlap_are_found(seed, n, gap, images):
    made = random_molecule(torch.Generator().manual_seed(seed), n_atoms=n)
    cell = torch.tensor([[40.0, 0, 0], [7, 45, 0], [3, 2, 50]], dtype=torch.float64)
    made.cell, made.pbc = cell[None], torch.ones(1, 3, dtype=torch.bool)
    assert find_fault(made) is None
    made.positions[-1] = made.positions[0] + torch.tensor(images).double() @ cell
    made.positions[-1, 0] += gap
    assert f"atom {n - 1} (" in find_fault(made)
