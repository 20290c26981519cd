"""The report in headless Chromium, on a telephone and on a desk, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, chromium
from tiny_detector import chain, sample_images

from spikedet.commands.evaluate import evaluate
from spikedet.commands.report import report
from spikedet.config import EvaluateConfig, ReportConfig

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = str(tmp_path_factory.mktemp("run"))
    evaluate(EvaluateConfig(checkpoints=(str(chain()["fine"]),), data=str(sample_images()), split="test", t="2,4",
                            draws=20, out=out))  # fmt: skip
    return report(ReportConfig(run=out, examples=1))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium([np.zeros((8, 8, 3), np.uint8)], tmp_path_factory.mktemp("camera")) as started:
        yield started


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
def test_it_fits_the_screen_and_fetches_nothing(
    browser: Any, written: Path, width: int, height: int, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page, fetched, said = context.new_page(), [], []
    page.on("request", lambda request: fetched.append(request.url) if request.url[:5] != "data:" else None)
    page.on("console", lambda message: said.append(message.text))
    page.goto(written.as_uri())
    images = "[...document.images].filter(image => !image.closest('details')).map(image => image.naturalWidth)"
    assert min(page.evaluate(images)) > 0
    first = page.locator(".summary p").first.bounding_box()
    assert first["y"] + first["height"] < height / 2  # the finding is what one sees first
    page.evaluate("document.querySelectorAll('details').forEach(section => section.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    sizes = page.evaluate("[...document.querySelectorAll('.gallery img')].map(i => i.getBoundingClientRect().width)")
    assert min(sizes) >= 220
    assert (fetched, said) == ([written.as_uri()], [])
    context.close()


def test_what_slips_into_it_is_not_fetched(browser: Any, written: Path) -> None:
    """The policy of the page holds even for HTML of others."""
    planted = written.with_name("planted.html")
    text = written.read_text("utf-8")
    planted.write_text(
        text.replace("<h1>", "<img src='http://127.0.0.1:9/x.png'><script>document.title = 1</script><h1>")
    )
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto(planted.as_uri())
    assert page.title() != "1"
    assert [line for line in said if "Content Security Policy" in line and "x.png" in line]
    page.close()
