"""One HTML page that shows reconstructions beside their originals, and works offline."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from geomae.plotting.payload import Pair as Pair
from geomae.plotting.payload import page_data, to_json

FIGURES = {
    "n": ("Structures", "{:d}"),
    "n_failed": ("Not reconstructed", "{:d}"),
    "n_skipped": ("Skipped", "{:d}"),
    "composition_accuracy": ("Composition right", "{:.1%}"),
    "reconstructed": ("Reconstructed", "{:.1%}"),
    "exact": ("Exact, bonds too", "{:.1%}"),
    "rmsd": ("RMSD", "{:.2g} Å"),
    "median_error": ("Median error", "{:.2g} Å"),
    "max_error": ("Largest error", "{:.2g} Å"),
    "certified": ("Certified", "{:.1%}"),
    "n_certified_right": ("Certified and right", "{:d}"),
    "n_uncertified_wrong": ("Doubted and wrong", "{:d}"),
    "n_certified_wrong": ("Certified but wrong", "{:d}"),
    "n_uncertified_right": ("Right but doubted", "{:d}"),
    "residual_right_median": ("Median residual of the right", "{:.2g}"),
    "residual_right_highest": ("Highest residual of the right", "{:.2g}"),
    "residual_wrong_lowest": ("Lowest residual of the wrong", "{:.2g}"),
    "residual_wrong_median": ("Median residual of the wrong", "{:.2g}"),
    "match (usual)": ("Matched, usual tolerances", "{:.2%}"),
    "match (default)": ("Matched, pymatgen's tolerances", "{:.2%}"),
    "match (usual, unreduced)": ("Matched, usual, cells as they are", "{:.2%}"),
    "match (default, unreduced)": ("Matched, pymatgen's, cells as they are", "{:.2%}"),
    "rmse (usual)": ("RMSE of matches, usual", "{:.2g}"),
    "rmse (default)": ("RMSE of matches, pymatgen's", "{:.2g}"),
    "rmse (usual, unreduced)": ("RMSE of matches, usual, cells as they are", "{:.2g}"),
    "rmse (default, unreduced)": ("RMSE of matches, pymatgen's, cells as they are", "{:.2g}"),
    "space group kept at 0.01": ("Space group kept at 0.01 Å", "{:.2%}"),
    "space group kept at 0.1": ("Space group kept at 0.1 Å", "{:.2%}"),
    "space group kept at 0.01 of matches": ("Of matches, kept at 0.01 Å", "{:.2%}"),
    "space group kept at 0.1 of matches": ("Of matches, kept at 0.1 Å", "{:.2%}"),
    "valid": ("Valid", "{:.1%}"),
    "overlaid": ("Laid on the original", "{:.1%}"),
}
"""Label and format of the figures that summaries have."""


def write_report(
    path: str | Path,
    pairs: Sequence[Pair],
    summary: Mapping[str, object],
    *,
    title: str,
    notes: Sequence[str] | str | None = None,
) -> None:
    """Write a page with both structures of every pair in linked 3D views, worst pairs first.

    Everything is inside the one file: it loads nothing. Strings may hold anything.

    Args:
        path: of the HTML file; folders on the way are made.
        pairs: what to show; some thousands are fine.
        summary: figures for the top of the page, as `geomae.metrics.summarise` gives them;
            other scalars are shown under their names.
        title: of the page.
        notes: lines to show below the figures.

    Raises:
        GeomaeError: a pair's matching does not fit its structures.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(build_page(pairs, summary, title=title, notes=notes), encoding="utf-8")


def build_page(
    pairs: Sequence[Pair],
    summary: Mapping[str, object],
    *,
    title: str,
    notes: Sequence[str] | str | None = None,
) -> str:
    """The page that `write_report` writes."""
    parts = {
        "title": escape(title),
        "summary": _summary_rows(summary),
        "notes": _notes(notes),
        "style": _read("page/page.css"),
        "data": to_json(page_data(pairs)),
        "library": _script(_read("vendor/3Dmol-min.js")),
        "views": _script(_read("page/views.js")),
        "crystal": _script(_read("page/crystal.js")),
        "script": _script(_read("page/page.js")),
        "licence": escape(_read("vendor/LICENSE.3Dmol")),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page/page.html"))


def _read(name: str) -> str:
    return files("geomae.plotting").joinpath(name).read_text(encoding="utf-8")


def _script(text: str) -> str:
    """Code that can't end its script element early."""
    return re.sub(r"<(?=/script|!--)", r"\\x3c", text, flags=re.IGNORECASE)


def _summary_rows(summary: Mapping[str, object]) -> str:
    order = dict.fromkeys([*(key for key in FIGURES if key in summary), *summary])
    shown = [(k, summary[k]) for k in order if isinstance(summary[k], bool | int | float | str)]
    return "".join(
        f'<tr><th scope="row">{escape(label)}</th><td>{escape(text)}</td></tr>'
        for label, text in (_figure(key, value) for key, value in shown)
    )


def _figure(key: str, value: bool | int | float | str) -> tuple[str, str]:
    """Label and text of one figure."""
    label, form = FIGURES.get(key, (key.replace("_", " ").capitalize(), None))
    if isinstance(value, bool):
        return label, "yes" if value else "no"
    if isinstance(value, str):
        return label, value
    if form is not None and form.endswith("d}"):
        return label, form.format(round(value))
    return label, form.format(value) if form else f"{value:.4g}"


def _notes(notes: Sequence[str] | str | None) -> str:
    """A paragraph, a folded list, or nothing."""
    if isinstance(notes, str):
        return f"<p>{escape(notes)}</p>"
    lines = list(notes or [])
    if not lines:
        return ""
    items = "".join(f"<li>{escape(str(line))}</li>" for line in lines)
    count = "1 note" if len(lines) == 1 else f"{len(lines)} notes"
    return f"<details><summary>{count}</summary><ul>{items}</ul></details>"
