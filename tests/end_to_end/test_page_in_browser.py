"""The web page in headless Chromium: an image, the slider, a fake camera, broken uploads, two browsers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from broken_uploads import broken_images, broken_videos, video
from browser import CHROMIUM, chromium, served
from PIL import Image
from tiny_detector import chain, sample_images

from spikedet.data import load_dataset

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "quickstart.json"
WAIT = 60_000
"""Milliseconds; the machine may be busy."""

TIMED_MOVE = """() => {
  const slider = document.querySelector(".growing .clock input");
  const start = performance.now();
  slider.value = 1;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  return performance.now() - start;
}"""


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Screenshots of the last run are kept in ``runs/page-tests``, where the checkout is writable."""
    folder = Path(__file__).resolve().parents[2] / "runs" / "page-tests"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return tmp_path_factory.mktemp("page-tests")
    return folder


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running ``spikedet demo``; the weights have a table of results beside them."""
    weights = Path(shutil.copy(chain()["fine"], tmp_path_factory.mktemp("weights")))
    shutil.copy(RESULTS, weights.with_suffix(".json"))
    with served(["--weights", str(weights)], tmp_path_factory.mktemp("uploads")) as (url, _):
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium whose camera plays synthetic images."""
    dataset = load_dataset(str(sample_images()), "train")
    frames = [cv2.resize(dataset.read_image(i), (320, 240)) for i in range(4)]
    with chromium(frames, tmp_path_factory.mktemp("camera")) as started:
        yield started


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, its sample image shown, in a browser of its own; errors of its scripts fail the test."""
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    shown = context.new_page()
    errors: list[str] = []
    shown.on("pageerror", lambda error: errors.append(str(error)))
    shown.on("console", lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None)
    shown.goto(address, wait_until="domcontentloaded")
    shown.wait_for_selector(".growing img", timeout=WAIT)
    yield shown
    context.close()
    assert not errors, errors


def move(page: Any, stop: int) -> None:
    """The slider to its stop of this number."""
    page.locator(".growing .clock input").evaluate(
        "(slider, stop) => { slider.value = stop; slider.dispatchEvent(new Event('input', { bubbles: true })); }", stop
    )


def shown_steps(page: Any) -> list[int]:
    """The time step that every network shows."""
    visible = page.locator(".growing [data-t]:not([hidden])")
    return [int(visible.nth(i).get_attribute("data-t")) for i in range(visible.count())]


def upload(page: Any, path: Path) -> None:
    page.locator("#image-upload input[type=file]").set_input_files(str(path))


def upload_video(page: Any, path: Path) -> None:
    page.locator("#video-upload input[type=file]").set_input_files(str(path))


def test_the_sample_is_there_with_every_network(page: Any, artefacts: Path) -> None:
    page.screenshot(path=artefacts / "image.png")
    titles = page.locator(".growing figcaption").all_inner_texts()
    assert [title.splitlines()[0] for title in titles] == [
        "ANN",
        "QC-ANN, T = 4",
        "SNN, weights copied, Stage I, T = 4",
        "SNN + coarse + fine, Stage I, T = 4",
    ]
    assert shown_steps(page) == [0, 0, 4, 4]


def test_the_slider_changes_boxes_without_the_server(page: Any) -> None:
    page.context.set_offline(True)  # nothing more comes from it
    for stop, expected in ((0, [0, 0, 1, 1]), (2, [0, 0, 3, 3]), (3, [0, 0, 4, 4])):
        move(page, stop)
        assert shown_steps(page) == expected
    spent = page.evaluate(TIMED_MOVE)
    assert spent < 100  # milliseconds


def test_an_uploaded_image_takes_its_place(page: Any, tmp_path: Path) -> None:
    before = page.locator(".growing img").first.get_attribute("src")
    image = Image.fromarray(np.full((80, 120, 3), 200, np.uint8))
    image.save(tmp_path / "grey.png")
    upload(page, tmp_path / "grey.png")
    page.wait_for_function("(old) => document.querySelector('.growing img').src !== old", arg=before, timeout=WAIT)
    size = page.locator(".growing img").first.evaluate("(image) => [image.naturalWidth, image.naturalHeight]")
    assert size == [120, 80]


def test_broken_uploads_are_sentences_and_the_page_lives(page: Any, tmp_path: Path, artefacts: Path) -> None:
    for name, content in broken_images().items():
        (tmp_path / name).write_bytes(content)
        upload(page, tmp_path / name)
        page.wait_for_selector(f"text=/{name}: /", timeout=WAIT)
    page.screenshot(path=artefacts / "broken-upload.png")
    page.get_by_role("button", name="zidane").click()
    page.wait_for_selector(".growing img", timeout=WAIT)
    page.get_by_role("tab", name="Video").click()
    for name, content in broken_videos(tmp_path).items():
        (tmp_path / name).write_bytes(content)
        upload_video(page, tmp_path / name)
        page.locator("#video-start").click()
        page.wait_for_selector(f"text=/{name}: /", timeout=WAIT)


def test_a_video_comes_back_with_boxes(page: Any, tmp_path: Path, artefacts: Path) -> None:
    (tmp_path / "short.mp4").write_bytes(video(tmp_path))
    page.get_by_role("tab", name="Video").click()
    upload_video(page, tmp_path / "short.mp4")
    page.locator("#video-start").click()
    page.wait_for_selector("#video-status >> text=/5 frames in/", timeout=WAIT)
    page.wait_for_function(
        "() => document.querySelector('#video-result video')?.videoWidth === 160", timeout=WAIT
    )  # the browser plays it
    page.screenshot(path=artefacts / "video.png")


def test_a_cancelled_video_says_so(page: Any, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "long.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for _ in range(600):
        writer.write(np.zeros((120, 160, 3), np.uint8))
    writer.release()
    page.get_by_role("tab", name="Video").click()
    upload_video(page, tmp_path / "long.avi")
    page.locator("#video-start").click()
    page.wait_for_selector(".video-progress progress", timeout=WAIT)
    page.locator("#video-cancel").click()
    page.wait_for_selector("#video-status >> text=/Cancelled/", timeout=WAIT)
    page.wait_for_timeout(500)
    assert "Cancelled" in page.locator("#video-status").inner_text()


def test_the_camera_runs_in_two_browsers_at_once(page: Any, browser: Any, address: str, artefacts: Path) -> None:
    other = browser.new_context()
    second = other.new_page()
    second.goto(address, wait_until="domcontentloaded")
    for shown in (page, second):
        shown.get_by_role("tab", name="Webcam").click()
        shown.locator(".webcam button").click()
    for shown in (page, second):
        shown.wait_for_function(
            "() => Number(document.querySelector('#webcam [data-fps], #webcam[data-fps]')?.dataset.fps) > 0",
            timeout=WAIT,
        )
    second.locator("#webcam-t input[type=number]").fill("2")
    second.wait_for_function(
        "() => document.querySelector('.webcam .status').textContent.includes('t = 2')", timeout=WAIT
    )
    assert "t = 4" in page.locator(".webcam .status").inner_text()
    page.screenshot(path=artefacts / "webcam.png")
    other.close()


def test_a_narrow_dark_screen(browser: Any, address: str, artefacts: Path) -> None:
    """Nothing is wider than a telephone, in any tab; the background is dark."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark")
    shown = context.new_page()
    shown.goto(address, wait_until="domcontentloaded")
    shown.wait_for_selector(".growing img", timeout=WAIT)
    for name in ("Image", "Webcam", "Video", "Table"):
        shown.get_by_role("tab", name=name).click()
        shown.screenshot(path=artefacts / f"narrow-{name.lower()}.png", full_page=True)
        assert shown.evaluate("document.documentElement.scrollWidth") == 360
    back = shown.evaluate("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").rstrip(")")
    assert max(map(int, back.split(","))) < 50
    context.close()


def test_the_table_and_its_plot(page: Any, artefacts: Path) -> None:
    page.get_by_role("tab", name="Table").click()
    page.wait_for_selector("#table >> text=/AP50:95/", timeout=WAIT)
    page.wait_for_function("() => document.querySelector('#table-plot img')?.naturalWidth > 400", timeout=WAIT)
    page.screenshot(path=artefacts / "table.png")
    assert page.locator("#table th:visible").count() == 5
    page.locator("#table summary").click()
    assert page.locator("#table th:visible").count() > 15
