"""One HTML file that needs no other: sections of text, tables and images, images inside it.

Text from files is text: a page has no links, no images but its own and no HTML but its own, and its policy lets a
browser fetch nothing.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import Environment
from markdown_it import MarkdownIt
from PIL import Image

WIDE_PX = 1400
"""Plots from this width on are too fine for a telephone; there one moves them sideways."""


@dataclass(frozen=True)
class Section:
    """A title, and HTML that is put into the page as it is: made by the functions here, so that text is escaped.

    A section that is ``folded`` shows its title alone until it is opened.
    """

    title: str
    html: str
    folded: bool = False


def page_html(title: str, summary: Sequence[str], sections: Iterable[Section]) -> str:
    """The whole page: the sentences of the summary, plain text, and then the sections."""
    template = files("spikedet.visualization").joinpath("assets", "report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True)
    return environment.from_string(template).render(title=title, summary=summary, sections=list(sections))


def markdown_html(text: str) -> str:
    """Markdown with tables, but without links and images; HTML within it is shown as text."""
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    renderer.disable(["link", "image", "autolink", "reference"])
    return str(renderer.render(text))


def file_figure(path: Path, caption: str = "") -> str:
    """A PNG file inside the page."""
    with Image.open(path) as image:
        kind = "plot broad" if image.width >= WIDE_PX else "plot"
    return _figure(kind, [("", _source("image/png", path.read_bytes()))], caption)


def image_figure(images_rgb: Sequence[tuple[str, npt.NDArray[np.uint8]]], caption: str = "") -> str:
    """Images ``[H, W, 3]`` with a title each, side by side where there is room."""
    return _figure("images", [(title, jpeg_source(image_rgb)) for title, image_rgb in images_rgb], caption)


def jpeg_source(image_rgb: npt.NDArray[np.uint8]) -> str:
    """An image ``[H, W, 3]`` as the source of an ``<img>``, for pages that need no other file."""
    buffer = io.BytesIO()
    Image.fromarray(image_rgb).save(buffer, "JPEG", quality=85)
    return _source("image/jpeg", buffer.getvalue())


def _source(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def preformatted(text: str) -> str:
    """Text as it is."""
    return f"<pre>{escape(text)}</pre>"


def _figure(name: str, images: Sequence[tuple[str, str]], caption: str) -> str:
    shown = ""
    for title, source in images:
        described = escape(", ".join(filter(None, (caption, title))))
        shown += f'<div>{escape(title)}<img alt="{described}" src="{source}"></div>'
    return f'<figure class="{name}"><figcaption>{escape(caption)}</figcaption>{shown}</figure>'
