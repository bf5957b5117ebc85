"""A folder of crystals with bad ones among them loses none of the good ones."""

import pytest

from geomae.crystals import canonical
from geomae.data import as_structures
from geomae.errors import StructureError

HEAD = """data_{name}
_cell_length_a 4.0
_cell_length_b 4.0
_cell_length_c {c}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_symmetry_equiv_pos_as_xyz
'x, y, z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""
SOUND = "Na1 Na 0 0 0 1\nCl1 Cl .5 .5 .5 1\n"

GOOD = {
    "plain.cif": HEAD.format(name="plain", c=4.0) + SOUND,
    "deuterium.cif": HEAD.format(name="lid", c=4.0) + "Li1 Li 0 0 0 1\nD1 D .5 .5 .5 1\n",
    "left.vasp": "left-handed\n1.0\n0 4 0\n4 0 0\n0 0 4\nNa Cl\n1 1\ndirect\n0 0 0\n.5 .5 .5\n",
}
BAD = {
    "empty.cif": ("", "is empty"),
    "text.cif": ("hello\n", "holds no structure"),
    "partial.cif": ("Na1 Na 0 0 0 0.5\nCl1 Cl .5 .5 .5 1\n", "disordered"),
    "shared.cif": ("Na1 Na 0 0 0 .5\nK1 K 0 0 0 .5\nCl1 Cl .5 .5 .5 1\n", "disordered"),
    "unknown.cif": ("Xx1 Xx 0 0 0 1\nCl1 Cl .5 .5 .5 1\n", "not an element"),
    "overlap.cif": ("Na1 Na 0 0 0 1\nCl1 Cl .001 0 0 1\n", "closer than"),
    "twice.cif": ("Na1 Na 0 0 0 1\nNa2 Na 0 0 0 1\n", "can't be read"),
    "nowhere.cif": ("Na1 Na 0 0 ? 1\nCl1 Cl .5 .5 .5 1\n", "can't be read"),
    "torn.cif": ("Na1 Na 0 0\n", "can't be read"),
}


WHOLE_FILES = ("empty.cif", "text.cif")
"""Bad ones that have no head either."""


@pytest.fixture
def folder(tmp_path):
    for name, text in GOOD.items():
        (tmp_path / name).write_text(text)
    for name, (text, _) in BAD.items():
        head = "" if name in WHOLE_FILES else HEAD.format(name=name[:-4], c=4.0)
        (tmp_path / name).write_text(head + text)
    (tmp_path / "flat.cif").write_text(HEAD.format(name="flat", c=0.0) + SOUND)
    both = HEAD.format(name="one", c=4.0) + BAD["shared.cif"][0] + GOOD["plain.cif"]
    (tmp_path / "both.cif").write_text(both)
    return tmp_path


def test_good_ones_come_through_and_every_bad_one_is_named(folder):
    found = as_structures(folder, on_error="skip")
    sources = sorted(s.source.rsplit("/", 1)[1] for s in found)
    assert sources == sorted([*GOOD, "both.cif#2"])
    faults = {s.source.rsplit("/", 1)[1].split(":")[0]: s.fault for s in found.skipped}
    assert set(faults) == {*BAD, "flat.cif", "both.cif"}
    for name, (_, words) in BAD.items():
        assert words in faults[name]


def test_good_ones_have_a_canonical_form(folder):
    for structure in as_structures(folder, on_error="skip"):
        form = canonical(structure)
        assert form.symmetrised.number == 221 and form.structure.n_atoms == 2


def test_the_first_bad_one_stops_everything_by_default(folder):
    with pytest.raises(StructureError, match=r"both\.cif"):
        as_structures(folder)
