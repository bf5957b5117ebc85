"""Groups, their irreps and subgroups, against books."""

import pytest
import torch

from geomae.symmetry import GroupError, PointGroup
from geomae.symmetry.identify import identify
from geomae.symmetry.naming import CRYSTAL_CLASSES
from geomae.symmetry.representations import representation
from geomae.symmetry.standard import locate
from geomae.testing import random_orthogonal

SYMBOLS = (  # noqa: SIM905
    "1 -1 2 m 2/m 222 mm2 mmm 4 -4 4/m 422 4mm -42m 4/mmm 3 -3 32 3m -3m 6 -6 6/m 622 6mm -6m2 "
    "6/mmm 23 m-3 432 -43m m-3m"
).split()
COUNTS = [
    *(1, 2, 2, 2, 4, 4, 4, 8, 4, 4, 8, 8, 8, 8, 16, 3),
    *(6, 6, 6, 12, 6, 6, 12, 12, 12, 12, 24, 12, 24, 24, 24, 48),
]
ORDERS = dict(zip(CRYSTAL_CLASSES, COUNTS, strict=True))
OTHERS = "C5 C7 C5v C8v C5h C7h D5 D8 D5h D7h D4d D5d D6d D7d S8 S10 S12 I Ih".split()  # noqa: SIM905

G = (1 + 5**0.5) / 2
TABLES = {
    "C2v": {"A1": [1, 1, 1, 1], "A2": [1, 1, -1, -1], "B1": [1, -1, 1, -1], "B2": [1, -1, -1, 1]},
    "C3v": {"A1": [1, 1, 1], "A2": [1, 1, -1], "E": [2, -1, 0]},
    "C4v": {"A1": [1, 1, 1, 1, 1], "A2": [1, 1, 1, -1, -1], "B1": [1, -1, 1, 1, -1],
            "B2": [1, -1, 1, -1, 1], "E": [2, 0, -2, 0, 0]},
    "D4": {"A1": [1, 1, 1, 1, 1], "A2": [1, 1, 1, -1, -1], "B1": [1, -1, 1, 1, -1],
           "B2": [1, -1, 1, -1, 1], "E": [2, 0, -2, 0, 0]},
    "D2d": {"A1": [1, 1, 1, 1, 1], "A2": [1, 1, -1, 1, -1], "B1": [1, 1, 1, -1, -1],
            "B2": [1, 1, -1, -1, 1], "E": [2, -2, 0, 0, 0]},
    "D5h": {"A1'": [1, 1, 1, 1, 1, 1, 1, 1], "A2'": [1, 1, 1, -1, 1, 1, 1, -1],
            "E1'": [2, G - 1, -G, 0, 2, G - 1, -G, 0], "E2'": [2, -G, G - 1, 0, 2, -G, G - 1, 0],
            "A1''": [1, 1, 1, 1, -1, -1, -1, -1], "A2''": [1, 1, 1, -1, -1, -1, -1, 1],
            "E1''": [2, G - 1, -G, 0, -2, 1 - G, G, 0], "E2''": [2, -G, G - 1, 0, -2, G, 1 - G, 0]},
    "D4d": {"A1": [1] * 7, "A2": [1, 1, 1, -1, 1, 1, -1], "B1": [1, 1, 1, 1, -1, -1, -1],
            "B2": [1, 1, 1, -1, -1, -1, 1], "E1": [2, 0, -2, 0, 2**0.5, -(2**0.5), 0],
            "E2": [2, -2, 2, 0, 0, 0, 0], "E3": [2, 0, -2, 0, -(2**0.5), 2**0.5, 0]},
    "D3h": {"A1'": [1] * 6, "A2'": [1, 1, -1, 1, 1, -1], "E'": [2, -1, 0, 2, -1, 0],
            "A1''": [1, 1, 1, -1, -1, -1], "A2''": [1, 1, -1, -1, -1, 1],
            "E''": [2, -1, 0, -2, 1, 0]},
    "Td": {"A1": [1] * 5, "A2": [1, 1, 1, -1, -1], "E": [2, 2, -1, 0, 0], "T1": [3, -1, 0, 1, -1],
           "T2": [3, -1, 0, -1, 1]},
    "O": {"A1": [1] * 5, "A2": [1, 1, 1, -1, -1], "E": [2, 2, -1, 0, 0], "T1": [3, -1, 0, 1, -1],
          "T2": [3, -1, 0, -1, 1]},
    "I": {"A": [1] * 5, "T1": [3, -1, 0, G, 1 - G], "T2": [3, -1, 0, 1 - G, G],
          "G": [4, 0, 1, -1, -1], "H": [5, 1, -1, 0, 0]},
}  # fmt: skip
"""Characters by class, classes in the order: E, rotations about z, other rotations, the rest."""

