"""What the page's server does: it shows the page, and looks at images, frames and videos. Nothing else is served.

A request carries all that is needed and its response brings all that comes of it. So nothing is kept for a visitor:
an upload lies in a folder of its own until the response has been sent, or until the visitor has gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from anyio import to_thread
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from spikedet.common.errors import SpikedetError
from spikedet.common.resources import find_weights, sample_images
from spikedet.config import DemoConfig
from spikedet.demo.growing import as_html
from spikedet.demo.guard import refused
from spikedet.demo.table import ap_plot, table_html
from spikedet.demo.turns import Busy, Bytes, Turns
from spikedet.demo.uploads import MAX_STORED_BYTES, MAX_UPLOAD_BYTES, stored_name, uploaded_image
from spikedet.demo.video import VideoProgress, annotated
from spikedet.demo.webcam import MAX_FRAME_BYTES, make_look, webcam_html
from spikedet.inference.comparison import Member, load_family, look

logger = logging.getLogger("spikedet")

ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "growing.js": "text/javascript"}
ASSETS |= {"requests.js": "text/javascript", "video.js": "text/javascript", "webcam.js": "text/javascript"}

IMAGES = {"at_once": 2, "places": 128, "each": 4}
FRAMES = {"at_once": 2, "places": 128, "each": 2}
VIDEOS = {"at_once": 1, "places": 8, "each": 1}
"""Of each kind of work: how much is done at once, how much may wait, and how much of it may be one client's."""

UPLOAD_S, UPLOAD_BYTES_S = 30.0, 50_000
"""An upload may take so long, and longer by what it would take at so many bytes a second."""
CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class Settings:
    """What a visitor has chosen: t and steps of the early exit as far as they go, and the lowest score."""

    t: int
    confidence: float
    stable_steps: int

    @classmethod
    def of(cls, request: Request) -> Settings:
        """From the query of a request; whatever is no number there is the default."""
        number = {name: _number(request.query_params.get(name)) for name in ("t", "confidence", "stable_steps")}
        least = number["confidence"]
        return cls(
            t=max(1, int(number["t"] or 1)),
            confidence=0.25 if least is None else min(max(least, 0.01), 1.0),
            stable_steps=min(max(int(number["stable_steps"] or 0), 0), 64),
        )


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return min(max(value, -1e6), 1e6) if math.isfinite(value) else None


def build(config: DemoConfig, folder: Path) -> Starlette:
    """The page, with its networks loaded; uploads lie under ``folder``. Raises CheckpointError, DataError."""
    weights = [name for name in config.weights.split(",") if name]
    members = load_family(weights, config)
    webcam = members[-1] if config.live == weights[-1] else load_family([config.live], config)[-1]
    page = Page(config, members, webcam, [find_weights(name) for name in weights], folder)
    routes = [
        Route("/", page.index),
        Route("/assets/{name}", page.asset),
        Route("/plot.png", page.plot),
        Route("/image", page.image, methods=["POST"]),
        Route("/look", page.frame, methods=["POST"]),
        Route("/video", VideoJob(page), methods=["POST"]),
    ]
    errors: dict[Any, Any] = {Busy: _busy, SpikedetError: _sentence, ClientDisconnect: _gone, Exception: _failed}
    return Starlette(routes=routes, exception_handlers=errors)


class Page:
    """The routes but the videos', and what they share."""

    def __init__(
        self, config: DemoConfig, members: list[Member], webcam: Member, weights: list[Path], folder: Path
    ) -> None:
        self.members = members
        self._folder, self._stored = folder, Bytes(MAX_STORED_BYTES)
        self._images, self._frames, self.videos = Turns(**IMAGES), Turns(**FRAMES), Turns(**VIDEOS)
        self._look = make_look(webcam)
        self._samples = {path.stem: path for path in sample_images()}
        table, rows = table_html(weights)
        self._plot, self._drawing = ap_plot(rows, folder), asyncio.Lock()
        template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_text("page.html.j2"))
        self._html = template.render(
            samples=list(self._samples),
            networks=[member.title for member in members],
            longest=max(member.detector.T or 1 for member in members),
            confidence=config.confidence,
            webcam=webcam_html(webcam.detector.meta.image_size),
            webcam_T=webcam.detector.T or 1,
            table=table,
            plot=bool(rows),
        )
        self._assets = {name: _text(name) for name in ASSETS}

    async def index(self, request: Request) -> Response:
        """The page itself."""
        return Response(self._html, media_type="text/html")

    async def asset(self, request: Request) -> Response:
        """A script or style sheet of the page."""
        name = request.path_params["name"]
        if name not in ASSETS:
            return refused(404, "there is no such file")
        return Response(self._assets[name], media_type=ASSETS[name])

    async def plot(self, request: Request) -> Response:
        """AP by time step, drawn when it is first looked at: the first boxes do not wait for it."""
        async with self._drawing:
            content = await to_thread.run_sync(self._plot)
        return Response(content, media_type="image/png") if content else refused(404, "there are no results to draw")

    async def image(self, request: Request) -> Response:
        """Boxes on the uploaded image, or on a sample, growing with t."""
        settings = Settings.of(request)
        with self._images.place(client_of(request)):
            if (sample := request.query_params.get("sample")) is not None:
                if sample not in self._samples:
                    return refused(404, "there is no such sample")
                return await self._boxes(self._samples[sample], settings)
            async with self.upload(request) as path:
                return await self._boxes(path, settings)

    async def _boxes(self, path: Path, settings: Settings) -> Response:
        def work() -> str:
            image = uploaded_image(path)
            found = look(image, self.members, confidence=settings.confidence, stable_steps=settings.stable_steps)
            return as_html(image, found)

        async with self._images.running:
            return JSONResponse({"html": await to_thread.run_sync(work)})

    async def frame(self, request: Request) -> Response:
        """Boxes on a frame of the visitor's camera."""
        with self._frames.place(client_of(request)):
            body = bytearray()
            await _receive(request, MAX_FRAME_BYTES + 1000, body.extend)
            async with self._frames.running:
                return JSONResponse(await to_thread.run_sync(self._look, _json(bytes(body))))

    @asynccontextmanager
    async def upload(self, request: Request) -> AsyncIterator[Path]:
        """The body of a request as a file under the visitor's name for it; it goes when the block ends."""
        length = _length(request, MAX_UPLOAD_BYTES)
        with self._stored.reserved(length), tempfile.TemporaryDirectory(dir=self._folder) as folder:
            path = Path(folder) / stored_name(unquote(request.query_params.get("name", "")))
            with path.open("wb") as file:
                await _receive(request, length, file.write)
            yield path


