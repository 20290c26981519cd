"""Names from files within Markdown."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from spikedet.common.markdown import plain_text

HOSTILE = (
    "![x](http://example.org/x.png)",
    "[x](http://example.org)",
    "[x]: /x.png [x] [x][x] ![x] ![x][]",
    "<img src=http://example.org/x.png>",
    "<http://example.org>",
    "http://example.org",
    "www.example.org",
    "a | b `c` \\d",
    "a\n\n# head\n\n[x]: http://example.org\n\n[x]",
    "\x1b[31mred\u202etxt.exe",
)


@pytest.mark.parametrize(
    "name", ["tiny-yolo", "SNN + joint, if", "a_b_c", "T = 4, distilled", "W, u[0]", "45 nm, float32", ""]
)
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert plain_text(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_in_a_name_is_more_than_text(name: str) -> None:
    """By the most that renderers do: CommonMark with HTML, tables and addresses as links."""
    renderer = MarkdownIt("commonmark", {"html": True}).enable("table")
    shown = str(renderer.render(f"| head | more |\n| --- | --- |\n| {plain_text(name)} | x |\n"))
    assert [tag for tag in ("<a ", "<img", "<h1", "<code") if tag in shown] == []
    assert shown.count("<td>") == 2
    assert plain_text(name).isprintable() or not name


def test_what_is_shown_is_the_name() -> None:
    rendered = str(MarkdownIt("commonmark").renderInline(plain_text("![x](http://example.org/a|b)")))
    assert rendered == "![x](http://example.org/a|b)"