VECTORS = {
    "C2v": ("A1 B1 B2", "A2 B1 B2"), "C4h": ("Au Eu", "Ag Eg"), "C3h": ("E' A''", "A' E''"),
    "D2": ("B1 B2 B3", "B1 B2 B3"), "D2h": ("B1u B2u B3u", "B1g B2g B3g"),
    "D3h": ("E' A2''", "A2' E''"), "D4h": ("A2u Eu", "A2g Eg"), "D6h": ("A2u E1u", "A2g E1g"),
    "D2d": ("B2 E", "A2 E"), "D4d": ("B2 E1", "A2 E3"), "D6d": ("B2 E1", "A2 E5"),
    "D5d": ("A2u E1u", "A2g E1g"), "S4": ("B E", "A E"), "S8": ("B E1", "A E3"),
    "Td": ("T2", "T1"), "Oh": ("T1u", "T1g"), "Ih": ("T1u", "T1g"), "Th": ("Tu", "Tg"),
    "C1": ("A", "A"), "Ci": ("Au", "Ag"), "C2": ("A B", "A B"), "Cs": ("A' A''", "A' A''"),
    "C2h": ("Au Bu", "Ag Bg"), "C4": ("A E", "A E"), "D4": ("A2 E", "A2 E"),
    "C4v": ("A1 E", "A2 E"), "C3": ("A E", "A E"), "S6": ("Au Eu", "Ag Eg"),
    "D3": ("A2 E", "A2 E"), "C3v": ("A1 E", "A2 E"), "D3d": ("A2u Eu", "A2g Eg"),
    "C6": ("A E1", "A E1"), "C6h": ("Au E1u", "Ag E1g"), "D6": ("A2 E1", "A2 E1"),
    "C6v": ("A1 E1", "A2 E1"), "T": ("T", "T"), "O": ("T1", "T1"),
    "C∞v": ("Σ+ Π", "Σ- Π"), "D∞h": ("Σu+ Πu", "Σg- Πg"), "Kh": ("Pu", "Pg"),
}  # fmt: skip
"""Irreps of x, y, z and of rotations about them, from the tables."""


FOUR, SIX = "A1 A2 B1 B2 E", "A1 A2 B1 B2 E1 E2"
NAMES = {
    "C1": "A", "C2": "A B", "D2": "A B1 B2 B3", "C2v": "A1 A2 B1 B2", "C4": "A B E", "S4": "A B E",
    "D4": FOUR, "C4v": FOUR, "D2d": FOUR, "C3": "A E", "D3": "A1 A2 E", "C3v": "A1 A2 E",
    "C6": "A B E1 E2", "D6": SIX, "C6v": SIX, "T": "A E T", "O": "A1 A2 E T1 T2",
    "Td": "A1 A2 E T1 T2", "Cs": "A' A''", "C3h": "A' E' A'' E''",
    "D3h": "A1' A2' E' A1'' A2'' E''",
}  # fmt: skip
HALVES = {"Ci": "C1", "C2h": "C2", "D2h": "D2", "C4h": "C4", "D4h": "D4", "S6": "C3", "D3d": "D3",
          "C6h": "C6", "D6h": "D6", "Th": "T", "Oh": "O"}  # fmt: skip
"""Groups with the inversion, and what they have beside it."""


