"""What the page's server does: it shows the page, and looks at images, frames and videos. Nothing else is served.

A request carries all that is needed and its response brings all that comes of it. So nothing is kept for a visitor:
an upload lies in a folder of its own until the response has been sent, or until the visitor has gone.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from anyio import to_thread
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spikedet.common.errors import SpikedetError
from spikedet.common.resources import find_weights, sample_images
from spikedet.config import DemoConfig
from spikedet.demo.bodies import TooLarge, client_of, content_length, receive
from spikedet.demo.growing import as_html
from spikedet.demo.guard import refused
from spikedet.demo.settings import Settings
from spikedet.demo.table import ap_plot, table_html
from spikedet.demo.turns import Busy, Shares, Turns
from spikedet.demo.uploads import MAX_STORED_BYTES, MAX_UPLOAD_BYTES, stored_name, uploaded_image
from spikedet.demo.video_job import FAILED, VideoJob
from spikedet.demo.webcam import MAX_FRAME_BYTES, detect_frame
from spikedet.inference.comparison import Member, load_family, look
from spikedet.visualization.draw import OKABE_ITO

logger = logging.getLogger("spikedet")

ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "growing.js": "text/javascript"}
ASSETS |= {"requests.js": "text/javascript", "video.js": "text/javascript", "webcam.js": "text/javascript"}

IMAGES = {"at_once": 2, "places": 128, "each": 4}
FRAMES = {"at_once": 2, "places": 128, "each": 2}
VIDEOS = {"at_once": 1, "places": 8, "each": 1}
"""Of each kind of work: how much is done at once, how much may wait, and how much of it may be one client's."""


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
        Route("/video", VideoJob(members, Turns(**VIDEOS), page.upload), methods=["POST"]),
    ]
    errors: dict[Any, Any] = {Busy: _busy, SpikedetError: _sentence, ClientDisconnect: _gone, Exception: _failed}
    return Starlette(routes=routes, exception_handlers=errors)


class Page:
    """The routes but the videos', and what they share."""

    def __init__(
        self, config: DemoConfig, members: list[Member], webcam: Member, weights: list[Path], folder: Path
    ) -> None:
        self.members = members
        self._folder, self._stored = folder, Shares(MAX_STORED_BYTES)
        self._images, self._frames = Turns(**IMAGES), Turns(**FRAMES)
        self._webcam = webcam
        self._samples = {path.stem: path for path in sample_images()}
        table, rows = table_html(weights)
        self._rows, self._drawing = rows, asyncio.Lock()
        template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_text("page.html.j2"))
        self._html = template.render(
            samples=list(self._samples),
            networks=[member.title for member in members],
            longest=max(member.detector.T or 1 for member in members),
            confidence=config.confidence,
            webcam_side=webcam.detector.meta.image_size,
            colours=OKABE_ITO,
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
            content = await to_thread.run_sync(ap_plot, self._rows, self._folder)
        return Response(content, media_type="image/png") if content else refused(404, "there are no results to draw")

    async def image(self, request: Request) -> Response:
        """Boxes on the uploaded image, or on a sample, growing with t."""
        settings = Settings.of(request.query_params)
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
        client, body, settings = client_of(request), bytearray(), Settings.of(request.query_params)
        length = content_length(request, MAX_FRAME_BYTES)
        with self._frames.place(client), self._stored.held(client, length):
            await receive(request, length, body.extend)
            async with self._frames.running:
                return JSONResponse(await to_thread.run_sync(detect_frame, self._webcam, bytes(body), settings))

    @asynccontextmanager
    async def upload(self, request: Request) -> AsyncIterator[Path]:
        """The body of a request as a file under the visitor's name for it; it goes when the block ends."""
        length = content_length(request, MAX_UPLOAD_BYTES)
        with self._stored.held(client_of(request), length), tempfile.TemporaryDirectory(dir=self._folder) as folder:
            path = Path(folder) / stored_name(request.query_params.get("name", ""))
            with path.open("wb") as file:
                await receive(request, length, file.write)
            yield path


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