class VideoJob:
    """The video's route, an ASGI application: progress as lines of JSON, then the bytes of the finished video.

    The last line has the number of ``bytes``. Where the visitor goes away, or cancels, the work ends after the frame
    that is being looked at.
    """

    def __init__(self, page: Page) -> None:
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        request = Request(scope, receive)
        settings = Settings.of(request)
        titles = [member.title for member in self._page.members]
        title = request.query_params.get("network", titles[-1])
        if title not in titles:
            await refused(404, "there is no such network")(scope, receive, send)
            return
        member = self._page.members[titles.index(title)]
        with self._page.videos.place(client_of(request)):
            async with self._page.upload(request) as path:
                written = path.parent / "result" / "boxes.webm"
                gone = asyncio.create_task(_until_gone(receive))
                try:
                    await self._respond(send, gone, member, path, written, settings)
                finally:
                    gone.cancel()

    async def _respond(
        self, send: Send, gone: asyncio.Task[None], member: Member, path: Path, written: Path, settings: Settings
    ) -> None:
        kind = [
            (b"content-type", b"application/octet-stream"),
            (b"x-accel-buffering", b"no"),
        ]  # a proxy passes lines on
        await send({"type": "http.response.start", "status": 200, "headers": kind})

        async def line(value: dict[str, Any]) -> None:
            body = json.dumps(value).encode() + b"\n"
            await send({"type": "http.response.body", "body": body, "more_body": True})

        try:
            if self._page.videos.running.locked():
                await line({"html": VideoProgress(0, None, "waiting for the videos before this one").as_html()})
            async with self._page.videos.running:
                steps = min(settings.t, member.detector.T or 1)
                frames = annotated(
                    member, path, written, t=steps, confidence=settings.confidence, stable_steps=settings.stable_steps
                )
                try:
                    while not gone.done():
                        seen = await to_thread.run_sync(next, frames, None)
                        if seen is None:
                            break
                        size = {"bytes": written.stat().st_size} if seen.finished else {}
                        await line({"html": seen.as_html(), **size})
                finally:
                    await to_thread.run_sync(frames.close)
            if not gone.done():
                await _send_file(send, written)
        except SpikedetError as error:
            await line({"error": str(error)})
        except Exception:
            logger.exception("a video failed")
            await line({"error": FAILED})
        await send({"type": "http.response.body", "body": b""})


async def _send_file(send: Send, path: Path) -> None:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _receive(request: Request, most: int, write: Callable[[bytes], object]) -> None:
    """Hand the parts of a request's body to ``write``; its length is checked before and while it comes, and its time.

    Raises:
        SpikedetError: it is too long, or comes too slowly.
        ClientDisconnect: the visitor has gone.
    """
    length, read = _length(request, most), 0
    try:
        async with asyncio.timeout(UPLOAD_S + length / UPLOAD_BYTES_S):
            async for chunk in request.stream():
                read += len(chunk)
                if read > most:
                    raise TooLarge(most)
                write(chunk)
    except TimeoutError:
        raise SpikedetError("the upload took too long") from None
    except OSError as error:
        raise SpikedetError(f"no room for the upload on the server ({error.strerror})") from error


def _length(request: Request, most: int) -> int:
    text = request.headers.get("content-length", "")
    if not text.isascii() or not text.isdigit():
        raise SpikedetError("the request does not say how long it is")
    if int(text) > most:
        raise TooLarge(most)
    return int(text)


class TooLarge(SpikedetError):
    """More was sent than is taken."""

    def __init__(self, most: int) -> None:
        super().__init__(f"larger than the {most / 1e6:.0f} MB that are taken; make it smaller or shorter")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def client_of(request: Request) -> str:
    """The visitor or the address that a request comes from, as the guard has found."""
    return str(request.scope.get("client_name", ""))


FAILED = "something went wrong here; the server's log says what"


async def _busy(request: Request, error: Exception) -> Response:
    return refused(503, "the page is busy; try again in a moment", {"Retry-After": "1"})


async def _sentence(request: Request, error: Exception) -> Response:
    return refused(413 if isinstance(error, TooLarge) else 422, str(error))


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)


async def _failed(request: Request, error: Exception) -> Response:
    logger.error(f"{request.url.path} failed", exc_info=error)
    return refused(500, FAILED)


def _text(name: str) -> str:
    return files("spikedet.demo").joinpath("assets", name).read_text(encoding="utf-8")