@pytest.mark.parametrize("name", CRYSTAL_CLASSES)
def test_irreps_of_the_crystal_classes_have_their_names(name):
    expected = NAMES.get(name)
    if expected is None:
        plain = NAMES[HALVES[name]].split()
        # of D2h the first is Ag, which D2 calls A
        expected = " ".join(each + parity for parity in "gu" for each in plain)
    table = PointGroup.named(name).character_table()
    assert [irrep.name for irrep in table.irreps] == expected.split()
    # as many irreps as classes, complex conjugate ones counted as two
    assert sum(1 + irrep.pair for irrep in table.irreps) == len(table.classes)


@pytest.mark.parametrize("name", CRYSTAL_CLASSES + OTHERS)
def test_operations_are_a_group_and_irreps_are_orthogonal(name):
    group = PointGroup.named(name)
    products = (group.operations[:, None] @ group.operations).flatten(0, 1)
    assert float((products - group.operations[group.table].flatten(0, 1)).abs().max()) < 1e-14
    rows = torch.stack([irrep.characters for irrep in group.irreps])
    norms = torch.tensor([2.0 if irrep.pair else 1.0 for irrep in group.irreps]).double()
    assert float((rows @ rows.T / len(group) - norms.diag()).abs().max()) < 1e-12
    assert sum(i.dimension**2 / (1 + i.pair) for i in group.irreps) == len(group)
    assert len({irrep.name for irrep in group.irreps}) == len(group.irreps)
    assert (
        group.irreps[0].characters.eq(1).all()
        or float((group.irreps[0].characters - 1).abs().max()) < 1e-12
    )


def test_names_of_the_crystal_classes():
    assert [PointGroup.named(n).hermann_mauguin for n in CRYSTAL_CLASSES] == SYMBOLS
    assert [PointGroup.named(s).name for s in SYMBOLS] == CRYSTAL_CLASSES
    assert {n: len(PointGroup.named(n)) for n in CRYSTAL_CLASSES} == ORDERS
    assert PointGroup.named("Cinfv").name == PointGroup.named("C∞v").name == "C∞v"
    assert PointGroup.named("D5h").hermann_mauguin == "-10m2"


@pytest.mark.parametrize("name", TABLES)
def test_characters_are_those_of_the_tables(name):
    table = PointGroup.named(name).character_table()
    assert [irrep.name for irrep in table.irreps] == list(TABLES[name])
    expected = torch.tensor(list(TABLES[name].values()), dtype=torch.float64)
    assert float((table.values - expected).abs().max()) < 1e-12
    assert table.irreps[0].name in str(table)


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_and_rotations_have_the_irreps_of_the_tables(name):
    assert set(CRYSTAL_CLASSES) <= set(VECTORS)
    group, (vector, axial) = PointGroup.named(name), VECTORS[name]
    assert set(group.decompose("1x1o")) == set(vector.split())
    assert set(group.decompose("1x1e")) == set(axial.split())


def test_the_crystal_field_splits_shells_as_known():
    cubic = PointGroup.named("Oh")
    assert cubic.decompose("1x2e") == {"Eg": 1, "T2g": 1}
    assert cubic.decompose("1x3o") == {"A2u": 1, "T1u": 1, "T2u": 1}
    assert cubic.decompose("1x4e") == {"A1g": 1, "Eg": 1, "T1g": 1, "T2g": 1}
    assert PointGroup.named("Ih").decompose("1x3o") == {"T2u": 1, "Gu": 1}
    assert PointGroup.named("D4h").decompose("1x2e") == {"A1g": 1, "B1g": 1, "B2g": 1, "Eg": 1}
    assert PointGroup.named("D∞h").decompose("1x2e") == {"Σg+": 1, "Πg": 1, "Δg": 1}
    assert cubic.decompose(2) == {"A1g": 1, "Eg": 1, "T2g": 1, "T1u": 1}


def test_matrices_represent_the_group_in_any_orientation():
    turn = random_orthogonal(torch.Generator().manual_seed(4))
    group = PointGroup.named("D3d").conjugate(turn)
    matrices = group.matrices("1x0o + 2x1e + 1x3o")
    products = (matrices[:, None] @ matrices).flatten(0, 1)
    assert float((products - matrices[group.table].flatten(0, 1)).abs().max()) < 1e-13
    assert group.matrices(3).shape == (12, 16, 16)


