"""The frame of a report: text stays text, whatever it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spikedet.visualization.page import Section, file_figure, image_figure, markdown_html, page_html, preformatted

HOSTILE = (
    "![x](http://example.org/x.png)",
    "[x](http://example.org)",
    "[x]\n\n[x]: http://example.org",
    "![x][y]\n\n[y]: http://example.org",
    "<http://example.org>",
    "<img src=http://example.org/x.png>",
    "<script>fetch('http://example.org')</script>",
)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("where", ["cell", "paragraph", "title", "caption", "settings"])
def test_text_has_no_links_images_or_html_of_its_own(text: str, where: str, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    line = text.replace("\n", " ")
    html = {
        "cell": lambda: markdown_html(f"| a | b |\n| --- | --- |\n| {line} | 1 |"),
        "paragraph": lambda: markdown_html(text),
        "title": lambda: "",
        "caption": lambda: file_figure(tmp_path / "a.png", text),
        "settings": lambda: preformatted(text),
    }[where]()
    page = page_html(text, [text], [Section(text, html, folded=True)])
    assert re.findall(r"<(?:a|script|iframe|link|object)\b", page) == []
    assert [source for source in re.findall(r"<img[^>]*src=\"([^\"]*)\"", page) if not source.startswith("data:")] == []
    assert "example.org" in page  # it is shown


def test_a_browser_may_fetch_nothing_and_a_telephone_shows_its_own_width() -> None:
    page = page_html("a", [], [])
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page


def test_tables_are_tables_and_sections_fold() -> None:
    html = markdown_html("| a | b |\n| --- | ---: |\n| c | 1 |")
    assert "<table>" in html and "<td>c</td>" in html
    page = page_html("title", ["First.", "Second."], [Section("open", "<p>x</p>"), Section("shut", html, folded=True)])
    assert page.index("First.") < page.index("Second.") < page.index("<h2>open</h2>") < page.index("<h2>shut</h2>")
    assert page.count("<details>") == 1 and "<details open" not in page


def test_images_stand_beside_each_other_with_their_titles(tmp_path: Path) -> None:
    image = np.zeros((8, 6, 3), np.uint8)
    html = image_figure([("ANN", image), ("SNN <b>", image)], "a & b")
    assert html.count("data:image/jpeg;base64,") == 2
    assert "ANN" in html and "SNN &lt;b&gt;" in html and "<figcaption>a &amp; b</figcaption>" in html


@pytest.mark.parametrize(("width", "name"), [(1200, "plot"), (1400, "plot broad")])
def test_fine_plots_keep_their_size(width: int, name: str, tmp_path: Path) -> None:
    Image.new("RGB", (width, 4)).save(tmp_path / "a.png")
    assert f'<figure class="{name}">' in file_figure(tmp_path / "a.png")
