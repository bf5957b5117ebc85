"""The page in headless Chromium, where that is installed."""

import re
import shutil
import subprocess
from html import unescape
from json import loads

import pytest

from geomae.plotting import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

PROBE = """
<script>
const log = {};
const key = (target, name) => target.dispatchEvent(
  new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
const turn = (side) => views.viewers[side].getView().slice(4, 8).map((x) => x.toFixed(5)).join();
log.linked = turn(0) === turn(1);
const before = turn(0);
key(byId("right"), "ArrowLeft");
log.turned = turn(0) !== before && turn(0) === turn(1);
views.viewers[1].rotate(30, "y");
log.follows = turn(0) === turn(1);
log.first = state.index;
key(byId("list"), "ArrowDown");
log.second = state.index;
key(document.body, "ArrowUp");
log.back = state.index;
key(byId("list"), "End");
log.last = state.index;
byId("overlaid").click();
byId("labels").click();
log.labels = [views.viewers[0].labels.length];
byId("labels").click();
log.labels.push(views.viewers[0].labels.length);
log.described = pairs.map((pair, i) => {
  select(i);
  return byId("left").getAttribute("aria-label");
});
choose(0);
log.chosen = document.querySelectorAll("#atoms tr.chosen").length;
byId("filters").children[1].click();
log.filtered = state.shown.length;
document.documentElement.dataset.log = JSON.stringify(log);
</script>
"""


@pytest.fixture
def page(pairs, summary, tmp_path):
    path = tmp_path / "report.html"
    write_report(path, pairs, summary, title="Reconstructions")
    return path


def run_chromium(page, *options: str) -> str:
    """What Chromium prints, with the page's own profile."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--virtual-time-budget=5000",
        f"--user-data-dir={page.parent / 'profile'}", *SOFTWARE_GL, *options, page.as_uri(),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return result.stdout


def root_of(dump: str) -> dict[str, str]:
    """Data attributes of the page's root."""
    root = re.search(r"<html[^>]*>", dump)
    assert root, "Chromium printed no page"
    return {k: unescape(v) for k, v in re.findall(r'data-(\w+)="([^"]*)"', root[0])}


def test_viewer_comes_up_and_views_turn_together(page):
    text = page.read_text(encoding="utf-8")
    end = text.rindex("</body>")
    page.write_text(text[:end] + PROBE + text[end:], encoding="utf-8")
    root = root_of(run_chromium(page, "--dump-dom"))
    assert root.get("state") == "ready", root
    assert "error" not in root
    log = loads(root["log"])
    assert log["linked"] and log["turned"] and log["follows"]
    assert [log["first"], log["second"], log["back"], log["last"]] == [0, 1, 0, 5]
    assert log["labels"] == [12, 0]
    assert log["described"][0].startswith(
        "3D view. Original and reconstruction overlaid of ethanol"
    )
    assert log["chosen"] == 1 and log["filtered"] == 1


def test_page_works_without_webgl(page):
    text = page.read_text(encoding="utf-8")
    blind = "<script>HTMLCanvasElement.prototype.getContext = () => null;</script></head>"
    page.write_text(text.replace("</head>", blind, 1), encoding="utf-8")
    dump = run_chromium(page, "--dump-dom")
    assert root_of(dump)["state"] == "no-webgl"
    assert dump.count('role="option"') == 6


def test_screenshot_shows_coloured_atoms(page, tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    picture = tmp_path / "page.png"
    run_chromium(page, "--window-size=1200,1000", f"--screenshot={picture}")
    pixels = imread(picture)[..., :3]
    assert pixels.shape == (1000, 1200, 3)
    reddish = (pixels[..., 0] > 0.5) & (pixels[..., 1] < 0.2) & (pixels[..., 2] < 0.2)
    assert reddish[:, 300:].sum() > 200