@pytest.mark.parametrize("name", ["Cs", "C7", "C4v", "S8", "D5d", "D12h", "Td", "Th", "I"])
def test_a_noisy_group_is_made_exact(name):
    generator = torch.Generator().manual_seed(len(name))
    group = PointGroup.named(name).conjugate(random_orthogonal(generator))
    order = torch.randperm(len(group), generator=generator)
    noise = torch.randn(len(group), 3, 3, dtype=torch.float64, generator=generator)
    found = identify(group.operations[order] + 1e-3 * noise)
    assert found.name == name
    assert float((found.operations @ found.operations.mT - torch.eye(3)).abs().max()) < 1e-13
    gaps = torch.cdist(found.operations.flatten(1), group.operations.flatten(1)).min(1).values
    assert float(gaps.max()) < 1e-2
    assert identify(group.operations[order]).same_as(group)


def test_subgroups_of_the_octahedron_and_their_cosets():
    group = PointGroup.named("Oh")
    every = group.subgroups(conjugates=True)
    classes = group.subgroups()
    assert (len(every), len(classes)) == (98, 33)
    for subgroup in classes:
        assert subgroup.is_subgroup_of(group)
        cosets = group.cosets(subgroup)
        assert len(cosets) * len(subgroup) == 48
        made = (cosets[:, None] @ subgroup.operations).flatten(0, 1)
        assert float(locate(group.operations, made)[1].max()) < 1e-12
    tetragonal = [each for each in every if each.name == "C4v"]
    assert len(tetragonal) == 3 and len(group.cosets(tetragonal[0])) == 6


def test_infinite_groups_hold_finite_ones():
    linear = PointGroup.named("D∞h")
    assert linear.infinite and linear.order == float("inf")
    for name in ("D7h", "C5v", "Ci", "C∞v", "D4d"):
        assert PointGroup.named(name).is_subgroup_of(linear)
    assert not PointGroup.named("Td").is_subgroup_of(linear)
    assert not PointGroup.named("C2h").is_subgroup_of(PointGroup.named("C∞v"))
    assert linear.is_subgroup_of(PointGroup.named("Kh"))
    assert not PointGroup.named("Cs").is_subgroup_of(PointGroup.named("K"))
    assert len(linear.cosets(PointGroup.named("C∞v"))) == 2


def test_characters_come_back_from_representations():
    group = PointGroup.named("D6h")
    characters = representation(group.operations, "1x1o").diagonal(dim1=1, dim2=2).sum(1)
    assert group.name_of(characters) == "A2u + E1u"
    assert group.name_of(group.irrep("E2g").characters) == "E2g"


def test_conjugation_turns_the_operations():
    turn = random_orthogonal(torch.Generator().manual_seed(1), improper=True)
    group = PointGroup.named("C4v")
    turned = group.conjugate(turn)
    gaps = turned.operations - turn @ group.operations @ turn.T
    assert float(gaps.abs().max()) < 1e-14
    assert not turned.same_as(group) and turned.conjugate(turn.T).same_as(group)


@pytest.mark.parametrize(
    ("name", "words"),
    [("D4k", "did you mean 'D4"), ("C0", "Expected Cn"), ("", "no point group"), ("S", "Cn")],
)
def test_unknown_groups_are_told(name, words):
    with pytest.raises(GroupError, match=words):
        PointGroup.named(name)


def test_what_does_not_fit_is_told():
    group = PointGroup.named("D4h")
    with pytest.raises(GroupError, match="it has A1g"):
        group.irrep("A1")
    with pytest.raises(GroupError, match="no subgroup"):
        group.cosets(PointGroup.named("C3"))
    with pytest.raises(GroupError, match="infinitely many"):
        PointGroup.named("C∞v").subgroups()
    with pytest.raises(GroupError, match="orthogonal"):
        group.conjugate(2 * torch.eye(3))
    with pytest.raises(GroupError, match="not characters"):
        group.decompose_characters(torch.full((16,), 0.3))
