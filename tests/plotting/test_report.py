"""The page: self-contained, unbreakable by names, complete."""

import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest
import torch

from geomae.data.structure import Structure
from geomae.errors import GeomaeError
from geomae.plotting import Pair, write_report
from geomae.plotting.report import build_page


class Elements(HTMLParser):
    """Tags with their attributes, and the text of each kind of element."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.texts, self.open = [], {}, []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append((tag, dict(attrs)))
        if tag in ("script", "td", "th", "title"):
            self.texts.setdefault(tag, []).append("")

    def handle_data(self, data):
        if self.open and self.open[-1][0] in self.texts:
            self.texts[self.open[-1][0]][-1] += data

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(found[1], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.fixture
def page(pairs, summary, tmp_path) -> str:
    path = tmp_path / "new" / "report.html"
    write_report(path, pairs, summary, title="A <title>", notes=["one <note>"])
    return path.read_text(encoding="utf-8")


def test_page_loads_nothing(page):
    for tag, attributes in Elements(page).tags:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
    assert "default-src 'none'" in page
    assert "@import" not in page and "url(" not in Elements(page).texts["script"][0]


def test_strings_cannot_break_the_page(page):
    elements = Elements(page)
    assert [tag for tag, _ in elements.tags].count("script") == 6
    assert elements.texts["title"] == ["A <title>"]
    assert "one &lt;note&gt;" in page
    assert "onerror=alert" not in re.sub(r'id="data">.*?</script>', "", page, flags=re.S)


def test_data_holds_names_and_both_structures(page, pairs):
    entries = {entry["name"]: entry for entry in data_of(page)["pairs"]}
    assert set(entries) == {pair.name for pair in pairs}
    for pair in pairs:
        for side, structure in (("original", pair.original), ("decoded", pair.decoded)):
            entry = entries[pair.name][side]
            if structure is None:
                assert entry is None
            else:
                assert entry["numbers"] == structure.numbers.tolist()
                assert len(entry["positions"]) == 3 * structure.n_atoms
    bonds = entries["benzene"]["original"]["bonds"]
    assert len(bonds) == 3 * 12
    assert len(entries["salt"]["original"]["cell"]) == 9


def test_elements_have_styles(page):
    data = data_of(page)
    used = {z for e in data["pairs"] for s in ("original", "decoded") if e[s]
            for z in e[s]["numbers"]}  # fmt: skip
    assert {int(z) for z in data["elements"]} == used
    assert data["elements"]["8"]["symbol"] == "O"
    assert all(re.fullmatch("#[0-9a-f]{6}", e["colour"]) for e in data["elements"].values())


def test_worst_first(page):
    statuses = [entry["status"] for entry in data_of(page)["pairs"]]
    assert statuses == ["wrong", "error", "doubtful", "refused", "reconstructed", "exact"]


def test_larger_error_first_and_unknown_errors_before(pairs):
    ethanol = pairs[1].original
    three = [
        Pair(str(error), ethanol, ethanol, {"max_error": error}, "wrong")
        for error in (0.6, 2.0, float("nan"), 1.0)
    ]
    entries = data_of(build_page(three, {}, title=""))["pairs"]
    assert [entry["name"] for entry in entries] == ["nan", "2.0", "1.0", "0.6"]


def test_displacements_are_those_of_the_matching(page, pairs):
    entry = next(e for e in data_of(page)["pairs"] if e["name"] == "benzene")
    original, decoded = pairs[0].original, pairs[0].decoded
    expected = (decoded.positions[entry["matching"]] - original.positions).norm(dim=1)
    torch.testing.assert_close(
        torch.tensor(entry["displacements"]).double(), expected, rtol=1e-5, atol=1e-6
    )
    assert entry["metrics"]["max_error"] == 0.02
    assert entry["changed_bonds"] == 0


def test_missing_figures_are_worked_out(page):
    entry = next(e for e in data_of(page)["pairs"] if e["name"] == "ethanol")
    assert entry["metrics"]["max_error"] == pytest.approx(max(entry["displacements"]))
    assert 0 < entry["metrics"]["rmsd"] < entry["metrics"]["max_error"]


def test_decoded_atoms_of_crystals_are_shown_at_the_nearest_images(pairs):
    salt = next(pair for pair in pairs if pair.name == "salt").original
    far = Structure(salt.numbers, salt.positions, salt.cell)
    far.positions[0] += salt.cell[0, 1] - 2 * salt.cell[0, 2]
    entry = data_of(build_page([Pair("salt", salt, far)], {}, title=""))["pairs"][0]
    assert entry["decoded"] == entry["original"]
    assert entry["metrics"]["max_error"] == pytest.approx(0, abs=1e-9)
    assert entry["changed_bonds"] == 0


def test_other_composition_leaves_atoms_unmatched(page):
    entry = next(e for e in data_of(page)["pairs"] if e["name"] == "short")
    assert entry["matching"].count(-1) == 1
    assert entry["displacements"].count(None) == 1
    assert entry["metrics"]["rmsd"] is None
    assert entry["changed_bonds"] is None


def test_summary_table(page):
    texts = Elements(page).texts
    rows = dict(zip(texts["th"], texts["td"], strict=False))
    assert rows["Structures"] == "4"
    assert rows["Not reconstructed"] == "1"
    assert rows["Composition right"] == "75.0%"
    assert rows["Reconstructed"] == "50.0%"
    assert rows["Exact, bonds too"] == "25.0%"
    assert rows["RMSD"] == "0.01 Å"
    assert rows["Largest error"] == "0.02 Å"


def test_other_figures_are_shown_and_lists_left_out():
    page = build_page([], {"speed <s>": 12.345, "skipped": ["x"], "refined": True}, title="t")
    assert '<th scope="row">Speed &lt;s&gt;</th><td>12.35</td>' in page
    assert "<td>yes</td>" in page and "Skipped" not in page


def test_given_matching_is_used_and_checked(pairs):
    ethanol = pairs[1].original
    turned = list(range(ethanol.n_atoms))
    turned[-1], turned[-2] = turned[-2], turned[-1]
    entry = data_of(build_page([Pair("a", ethanol, ethanol, matching=turned)], {}, title=""))
    assert entry["pairs"][0]["matching"] == turned
    for wrong in ([0], [0] * ethanol.n_atoms, [99] * ethanol.n_atoms):
        with pytest.raises(GeomaeError, match="matching"):
            build_page([Pair("a", ethanol, ethanol, matching=wrong)], {}, title="")


def test_places_that_are_not_numbers_are_not_drawn(pairs):
    ethanol = pairs[1].original
    broken = Structure(ethanol.numbers, ethanol.positions * float("nan"))
    entry = data_of(build_page([Pair("a", ethanol, broken)], {}, title=""))["pairs"][0]
    assert entry["decoded"] is None and entry["original"] is not None


def test_size(pairs, page):
    """3Dmol.js and the page are about 0.6 MB; a pair of small molecules is below 2 kB."""
    assert len(page) < 750_000
    ten = build_page([pairs[0]] * 10, {}, title="")
    twenty = build_page([pairs[0]] * 20, {}, title="")
    assert len(twenty) - len(ten) < 20_000


def test_library_and_its_licence_are_in_the_page(page):
    vendor = files("geomae.plotting") / "vendor"
    library = (vendor / "3Dmol-min.js").read_text(encoding="utf-8")
    assert library[:200] in page and library[-200:] in page
    assert "Redistributions in binary form must reproduce" in page
    assert (vendor / "LICENSE.3Dmol").is_file()


def test_same_input_gives_the_same_page(pairs, summary, page):
    assert build_page(pairs, summary, title="A <title>", notes=["one <note>"]) == page
