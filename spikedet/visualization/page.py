"""One HTML file that needs no other: sections of text, tables and images, images inside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import Environment
from markdown_it import MarkdownIt
from PIL import Image


@dataclass(frozen=True)
class Section:
    """A title, and HTML that is put into the page as it is: made by the functions here, so that text is escaped."""

    title: str
    html: str


def page_html(title: str, sections: Iterable[Section]) -> str:
    """The whole page."""
    template = files("spikedet.visualization").joinpath("assets", "report.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(template).render(title=title, sections=list(sections))


def markdown_html(text: str) -> str:
    """Markdown with tables; HTML within it is shown as text."""
    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def file_figure(path: Path, caption: str = "") -> str:
    """A PNG file inside the page."""
    return _figure("image/png", path.read_bytes(), caption)


def image_figure(image_rgb: npt.NDArray[np.uint8], caption: str = "") -> str:
    """An image ``[H, W, 3]`` inside the page."""
    buffer = io.BytesIO()
    Image.fromarray(image_rgb).save(buffer, "JPEG", quality=85)
    return _figure("image/jpeg", buffer.getvalue(), caption)


def preformatted(text: str) -> str:
    """Text as it is."""
    return f"<pre>{escape(text)}</pre>"


def _figure(kind: str, content: bytes, caption: str) -> str:
    source = f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
    shown = escape(caption)
    return f'<figure><img alt="{shown}" src="{source}"><figcaption>{shown}</figcaption></figure>'
