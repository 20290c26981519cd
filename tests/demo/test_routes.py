"""The page's routes: what is served, what comes back, what is left behind, and how much is done at once."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette", reason="starlette is not installed")

from asgi import LOOP, Reply, ask, request
from broken_uploads import NOISE, encoded, video
from tiny_detector import IMAGE_SIZE, T, chain

from spikedet.common.errors import DataError
from spikedet.config import DemoConfig
from spikedet.demo import bodies, routes
from spikedet.demo.addresses import Addresses
from spikedet.demo.guard import Guard
from spikedet.demo.routes import build
from spikedet.demo.uploads import MAX_UPLOAD_BYTES
from spikedet.detections import Detections
from spikedet.inference.comparison import View


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def page(folder: Path) -> Guard:
    """The page of the tiny detector, behind its guard, which has no limits here: other tests are about them."""
    config = DemoConfig(weights=str(chain()["fine"]))
    return Guard(build(config, folder), Addresses.of("127.0.0.1"), 7860)


@pytest.fixture(autouse=True)
def nothing_is_left(folder: Path, page: Guard) -> Iterator[None]:
    page._requests._left.clear()
    yield
    assert not list(folder.iterdir())


# --- what is served -------------------------------------------------------------------------------------------------


def test_the_page_loads_nothing_from_elsewhere(page: Guard) -> None:
    text = ask(page, "/").body.decode()
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["data:,", "assets/page.css", "assets/page.js"]
    assert "//" not in text.replace("<!doctype html>", "")
    side, colours = re.findall(r"class=\"webcam\" data-side=\"(\d+)\" data-colours='(.*?)'", text)[0]
    assert int(side) == IMAGE_SIZE and "#E69F00" in json.loads(colours)
    for name in routes.ASSETS:
        reply = ask(page, f"/assets/{name}")
        assert reply.status == 200 and reply.headers["content-type"].startswith(routes.ASSETS[name])
        assert not re.search(rb"https?://", reply.body)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://127.0.0.1:9/a.png",
        "/file=/etc/passwd",
        "/assets/../page.py",
        "/assets/page.html.j2",
        "/assets//etc/passwd",
        "/config",
        "/docs",
        "/openapi.json",
        "/queue/join",
        "//",
    ],
)
def test_nothing_else_is_served(page: Guard, path: str) -> None:
    for method in ("GET", "POST"):
        assert ask(page, path, method).status in (404, 405)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_work_is_asked_for_by_post_alone(page: Guard, method: str) -> None:
    for path in ("/image", "/look", "/video"):
        assert ask(page, path, method).status == 405


def test_the_page_without_results_does_not_tell_its_folders(page: Guard) -> None:
    """Nor do the words about a broken file, or a plot that is not there."""
    replies = [ask(page, "/"), ask(page, "/plot.png"), ask(page, "/image?name=a.jpg", "POST", body=b"no image")]
    assert [reply.status for reply in replies] == [200, 404, 422]
    assert b"fine.safetensors" in replies[0].body
    for reply in replies:
        assert not re.search(rb"/(tmp|home|work|root|usr)\b", reply.body)
        assert str(chain().folder).encode() not in reply.body


# --- images ---------------------------------------------------------------------------------------------------------


def test_an_image_comes_back_with_boxes(page: Guard) -> None:
    reply = ask(page, "/image?name=a.png&confidence=0.5", "POST", body=encoded("PNG"))
    assert reply.status == 200 and reply.json["html"].startswith('<div class="growing" data-steps="[1, 2, 3, 4]"')


def test_a_sample_comes_back_with_boxes(page: Guard) -> None:
    assert "data:image/jpeg;base64," in ask(page, "/image?sample=bus", "POST").json["html"]
    for name in ("", "no", "../bus", "/etc/passwd"):
        assert ask(page, f"/image?sample={name}", "POST").status == 404


def test_settings_that_are_no_numbers(page: Guard) -> None:
    query = "confidence=nan&stable_steps=inf&t=x&name=%00%ff"
    assert ask(page, f"/image?{query}", "POST", body=encoded("PNG", NOISE[:16, :16])).status == 200


def test_a_broken_image_is_a_sentence(page: Guard) -> None:
    reply = ask(page, "/image?name=..%2Fa%0Ab.jpg", "POST", body=b"hello")
    assert reply.status == 422 and reply.json["error"].startswith("a_b.jpg: not an image that can be read")


@pytest.mark.parametrize("length", [str(MAX_UPLOAD_BYTES + 1), "1" * 5000])
def test_too_much_is_refused_before_it_is_read(page: Guard, length: str) -> None:
    for path in ("/image", "/video", "/look"):
        reply = ask(page, path, "POST", content_length=length)
        assert reply.status == 413 and "MB" in reply.json["error"]


@pytest.mark.parametrize("length", [None, "-1", "", "1e3", "²"])
def test_a_body_says_how_long_it_is(page: Guard, length: str | None) -> None:
    reply = ask(page, "/image", "POST", content_length=length, body=encoded("PNG"))
    assert reply.status == 422 and "how long it is" in reply.json["error"]


def test_a_body_longer_than_it_says(page: Guard) -> None:
    assert ask(page, "/image", "POST", content_length="10", body=encoded("PNG")).status == 413


def test_a_slow_upload_ends(page: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "UPLOAD_S", 0.01)

    async def never() -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr("starlette.requests.Request.stream", lambda self: _parts(never))
    reply = ask(page, "/image", "POST", content_length="10")
    assert reply.status == 422 and "too long" in reply.json["error"]


async def _parts(wait: Any) -> Any:
    yield b"a"
    await wait()


def test_an_error_of_ours_is_no_stack_trace(page: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("/secret/path")

    monkeypatch.setattr(routes, "look", look)
    seen: list[bytes] = []
    with pytest.raises(ZeroDivisionError):  # for the server's log, after the response
        ask(page, "/image?sample=bus", "POST", sent=seen.append)
    assert b"something went wrong" in seen[0] and b"secret" not in b"".join(seen)


# --- the camera -----------------------------------------------------------------------------------------------------


def test_a_frame_comes_back_with_boxes(page: Guard) -> None:
    reply = ask(page, f"/look?t={T}&confidence=0.01&stable_steps=0", "POST", body=encoded("JPEG", NOISE))
    assert reply.json["boxes"] and f"t = {T}" in reply.json["words"]


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b'{"frame": "x"}'])
def test_what_is_no_frame_is_a_sentence(page: Guard, body: bytes) -> None:
    reply = ask(page, "/look", "POST", body=body)
    assert reply.status == 422 and reply.json["error"] == "not a frame: expected a JPEG image"


# --- videos ---------------------------------------------------------------------------------------------------------


def test_a_video_comes_back_with_boxes(page: Guard, tmp_path: Path) -> None:
    reply = ask(page, "/video?name=a.mp4&t=2", "POST", body=video(tmp_path))
    *lines, rest = reply.body.split(b"\n", 6)
    said = [json.loads(line) for line in lines]
    assert ["frame 3 of 5" in line["html"] for line in said] == [False, False, True, False, False, False]
    assert said[-1]["bytes"] == len(rest) and rest.startswith(b"\x1aE\xdf\xa3")  # the mark of WebM


def test_a_broken_video_is_a_sentence(page: Guard) -> None:
    reply = ask(page, "/video?name=a.mp4", "POST", body=NOISE.tobytes())
    assert json.loads(reply.body)["error"].startswith("a.mp4: not a video that can be read")
    assert ask(page, "/video?name=a.mp4&network=none", "POST", body=b"x").status == 404


def test_a_visitor_who_goes_ends_the_work(page: Guard, tmp_path: Path) -> None:
    async def main() -> Reply:
        leave = asyncio.Event()
        return await request(
            page, "/video?t=1", "POST", body=video(tmp_path), leave=leave, sent=lambda part: leave.set()
        )

    reply = LOOP.run_until_complete(main())
    assert reply.body.count(b"\n") < 5 and b"bytes" not in reply.body


def test_a_server_that_ends_leaves_no_video(page: Guard, folder: Path, tmp_path: Path) -> None:
    async def main() -> None:
        begun = asyncio.Event()
        job = asyncio.create_task(request(page, "/video", "POST", body=video(tmp_path), sent=lambda part: begun.set()))
        await begun.wait()
        assert list(folder.iterdir())
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    LOOP.run_until_complete(main())


# --- how much -------------------------------------------------------------------------------------------------------


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds all work on images until it is set."""
    event = threading.Event()

    def look(*_: Any, **__: Any) -> list[Any]:
        assert event.wait(20)
        raise DataError("looked")

    monkeypatch.setattr(routes, "look", look)
    yield event
    event.set()


def test_one_client_is_told_busy_while_others_are_served(page: Guard, held: threading.Event) -> None:
    """5 requests of one client hold 4 places; the fifth is refused, and another client's is not."""

    async def main() -> list[Reply]:
        flood = [asyncio.create_task(request(page, "/image?sample=bus", "POST")) for _ in range(5)]
        await asyncio.wait(flood, return_when="FIRST_COMPLETED")
        other = asyncio.create_task(request(page, "/image?sample=bus", "POST", client="127.0.0.2"))
        await asyncio.sleep(0.01)
        held.set()
        return [*await asyncio.gather(*flood), await other]

    *flood, other = LOOP.run_until_complete(main())
    assert sorted(reply.status for reply in flood) == [422] * 4 + [503]
    busy = next(reply for reply in flood if reply.status == 503)
    assert "busy" in busy.json["error"] and busy.headers["retry-after"] == "1"
    assert other.json["error"] == "looked"


def test_a_hundred_clients_each_get_their_own(page: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of different sizes come back with the right one."""
    monkeypatch.setattr(routes, "look", lambda *_, **__: [View("none", {0: Detections.empty()}, (), 0.0)])

    async def main() -> list[Reply]:
        images = [encoded("PNG", np.zeros((8, 8 + i, 3), np.uint8)) for i in range(100)]
        sent = [request(page, "/image", "POST", client=f"10.0.0.{i}", body=body) for i, body in enumerate(images)]
        return await asyncio.gather(*sent)

    for i, reply in enumerate(LOOP.run_until_complete(main())):
        content = base64.b64decode(reply.json["html"].partition("base64,")[2].partition('"')[0])
        assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape == (8, 8 + i, 3)


def test_uploads_together_have_a_bound(page: Guard, held: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    body = encoded("PNG")
    app = page._app
    stored = next(route for route in app.routes if route.path == "/image").endpoint.__self__._stored  # type: ignore[attr-defined]
    monkeypatch.setattr(stored, "_most", 3 * len(body))

    async def main() -> list[Reply]:
        first = asyncio.create_task(request(page, "/image", "POST", body=body))
        await asyncio.sleep(0.01)
        second = await request(page, "/image", "POST", body=body)
        held.set()
        return [await first, second]

    assert [reply.status for reply in LOOP.run_until_complete(main())] == [422, 503]


def test_views_leave_nothing_in_memory(page: Guard) -> None:
    """500 views of the page with an image each: the last 400 leave no objects."""

    async def views(count: int) -> None:
        for _ in range(count):
            page._requests._left.clear()
            await request(page, "/")
            await request(page, "/image?sample=none", "POST")

    async def main() -> tuple[int, int]:
        await views(100)
        gc.collect()
        before = len(gc.get_objects())
        await views(400)
        gc.collect()
        return before, len(gc.get_objects())

    before, after = LOOP.run_until_complete(main())
    assert after - before < 100


def test_the_plot_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spikedet.demo import table

    calls: list[Path] = []

    def draw(rows: Any, path: Path) -> Path:
        calls.append(path)
        path.write_bytes(b"PNG")
        return path

    monkeypatch.setattr(table, "plot_ap_by_t", draw)
    drawn = [table.ap_plot([object()], tmp_path) for _ in range(2)]  # type: ignore[list-item]
    assert drawn == [b"PNG"] * 2 and len(calls) == 1
    assert table.ap_plot([], tmp_path) == b"" and tempfile.gettempdir() not in str(calls[0].name)
